"""From a recording to an `Explanation`: the whole story on one page."""

from __future__ import annotations

import base64
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import Frontend, load_audio, peak_normalize, save_audio
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError, OtoscopeError, ShapeError
from otoscope.interpreters import Components, Interpreter, load_interpreter
from otoscope.pictures import maps_picture, relevance_picture, save_picture, spectra_picture
from otoscope.scoring import score_against_controls

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_NO_COMPONENT = "no component is relevant above the threshold: the mask is empty"


@dataclass
class Explanation:
    """Why a classifier decided as it did on one recording.

    Attributes:
        label: The class that is explained.
        predicted: The classifier's most probable class; differs from ``label`` if another was asked for.
        probabilities: Of every class, by label.
        mask: In [0, 1]. Shape (frequency, time).
        original: The recording, mono, as loud as it was. Shape (samples,).
        evidence: The sound that the mask keeps. Shape (samples,).
        remainder: The sound that it takes away. Shape (samples,).
        log_magnitude: What the classifier saw. Shape (frequency, time).
        sample_rate_hz: Of the three waveforms.
        method: Name of the interpreter.
        scores: See `otoscope.metrics.SCORES`; empty if they were not asked for.
        controls: The same for masks of equal area that know nothing of the classifier.
        name: Of the recording.
        notes: What a reader should know about this explanation.
        components: What the mask is made of, for methods that know components (L2I); else None.
        frontend: The classifier's, on the CPU; makes the sounds of components.
        maps: The classifier's own activation maps, for methods that go by them (AMT). Shape (frequency', time')
            each.
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
    name: str = "clip"
    notes: list[str] = field(default_factory=list)
    components: Components | None = None
    frontend: Frontend | None = None
    maps: dict[str, Tensor] = field(default_factory=dict)

    def summary(self) -> str:
        """One line for a terminal.

        Example:
            >>> print(_example().summary())  # doctest: +SKIP
            clip: dog (p = 0.93); with the evidence alone p = 0.95, without it p = 0.10
        """
        probability = self.probabilities[self.label]
        text = f"{self.name}: {self.label} (p = {probability:.2f})"
        if self.label != self.predicted:
            text += f", predicted {self.predicted} (p = {self.probabilities[self.predicted]:.2f})"
        if self.scores:
            evidence, remainder = self.scores["p_evidence"], self.scores["p_remainder"]
            text += f"; with the evidence alone p = {evidence:.2f}, without it p = {remainder:.2f}"
        if self.components is not None:
            text += f"; {len(self.components.relevant)} of {len(self.components.relevance)} components"
        return text

    def to_dict(self) -> dict[str, Any]:
        """What ``explanation.json`` holds: everything but the arrays."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return {
            "name": self.name,
            "method": self.method,
            "label": self.label,
            "predicted": self.predicted,
            "probabilities": {label: round(value, 6) for label, value in ranked},
            "scores": _without_nan(self.scores),
            "controls": {name: _without_nan(scores) for name, scores in self.controls.items()},
            "sample_rate_hz": self.sample_rate_hz,
            "duration_s": len(self.original) / self.sample_rate_hz,
            "notes": self.notes,
            **self._components_to_dict(),
        }

    def top_components(self, count: int = 5) -> list[ComponentSound]:
        """The components that the mask is made of, the most relevant first, each with its own sound.

        Args:
            count: How many at most; fewer if fewer are relevant.

        Returns:
            Nothing for methods without components.
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
        """What a mask keeps of the recording, as sound.

        Args:
            mask: In [0, 1]. Shape (frequency, time), as `mask`.

        Returns:
            Shape (samples,).
        """
        frontend = self.frontend or Frontend(self.sample_rate_hz)
        spectrogram = frontend(peak_normalize(self.original[None]))
        return self.original.abs().max() * frontend.inverse(spectrogram.masked(mask[None]))[0]

    def at_threshold(self, threshold: float) -> Explanation:
        """The same explanation with the components above another relevance, without running a network.

        Args:
            threshold: In [-1, 1).

        Returns:
            Without scores: those need the classifier; see ``threshold`` in `Explainer.explain`.

        Raises:
            ConfigurationError: The method has no components, or the threshold is out of range.
        """
        if self.components is None:
            raise ConfigurationError(f"threshold: an explanation by {self.method} has no components to choose from")
        if not -1 <= threshold < 1:
            raise ConfigurationError(f"threshold: {threshold} must lie in [-1, 1)")
        components = replace(self.components, threshold=threshold)
        mask = components.mask()
        notes = [note for note in self.notes if note != _NO_COMPONENT]
        return replace(
            self,
            mask=mask,
            evidence=self.masked_sound(mask),
            remainder=self.masked_sound(1 - mask),
            scores={},
            controls={},
            notes=notes + ([] if components.relevant else [_NO_COMPONENT]),
            components=components,
        )

    def _components_to_dict(self) -> dict[str, Any]:
        if self.components is None:
            return {}
        found = [
            {
                "index": k,
                "relevance": round(float(self.components.relevance[k]), 6),
                "centroid_hz": round(self._centroid_hz(self.components, k), 1),
            }
            for k in self.components.relevant
        ]
        return {"relevance_threshold": self.components.threshold, "components": found}

    def _centroid_hz(self, components: Components, index: int) -> float:
        spectrum = components.dictionary[:, index]
        frequencies = torch.linspace(0, self.sample_rate_hz / 2, len(spectrum))
        return float(frequencies @ spectrum / spectrum.sum().clamp(min=1e-12))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes ``original.wav interpretation.wav remainder.wav spectra.png explanation.json``.

        With components also ``components.png`` and, in ``components/``, the sounds of the five most relevant; with
        maps also ``maps.png``.

        Raises:
            OtoscopeError: The folder cannot be written.
        """
        folder = Path(folder)
        save_audio(folder / "original.wav", self.original, self.sample_rate_hz)
        save_audio(folder / "interpretation.wav", self.evidence, self.sample_rate_hz)
        save_audio(folder / "remainder.wav", self.remainder, self.sample_rate_hz)
        try:
            save_picture(self.plot(), folder / "spectra.png")
            self._save_components(folder)
            (folder / "maps.png").unlink(missing_ok=True)
            if self.maps:
                title = f"{self.name}: {self.label}, {self.method}"
                panels = {name: one.numpy() for name, one in self.maps.items()}
                duration_s = len(self.original) / self.sample_rate_hz
                save_picture(maps_picture(panels, title, self.sample_rate_hz, duration_s), folder / "maps.png")
            write_json(folder / "explanation.json", self.to_dict())
        except OSError as error:
            raise OtoscopeError(
                f"{folder}: cannot be written ({error}); check the folder and the free space"
            ) from error
        return folder

    def _save_components(self, folder: Path) -> None:
        for former in (folder / "components").glob("*Hz.wav"):
            former.unlink()
        if self.components is None:
            (folder / "components.png").unlink(missing_ok=True)
            return
        for rank, one in enumerate(self.top_components(), start=1):
            path = folder / "components" / f"{rank}-component{one.index:03d}-{one.centroid_hz:05.0f}Hz.wav"
            save_audio(path, one.waveform, self.sample_rate_hz)
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
        )
        save_picture(figure, folder / "components.png")

    def plot(self) -> Figure:
        """Input, mask and masked input side by side, as a matplotlib figure."""
        panels = {
            "input": self.log_magnitude.numpy(),
            f"mask (mean {self.mask.mean():.2f})": self.mask.numpy(),
            "evidence": (self.mask * self.log_magnitude).numpy(),
        }
        duration_s = len(self.original) / self.sample_rate_hz
        title = f"{self.name}: {self.label}, p = {self.probabilities[self.label]:.2f}, {self.method}"
        return spectra_picture(panels, title, self.sample_rate_hz, duration_s)

    def _repr_html_(self) -> str:
        """Shows itself in a notebook: the summary, players, the picture."""
        import html

        buffer = BytesIO()
        self.plot().savefig(buffer, format="png")
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
    """One component of an explanation.

    Attributes:
        index: In the dictionary.
        relevance: For the explained class, relative to the most relevant. In (threshold, 1].
        centroid_hz: Centre of gravity of its spectrum.
        waveform: What it alone keeps of the recording. Shape (samples,).
    """

    index: int
    relevance: float
    centroid_hz: float
    waveform: Tensor


