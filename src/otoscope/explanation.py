"""Result of an explanation: sounds, mask and scores, a summary, pictures, and files."""

from __future__ import annotations

import base64
import math
import os
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import Frontend, levelled, peak_normalize, save_audio
from otoscope.errors import ConfigurationError, OtoscopeError
from otoscope.files.atomic import replace_folder
from otoscope.files.json import write_json
from otoscope.interpreters import Components
from otoscope.interpreters.sufficiency import Sufficiency
from otoscope.plots import (
    FrequencyAxis,
    SufficiencyCurve,
    explanation_picture,
    maps_picture,
    relevance_picture,
    save_picture,
)
from otoscope.verdict import Verdict, judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILES = {
    *("original.wav", "interpretation.wav", "remainder.wav"),
    *("interpretation_levelled.flac", "remainder_levelled.flac", "explanation.json", "components"),
    *(f"{name}{suffix}" for name in ("spectra", "components", "maps") for suffix in (".png", ".svg")),
}
"""Names of everything that an explanation saves."""

NO_COMPONENT = "no component is relevant above the threshold: the mask is empty"


@dataclass
class Explanation:
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
        sufficiency: Smallest sufficient and smallest necessary share of the recording.
        name: Name of the recording.
        notes: Remarks about this explanation, such as that the recording is silent.
        components: Components that the mask is the sum of, for methods that have components (L2I).
        frontend: Front-end of the classifier, on the CPU; it turns masks into sound (default: one of the same
            sample rate).
        maps: Activation maps of the classifier by name, for methods that use them (AMT). Shape of each
            (frequency', time').
    """

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

    @property
    def sufficient(self) -> float | None:
        """Smallest share of the recording whose sound alone keeps the decision; None if there is none."""
        return None if self.sufficiency is None else self.sufficiency.sufficient

    @property
    def necessary(self) -> float | None:
        """Smallest share of the recording whose removal loses the decision; None if there is none."""
        return None if self.sufficiency is None else self.sufficiency.necessary

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
        # Masks belong to the recording at a peak of 1, the level at which the networks were run. The logarithm of
        # the spectrogram is not linear in the level, so the level is restored only after masking.
        frontend = self.frontend or Frontend(self.sample_rate_hz)
        spectrogram = frontend(peak_normalize(self.original[None]))
        return self.original.abs().max() * frontend.inverse(spectrogram.masked(mask[None]))[0]

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
    ) -> Path:
        """Write ``original.wav interpretation.wav remainder.wav spectra.png explanation.json`` to a folder.

        For listening, ``interpretation_levelled.flac`` and ``remainder_levelled.flac`` are as loud as the
        recording, without samples beyond full scale. An explanation with components adds ``components.png`` and, in
        ``components/``, the sounds of the five most relevant components; an explanation with activation maps adds
        ``maps.png``.

        Args:
            folder: Folder to write. An earlier explanation in it is replaced as a whole, unless it holds files of
                the user, which stay.
            content: Content of ``explanation.json`` (default: the result of `to_dict`).
            axis: Scale of the pictures' frequency axes: ``linear``, ``mel`` or ``log``.
            picture: Format of the pictures: ``png`` or ``svg``.

        Returns:
            The folder.

        Raises:
            OtoscopeError: The folder cannot be written.
        """
        folder = Path(folder)

        def write(target: Path) -> None:
            try:
                self._write(target, self.to_dict() if content is None else content, axis, picture)
            except OtoscopeError as error:
                # the user knows the folder, not the temporary one beside it
                raise type(error)(str(error).replace(str(target), str(folder))) from error

        if _is_replaceable(folder):
            # As a whole, so that a kill leaves the former explanation or the new one. Links stay links.
            replace_folder(os.path.realpath(folder), write)
        else:
            write(folder)
        return folder

    def _write(self, folder: Path, content: dict[str, Any], axis: FrequencyAxis, picture: str) -> None:
        """Write the files into a folder, which may hold an earlier explanation."""
        save_audio(folder / "original.wav", self.original, self.sample_rate_hz)
        save_audio(folder / "interpretation.wav", self.evidence, self.sample_rate_hz)
        save_audio(folder / "remainder.wav", self.remainder, self.sample_rate_hz)
        for name, sound in (("interpretation", self.evidence), ("remainder", self.remainder)):
            copy = levelled(sound, self.original, self.sample_rate_hz)
            save_audio(folder / f"{name}_levelled.flac", copy, self.sample_rate_hz)
        try:
            _remove_pictures(folder, "spectra")
            save_picture(self.plot(axis), folder / f"spectra.{picture}")
            # Both also remove what an earlier explanation left in the folder.
            self._save_components(folder, axis, picture)
            self._save_maps(folder, axis, picture)
            write_json(folder / "explanation.json", content)
        except OSError as error:
            raise OtoscopeError(
                f"{folder}: cannot be written ({error}); check the folder and the free space"
            ) from error

    def _save_maps(self, folder: Path, axis: FrequencyAxis, picture: str) -> None:
        # An earlier explanation in this folder may have had maps where this one has none.
        _remove_pictures(folder, "maps")
        if self.maps:
            title = f"{self.name}: {self.label}, {self.method}"
            panels = {name: values.numpy() for name, values in self.maps.items()}
            duration_s = len(self.original) / self.sample_rate_hz
            figure = maps_picture(panels, title, self.sample_rate_hz, duration_s, axis)
            save_picture(figure, folder / f"maps.{picture}")

    def _save_components(self, folder: Path, axis: FrequencyAxis, picture: str) -> None:
        # The names of the sounds depend on the explanation, so those of an earlier one would stay beside the new.
        for former in (folder / "components").glob("*Hz.wav"):
            former.unlink()
        _remove_pictures(folder, "components")
        if self.components is None:
            return
        for rank, component in enumerate(self.top_components(), start=1):
            name = f"{rank}-component{component.index:03d}-{component.centroid_hz:05.0f}Hz.wav"
            save_audio(folder / "components" / name, component.waveform, self.sample_rate_hz)
        # By magnitude: components that speak against the class are shown as well.
        order = self.components.relevance.abs().argsort(descending=True)[:12].tolist()
        figure = relevance_picture(
            order,
            self.components.relevance[order].numpy(),
            self.components.dictionary[:, order].numpy(),
            self.components.activations[order].numpy(),
            self.components.threshold,
            f"{self.name}: {self.label}",
            self.sample_rate_hz,
            len(self.original) / self.sample_rate_hz,
            axis,
        )
        save_picture(figure, folder / f"components.{picture}")

    def plot(self, axis: FrequencyAxis = "linear") -> Figure:
        """Draw the explanation as a matplotlib figure: spectrogram, attribution, mask, evidence and decision.

        Args:
            axis: Scale of the frequency axes: ``linear``, ``mel`` or ``log``.
        """
        # A mask that is the map itself would be drawn twice.
        is_cut = self.importance is not None and not torch.equal(self.importance, self.mask)
        return explanation_picture(
            self.log_magnitude.numpy(),
            self.mask.numpy(),
            len(self.original) / self.sample_rate_hz,
            self.sample_rate_hz,
            name=self.name,
            label=self.label,
            method=self.method,
            importance=self.importance.numpy() if self.importance is not None and is_cut else None,
            recording_probabilities=self.probabilities,
            evidence_probabilities=self.evidence_probabilities or None,
            remainder_probabilities=self.remainder_probabilities or None,
            curve=self._curve(),
            verdict="" if self.verdict is None else self.verdict.headline,
            axis=axis,
        )

    def _curve(self) -> SufficiencyCurve | None:
        if self.sufficiency is None:
            return None
        evidence, remainder = (
            np.array([point for point in points if point.area > 0]).reshape(-1, 2)
            for points in (self.sufficiency.evidence, self.sufficiency.remainder)
        )
        if not len(evidence):
            return None
        return SufficiencyCurve(
            area=evidence[:, 0],
            evidence=evidence[:, 1],
            remainder=remainder[:, 1],
            chosen_area=float(self.mask.mean()),
            remainder_area=remainder[:, 0],
        )

    def _repr_html_(self) -> str:
        """Return the view of the explanation in a notebook: summary, players and picture."""
        import html

        # Sounds and picture are embedded, so that a saved notebook needs no other files.
        buffer = BytesIO()
        self.plot().savefig(buffer, format="png", dpi=70)
        parts = [f"<p>{html.escape(self.summary())}</p>"]
        for title, waveform in (
            ("original", self.original),
            ("evidence", self.evidence),
            ("remainder", self.remainder),
        ):
            data = base64.b64encode(_wav_bytes(waveform, self.sample_rate_hz)).decode()
            parts.append(f'<p>{title}<br><audio controls src="data:audio/wav;base64,{data}"></audio></p>')
        picture = base64.b64encode(buffer.getvalue()).decode()
        parts.append(f'<img src="data:image/png;base64,{picture}" alt="spectra">')
        return "\n".join(parts)


@dataclass
class ComponentSound:
    """A component of an explanation with its sound.

    Attributes:
        index: Index in the dictionary.
        relevance: Relevance for the explained class, relative to the largest, in (threshold, 1].
        centroid_hz: Spectral centroid in Hz.
        waveform: What a mask of this component alone keeps of the recording. Shape (samples,).
    """

    index: int
    relevance: float
    centroid_hz: float
    waveform: Tensor


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


def _wav_bytes(waveform: Tensor, sample_rate_hz: int) -> bytes:
    import soundfile

    buffer = BytesIO()
    soundfile.write(buffer, waveform.numpy(), sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _without_nan(scores: dict[str, float]) -> dict[str, float | None]:
    # JSON has no NaN
    return {name: None if math.isnan(value) else round(value, 6) for name, value in scores.items()}
