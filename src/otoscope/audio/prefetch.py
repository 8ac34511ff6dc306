"""Iteration in a thread of its own, so that decoding and networks work at the same time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
_WAIT_S = 0.1
_END = object()


def prefetched(items: Iterable[Item], ahead: int = 4) -> Generator[Item, None, None]:
    """Yield items that another thread makes, a few of them ahead.

    Decoders, resamplers and transforms release the lock of the interpreter while they work. Errors are raised where
    the item would have come. A consumer that stops early stops the thread.

    Args:
        items: Items; iterated by the other thread.
        ahead: Largest number of items that wait, which bounds the memory.

    Example:
        >>> list(prefetched(range(3)))
        [0, 1, 2]
    """
    waiting: queue.Queue[object] = queue.Queue(ahead)
    stopped = threading.Event()
    errors: list[BaseException] = []

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=_WAIT_S)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # raised again in the thread of the consumer
            errors.append(error)
        put(_END)

    thread = threading.Thread(target=produce, name="otoscope-prefetch", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            yield item  # type: ignore[misc]
        if errors:
            raise errors[0]
    finally:
        stopped.set()
        thread.join()
