"""Weights of a network in files as training frameworks write them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from otoscope.errors import CheckpointError

_CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
"""Entries of a checkpoint that may hold the weights, beside optimisers and counters; Lightning has the first."""
_PREFERRED = ("model.", "net.", "network.", "module.", "classifier.", "backbone.", "student.")
"""Usual attributes that hold the network of a training module, for checkpoints that hold several copies."""
_COMPILED = "_orig_mod."
_COUNTERS = ".num_batches_tracked"
_SHOWN = 3


def load_module_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a ``state_dict`` into a network.

    Every weight of the network must be in the file. A prefix that all names have in common is removed, such as
    ``module.`` of data-parallel training, ``_orig_mod.`` of `torch.compile`, or the attribute of a Lightning
    module; what that module holds beside the network is ignored.

    Args:
        module: Network to load into.
        path: ``.safetensors`` file, or file that ``torch.save`` wrote of a ``state_dict`` or of a checkpoint that
            holds one, such as Lightning's. Pickles are read as weights only.

    Raises:
        CheckpointError: The file cannot be read, or does not fit; the message says how to export the weights again.
    """
    path = Path(path)
    state = _weights_in(path, _read(path))
    expected = module.state_dict()
    state = _without_prefix(path, state, expected)
    counters = {name: value for name, value in expected.items() if name.endswith(_COUNTERS)}
    try:
        module.load_state_dict({**counters, **state})
    except RuntimeError as error:
        raise CheckpointError(f"weights: {path} does not fit ({' '.join(str(error).split())[:300]})") from error


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights" not in str(error).lower():
            raise CheckpointError(
                f"weights: {path} is damaged or no file of torch.save ({_first(error)})"
            ) from error
        raise CheckpointError(
            f"weights: {path} holds Python objects besides weights, whose code is not run; where you trust the "
            "file, export its weights alone: checkpoint = torch.load(path, weights_only=False); "
            'torch.save(checkpoint["state_dict"], "weights.pt") for a checkpoint, or '
            'torch.save(checkpoint.state_dict(), "weights.pt") for a whole network'
        ) from error
    except (OSError, RuntimeError, SafetensorError, EOFError, ValueError, KeyError) as error:
        if "torchscript" in str(error).lower():
            raise CheckpointError(
                f"weights: {path} is a TorchScript archive; export its weights: "
                'torch.save(torch.jit.load(path).state_dict(), "weights.pt")'
            ) from error
        raise CheckpointError(f"weights: {path} does not fit or cannot be read ({_first(error)})") from error


def _weights_in(path: Path, content: Any) -> dict[str, Tensor]:
    """Return the weights in the content of a file."""
    for _ in range(2):  # a checkpoint may hold its model as an entry of an entry
        inside = content if isinstance(content, Mapping) else {}
        content = next((inside[key] for key in _CONTAINERS if isinstance(inside.get(key), Mapping)), content)
    weights = (
        {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not weights:
        kind = (
            f"a mapping of {', '.join(map(str, list(content)[:5]))}"
            if isinstance(content, Mapping)
            else "no mapping"
        )
        raise CheckpointError(
            f"weights: {path} does not fit: it is {kind}, without weights by name; export them with "
            'torch.save(model.state_dict(), "weights.pt")'
        )
    return weights


def _without_prefix(path: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the names that the network has for them."""
    # torch.compile marks a compiled module within the names, wherever it lies.
    weights = {name.replace(_COMPILED, ""): value for name, value in weights.items()}
    needed = [name for name in expected if not name.endswith(_COUNTERS)]
    if not needed or all(name in weights for name in needed):
        return dict(weights)
    prefixes = {name.removesuffix(needed[0]) for name in weights if name.endswith(f".{needed[0]}")}
    fitting = [prefix for prefix in sorted(prefixes) if all(prefix + name in weights for name in needed)]
    if not fitting:
        raise CheckpointError(f"weights: {path} does not fit: {_difference(weights, needed)}")
    preferred = [prefix for prefix in _PREFERRED if prefix in fitting] or fitting
    if len(fitting) > 1 and preferred[0] not in _PREFERRED:
        raise CheckpointError(
            f"weights: {path} holds the network several times, under {', '.join(fitting)}; export one of them"
        )
    return {
        name.removeprefix(preferred[0]): value for name, value in weights.items() if name.startswith(preferred[0])
    }


def _difference(weights: Mapping[str, Tensor], needed: Sequence[str]) -> str:
    absent = [name for name in needed if name not in weights]
    return (
        f"it lacks {len(absent)} of the {len(needed)} weights of the network ({', '.join(absent[:_SHOWN])}) and "
        f"has others ({', '.join([name for name in weights if name not in needed][:_SHOWN])}); give the weights of "
        'this very network, as torch.save(model.state_dict(), "weights.pt") exports them'
    )


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
