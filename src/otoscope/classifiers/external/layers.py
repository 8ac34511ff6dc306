"""Outputs of the layers of an external network, as maps over frequency and time."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from otoscope.classifiers.hooks import forward_hooks
from otoscope.errors import ConfigurationError, RepresentationError, ShapeError

LayerAxes = Literal["bcft", "bctf", "bct", "btc", "bc"]
"""Order of the axes of a layer's output: batch, channels, frequency, time."""


def check_layer(module: nn.Module, name: str) -> str:
    """Return the name of a layer after checking that the network has it.

    Args:
        module: Network to search.
        name: Name of the layer in ``module.named_modules()``.

    Raises:
        ConfigurationError: There is no such layer; the message lists similar names.
    """
    names = [layer_name for layer_name, _ in module.named_modules() if layer_name]
    if name in names:
        return name
    similar = difflib.get_close_matches(name, names, n=5, cutoff=0.5) or names[-5:]
    raise ConfigurationError(
        f"representation: the network has no layer {name!r}; similar names: {', '.join(similar)}"
    )


@contextlib.contextmanager
def record_layers(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of layers while the network runs inside a ``with`` block.

    Args:
        module: Network to watch.
        names: Names of its layers.

    Yields:
        Output of each layer by name; of a layer that runs several times, the last output.

    Raises:
        RepresentationError: A layer did not run.
    """
    outputs: dict[str, Tensor] = {}
    layers = dict(module.named_modules())

    def make_hook(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> Any:
            outputs[name] = _first_tensor(output, name)
            # The next layer gets a copy, because it may overwrite its input, such as a ReLU in place. Gradients
            # still reach the recorded tensor, through the copy.
            return output.clone() if isinstance(output, Tensor) else None

        return hook

    # one hook for each name: two names may mean one layer
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(forward_hooks({layers[name]: make_hook(name)}))
        yield outputs
    if missing := [name for name in names if name not in outputs]:
        raise RepresentationError(
            f"representation: {', '.join(missing)} did not run when the network did (TorchScript runs without "
            "hooks); name another layer"
        )


def as_map(output: Tensor, axes: str, name: str, token_rows: int = 1, special_tokens: int = 0) -> Tensor:
    """Return the output of a layer as a map, shape (batch, channels, frequency', time').

    Args:
        output: Output of the layer.
        axes: Order of its axes; see ``representation_axes`` of `TorchClassifier`.
        name: Name of the layer, for messages.
        token_rows: Number of rows of frequency that the tokens form.
        special_tokens: Number of tokens, such as class tokens, before those of the map.

    Raises:
        ShapeError: The output has other axes, or its tokens do not form ``token_rows`` rows.

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
    # tokens are in order of rows: all times of the lowest row of frequency first
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
