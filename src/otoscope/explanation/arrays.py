"""Arrays of an explanation as compressed files of NumPy: ``mask.npz`` and ``importance.npz``."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from otoscope.errors import DataError, first_line
from otoscope.interpreters import Components

if TYPE_CHECKING:
    from otoscope.explanation.result import Explanation

Arrays = Mapping[str, np.ndarray]
_COMPONENTS = ("dictionary", "activations", "relevance")
_MAP = "map/"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError)


def mask_arrays(explanation: Explanation) -> dict[str, np.ndarray]:
    """Return the content of ``mask.npz``: ``mask``, and ``sufficient`` if the smallest sufficient mask is another.

    Args:
        explanation: Explanation.

    Returns:
        Arrays of shape (frequency, time): float16, with steps of at most 0.0005 in [0, 1], in half of the space.
    """
    arrays = {"mask": explanation.mask.numpy().astype(np.float16)}
    if explanation.sufficiency is not None:
        sufficient = explanation.sufficiency.mask.numpy().astype(np.float16)
        if not np.array_equal(sufficient, arrays["mask"]):
            arrays["sufficient"] = sufficient
    return arrays


def importance_arrays(explanation: Explanation) -> dict[str, np.ndarray]:
    """Return the content of ``importance.npz``, float32: ``importance``, activation maps, and components."""
    arrays = {} if explanation.importance is None else {"importance": explanation.importance.numpy()}
    arrays |= {_MAP + name: values.numpy() for name, values in explanation.maps.items()}
    if explanation.components is not None:
        arrays |= {name: getattr(explanation.components, name).numpy() for name in _COMPONENTS}
    return arrays


def packed(arrays: Arrays) -> bytes:
    """Return arrays as the content of a compressed npz file. Equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # no name equals an option of the function
    return buffer.getvalue()


def unpacked(content: Path | bytes, place: str) -> dict[str, np.ndarray]:
    """Return the arrays in an npz file.

    Args:
        content: The file, or what it holds.
        place: Where it is, for messages.

    Raises:
        DataError: The content is damaged.
        FileNotFoundError: There is no such file.
    """
    source: Path | IO[bytes] = io.BytesIO(content) if isinstance(content, bytes) else content
    try:
        with np.load(source, allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in stored.files}
    except FileNotFoundError:
        raise
    except _DAMAGED as error:
        raise DataError(f"{place}: cannot be read ({first_line(error)}); explain the recording again") from error


def mask_of(arrays: Arrays, place: str) -> np.ndarray:
    """Return the mask among the arrays of ``mask.npz``, float32. Shape (frequency, time).

    Raises:
        DataError: There is no usable mask.
    """
    mask = np.asarray(arrays.get("mask", ()), np.float32)
    if mask.ndim != 2 or not mask.size or not np.isfinite(mask).all():
        raise DataError(f"{place}: holds no mask (shape {mask.shape}); explain the recording again")
    return mask


def load_mask(folder: Path) -> np.ndarray | None:
    """Return the mask in the folder of an explanation, or None if the folder holds none.

    Args:
        folder: Folder of an explanation. Those of earlier versions hold no mask.

    Returns:
        Mask in [0, 1], float32. Shape (frequency, time).

    Raises:
        DataError: The file is damaged.
    """
    path = folder / "mask.npz"
    try:
        return mask_of(unpacked(path, str(path)), str(path))
    except FileNotFoundError:
        return None


def maps_of(arrays: Arrays) -> dict[str, Tensor]:
    """Return the activation maps among the arrays of ``importance.npz``."""
    return {
        name.removeprefix(_MAP): torch.from_numpy(values)
        for name, values in arrays.items()
        if name.startswith(_MAP)
    }


def components_of(arrays: Arrays, threshold: float | None) -> Components | None:
    """Return the components among the arrays of ``importance.npz``."""
    if threshold is None or any(name not in arrays for name in _COMPONENTS):
        return None
    dictionary, activations, relevance = (torch.from_numpy(arrays[name]) for name in _COMPONENTS)
    return Components(dictionary, activations, relevance, threshold)


def sufficient_mask(arrays: Arrays) -> Tensor:
    """Return the mask of the smallest sufficient share among the arrays of ``mask.npz``."""
    return torch.from_numpy(np.asarray(arrays.get("sufficient", arrays["mask"]), np.float32))
