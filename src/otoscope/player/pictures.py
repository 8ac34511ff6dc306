"""Spectrograms and masks as compressed data: grey pictures whose pixels a script reads as numbers."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from otoscope.plots import PooledSpectrogram, decibels
from otoscope.plots.cells import FLOOR_DB

ROWS, COLUMNS = 257, 1000
"""Largest size: about the pixels of a player."""
_LEVEL_STEPS, _SHARE_STEPS = 40, 32
"""Steps of levels, 2 dB each, and of shares. Fewer steps compress better."""


@dataclass(frozen=True)
class Picture:
    """Picture whose pixels are numbers.

    Attributes:
        data: Content of a PNG file, 8 bits of grey, the highest frequency on top.
        low: Number that black stands for.
        high: Number that white stands for.
    """

    data: bytes
    low: float
    high: float

    @property
    def url(self) -> str:
        """Data URL, for ``<img src>``."""
        return f"data:image/png;base64,{base64.b64encode(self.data).decode()}"


def level_picture(log_magnitude: np.ndarray, rows: int = ROWS, columns: int = COLUMNS) -> Picture:
    """Return a spectrogram in dB relative to its peak; a pixel shows the largest of its bins.

    Args:
        log_magnitude: ``log1p`` of the magnitude. Shape (frequency, time).
        rows: Largest height.
        columns: Largest width.
    """
    pooled = PooledSpectrogram(log_magnitude.shape[1], log_magnitude.shape[0], columns, rows)
    pooled.add(0, np.expm1(np.asarray(log_magnitude, np.float64)) ** 2, None)
    values = 1 - decibels(pooled.log_magnitude) / FLOOR_DB
    return Picture(_png(values, _LEVEL_STEPS), FLOOR_DB, 0.0)


def share_picture(share: np.ndarray, rows: int = ROWS, columns: int = COLUMNS) -> Picture:
    """Return a mask, or other shares; a pixel shows the mean of its bins.

    Args:
        share: Values in [0, 1]. Shape (frequency, time).
        rows: Largest height.
        columns: Largest width.
    """
    share = np.asarray(share, np.float64)
    pooled = PooledSpectrogram(share.shape[1], share.shape[0], columns, rows)
    pooled.add(0, np.ones_like(share), share)
    return Picture(_png(pooled.share, _SHARE_STEPS), 0.0, 1.0)


def _png(values: np.ndarray, steps: int) -> bytes:
    """Return values in [0, 1] as an 8-bit grey PNG, the last row on top."""
    quantised = np.round(np.clip(values, 0, 1) * steps) / steps
    pixels = np.round(255 * quantised).astype(np.uint8)[::-1]
    # Filter 0 stores values, filter 2 the difference from the row above: masks compress better by the latter.
    above = np.concatenate([np.zeros_like(pixels[:1]), pixels[:-1]])
    rows = [(0, pixels), (2, pixels - above)]
    filtered = [np.concatenate([np.full((len(pixels), 1), kind, np.uint8), part], 1) for kind, part in rows]
    data = min((zlib.compress(part.tobytes(), 9) for part in filtered), key=len)
    size = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 0)
    chunks = (_chunk(b"IHDR", size), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
