"""Networks in files of other programs: what they take and return, whatever program runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from otoscope.errors import ConfigurationError

MOST_AT_ONCE = 64
"""Largest number of inputs of one run, which limits memory where clips are divided into many patches."""


@dataclass(frozen=True)
class Quantization:
    """How integers stand for numbers: number = scale * (integer - zero_point).

    Attributes:
        scale: Difference between neighbouring integers.
        zero_point: Integer that stands for 0.
    """

    scale: float
    zero_point: int = 0

    def to_integers(self, values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """Return the nearest integers of a type; values outside its range become its ends.

        Example:
            >>> Quantization(0.5, 3).to_integers(np.array([-9.0, 0.0, 1.1]), np.dtype("uint8"))
            array([0, 3, 5], dtype=uint8)
        """
        limits = np.iinfo(dtype)
        return np.clip(np.round(values / self.scale) + self.zero_point, limits.min, limits.max).astype(dtype)

    def to_numbers(self, integers: np.ndarray) -> np.ndarray:
        """Return the numbers that integers stand for, float32."""
        return ((integers.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


@dataclass(frozen=True)
class Port:
    """Input or output of a network.

    Attributes:
        name: Name in the file.
        shape: Size of each axis; None: any size.
        dtype: Type of its values.
        quantization: What its integers stand for, if the file states it.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    quantization: Quantization | None = None


class NetworkFile(ABC):
    """Base class: an opened file with a network that has one input.

    Copies, and those in other processes, open the file again.

    Args:
        path: The file.
        *options: Further arguments of the class.

    Attributes:
        entry: Its input.
        outlet: The output that is read.
    """

    entry: Port
    outlet: Port

    def __init__(self, path: Path, *options: Any) -> None:
        self.path, self._options = path, options

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, *self._options)

    @abstractmethod
    def run(self, values: np.ndarray) -> np.ndarray:
        """Return the output for an input of the type and shape of `entry`."""

    def labels(self) -> list[str] | None:
        """Return the names of the classes that the file holds, or None."""
        return None

    def answer(self, values: np.ndarray, has_batch: bool) -> np.ndarray:
        """Return the output for any number of inputs, as numbers.

        Args:
            values: Inputs, shape (inputs, ...).
            has_batch: Whether the network has an axis for several inputs. A network without one is run on each
                input, and its output may have several rows, such as one for each patch of a clip.

        Returns:
            Output, shape (inputs or rows, classes).
        """
        if not has_batch:
            rows = [self._run_checked(value) for value in values]
            return np.concatenate([row.reshape(-1, row.shape[-1] if row.ndim else 1) for row in rows])
        fixed = self.entry.shape[0]
        size = fixed or min(len(values), MOST_AT_ONCE)
        answers = []
        for start in range(0, len(values), size):
            piece = values[start : start + size]
            count = len(piece)
            if fixed is not None and count < fixed:
                # a network for exactly `fixed` inputs: zeros fill the last run, and their output is dropped
                piece = np.concatenate([piece, np.zeros((fixed - count, *piece.shape[1:]), piece.dtype)])
            # axes of one element behind the first, such as those of a global pooling, hold nothing
            output = self._run_checked(piece)
            if output.ndim == 0 or len(output) != len(piece):
                raise ConfigurationError(
                    f"{self.path}: {len(piece)} inputs gave an output of shape {output.shape}; its first axis must "
                    "be that of the inputs: set output_name if there are other outputs"
                )
            answers.append(output.reshape(len(piece), -1)[:count])
        return np.concatenate(answers)

    def _run_checked(self, values: np.ndarray) -> np.ndarray:
        try:
            return self._to_numbers(self.run(self._to_input(values)))
        except ConfigurationError:
            raise
        except Exception as error:  # the errors of these programs have no common base class
            reason = " ".join(str(error).split())[:300]
            raise ConfigurationError(
                f"{self.path}: cannot run on shape {values.shape}, its input {self.entry.name} has shape "
                f"{shown(self.entry.shape)} ({reason}); set axes, features, duration_s or minimum_s, or export the "
                "network with dynamic axes"
            ) from error

    def _to_input(self, values: np.ndarray) -> np.ndarray:
        dtype = self.entry.dtype
        if dtype.kind == "f" or values.dtype == dtype:
            return np.ascontiguousarray(values, dtype)
        return np.ascontiguousarray(self._required(self.entry, "input").to_integers(values, dtype))

    def _to_numbers(self, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind == "f":
            return values.astype(np.float32, copy=False)
        return self._required(self.outlet, "output").to_numbers(values)

    def _required(self, port: Port, name: str) -> Quantization:
        if port.quantization is None:
            raise ConfigurationError(
                f"{name}_quantization: {self.path} has an {name} of type {port.dtype}, and does not state what its "
                f"integers stand for; give {name}_quantization=(scale, zero_point)"
            )
        return port.quantization


def shown(shape: tuple[int | None, ...]) -> str:
    """Return the shape of an input for messages.

    Example:
        >>> shown((None, 96, 64))
        '(any, 96, 64)'
    """
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def require_one_input(entries: Sequence[Port], path: Path) -> None:
    """Raise a `ConfigurationError` that names all inputs of a network, if there is more than one.

    Args:
        entries: Inputs.
        path: File, for the message.
    """
    if len(entries) == 1:
        return
    listed = ", ".join(f"{entry.name} {shown(entry.shape)} {entry.dtype}" for entry in entries) or "no input"
    raise ConfigurationError(
        f"path: {path} takes {listed}; one input is expected: wrap the network in a function and use "
        "CallableClassifier"
    )


def check_port(port: Port, path: Path, name: str) -> None:
    """Raise a `ConfigurationError` if an input or output is neither of floats nor of 8 or 16 bit integers.

    Args:
        port: Input or output.
        path: File, for the message.
        name: ``input`` or ``output``.
    """
    if port.dtype.kind == "f" or (port.dtype.kind in "iu" and port.dtype.itemsize <= 2):
        return
    raise ConfigurationError(
        f"path: {path} has an {name} of type {port.dtype}; expected are floats, or integers of 8 or 16 bits: wrap "
        "the network in a function and use CallableClassifier"
    )
