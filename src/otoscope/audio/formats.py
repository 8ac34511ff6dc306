"""Suffixes of sound files, and formats that have to be converted first."""

from __future__ import annotations

import shlex
from pathlib import Path

import soundfile

_SUFFIXES_OF_FORMAT = {
    "AIFF": (".aiff", ".aif", ".aifc"),
    "AU": (".au", ".snd"),
    "AVR": (".avr",),
    "CAF": (".caf",),
    "FLAC": (".flac",),
    "HTK": (".htk",),
    "IRCAM": (".sf", ".ircam"),
    "MP3": (".mp3", ".mp2", ".mp1"),
    "NIST": (".nist", ".sph"),
    "OGG": (".ogg", ".oga", ".opus"),
    "PAF": (".paf",),
    "PVF": (".pvf",),
    "RF64": (".rf64", ".bw64"),
    "SD2": (".sd2",),
    "SDS": (".sds",),
    "SVX": (".svx", ".8svx", ".iff"),
    "VOC": (".voc",),
    "W64": (".w64",),
    "WAV": (".wav", ".wave", ".bwf"),
    "WAVEX": (".wavex",),
    "WVE": (".wve",),
    "XI": (".xi",),
}
# RAW has no header, MAT4 and MAT5 seldom hold sound, and files of MPC2K have suffixes of other formats.

SUFFIXES = tuple(suffix for name in soundfile.available_formats() for suffix in _SUFFIXES_OF_FORMAT.get(name, ()))
"""Suffixes that mark sound files in a folder. `load_audio` reads a file of any suffix in a format of libsndfile."""

CONVERTIBLE_SUFFIXES = (
    *(".m4a", ".m4b", ".mp4", ".aac", ".alac", ".3gp", ".mov", ".wma", ".asf", ".webm", ".mka", ".mkv", ".weba"),
    *(".amr", ".ac3", ".ape", ".wv", ".tta", ".dts", ".spx", ".ra", ".mpc", ".avi"),
)
"""Suffixes of recordings that libsndfile cannot read, and ffmpeg can."""

_MAGIC = (
    (4, b"ftyp"),  # MP4, M4A, 3GP, MOV
    (0, b"\x1aE\xdf\xa3"),  # WebM, Matroska
    (0, b"0&\xb2u\x8ef\xcf\x11"),  # WMA, ASF
    (0, b"#!AMR"),
    (0, b"MAC "),  # Monkey's Audio
    (0, b"wvpk"),  # WavPack
    (0, b"TTA1"),
    (0, b"ADIF"),
    (0, b"\x0bw"),  # AC-3
    (0, b"\xff\xf1"),  # AAC with ADTS headers
    (0, b"\xff\xf9"),
)


def needs_conversion(path: Path) -> bool:
    """Return whether ffmpeg may read a file that libsndfile cannot: by its suffix or its first bytes."""
    if path.suffix.lower() in CONVERTIBLE_SUFFIXES:
        return True
    with path.open("rb") as file:
        head = file.read(16)
    return any(head[offset : offset + len(magic)] == magic for offset, magic in _MAGIC)


def conversion_command(path: Path) -> str:
    """Return the command line that converts a recording to wav.

    Example:
        >>> conversion_command(Path("a b.m4a"))
        "ffmpeg -i 'a b.m4a' 'a b.wav'"
    """
    target = path.with_suffix(".wav") if path.suffix.lower() != ".wav" else path.with_name(f"{path.stem}-new.wav")
    return f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(target))}"
