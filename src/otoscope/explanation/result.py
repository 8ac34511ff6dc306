"""Result of an explanation: sounds, mask and scores, a summary, pictures, and files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from otoscope.audio import Frontend
from otoscope.errors import ConfigurationError
from otoscope.explanation.components import ComponentSound
from otoscope.explanation.drawing import draw_explanation
from otoscope.explanation.parts import DEFAULT_PARTS, check_parts
from otoscope.explanation.saving import save_explanation
from otoscope.explanation.shard import read_row
from otoscope.explanation.sounds import masked_sound
from otoscope.explanation.stored import FolderExplanation, StoredExplanation
from otoscope.interpreters import Components
from otoscope.interpreters.sufficiency import Sufficiency
from otoscope.plots import FrequencyAxis, PanelName
from otoscope.verdict import Verdict, judge
from otoscope.views import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_COMPONENT = "no component is relevant above the threshold: the mask is empty"


@dataclass(repr=False)
class Explanation(Shown):
    """Explanation of a classifier's decision on one recording.

    Attributes:
        label: Explained class.
        predicted: Most probable class; it differs from ``label`` if another target was asked for.
        probabilities: Probability of every class, by label.
        mask: Mask in [0, 1], shape (frequency, time).
        original: Recording, mono and at its own level. Shape (samples,).
        evidence: Sound that the mask keeps, at the same level. Shape (samples,).
        remainder: Sound that the mask removes, at the same level. Shape (samples,).
        log_magnitude: Log magnitude that the classifier was given. Shape (frequency, time).
        sample_rate_hz: Sample rate of the three waveforms.
        method: Title of the method.
        scores: Heard scores, see `otoscope.metrics.SCORES`: those of the sounds ``evidence`` and ``remainder`` when
            the classifier is given them as recordings. Empty if they were not asked for.
        controls: Heard scores of control masks, by name of the control: masks that do not depend on the classifier.
        mask_scores: Scores of the masked spectrogram, which in general no sound has.
        mask_controls: The same of the control masks.
        evidence_probabilities: Probability of every class for the sound of the evidence, by label.
        remainder_probabilities: The same for the sound of the remainder.
        importance: Map that the mask was cut from; higher is more important. Shape (frequency, time).
        sufficiency: Smallest sufficient, smallest necessary and decisive share of the recording.
        name: Name of the recording.
        notes: Remarks about this explanation, such as that the recording is silent.
        components: Components that the mask is the sum of, for methods that have components (L2I).
        frontend: Front-end of the classifier, on the CPU; it turns masks into sound (default: one of the same
            sample rate).
        maps: Activation maps of the classifier by name, for methods that use them (AMT). Shape of each
            (frequency', time').
        normalized: Whether the networks were given the recording at a peak of 1.
    """

    view: ClassVar[str] = "explanation"

    label: str
    predicted: str
    probabilities: dict[str, float]
    mask: Tensor
    original: Tensor
    evidence: Tensor
    remainder: Tensor
    log_magnitude: Tensor
    sample_rate_hz: int
    method: str
    scores: dict[str, float] = field(default_factory=dict)
    controls: dict[str, dict[str, float]] = field(default_factory=dict)
    mask_scores: dict[str, float] = field(default_factory=dict)
    mask_controls: dict[str, dict[str, float]] = field(default_factory=dict)
    evidence_probabilities: dict[str, float] = field(default_factory=dict)
    remainder_probabilities: dict[str, float] = field(default_factory=dict)
    importance: Tensor | None = None
    sufficiency: Sufficiency | None = None
    name: str = "clip"
    notes: list[str] = field(default_factory=list)
    components: Components | None = None
    frontend: Frontend | None = None
    maps: dict[str, Tensor] = field(default_factory=dict)
    normalized: bool = True

    @property
    def sufficient(self) -> float | None:
        """Smallest share of the recording whose sound alone keeps the decision; None if there is none."""
        return None if self.sufficiency is None else self.sufficiency.sufficient

    @property
    def necessary(self) -> float | None:
        """Smallest share of the recording whose removal loses the decision; None if there is none."""
        return None if self.sufficiency is None else self.sufficiency.necessary

    @property
    def decisive(self) -> float | None:
        """Share that is both: enough by itself, and lost without it the decision; None if there is none."""
        return None if self.sufficiency is None else self.sufficiency.decisive

    @property
    def verdict(self) -> Verdict | None:
        """Whether the heard scores and the controls support the explanation; None without scores."""
        if not self.scores:
            return None
        decided = self.label == self.predicted
        return judge(self.label, self.probabilities[self.label], self.scores, self.controls, decided)

    def summary(self) -> str:
        """Return a summary of one line: the class, its probability, and the verdict with its reasons."""
        probability = self.probabilities[self.label]
        text = f"{self.name}: {self.label} (p = {probability:.2f})"
        if self.label != self.predicted:
            text += f", predicted {self.predicted} (p = {self.probabilities[self.predicted]:.2f})"
        if self.components is not None:
            text += f"; {len(self.components.relevant)} of {len(self.components.relevance)} components"
        return text if self.verdict is None else f"{text}. {self.verdict}"

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``explanation.json``: everything but the arrays."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return {
            "name": self.name,
            "method": self.method,
            "label": self.label,
            "predicted": self.predicted,
            "probabilities": {label: round(value, 6) for label, value in ranked},
            "evidence_probabilities": _rounded(self.evidence_probabilities),
            "remainder_probabilities": _rounded(self.remainder_probabilities),
            "verdict": None if self.verdict is None else asdict(self.verdict),
            "scores": _without_nan(self.scores),
            "controls": {name: _without_nan(scores) for name, scores in self.controls.items()},
            "mask": {
                "scores": _without_nan(self.mask_scores),
                "controls": {name: _without_nan(scores) for name, scores in self.mask_controls.items()},
            },
            **self._sufficiency_to_dict(),
            "sample_rate_hz": self.sample_rate_hz,
            "duration_s": len(self.original) / self.sample_rate_hz,
            "normalized": self.normalized,
            "frontend": None if self.frontend is None else self.frontend.config,
            "notes": self.notes,
            **self._components_to_dict(),
        }

    def _sufficiency_to_dict(self) -> dict[str, Any]:
        if self.sufficiency is None:
            return {}
        curves = {"evidence": self.sufficiency.evidence, "remainder": self.sufficiency.remainder}
        return {
            "sufficient": self.sufficient,
            "necessary": self.necessary,
            "decisive": self.decisive,
            "curve": {
                name: [{"area": round(area, 6), "p": round(p, 6)} for area, p in points]
                for name, points in curves.items()
            },
        }

    def top_components(self, count: int = 5) -> list[ComponentSound]:
        """Return the components of the mask with their sounds, the most relevant first.

        Args:
            count: Largest number of components; fewer are returned if fewer are relevant.

        Returns:
            The components; an empty list for methods without components.
        """
        if self.components is None:
            return []
        return [
            ComponentSound(
                index=k,
                relevance=float(self.components.relevance[k]),
                centroid_hz=self._centroid_hz(self.components, k),
                waveform=self.masked_sound(self.components.mask([k])),
            )
            for k in self.components.relevant[:count]
        ]

    def masked_sound(self, mask: Tensor) -> Tensor:
        """Return what a mask keeps of the recording, as sound.

        Args:
            mask: Mask in [0, 1], shape (frequency, time).

        Returns:
            Waveform at the level of the recording, shape (samples,).
        """
        frontend = self.frontend or Frontend(self.sample_rate_hz)
        return masked_sound(self.original, mask, frontend, self.normalized)

    def at_threshold(self, threshold: float) -> Explanation:
        """Return this explanation for another threshold of the components' relevance, without running a network.

        Args:
            threshold: Relevance above which a component belongs to the mask, in [-1, 1).

        Returns:
            The explanation without scores, which would need the classifier; `Explainer.explain` with ``threshold``
            computes them.

        Raises:
            ConfigurationError: The method has no components, or the threshold is out of range.
        """
        if self.components is None:
            raise ConfigurationError(f"threshold: an explanation by {self.method} has no components to choose from")
        if not -1 <= threshold < 1:
            raise ConfigurationError(f"threshold: {threshold} must lie in [-1, 1)")
        components = replace(self.components, threshold=threshold)
        mask = components.mask()
        notes = [note for note in self.notes if note != NO_COMPONENT]
        return replace(
            self,
            mask=mask,
            evidence=self.masked_sound(mask),
            remainder=self.masked_sound(1 - mask),
            scores={},
            controls={},
            mask_scores={},
            mask_controls={},
            evidence_probabilities={},
            remainder_probabilities={},
            sufficiency=None,
            notes=notes + ([] if components.relevant else [NO_COMPONENT]),
            components=components,
        )

    def _components_to_dict(self) -> dict[str, Any]:
        if self.components is None:
            return {}
        components = [
            {
                "index": k,
                "relevance": round(float(self.components.relevance[k]), 6),
                "centroid_hz": round(self._centroid_hz(self.components, k), 1),
            }
            for k in self.components.relevant
        ]
        return {"relevance_threshold": self.components.threshold, "components": components}

    def _centroid_hz(self, components: Components, index: int) -> float:
        # mean frequency, weighted by the component's spectrum; the floor avoids 0 / 0 for an empty component
        spectrum = components.dictionary[:, index]
        frequencies = torch.linspace(0, self.sample_rate_hz / 2, len(spectrum))
        return float(frequencies @ spectrum / spectrum.sum().clamp(min=1e-12))

    def save(
        self,
        folder: str | os.PathLike[str],
        content: dict[str, Any] | None = None,
        axis: FrequencyAxis = "linear",
        picture: str = "png",
        keep: Iterable[str] = DEFAULT_PARTS,
    ) -> Path:
        """Write ``original.wav interpretation.wav remainder.wav spectra.png explanation.json`` to a folder.

        ``mask.npz`` holds the array ``mask``, float16, of shape (frequency, time). For listening,
        ``interpretation_levelled.flac`` and ``remainder_levelled.flac`` are as loud as the recording, without
        samples beyond full scale. An explanation with components adds ``components.png`` and, in ``components/``,
        the sounds of the five most relevant components; an explanation with activation maps adds ``maps.png``.

        Args:
            folder: Folder to write. An earlier explanation in it is replaced as a whole, unless it holds files of
                the user, which stay.
            content: Content of ``explanation.json`` (default: the result of `to_dict`).
            axis: Scale of the pictures' frequency axes: ``linear``, ``mel`` or ``log``.
            picture: Format of the pictures: ``png`` or ``svg``.
            keep: Parts that are written, some of `otoscope.explanation.PARTS`; ``json`` always is.

        Returns:
            The folder.

        Raises:
            ConfigurationError: There is no such part.
            OtoscopeError: The folder cannot be written.
        """
        content, parts = self.to_dict() if content is None else content, check_parts(keep)
        save_explanation(self, Path(folder), content, axis, picture, parts)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Explanation:
        """Open an explanation that was saved to a folder.

        It needs ``explanation.json``, ``original.wav`` and ``mask.npz``. Evidence and remainder are made from the
        mask if their sounds were not kept. Importance, components and activation maps are there if the part
        ``importance`` was kept. Numbers are those of ``explanation.json``, rounded to six decimals, and a mask that
        holds other values than 0 and 1 is rounded to half precision.

        Args:
            folder: Folder that `save` wrote.

        Raises:
            MissingPartError: A part that is needed was not kept; the message names it.
            DataError: The folder holds no explanation, or is damaged.
        """
        return cls(**FolderExplanation(folder).fields())

    @classmethod
    def restore(cls, stored: StoredExplanation) -> Explanation:
        """Open a stored explanation, such as one of `otoscope.recordings.iterate_results`; see `load`.

        Args:
            stored: Folder or row of a shard.

        Raises:
            MissingPartError: A part that is needed was not kept.
            DataError: A part is damaged.
        """
        return cls(**stored.fields())

    @classmethod
    def from_shard(cls, path: str | os.PathLike[str], name: str) -> Explanation:
        """Open one explanation of a shard; see `otoscope.explanation.shard` for what a shard holds.

        Args:
            path: Shard (``shard-00000.parquet``), or the folder of the shards, all of which are searched then.
            name: Name of the recording in the results.

        Raises:
            MissingExtraError: pyarrow is not installed.
            MissingPartError: A part that is needed was not kept; see `load`.
            DataError: There is no such recording, or the shard is damaged.
        """
        return cls(**read_row(path, name).fields())

    def plot(self, axis: FrequencyAxis = "linear", axes: Axes | Mapping[PanelName, Axes] | None = None) -> Figure:
        """Draw the explanation with matplotlib: spectrogram, attribution, mask, evidence and decision.

        Without ``axes`` it is a figure for a slide. With ``axes`` it becomes part of a figure of the user, in the
        font size of `matplotlib.rcParams`.

        Args:
            axis: Scale of the frequency axes: ``linear``, ``mel`` or ``log``.
            axes: Axes to draw on: one for the recording with the mask over it, or some by name of the panel:
                ``recording``, ``attribution``, ``mask``, ``evidence``, ``remainder``, ``decision`` and
                ``sufficiency``.

        Returns:
            The figure, or that of the axes.

        Raises:
            ConfigurationError: There is no such panel, or this explanation has no data for it.
        """
        return draw_explanation(self, axis, axes)

    def __repr__(self) -> str:
        parts = [repr(self.name), f"{self.label!r} (p = {self.probabilities[self.label]:.2f})", self.method]
        parts.append(f"{100 * float(self.mask.mean()):.3g} % of the area")
        parts.append(f"{len(self.original) / self.sample_rate_hz:.2f} s at {self.sample_rate_hz} Hz")
        if self.verdict is not None:
            parts.append(self.verdict.level)
        return f"Explanation({', '.join(parts)})"


def _rounded(probabilities: dict[str, float]) -> dict[str, float]:
    return {label: round(value, 6) for label, value in probabilities.items()}


def _without_nan(scores: dict[str, float]) -> dict[str, float | None]:
    # JSON has no NaN
    return {name: None if math.isnan(value) else round(value, 6) for name, value in scores.items()}
