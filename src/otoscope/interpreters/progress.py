"""Progress of one explanation that takes long: how often the classifier was run, on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

_DELAY_S = 2.0
_is_shown: ContextVar[bool] = ContextVar("progress of explanations", default=False)
_bar: ContextVar[Any] = ContextVar("bar of the explanation", default=None)


class _Bar(tqdm):  # type: ignore[misc]
    # Without its thread, which would be beside the processes that are forked from this one.
    monitor_interval = 0


@contextlib.contextmanager
def shown_progress() -> Iterator[None]:
    """Show the progress of explanations that take more than two seconds; on a terminal only.

    Not for several recordings at a time, whose own progress says how many of them are done.
    """
    token = _is_shown.set(True)
    try:
        yield
    finally:
        _is_shown.reset(token)


@contextlib.contextmanager
def counted_runs(title: str, total: int | None) -> Iterator[None]:
    """Count the inputs of the classifier in this context; see `count_runs`.

    Args:
        title: Name of what takes the time.
        total: Number of inputs, for the time that is left; None if it is not known.
    """
    if not _is_shown.get() or _bar.get() is not None:
        yield
        return
    # disable=None shows the line on a terminal only
    with _Bar(total=total, desc=title, unit="run", delay=_DELAY_S, leave=False, disable=None) as bar:
        token = _bar.set(bar)
        try:
            yield
        finally:
            _bar.reset(token)


def count_runs(inputs: int) -> None:
    """Add inputs that the classifier is given to the progress, if there is any.

    Args:
        inputs: Number of inputs.
    """
    bar = _bar.get()
    if bar is not None:
        bar.update(inputs)
