"""Forward hooks that several threads can set on one network at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

Hook = Callable[..., Any]
"""Function of a layer, its inputs and its output; see `torch.nn.Module.register_forward_hook`."""

_registration_lock = threading.Lock()


@contextlib.contextmanager
def forward_hooks(hooks: Mapping[nn.Module, Hook]) -> Iterator[None]:
    """Set hooks inside a ``with`` block, for runs of the network by this thread only.

    Args:
        hooks: Hook of each layer.
    """
    owner = threading.get_ident()

    def in_this_thread(hook: Hook) -> Hook:
        # Other threads may run the network meanwhile: their outputs are not ours, and must not be changed.
        return lambda *call: hook(*call) if threading.get_ident() == owner else None

    # PyTorch numbers hooks with a counter that is not protected: two threads could get one number.
    with _registration_lock:
        handles = [layer.register_forward_hook(in_this_thread(hook)) for layer, hook in hooks.items()]
    try:
        yield
    finally:
        with _registration_lock:
            for handle in handles:
                handle.remove()
