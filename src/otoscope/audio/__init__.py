"""Sound in and out, and the spectrogram in between."""

from otoscope.audio.files import AudioInfo, audio_info, load_audio, save_audio
from otoscope.audio.frontend import Frontend, peak_normalize
from otoscope.audio.mel import MelBank, mel_centers_hz, mel_filters
from otoscope.audio.spectrogram import Spectrogram, valid_frames

__all__ = [
    "AudioInfo",
    "Frontend",
    "MelBank",
    "Spectrogram",
    "audio_info",
    "load_audio",
    "mel_centers_hz",
    "mel_filters",
    "peak_normalize",
    "save_audio",
    "valid_frames",
]
