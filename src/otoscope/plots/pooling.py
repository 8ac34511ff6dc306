"""Spectrograms of any length at the resolution of a page."""

from __future__ import annotations

import numpy as np

COLUMNS, ROWS = 1600, 513
"""Largest size of a pooled spectrogram: about the pixels of a page."""


class PooledSpectrogram:
    """Spectrogram of a recording that arrives in portions, pooled to the resolution of a page.

    A cell holds the largest power of its bins, so that a short sound in a long recording is not averaged away, and
    the share of its energy that belongs to the evidence.

    Args:
        frames: Frames of the whole recording.
        bins: Frequency bins.
        columns: Largest number of columns.
        rows: Largest number of rows.
        evidence: Whether there may be evidence; False saves the time of its share.

    Example:
        >>> pooled = PooledSpectrogram(frames=5, bins=3, columns=3, rows=3)
        >>> pooled.add(0, np.ones((3, 2)), None)
        >>> pooled.add(2, 4 * np.ones((3, 3)), np.ones((3, 3)))
        >>> np.expm1(pooled.log_magnitude)[0].round(2).tolist(), pooled.share[0].astype(float).round(2).tolist()
        ([1.0, 2.0, 2.0], [0.0, 0.2, 0.25])
    """

    def __init__(
        self, frames: int, bins: int, columns: int = COLUMNS, rows: int = ROWS, evidence: bool = True
    ) -> None:
        self._has_evidence = evidence
        self._frames, self._bins = frames, bins
        self._shape = (min(bins, rows), min(frames, columns))
        self._largest = np.zeros(self._shape, np.float32)
        self._sum, self._evidence = np.zeros(self._shape), np.zeros(self._shape)

    @property
    def log_magnitude(self) -> np.ndarray:
        """Logarithm ``log1p`` of the largest magnitude in each cell. Shape (rows, columns)."""
        return np.asarray(np.log1p(np.sqrt(self._largest)))

    @property
    def share(self) -> np.ndarray:
        """Share of the energy of each cell that belongs to the evidence, in [0, 1]. Shape (rows, columns)."""
        shares = np.divide(self._evidence, self._sum, out=np.zeros(self._shape), where=self._sum > 0)
        return np.asarray(shares.clip(0, 1), np.float32)

    def add(self, frame: int, power: np.ndarray, evidence: np.ndarray | None) -> None:
        """Add frames.

        Args:
            frame: First of them.
            power: Power of the recording. Shape (bins, frames').
            evidence: Power of the evidence, same shape; None: there is none.
        """
        columns = _cells(np.arange(frame, frame + power.shape[1]), self._frames, self._shape[1])
        rows = _cells(np.arange(self._bins), self._bins, self._shape[0])
        # Cells are consecutive, so that each begins where the index changes.
        column_starts, row_starts = _starts(columns), _starts(rows)
        inside = np.ix_(rows[row_starts], columns[column_starts])
        largest = _reduced(np.maximum, power, row_starts, column_starts)
        self._largest[inside] = np.maximum(self._largest[inside], largest)
        if not self._has_evidence:
            return
        self._sum[inside] += _reduced(np.add, power, row_starts, column_starts)
        if evidence is not None:
            self._evidence[inside] += _reduced(np.add, evidence, row_starts, column_starts)


def _cells(positions: np.ndarray, count: int, cells: int) -> np.ndarray:
    """Return the cell of each position. The first and the last are centred on the ends, like frames and bins."""
    return np.asarray((positions * (cells - 1) / max(count - 1, 1) + 0.5).astype(int))


def _starts(cells: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.concatenate([[True], cells[1:] != cells[:-1]]))


def _reduced(operation: np.ufunc, values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    over_time = operation.reduceat(values, columns, axis=1)
    return np.asarray(over_time if len(rows) == len(values) else operation.reduceat(over_time, rows, axis=0))
