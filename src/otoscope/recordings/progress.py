"""Line of progress of a run over many recordings."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Self

from tqdm import tqdm

from otoscope.recordings.results import Result

_FORMAT = "{n_fmt}/{total_fmt} ({remaining} left){postfix} {bar}"


class _Bar(tqdm):  # type: ignore[misc]
    # Without its thread, which would be beside the processes that are forked from this one.
    monitor_interval = 0


class Progress:
    """Line with the files, the time left, the hours of audio, the rate and the failures; on a terminal only.

    Args:
        total: Number of recordings.
        finished: Number of those that an earlier run explained; they do not count in the rate.
    """

    def __init__(self, total: int, finished: int = 0) -> None:
        # disable=None shows the line on a terminal only; a single recording has no progress to show.
        self._bar = _Bar(
            total=total, initial=finished, bar_format=_FORMAT, disable=True if total == 1 else None, leave=True
        )
        self._audio_s, self._failed, self._start_s = 0.0, 0, time.monotonic()

    def add(self, result: Result) -> None:
        """Count a result of this run."""
        self._audio_s += result.duration_s
        self._failed += result.line["status"] == "failed"
        rate = self._audio_s / max(time.monotonic() - self._start_s, 1e-9)
        text = f"{self._audio_s / 3600:.2f} h of audio, {rate:.1f} times real time"
        self._bar.set_postfix_str(text + (f", {self._failed} failed" if self._failed else ""), refresh=False)
        self._bar.update()

    def interrupted(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which other lines can be printed."""
        context: contextlib.AbstractContextManager[Any] = self._bar.external_write_mode()
        return context

    def __enter__(self) -> Self:
        """Return the line."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the line as it is."""
        self._bar.close()
