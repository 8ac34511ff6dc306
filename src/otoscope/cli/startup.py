"""A quick start and end of a process that runs one verb."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def quick_start() -> Iterator[Callable[[], None]]:
    """Spare Python's garbage collector the objects that importing makes, which all live until the process ends.

    Importing PyTorch makes hundreds of thousands of objects. The collector goes through them several times on the
    way and once more at the end of the process, and finds nothing; a process that only imports it spends a third of
    its time on that.
    Objects that are made later are collected as ever. In a process that has imported PyTorch before, such as a
    notebook, nothing is changed.

    Yields:
        Function to call when everything is imported; from then on the collector runs.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield lambda: None
        return

    def started() -> None:
        gc.freeze()
        gc.enable()

    gc.disable()
    try:
        yield started
    finally:
        # also what was imported since, such as matplotlib
        started()
