"""Weights of model folders: ``model.safetensors``, checked before and after it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from otoscope.errors import CheckpointError, first_line

WEIGHTS_NAME = "model.safetensors"
_MOST_NAMED = 10


@dataclass(frozen=True)
class WeightsSize:
    """Size of a file of weights.

    Attributes:
        count: Number of tensors.
        total_bytes: Bytes of all tensors.
    """

    count: int
    total_bytes: int


def weights_size(folder: Path) -> WeightsSize:
    """Return the size of the weights of a model folder, from the header of the file alone.

    Raises:
        CheckpointError: The file cannot be read.
    """
    path = folder / WEIGHTS_NAME
    try:
        # Opening it checks that the tensors of the header fill the file exactly.
        with safe_open(path, "pt") as file:
            return WeightsSize(len(file.keys()), path.stat().st_size)
    except Exception as error:  # SafetensorError, OSError, and ValueErrors about names
        raise _unreadable(path, error) from error


def load_weights(module: nn.Module, folder: Path) -> None:
    """Load ``model.safetensors`` into a network.

    Raises:
        CheckpointError: The file cannot be read, parameters are missing, unknown, or of another shape or type, or
            hold NaN or infinite values. The network keeps its weights.
    """
    path = folder / WEIGHTS_NAME
    try:
        weights = load_file(path)
    except Exception as error:  # also KeyError, for types of numbers that torch does not have
        raise _unreadable(path, error) from error
    # Compared before loading: `load_state_dict` copies the parameters that fit before it raises an error.
    expected = module.state_dict()
    faults = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    faults += [f"{name} is unknown" for name in weights.keys() - expected.keys()]
    for name in expected.keys() & weights.keys():
        if expected[name].shape != weights[name].shape:
            shapes = f"{tuple(weights[name].shape)} instead of {tuple(expected[name].shape)}"
            faults.append(f"{name} has shape {shapes}")
        elif expected[name].is_floating_point() != weights[name].is_floating_point():
            faults.append(f"{name} is of type {weights[name].dtype} instead of {expected[name].dtype}")
    if faults:
        raise CheckpointError(f"{path}: {'; '.join(sorted(faults)[:_MOST_NAMED])}"[:2000])
    check_finite(weights, path, expected)
    module.load_state_dict(weights)


def check_finite(weights: Mapping[str, Tensor], path: Path, built: Mapping[str, Tensor] | None = None) -> None:
    """Raise a `CheckpointError` if weights hold NaN or infinite values.

    Args:
        weights: Weights by name.
        path: File they come from, for the message.
        built: State of the network before loading. Infinite values that it has too, such as those of a mask for
            attention, are allowed.
    """
    for name, value in weights.items():
        # Types of 8 bits have no `isfinite` of their own.
        if not value.is_floating_point() or bool((value if value.itemsize > 1 else value.float()).isfinite().all()):
            continue
        if built is not None and name in built and torch.equal(built[name], value.to(built[name].dtype)):
            continue
        kind = "NaN" if bool(value.isnan().any()) else "infinite values"
        raise CheckpointError(
            f"{path}: {name} holds {kind}, with which no network works; its training diverged: train it again, or "
            "use an earlier checkpoint"
        )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: cannot be read ({first_line(error)[:300]}); copy or train the model again")
