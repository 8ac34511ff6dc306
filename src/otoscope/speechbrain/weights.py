"""SpeechBrain's parameter files: pickles of tensors, opened without executing anything."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from otoscope.errors import CheckpointError

_PARALLEL = "module."
_MOST_NAMED = 12
_COUNTER = "num_batches_tracked"  # of batch norms; old files lack it and nothing depends on it


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict.

    Args:
        path: What ``torch.save`` wrote of one.

    Raises:
        CheckpointError: The file asks for more than tensors, is damaged, or holds something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions of the pickle format
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)|(?:function|class|global) ([\w.]+)", str(error))
        name = next((one for one in asked.groups() if one), "") if asked else ""
        fault = f"asks for {name} when it is opened" if name else "is damaged, or asks for more than tensors"
        raise CheckpointError(
            f"{path}: {fault}, where a file of weights has tensors alone; it was refused and nothing was executed, "
            "do not trust where it comes from"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read ({cause}); copy or download it again") from error
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: holds no parameters by name")
    if strange := [str(name) for name, value in content.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{path}: holds no state dict ({', '.join(strange[:3])} are no tensors)")
    if all(str(name).startswith(_PARALLEL) for name in content):  # saved from several GPUs
        content = {str(name).removeprefix(_PARALLEL): value for name, value in content.items()}
    return {str(name): value for name, value in content.items()}


class Part:
    """A file of parameters, and which of ours they are.

    Args:
        path: Of the file.
        names: Their name of each part to ours; of several that fit, the longest counts. ``""`` fits all.
        unused: Parts that are not needed and may be there.
    """

    def __init__(self, path: Path, names: Mapping[str, str], unused: Sequence[str] = ()) -> None:
        self.path = path
        self.names = names
        self.weights = {n: v for n, v in read_weights(path).items() if _longest(n, unused) is None}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter.

        Raises:
            CheckpointError: There is none of that name.
        """
        if name not in self.weights:
            raise CheckpointError(f"{self.path}: {name} is missing")
        return tuple(self.weights[name].shape)

    def ours(self, name: str) -> str | None:
        """Our name of one of theirs."""
        part = _longest(name, self.names)
        return None if part is None else self.names[part] + name.removeprefix(part)

    def theirs(self, name: str) -> str | None:
        """Their name of one of ours, where it belongs to this file."""
        back = {own.removesuffix("."): part for part, own in self.names.items()}
        part = _longest(name, back)
        return None if part is None else (back[part] + name.removeprefix(part)).lstrip(".")


def load_parts(module: nn.Module, parts: Sequence[Part], kept: Sequence[str] = ()) -> None:
    """Loads weights from several files; every missing, unknown or misshapen parameter is named.

    Args:
        module: Gets them.
        parts: The files.
        kept: Parameters of ours that no file has.

    Raises:
        CheckpointError: Something is missing, unknown or misshapen.
    """
    state = module.state_dict()
    missing = {name for name in state if name not in kept and not name.endswith(_COUNTER)}
    faults = []
    for part in parts:
        for theirs, value in part.weights.items():
            name = part.ours(theirs)
            if name is None or name not in state:
                faults.append(f"{part.path.name}: {theirs} is unknown")
                continue
            missing.discard(name)
            if state[name].shape == value.shape:
                state[name] = value.to(state[name].dtype)
            else:
                shapes = f"{tuple(value.shape)} instead of {tuple(state[name].shape)}"
                faults.append(f"{part.path.name}: {theirs} has shape {shapes}")
    faults += [_absent(name, parts) for name in sorted(missing)]
    if faults:
        more = len(faults) - _MOST_NAMED
        listed = "; ".join(faults[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise CheckpointError(f"{parts[0].path.parent}: does not fit: {listed}")
    module.load_state_dict(state)


def _absent(name: str, parts: Sequence[Part]) -> str:
    for part in parts:
        theirs = part.theirs(name)
        if theirs is not None:
            return f"{part.path.name}: {theirs} is missing"
    return f"{name} is missing"


def _longest(name: str, parts: Iterable[str]) -> str | None:
    fitting = [part for part in parts if part == "" or name == part or name.startswith(f"{part}.")]
    return max(fitting, key=len) if fitting else None
