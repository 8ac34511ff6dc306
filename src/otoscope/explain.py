"""From a recording to an `Explanation`: the whole story on one page."""

from __future__ import annotations

import base64
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import load_audio, peak_normalize, save_audio
from otoscope.classifiers import Classifier
from otoscope.errors import OtoscopeError, ShapeError
from otoscope.interpreters import Interpreter, load_interpreter
from otoscope.pictures import save_picture, spectra_picture
from otoscope.scoring import score_against_controls

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes ``original.wav interpretation.wav remainder.wav spectra.png explanation.json``.

        Raises:
            OtoscopeError: The folder cannot be written.
        """
        folder = Path(folder)
        save_audio(folder / "original.wav", self.original, self.sample_rate_hz)
        save_audio(folder / "interpretation.wav", self.evidence, self.sample_rate_hz)
        save_audio(folder / "remainder.wav", self.remainder, self.sample_rate_hz)
        try:
            save_picture(self.plot(), folder / "spectra.png")
            write_json(folder / "explanation.json", self.to_dict())
        except OSError as error:
            raise OtoscopeError(
                f"{folder}: cannot be written ({error}); check the folder and the free space"
            ) from error
        return folder

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
    ) -> Explanation:
        """Explains one recording.

        Args:
            audio: A sound file, or a mono waveform (tensor or array) at `sample_rate_hz`, shape (samples,).
            target: Explain this class instead of the predicted one.
            scores: Compute the scores and those of the controls (ten more runs of the classifier).
            name: Of the recording; by default the file's.

        Raises:
            AudioError: The file is no usable sound.
            ConfigurationError: The classifier does not know the target.
        """
        if isinstance(audio, Tensor | np.ndarray):
            waveform, name = torch.as_tensor(audio), name or "clip"
        else:
            waveform, name = load_audio(audio, self.sample_rate_hz), name or Path(audio).stem
        if waveform.ndim != 1 or len(waveform) == 0:
            raise ShapeError(f"expected one mono waveform, got shape {tuple(waveform.shape)}")
        return self.explain_batch([waveform], target, scores, [name])[0]

    @torch.no_grad()
    def explain_batch(
        self,
        waveforms: Sequence[Tensor],
        target: str | None = None,
        scores: bool = True,
        names: Sequence[str] | None = None,
    ) -> list[Explanation]:
        """Explains several recordings, of any lengths, in one run of the networks.

        Args:
            waveforms: Mono, at `sample_rate_hz`. Shape each (samples,).
            target: Explain this class instead of the predicted ones.
            scores: See `explain`.
            names: Of the recordings.
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
        mask = self.interpreter(spectrogram.log_magnitude, prediction, spectrogram.frames)
        evidence = gain * self.classifier.frontend.inverse(spectrogram.masked(mask), ragged)
        remainder = gain * self.classifier.frontend.inverse(spectrogram.masked(1 - mask), ragged)
        table = {}
        if scores:
            generator = torch.Generator().manual_seed(0)
            table = score_against_controls(
                self.classifier, spectrogram, prediction, {self.method: mask}, generator=generator
            )
        names = list(names) if names is not None else [f"clip{i}" for i in range(len(waveforms))]
        frames = self.classifier.frontend.frames(lengths)
        results = []
        for i, (name, samples, count) in enumerate(zip(names, lengths.tolist(), frames.tolist(), strict=True)):
            row = {key: {score: float(v[i]) for score, v in values.items()} for key, values in table.items()}
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
                    notes=self._notes(target, float(gain[i])),
                )
            )
        return results

    @property
    def method(self) -> str:
        """Name of the interpreter, as tables show it."""
        return method_name(self.interpreter)

    def _notes(self, target: str | None, peak: float) -> list[str]:
        notes = []
        if target is not None and not self.interpreter.class_specific:
            notes.append("this interpreter explains the representation: its mask is the same for every target")
        if peak == 0:
            notes.append("the recording is silent")
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
