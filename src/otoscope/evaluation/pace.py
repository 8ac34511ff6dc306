"""How long each method of an evaluation takes, and how long it will take for the clips that remain."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

_MOST_SHOWN = 3
_MINUTE_S, _HOUR_S = 60, 3600


class Lap(NamedTuple):
    """Time of one row of the table for some clips.

    Attributes:
        row: Name of the method or control.
        seconds: Time.
        clips: Number of clips.
    """

    row: str
    seconds: float
    clips: int


class Clock:
    """Clock that measures the laps of a process."""

    def __init__(self) -> None:
        self.laps: list[Lap] = []
        self._start = time.perf_counter()

    def lap(self, row: str, clips: int) -> None:
        """Add the time since the last lap to those of a row."""
        now = time.perf_counter()
        self.laps.append(Lap(row, now - self._start, clips))
        self._start = now


@dataclass
class Pace:
    """Times of the rows so far, from which the remaining time is estimated.

    Attributes:
        clips: Number of clips in all conditions.
        workers: Number of processes among which the time is divided.
        done: Number of clips that are done.

    Example:
        >>> pace = Pace(clips=240, workers=2)
        >>> pace.add([Lap("saliency", 1.0, 4), Lap("RISE", 40.0, 4), Lap("random", 2.0, 4)], clips=4)
        >>> pace.remaining()
        'left: RISE 20 min, random 59 s, saliency 30 s'
    """

    clips: int
    workers: int = 1
    done: int = 0
    _seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _scored: Counter[str] = field(default_factory=Counter)

    def add(self, laps: Iterable[Lap], clips: int) -> None:
        """Add the laps of some clips.

        Args:
            laps: Times of the rows. Rows without a clip that had to be scored do not count.
            clips: Number of clips that are done now, also of those that were scored by an earlier run.
        """
        for lap in laps:
            if lap.clips:
                self._seconds[lap.row] += lap.seconds
                self._scored[lap.row] += lap.clips
        self.done += clips

    def remaining(self) -> str:
        """Return the estimated remaining time of the rows that take longest, as text; empty at the end."""
        clips = max(0, self.clips - self.done) / self.workers
        times = {row: clips * self._seconds[row] / self._scored[row] for row in self._scored}
        longest = sorted(times, key=lambda row: -times[row])[:_MOST_SHOWN]
        shown = [f"{row} {_duration(times[row])}" for row in longest if times[row] >= 1]
        return f"left: {', '.join(shown)}" if shown else ""


def _duration(seconds: float) -> str:
    """Return a time in its natural unit.

    Example:
        >>> _duration(45), _duration(600), _duration(9000)
        ('45 s', '10 min', '2.5 h')
    """
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE_S:.0f} min" if seconds < _HOUR_S else f"{seconds / _HOUR_S:.1f} h"
