"""Files of an explanation: sounds, pictures, and ``explanation.json``."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otoscope.audio import levelled, save_audio
from otoscope.errors import DataError, OtoscopeError, first_line
from otoscope.files.atomic import replace_file, replace_folder
from otoscope.files.json import write_json
from otoscope.plots import FrequencyAxis, maps_picture, relevance_picture, save_picture

if TYPE_CHECKING:
    from otoscope.explanation.result import Explanation

MASK_NAME = "mask.npz"
_FILES = {
    *("original.wav", "interpretation.wav", "remainder.wav"),
    *("interpretation_levelled.flac", "remainder_levelled.flac", "explanation.json", "components", MASK_NAME),
    *(f"{name}{suffix}" for name in ("spectra", "components", "maps") for suffix in (".png", ".svg")),
}
"""Names of everything that an explanation saves."""


def save_explanation(
    explanation: Explanation, folder: Path, content: dict[str, Any], axis: FrequencyAxis, picture: str
) -> None:
    """Write the files of an explanation to a folder; see `Explanation.save`."""

    def write(target: Path) -> None:
        try:
            _write(explanation, target, content, axis, picture)
        except OtoscopeError as error:
            # the user knows the folder, not the temporary one beside it
            raise type(error)(str(error).replace(str(target), str(folder))) from error

    if _is_replaceable(folder):
        # As a whole, so that a kill leaves the former explanation or the new one. Links stay links.
        replace_folder(os.path.realpath(folder), write)
    else:
        write(folder)


def _write(
    explanation: Explanation, folder: Path, content: dict[str, Any], axis: FrequencyAxis, picture: str
) -> None:
    """Write the files into a folder, which may hold an earlier explanation."""
    save_audio(folder / "original.wav", explanation.original, explanation.sample_rate_hz)
    save_audio(folder / "interpretation.wav", explanation.evidence, explanation.sample_rate_hz)
    save_audio(folder / "remainder.wav", explanation.remainder, explanation.sample_rate_hz)
    for name, sound in (("interpretation", explanation.evidence), ("remainder", explanation.remainder)):
        copy = levelled(sound, explanation.original, explanation.sample_rate_hz)
        save_audio(folder / f"{name}_levelled.flac", copy, explanation.sample_rate_hz)
    _save_mask(folder / MASK_NAME, explanation)
    try:
        _remove_pictures(folder, "spectra")
        save_picture(explanation.plot(axis), folder / f"spectra.{picture}")
        # Both also remove what an earlier explanation left in the folder.
        _save_components(explanation, folder, axis, picture)
        _save_maps(explanation, folder, axis, picture)
        write_json(folder / "explanation.json", content)
    except OSError as error:
        raise OtoscopeError(
            f"{folder}: cannot be written ({error}); check the folder and the free space"
        ) from error


# TypeError: a single array instead of an archive of them
_DAMAGED = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error, MemoryError)


def _save_mask(path: Path, explanation: Explanation) -> None:
    # Half precision: steps of at most 0.0005 in [0, 1], in half of the space.
    mask = explanation.mask.numpy().astype(np.float16)
    replace_file(path, lambda temporary: np.savez_compressed(temporary, mask=mask))


def load_mask(folder: Path) -> np.ndarray | None:
    """Return the mask in the folder of an explanation, or None if the folder holds none.

    Args:
        folder: Folder of an explanation. Those of earlier versions hold no mask.

    Returns:
        Mask in [0, 1], float32. Shape (frequency, time).

    Raises:
        DataError: The file is damaged.
    """
    path = folder / MASK_NAME
    try:
        # Opened here: NumPy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            mask = np.asarray(stored["mask"], np.float32)
    except FileNotFoundError:
        return None
    except _DAMAGED as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}); explain the recording again") from error
    if mask.ndim != 2 or not mask.size or not np.isfinite(mask).all():
        raise DataError(f"{path}: holds no mask (shape {mask.shape}); explain the recording again")
    return mask


def _save_maps(explanation: Explanation, folder: Path, axis: FrequencyAxis, picture: str) -> None:
    # An earlier explanation in this folder may have had maps where this one has none.
    _remove_pictures(folder, "maps")
    if explanation.maps:
        title = f"{explanation.name}: {explanation.label}, {explanation.method}"
        panels = {name: values.numpy() for name, values in explanation.maps.items()}
        duration_s = len(explanation.original) / explanation.sample_rate_hz
        figure = maps_picture(panels, title, explanation.sample_rate_hz, duration_s, axis)
        save_picture(figure, folder / f"maps.{picture}")


def _save_components(explanation: Explanation, folder: Path, axis: FrequencyAxis, picture: str) -> None:
    # The names of the sounds depend on the explanation, so those of an earlier one would stay beside the new.
    for former in (folder / "components").glob("*Hz.wav"):
        former.unlink()
    _remove_pictures(folder, "components")
    if explanation.components is None:
        return
    for rank, component in enumerate(explanation.top_components(), start=1):
        name = f"{rank}-component{component.index:03d}-{component.centroid_hz:05.0f}Hz.wav"
        save_audio(folder / "components" / name, component.waveform, explanation.sample_rate_hz)
    # By magnitude: components that speak against the class are shown as well.
    order = explanation.components.relevance.abs().argsort(descending=True)[:12].tolist()
    figure = relevance_picture(
        order,
        explanation.components.relevance[order].numpy(),
        explanation.components.dictionary[:, order].numpy(),
        explanation.components.activations[order].numpy(),
        explanation.components.threshold,
        f"{explanation.name}: {explanation.label}",
        explanation.sample_rate_hz,
        len(explanation.original) / explanation.sample_rate_hz,
        axis,
    )
    save_picture(figure, folder / f"components.{picture}")


def _is_replaceable(folder: Path) -> bool:
    """Return whether a folder is absent, or holds nothing but an explanation, and may be renamed."""
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return True
    except OSError:
        return False
    # The current folder of a shell stays: a new one of the same name would not be the same folder.
    is_current = os.path.realpath(folder) == os.path.realpath(".")
    return not (is_current or os.path.ismount(folder)) and names <= _FILES


def _remove_pictures(folder: Path, name: str) -> None:
    for suffix in (".png", ".svg"):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)
