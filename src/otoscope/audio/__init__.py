"""Sound in and out, and the spectrogram in between."""

from otoscope.audio.files import audio_info, load_audio, open_recording, read_recording, save_audio
from otoscope.audio.frontend import Frontend, peak_normalize
from otoscope.audio.level import levelled
from otoscope.audio.mel import MelBank, mel_centers_hz, mel_filters
from otoscope.audio.opening import AudioInfo
from otoscope.audio.overlapping import OverlappingWindows
from otoscope.audio.padding import frame_counts, masked_mean, valid_frames, zero_padding
from otoscope.audio.prefetch import prefetched
from otoscope.audio.spectrogram import Spectrogram
from otoscope.audio.streaming import StreamingInverse, StreamingTransform, stream_spectra
from otoscope.audio.waveforms import MonoWaveform, to_mono
from otoscope.audio.windows import RecordingStream, Survey, WindowPlan, cut_windows

__all__ = [
    "AudioInfo",
    "Frontend",
    "MelBank",
    "MonoWaveform",
    "OverlappingWindows",
    "RecordingStream",
    "Spectrogram",
    "StreamingInverse",
    "StreamingTransform",
    "Survey",
    "WindowPlan",
    "audio_info",
    "cut_windows",
    "frame_counts",
    "levelled",
    "load_audio",
    "masked_mean",
    "mel_centers_hz",
    "mel_filters",
    "open_recording",
    "peak_normalize",
    "prefetched",
    "read_recording",
    "save_audio",
    "stream_spectra",
    "to_mono",
    "valid_frames",
    "zero_padding",
]