class Explainer:
    """A classifier with an interpreter: recording in, `Explanation` out.

    Args:
        classifier: The classifier to explain.
        interpreter: Makes the masks.
    """

    def __init__(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        self.classifier = classifier.freeze()
        self.interpreter = interpreter.eval().requires_grad_(False)

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        return self.classifier.labels

    @property
    def sample_rate_hz(self) -> int:
        """Rate at which waveforms are taken and given."""
        return self.classifier.frontend.sample_rate_hz

    def to(self, device: str | torch.device) -> Explainer:
        """Moves both networks."""
        self.classifier.to(device)
        self.interpreter.to(device)
        return self

    def explain(
        self,
        audio: str | os.PathLike[str] | Tensor | np.ndarray,
        target: str | None = None,
        scores: bool = True,
        name: str | None = None,
        threshold: float | None = None,
    ) -> Explanation:
        """Explains one recording.

        Args:
            audio: A sound file, or a mono waveform (tensor or array) at `sample_rate_hz`, shape (samples,).
            target: Explain this class instead of the predicted one.
            scores: Compute the scores and those of the controls (ten more runs of the classifier).
            name: Of the recording; by default the file's.
            threshold: Instead of the interpreter's own: L2I's relevance, or the threshold of PIQ's softplus mask.

        Raises:
            AudioError: The file is no usable sound.
            ConfigurationError: The classifier does not know the target, or the interpreter no threshold.
        """
        if isinstance(audio, Tensor | np.ndarray):
            waveform, name = torch.as_tensor(audio), name or "clip"
        else:
            waveform, name = load_audio(audio, self.sample_rate_hz), name or Path(audio).stem
        if waveform.ndim != 1 or len(waveform) == 0:
            raise ShapeError(f"expected one mono waveform, got shape {tuple(waveform.shape)}")
        return self.explain_batch([waveform], target, scores, [name], threshold)[0]

    @torch.no_grad()
    def explain_batch(
        self,
        waveforms: Sequence[Tensor],
        target: str | None = None,
        scores: bool = True,
        names: Sequence[str] | None = None,
        threshold: float | None = None,
    ) -> list[Explanation]:
        """Explains several recordings, of any lengths, in one run of the networks.

        Args:
            waveforms: Mono, at `sample_rate_hz`. Shape each (samples,).
            target: Explain this class instead of the predicted ones.
            scores: See `explain`.
            names: Of the recordings.
            threshold: See `explain`.
        """
        device = next(self.classifier.parameters()).device
        padded = torch.nn.utils.rnn.pad_sequence([w.float() for w in waveforms], batch_first=True).to(device)
        lengths = torch.tensor([len(w) for w in waveforms], device=device)
        ragged = lengths if bool((lengths != lengths[0]).any()) else None
        gain = padded.abs().amax(-1, keepdim=True)
        spectrogram = self.classifier.frontend(peak_normalize(padded), ragged)
        prediction = self.classifier(spectrogram.log_magnitude, spectrogram.frames)
        if target is not None:
            index = self.classifier.index_of(target)
            prediction = prediction.towards(torch.full_like(prediction.predicted, index))
        decoded = self.interpreter.decode(spectrogram.log_magnitude, prediction, spectrogram.frames)
        with self.interpreter.at_threshold(threshold):
            mask = self.interpreter.mask(decoded, spectrogram.frames)
            components = self.interpreter.components(decoded, spectrogram.frames)
        evidence = gain * self.classifier.frontend.inverse(spectrogram.masked(mask), ragged)
        remainder = gain * self.classifier.frontend.inverse(spectrogram.masked(1 - mask), ragged)
        table = {}
        if scores:
            generator = torch.Generator().manual_seed(0)
            table = score_against_controls(
                self.classifier, spectrogram, prediction, {self.method: mask}, generator=generator
            )
            table[self.method] |= self.interpreter.own_scores(decoded, prediction)
        names = list(names) if names is not None else [f"clip{i}" for i in range(len(waveforms))]
        frames = self.classifier.frontend.frames(lengths)
        frontend = Frontend(**self.classifier.frontend.config)
        maps = self.interpreter.maps(prediction)
        results = []
        for i, (name, samples, count) in enumerate(zip(names, lengths.tolist(), frames.tolist(), strict=True)):
            row = {key: {score: float(v[i]) for score, v in values.items()} for key, values in table.items()}
            parts = None if components is None else components[i].cpu()
            results.append(
                Explanation(
                    label=self.labels[int(prediction.explained[i])],
                    predicted=self.labels[int(prediction.predicted[i])],
                    probabilities=dict(zip(self.labels, prediction.probabilities[i].tolist(), strict=True)),
                    mask=mask[i, :, :count].cpu(),
                    original=padded[i, :samples].cpu(),
                    evidence=evidence[i, :samples].cpu(),
                    remainder=remainder[i, :samples].cpu(),
                    log_magnitude=spectrogram.log_magnitude[i, :, :count].cpu(),
                    sample_rate_hz=self.sample_rate_hz,
                    method=self.method,
                    scores=row.pop(self.method, {}),
                    controls=row,
                    name=name,
                    notes=self._notes(target, float(gain[i]), parts),
                    components=parts,
                    frontend=frontend,
                    maps={key: values[i].cpu() for key, values in maps.items()},
                )
            )
        return results

    @property
    def method(self) -> str:
        """Name of the interpreter, as tables show it."""
        return method_name(self.interpreter)

    def _notes(self, target: str | None, peak: float, components: Components | None) -> list[str]:
        notes = []
        if target is not None and not self.interpreter.class_specific:
            notes.append("this interpreter explains the representation: its mask is the same for every target")
        if peak == 0:
            notes.append("the recording is silent")
        if components is not None and not components.relevant:
            notes.append(_NO_COMPONENT)
        return notes


def load(path: str | os.PathLike[str]) -> Explainer:
    """Opens a model folder that the training of an interpreter wrote.

    Args:
        path: The folder ``model`` in the output folder of ``otoscope train`` or of a recipe.

    Raises:
        CheckpointError: The folder is missing, incomplete, newer than this version, or holds only a
            classifier.
    """
    interpreter, classifier = load_interpreter(path)
    return Explainer(classifier, interpreter)


def method_name(interpreter: Interpreter[Any]) -> str:
    """Name of an interpreter's method, as tables show it."""
    return type(interpreter).__name__.removesuffix("Interpreter")


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(json_values(content), file, indent=2, ensure_ascii=False)
            file.write("\n")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def json_values(content: Any) -> Any:
    """The same content with null for every number that JSON cannot hold."""
    if isinstance(content, dict):
        return {name: json_values(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [json_values(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _wav_bytes(waveform: Tensor, sample_rate_hz: int) -> bytes:
    import soundfile

    buffer = BytesIO()
    soundfile.write(buffer, waveform.numpy(), sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _without_nan(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else round(value, 6) for name, value in scores.items()}
