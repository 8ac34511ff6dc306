"""Frames of an mp3 file, counted to detect that its end is missing."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import NamedTuple

# Bit rates in kbit/s by version (MPEG-1, or MPEG-2 and 2.5) and layer, ISO/IEC 11172-3 and 13818-3.
_RATES_1 = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_RATES_2 = {
    1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SMALLEST_HEADER = 4


class _Frame(NamedTuple):
    size: int
    version: int
    layer: int
    is_mono: bool


def missing_end(path: Path) -> str:
    """Return what shows that the end of an mp3 is missing; empty if nothing does.

    Encoders write the number of frames into the first one; without it, a last frame that is cut off shows a cut.

    Args:
        path: File of MPEG audio.
    """
    # Mapped instead of read: a recording of a whole night is larger than the memory should be.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _missing_end(content)


def _missing_end(content: mmap.mmap) -> str:
    position = _audio_start(content)
    announced, count = None, 0
    while (frame := _frame_at(content, position)) is not None:
        if announced is None:
            announced = _announced_frames(content, position, frame) or 0
        if position + frame.size > len(content):
            break
        count += 1
        position += frame.size
    # The frame that holds the number may be counted or not, and files are sometimes edited: 1 % is tolerated.
    if announced and count < 0.99 * announced - 1:
        return f"holds {count} of the {announced} frames that its header announces"
    if frame is not None and count > 0:
        return "ends within a frame"
    return ""


def _audio_start(content: mmap.mmap) -> int:
    """Return the offset of the first frame that another one follows."""
    position = 0
    while content[position : position + 3] == b"ID3" and len(content) >= position + 10:
        # four bytes of seven bits each
        size = 0
        for byte in content[position + 6 : position + 10]:
            size = size << 7 | byte & 0x7F
        position += 10 + size
    for _ in range(1 << 16):
        position = content.find(b"\xff", position)
        if position < 0:
            return len(content)
        frame = _frame_at(content, position)
        if frame is not None and _frame_at(content, position + frame.size) is not None:
            return position
        position += 1
    return len(content)


def _frame_at(content: mmap.mmap, position: int) -> _Frame | None:
    """Return the frame whose header stands at an offset."""
    header = content[position : position + _SMALLEST_HEADER]
    if len(header) < _SMALLEST_HEADER or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate_index, frequency_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or rate_index in (0, 15) or frequency_index == 3:
        return None
    bits_per_s = 1000 * (_RATES_1 if version == 3 else _RATES_2)[layer][rate_index]
    sample_rate_hz = _SAMPLE_RATES_HZ[version][frequency_index]
    if layer == 1:
        size = (12 * bits_per_s // sample_rate_hz + padding) * 4
    else:
        # half as many samples per frame in layer 3 of MPEG-2
        size = (72 if layer == 3 and version != 3 else 144) * bits_per_s // sample_rate_hz + padding
    return _Frame(size, version, layer, header[3] >> 6 == 3) if size >= _SMALLEST_HEADER else None


def _announced_frames(content: mmap.mmap, position: int, frame: _Frame) -> int | None:
    """Return the number of frames that the tag in the first frame states, of Xing or LAME, or of Fraunhofer."""
    body = content[position : position + frame.size]
    # the tag stands behind the side information, whose length depends on version and channels
    tag = 4 + ((17 if frame.is_mono else 32) if frame.version == 3 else (9 if frame.is_mono else 17))
    if body[tag : tag + 4] in (b"Xing", b"Info") and body[tag + 7 : tag + 8] and body[tag + 7] & 1:
        return int.from_bytes(body[tag + 8 : tag + 12], "big")
    if body[36:40] == b"VBRI":
        return int.from_bytes(body[50:54], "big")
    return None
