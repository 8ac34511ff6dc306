"""Saved explanations, whether they are folders or rows of shards: their numbers, sounds and masks."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import Frontend, load_audio
from otoscope.errors import DataError, MissingPartError, first_line
from otoscope.explanation.arrays import components_of, maps_of, mask_of, sufficient_mask, unpacked
from otoscope.explanation.parts import FILES
from otoscope.explanation.sounds import masked_sound, spectrogram_of
from otoscope.files.json import read_json
from otoscope.interpreters.sufficiency import CurvePoint, Sufficiency
from otoscope.views import Shown

SOUNDS = ("recording", "evidence", "remainder")
"""Parts that are sounds."""


class StoredExplanation(Shown, ABC):
    """A saved explanation. Its parts are read when they are asked for.

    Args:
        place: Where it is, for messages.
        content: Content of ``explanation.json``.
    """

    view = "stored explanation"

    def __init__(self, place: str, content: dict[str, Any]) -> None:
        self.place = place
        self.content = content

    def __repr__(self) -> str:
        label, parts = self.content.get("label"), ", ".join(self.parts)
        return f"{type(self).__name__}({self.place!r}: {self.name!r}, label {label!r}, parts {parts})"

    @property
    def name(self) -> str:
        """Name of the recording."""
        return str(self.content.get("name", ""))

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the sounds.

        Raises:
            DataError: The numbers do not state it.
        """
        rate_hz = self.content.get("sample_rate_hz")
        if not isinstance(rate_hz, int) or rate_hz < 1:
            raise DataError(f"{self.place}: its numbers have no sample rate; explain the recording again")
        return rate_hz

    @property
    @abstractmethod
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that can be read."""

    @abstractmethod
    def sound(self, part: str) -> Tensor:
        """Return a sound.

        Args:
            part: ``recording``, ``evidence`` or ``remainder``.

        Returns:
            Waveform at the level of the recording. Shape (samples,).

        Raises:
            MissingPartError: The part was not kept.
            DataError: It is damaged.
        """

    @abstractmethod
    def arrays(self, part: str) -> dict[str, np.ndarray]:
        """Return the arrays of ``mask`` or ``importance``.

        Raises:
            MissingPartError: The part was not kept.
            DataError: It is damaged.
        """

    def mask(self) -> np.ndarray:
        """Return the mask in [0, 1], float32. Shape (frequency, time).

        Raises:
            MissingPartError: The mask was not kept.
            DataError: It is damaged.
        """
        return mask_of(self.arrays("mask"), self.place)

    def component_sounds(self) -> list[tuple[str, Tensor]]:
        """Return the sounds of components with their titles, the most relevant first; only folders have them.

        Raises:
            DataError: A sound is damaged.
        """
        return []

    def fields(self) -> dict[str, Any]:
        """Return the arguments that make the `Explanation` again; see `Explanation.load`.

        Raises:
            MissingPartError: A part that is needed was not kept.
            DataError: A part is damaged.
        """
        original, masks = self.sound("recording"), self.arrays("mask")
        mask = torch.from_numpy(mask_of(masks, self.place))
        importance = self.arrays("importance") if "importance" in self.parts else {}
        try:
            numbers = self._numbers(masks)
            normalized = bool(self.content["normalized"])
            config = self.content["frontend"]
            components = components_of(importance, self.content.get("relevance_threshold"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{self.place}: its numbers are damaged or of an older version ({first_line(error)}); explain the "
                "recording again"
            ) from error
        frontend = Frontend(self.sample_rate_hz) if config is None else Frontend(**config)
        # Sounds that were not kept follow from the mask.
        made = {
            part: self.sound(part) if part in self.parts else masked_sound(original, share, frontend, normalized)
            for part, share in (("evidence", mask), ("remainder", 1 - mask))
        }
        return {
            **numbers,
            **made,
            "mask": mask,
            "original": original,
            "log_magnitude": spectrogram_of(original, frontend, normalized).log_magnitude[0],
            "importance": torch.from_numpy(importance["importance"]) if "importance" in importance else None,
            "components": components,
            "maps": maps_of(importance),
            "frontend": frontend,
            "normalized": normalized,
        }

    def missing(self, part: str) -> MissingPartError:
        """Return the error that a part was not kept."""
        return MissingPartError(
            f"{self.place}: holds no part '{part}', which was not kept; explain the recording again with --keep "
            f"{' '.join(name for name in FILES if name == part or name in self.parts)}"
        )

    def _numbers(self, masks: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return the arguments that are no arrays."""
        content = self.content
        same = ("label", "predicted", "probabilities", "sample_rate_hz", "method", "name", "notes")
        parts = ("evidence_probabilities", "remainder_probabilities")
        return {
            **{key: content[key] for key in (*same, *parts)},
            "scores": _with_nan(content["scores"]),
            "controls": {name: _with_nan(scores) for name, scores in content["controls"].items()},
            "mask_scores": _with_nan(content["mask"]["scores"]),
            "mask_controls": {name: _with_nan(scores) for name, scores in content["mask"]["controls"].items()},
            "sufficiency": self._sufficiency(masks),
        }

    def _sufficiency(self, masks: dict[str, np.ndarray]) -> Sufficiency | None:
        content = self.content
        if "curve" not in content:
            return None
        evidence, remainder = (
            [CurvePoint(point["area"], point["p"]) for point in content["curve"][name]]
            for name in ("evidence", "remainder")
        )
        return Sufficiency(
            mask=sufficient_mask(masks),
            sufficient=content["sufficient"],
            necessary=content["necessary"],
            evidence=evidence,
            remainder=remainder,
            decisive=content.get("decisive"),  # results of earlier versions have none
        )


