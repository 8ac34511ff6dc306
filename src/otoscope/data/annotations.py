"""Annotated events of a clip, and the bins of its spectrogram that they cover."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from otoscope.audio import Frontend


@dataclass(frozen=True)
class Annotation:
    """Event that a person has marked: a label in a box of time and, where given, of frequency.

    Attributes:
        label: Class of the event.
        begin_s: Begin in the clip or recording.
        end_s: End in the clip or recording.
        low_hz: Lowest frequency (default: no limit).
        high_hz: Highest frequency (default: no limit).
    """

    label: str
    begin_s: float
    end_s: float
    low_hz: float | None = None
    high_hz: float | None = None

    def within(self, begin_s: float, end_s: float) -> Annotation | None:
        """Return the part of the event in a part of the recording, with times that count from it; None if outside.

        Example:
            >>> Annotation("dog", 4.0, 7.0).within(5.0, 10.0)
            Annotation(label='dog', begin_s=0.0, end_s=2.0, low_hz=None, high_hz=None)
        """
        first_s, last_s = max(self.begin_s, begin_s), min(self.end_s, end_s)
        if first_s >= last_s:
            return None
        return Annotation(self.label, first_s - begin_s, last_s - begin_s, self.low_hz, self.high_hz)


def annotated_bins(annotations: Iterable[Annotation], label: str, frontend: Frontend, frames: int) -> Tensor:
    """Return the bins that the events of a label cover together.

    A bin is covered if its centre lies in the box. A box that is narrower than the distance of two centres covers
    the nearest ones.

    Args:
        annotations: Events of the clip. Those of other labels do not count.
        label: Label of the events.
        frontend: Front-end of the classifier.
        frames: Number of frames of the clip.

    Returns:
        True inside, shape (bins, frames); nowhere without an event of the label.

    Example:
        >>> frontend = Frontend(n_fft=1024, hop_ms=10)
        >>> bins = annotated_bins([Annotation("dog", 0.02, 0.05, 1000, 2000)], "dog", frontend, 8)
        >>> bins.any(0).tolist(), int(bins.any(1).sum())
        ([False, False, True, True, True, False, False, False], 65)
    """
    covered = torch.zeros(frontend.bins, frames, dtype=torch.bool)
    frame_s = frontend.hop_length / frontend.sample_rate_hz
    bin_hz = frontend.sample_rate_hz / frontend.n_fft
    for event in annotations:
        if event.label != label:
            continue
        times = _covered(event.begin_s / frame_s, event.end_s / frame_s, frames, end_counts=False)
        high = frontend.bins - 1 if event.high_hz is None else event.high_hz / bin_hz
        covered[_covered((event.low_hz or 0.0) / bin_hz, high, frontend.bins), times] = True
    return covered


def annotations_key(annotations: Sequence[Annotation] | None) -> str | None:
    """Return a short text that changes with the annotations of a clip; None without annotations."""
    return None if annotations is None else hashlib.sha256(repr(tuple(annotations)).encode()).hexdigest()[:16]


def _covered(low: float, high: float, count: int, end_counts: bool = True) -> slice:
    """Return the whole numbers from one position to another, below a count; at least the nearest one."""
    positions = torch.arange(count, dtype=torch.float64)
    # Times come from tables of six digits, so that an end may lie a rounding error beyond a centre.
    upper = positions <= high + 1e-4 if end_counts else positions < high - 1e-4
    inside = torch.nonzero((positions >= low - 1e-4) & upper).flatten()
    if len(inside):
        return slice(int(inside[0]), int(inside[-1]) + 1)
    nearest = round((low + high) / 2)
    # An event behind the end of what is analysed covers nothing.
    return slice(nearest, nearest + 1) if 0 <= nearest < count else slice(0, 0)
