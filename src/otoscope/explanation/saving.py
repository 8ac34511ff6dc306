"""Files of an explanation: sounds, mask, pictures, and ``explanation.json``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from otoscope.audio import levelled, save_audio
from otoscope.errors import OtoscopeError
from otoscope.explanation.arrays import importance_arrays, load_mask, mask_arrays, packed
from otoscope.explanation.parts import DEFAULT_PARTS, FILES, NAMES
from otoscope.files.atomic import replace_file, replace_folder
from otoscope.files.json import write_json
from otoscope.files.replaceable import is_replaceable
from otoscope.plots import FrequencyAxis, maps_picture, relevance_picture, save_picture

if TYPE_CHECKING:
    from otoscope.explanation.result import Explanation

__all__ = ["load_mask", "save_explanation"]


def save_explanation(
    explanation: Explanation,
    folder: Path,
    content: dict[str, Any],
    axis: FrequencyAxis,
    picture: str,
    parts: Collection[str] = DEFAULT_PARTS,
) -> None:
    """Write the files of an explanation to a folder; see `Explanation.save`."""

    def write(target: Path) -> None:
        try:
            _write(explanation, target, content, axis, picture, parts)
        except OtoscopeError as error:
            # the user knows the folder, not the temporary one beside it
            raise type(error)(str(error).replace(str(target), str(folder))) from error

    if is_replaceable(folder, NAMES):
        # As a whole, so that a kill leaves the former explanation or the new one. Links stay links.
        replace_folder(os.path.realpath(folder), write)
    else:
        write(folder)


def _write(
    explanation: Explanation,
    folder: Path,
    content: dict[str, Any],
    axis: FrequencyAxis,
    picture: str,
    parts: Collection[str],
) -> None:
    """Write the files into a folder, which may hold an earlier explanation."""
    rate_hz = explanation.sample_rate_hz
    try:
        for part, waveform in _sounds(explanation).items():
            if part in parts:
                save_audio(folder / FILES[part][0], waveform, rate_hz)
        if "levelled" in parts:
            for name, waveform in zip(
                FILES["levelled"], (explanation.evidence, explanation.remainder), strict=True
            ):
                save_audio(folder / name, levelled(waveform, explanation.original, rate_hz), rate_hz)
        _remove_other_parts(folder, parts)
        if "mask" in parts:
            _save_bytes(folder / FILES["mask"][0], packed(mask_arrays(explanation)))
        if "importance" in parts:
            _save_bytes(folder / FILES["importance"][0], packed(importance_arrays(explanation)))
        if "components" in parts:
            _save_components(explanation, folder)
        if "picture" in parts:
            _save_pictures(explanation, folder, axis, picture)
        write_json(folder / "explanation.json", content)
    except OSError as error:
        raise OtoscopeError(
            f"{folder}: cannot be written ({error}); check the folder and the free space"
        ) from error


def _sounds(explanation: Explanation) -> dict[str, Tensor]:
    """Return the sound of each part that is one."""
    return {
        "recording": explanation.original,
        "evidence": explanation.evidence,
        "remainder": explanation.remainder,
    }


def _save_bytes(path: Path, content: bytes) -> None:
    replace_file(path, lambda temporary: temporary.write_bytes(content))


def _remove_other_parts(folder: Path, parts: Collection[str]) -> None:
    """Remove what an earlier explanation left in the folder and this one does not write."""
    for name in (name for part, names in FILES.items() if part not in parts for name in names):
        if name == "components":
            _remove_components(folder)
        else:
            (folder / name).unlink(missing_ok=True)


def _remove_components(folder: Path) -> None:
    for former in (folder / "components").glob("*Hz.wav"):
        former.unlink()
    with contextlib.suppress(OSError):  # absent, or with files of the user
        (folder / "components").rmdir()


def _save_pictures(explanation: Explanation, folder: Path, axis: FrequencyAxis, picture: str) -> None:
    # An earlier explanation in this folder may have had maps, or another format, where this one has none.
    for name in FILES["picture"]:
        (folder / name).unlink(missing_ok=True)
    save_picture(explanation.plot(axis), folder / f"spectra.{picture}")
    _save_picture_of_components(explanation, folder, axis, picture)
    _save_maps(explanation, folder, axis, picture)


def _save_maps(explanation: Explanation, folder: Path, axis: FrequencyAxis, picture: str) -> None:
    if explanation.maps:
        title = f"{explanation.name}: {explanation.label}, {explanation.method}"
        panels = {name: values.numpy() for name, values in explanation.maps.items()}
        duration_s = len(explanation.original) / explanation.sample_rate_hz
        figure = maps_picture(panels, title, explanation.sample_rate_hz, duration_s, axis)
        save_picture(figure, folder / f"maps.{picture}")


def _save_components(explanation: Explanation, folder: Path) -> None:
    # The names of the sounds depend on the explanation, so those of an earlier one would stay beside the new.
    _remove_components(folder)
    for rank, component in enumerate(explanation.top_components(), start=1):
        name = f"{rank}-component{component.index:03d}-{component.centroid_hz:05.0f}Hz.wav"
        save_audio(folder / "components" / name, component.waveform, explanation.sample_rate_hz)


def _save_picture_of_components(explanation: Explanation, folder: Path, axis: FrequencyAxis, picture: str) -> None:
    if explanation.components is None:
        return
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
