"""SpeechBrain's parameter files: pickles of tensors, read without executing anything."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from otoscope.errors import CheckpointError, MismatchError
from otoscope.store.budget import AllocationLimit
from otoscope.store.weights import check_finite

_PARALLEL = "module."
_MOST_NAMED = 12
_MOST_AXES = 8
_MOST_SIZE = 100_000_000
_COUNTER = "num_batches_tracked"  # of batch norms; old files do not have it, and no result depends on it


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict.

    Args:
        path: Path of the file, written by ``torch.save``.

    Raises:
        CheckpointError: The file needs more than tensors to be opened, is damaged, or holds something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other versions of the pickle format
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL ([\w.]+)|(?:function|class|global) ([\w.]+)", str(error))
        name = next((group for group in match.groups() if group), "") if match else ""
        fault = f"asks for {name} when it is opened" if name else "is damaged, or asks for more than tensors"
        raise CheckpointError(
            f"{path}: {fault}, but a file of weights holds only tensors; it was refused and nothing was executed: "
            "do not trust its source"
        ) from error
    # A damaged file makes the reader fail in many ways.
    except (Exception, MemoryError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read ({cause}); copy or download it again") from error
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: holds no parameters by name")
    if others := [str(name) for name, value in content.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{path}: holds no state dict ({', '.join(others[:3])}: not tensors)")
    if all(str(name).startswith(_PARALLEL) for name in content):  # saved from several GPUs
        content = {str(name).removeprefix(_PARALLEL): value for name, value in content.items()}
    weights = {str(name): value for name, value in content.items()}
    for name, value in weights.items():
        _check_tensor(name, value, path)
    check_finite(weights, path)
    return weights


def _check_tensor(name: str, value: Tensor, path: Path) -> None:
    """Raise a `CheckpointError` unless a tensor is of plain numbers that are all in the file."""
    plain = value.layout == torch.strided and not (value.is_quantized or value.is_complex() or value.is_meta)
    # A tensor may repeat the few numbers that the file holds; a copy of it would fill the memory.
    if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{path}: {name[:100]} is no plain tensor; save the state dict of the network again")
    if value.ndim > _MOST_AXES or max(value.shape, default=0) > _MOST_SIZE:
        raise CheckpointError(f"{path}: {name[:100]} has the impossible shape {tuple(value.shape)[:_MOST_AXES]}")


def memory_limit(parts: Sequence[Part], source: object) -> AllocationLimit:
    """Return a context in which a network is built that takes about the memory of its files.

    Args:
        parts: Files of the network.
        source: Name of the source, for messages.
    """
    values = [value for part in parts for value in part.weights.values()]
    total = sum(value.numel() * value.element_size() for value in values)
    return AllocationLimit(total, len(values), source)


class Part:
    """File of parameters, with the names of the same parameters in our network.

    Args:
        path: Path of the file.
        names: Name of each part in the file and its name in our network. Of several that match, the longest
            applies; ``""`` matches all.
        unused: Parts in the file that are ignored.
    """

    def __init__(self, path: Path, names: Mapping[str, str], unused: Sequence[str] = ()) -> None:
        self.path = path
        self.names = names
        weights = read_weights(path)
        self.weights = {name: value for name, value in weights.items() if _longest_match(name, unused) is None}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a parameter.

        Args:
            name: Name of the parameter in the file.

        Raises:
            CheckpointError: There is no such parameter.
        """
        if name not in self.weights:
            raise CheckpointError(f"{self.path}: {name} is missing")
        return tuple(self.weights[name].shape)

    def network_name(self, name: str) -> str | None:
        """Return the name in our network of a parameter in the file; None if it is unknown."""
        part = _longest_match(name, self.names)
        return None if part is None else self.names[part] + name.removeprefix(part)

    def file_name(self, name: str) -> str | None:
        """Return the name in the file of a parameter of our network; None if it does not belong to this file."""
        inverse = {target.removesuffix("."): part for part, target in self.names.items()}
        part = _longest_match(name, inverse)
        return None if part is None else (inverse[part] + name.removeprefix(part)).lstrip(".")


def load_parts(module: nn.Module, parts: Sequence[Part], unstored: Sequence[str] = ()) -> None:
    """Load weights from several files.

    Args:
        module: Network to load into.
        parts: Files of parameters.
        unstored: Parameters of the network that no file has; they keep their values.

    Raises:
        MismatchError: A parameter is missing, unknown or has another shape; the message lists all of them.
    """
    state = module.state_dict()
    missing = {name for name in state if name not in unstored and not name.endswith(_COUNTER)}
    faults = []
    for part in parts:
        for stored_name, value in part.weights.items():
            name = part.network_name(stored_name)
            if name is None or name not in state:
                faults.append(f"{part.path.name}: {stored_name} is unknown")
                continue
            missing.discard(name)
            if state[name].shape == value.shape:
                state[name] = value.to(state[name].dtype)
            else:
                shapes = f"{tuple(value.shape)} instead of {tuple(state[name].shape)}"
                faults.append(f"{part.path.name}: {stored_name} has shape {shapes}")
    faults += [_describe_missing(name, parts) for name in sorted(missing)]
    if faults:
        more = len(faults) - _MOST_NAMED
        listed = "; ".join(faults[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise MismatchError(parts[0].path.parent, listed)
    module.load_state_dict(state)


def _describe_missing(name: str, parts: Sequence[Part]) -> str:
    for part in parts:
        stored_name = part.file_name(name)
        if stored_name is not None:
            return f"{part.path.name}: {stored_name} is missing"
    return f"{name} is missing"


def _longest_match(name: str, parts: Iterable[str]) -> str | None:
    """Return the longest of the parts that a parameter belongs to, None if it belongs to none."""
    matches = [part for part in parts if part == "" or name == part or name.startswith(f"{part}.")]
    return max(matches, key=len) if matches else None