class FolderExplanation(StoredExplanation):
    """Explanation in a folder of files.

    Args:
        folder: Folder that `Explanation.save` wrote.

    Raises:
        DataError: The folder holds no ``explanation.json``, or it is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        path = self.folder / FILES["json"][0]
        try:
            content = read_json(path)
        except FileNotFoundError as error:
            raise DataError(f"{self.folder}: holds no explanation ({path.name} is missing)") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({first_line(error)}); explain the recording again") from error
        if not isinstance(content, dict):
            raise DataError(f"{path}: holds no JSON object; explain the recording again")
        super().__init__(str(self.folder), content)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts whose files are there."""
        return tuple(part for part, names in FILES.items() if any((self.folder / name).exists() for name in names))

    def sound(self, part: str) -> Tensor:
        """Return a sound; see `StoredExplanation.sound`."""
        path = self._path(part)
        return load_audio(path, self.sample_rate_hz)

    def arrays(self, part: str) -> dict[str, np.ndarray]:
        """Return arrays; see `StoredExplanation.arrays`."""
        path = self._path(part)
        return unpacked(path, str(path))

    def component_sounds(self) -> list[tuple[str, Tensor]]:
        """Return the sounds of components; see `StoredExplanation.component_sounds`."""
        # The names of the files begin with their ranks.
        paths = sorted((self.folder / FILES["components"][0]).glob("*Hz.wav"))
        return [(_component_title(path.stem), load_audio(path, self.sample_rate_hz)) for path in paths]

    def _path(self, part: str) -> Path:
        path = self.folder / FILES[part][0]
        if not path.is_file():
            raise self.missing(part)
        return path


def _with_nan(scores: dict[str, float | None]) -> dict[str, float]:
    return {name: float("nan") if value is None else value for name, value in scores.items()}


def component_title(index: int, centroid_hz: float) -> str:
    """Return the title of the sound of a component.

    Example:
        >>> component_title(42, 1234.4)
        'Component 42 (1234 Hz)'
    """
    return f"Component {index} ({centroid_hz:.0f} Hz)"


def _component_title(stem: str) -> str:
    """Return the title of the sound in a file.

    Example:
        >>> _component_title("1-component042-01234Hz")
        'Component 42 (1234 Hz)'
    """
    _, _, rest = stem.partition("component")
    index, _, centroid = rest.partition("-")
    if not (index.isdigit() and centroid.removesuffix("Hz").isdigit()):
        return stem
    return component_title(int(index), int(centroid.removesuffix("Hz")))
