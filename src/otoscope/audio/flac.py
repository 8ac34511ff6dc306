"""Length of a flac stream whose header does not state it, as encoders leave it in a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_SIZES_AT = 18
"""Offset of 64 bits: sample rate (20), channels (3), bits (5), and the number of samples (36)."""
_LARGEST_FRAME = 1 << 20


class _Frame(NamedTuple):
    number: int
    samples: int
    is_numbered_by_sample: bool


def patch_for_unknown_length(path: Path) -> dict[int, bytes]:
    """Return the bytes of the header with the length of the stream; none if the header states it.

    Args:
        path: Sound file.
    """
    with path.open("rb") as file:
        head = file.read(42)
        if head[:4] != b"fLaC" or len(head) < 42:
            return {}
        sizes = int.from_bytes(head[_SIZES_AT : _SIZES_AT + 8], "big")
        if sizes & (1 << 36) - 1:
            return {}
        file.seek(max(42, path.stat().st_size - _LARGEST_FRAME))
        tail = file.read()
    frame = _last_frame(tail)
    if frame is None:
        return {}
    first = frame.number if frame.is_numbered_by_sample else frame.number * int.from_bytes(head[8:10], "big")
    samples = first + frame.samples
    return {_SIZES_AT: (sizes | samples).to_bytes(8, "big")} if samples < 1 << 36 else {}


def _last_frame(content: bytes) -> _Frame | None:
    """Return the last frame that begins in a piece of a stream (RFC 9639, section 9.1)."""
    end = len(content)
    while (position := content.rfind(b"\xff", 0, end)) >= 0:
        if content[position + 1 : position + 2] in (b"\xf8", b"\xf9"):
            frame = _frame_at(content[position : position + 16])
            if frame is not None:
                return frame
        end = position
    return None


def _frame_at(head: bytes) -> _Frame | None:
    """Return the frame that a header describes; None if its check sum is wrong."""
    if len(head) < 6:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    # The number is coded like a character in UTF-8: the ones at the start of the first byte count its bytes.
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    count = ones or 1
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + count]:
        number = number << 6 | byte & 0x3F
    position = 4 + count
    size_bytes, rate_bytes = {6: 1, 7: 2}.get(size_code, 0), {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    end = position + size_bytes + rate_bytes
    if ones == 1 or size_code == 0 or end >= len(head) or _crc8(head[:end]) != head[end]:
        return None
    if size_bytes:
        samples = int.from_bytes(head[position : position + size_bytes], "big") + 1
    elif size_code == 1:
        samples = 192
    else:
        samples = 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    return _Frame(number, samples, head[1] == 0xF9)


def _crc8(content: bytes) -> int:
    """Return the check sum with the polynomial x^8 + x^2 + x + 1."""
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07 if value & 0x80 else value << 1) & 0xFF
    return value
