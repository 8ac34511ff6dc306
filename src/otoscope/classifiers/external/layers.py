"""What layers of a foreign network return, as maps over frequency and time."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from otoscope.errors import ConfigurationError, RepresentationError, ShapeError

LayerAxes = Literal["bcft", "bctf", "bct", "btc", "bc"]
"""Order of the axes of what a layer returns: batch, channels, frequency, time."""


def check_layer(module: nn.Module, name: str) -> str:
    """The name of a layer, if the network has it.

    Args:
        module: The network.
        name: As ``module.named_modules()`` has it.

    Raises:
        ConfigurationError: It has no such layer; the message lists close names.
    """
    names = [known for known, _ in module.named_modules() if known]
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5) or names[-5:]
    raise ConfigurationError(f"representation: the network has no layer {name!r}; close ones: {', '.join(close)}")


@contextlib.contextmanager
def record_layers(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Within it, what layers return is kept, by name; of a layer that runs often, the last.

    Args:
        module: The network.
        names: Of its layers.

    Raises:
        RepresentationError: A layer did not run.
    """
    found: dict[str, Tensor] = {}
    layers = dict(module.named_modules())

    def keep(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> Any:
            found[name] = _first_tensor(output, name)
            # what follows may write into what it gets, such as a ReLU in place
            return output.clone() if isinstance(output, Tensor) else None

        return hook

    handles = [layers[name].register_forward_hook(keep(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    if missing := [name for name in names if name not in found]:
        raise RepresentationError(
            f"representation: {', '.join(missing)} did not run when the network did (TorchScript runs without "
            "hooks); name another layer"
        )


def as_map(output: Tensor, axes: str, name: str, token_rows: int = 1, special_tokens: int = 0) -> Tensor:
    """What a layer returned as (batch, channels, frequency', time').

    Args:
        output: Of the layer.
        axes: See ``representation_axes`` of `TorchClassifier`.
        name: Of the layer, for messages.
        token_rows: Rows of frequency that tokens are made of.
        special_tokens: Tokens in front.

    Raises:
        ShapeError: It has other axes, or its tokens do not make so many rows.

    Example:
        >>> import torch
        >>> as_map(torch.zeros(2, 13, 8), "btc", "encoder", token_rows=4, special_tokens=1).shape
        torch.Size([2, 8, 4, 3])
    """
    if output.ndim != len(axes):
        raise ShapeError(
            f"representation: {name} returns shape {tuple(output.shape)}, which is not {axes!r}; set "
            "representation_axes, or name another layer"
        )
    if axes == "bc":
        return output[:, :, None, None]
    if axes == "bcft":
        return output
    if axes == "bctf":
        return output.transpose(-1, -2)
    tokens = output.transpose(1, 2) if axes == "btc" else output
    tokens = tokens[..., special_tokens:]
    if tokens.shape[-1] == 0 or tokens.shape[-1] % token_rows:
        raise ShapeError(
            f"representation: {name} returns {tokens.shape[-1] + special_tokens} tokens, {special_tokens} of them "
            f"special, which do not make {token_rows} rows; set token_rows and special_tokens"
        )
    return tokens.reshape(*tokens.shape[:2], token_rows, -1)


def _first_tensor(output: Any, name: str) -> Tensor:
    for candidate in (output, getattr(output, "last_hidden_state", None)):
        if isinstance(candidate, Tensor):
            return candidate
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    raise RepresentationError(
        f"representation: {name} returns {type(output).__name__}, not a tensor; name another layer"
    )
