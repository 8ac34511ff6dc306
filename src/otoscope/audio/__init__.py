"""Sound in and out, and the spectrogram in between."""

from otoscope.audio.files import AudioInfo, audio_info, load_audio, save_audio
from otoscope.audio.frontend import Frontend, peak_normalize
from otoscope.audio.level import levelled
from otoscope.audio.mel import MelBank, mel_centers_hz, mel_filters
from otoscope.audio.padding import frame_counts, masked_mean, valid_frames, zero_padding
from otoscope.audio.spectrogram import Spectrogram

__all__ = [
    "AudioInfo",
    "Frontend",
    "MelBank",
    "Spectrogram",
    "audio_info",
    "frame_counts",
    "levelled",
    "load_audio",
    "masked_mean",
    "mel_centers_hz",
    "mel_filters",
    "peak_normalize",
    "save_audio",
    "valid_frames",
    "zero_padding",
]
