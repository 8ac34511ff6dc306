"""From a recording to an `Explanation`: the whole story on one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import Frontend, load_audio, peak_normalize
from otoscope.classifiers import Classifier, load_classifier
from otoscope.errors import ConfigurationError, ShapeError
from otoscope.explanation import NO_COMPONENT, Explanation
from otoscope.interpreters import UNTRAINED, Components, Interpreter, is_untrained, load_interpreter, make_untrained
from otoscope.scoring import score_against_controls


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
        device = self.classifier.frontend.window.device
        padded = torch.nn.utils.rnn.pad_sequence([w.float() for w in waveforms], batch_first=True).to(device)
        lengths = torch.tensor([len(w) for w in waveforms], device=device)
        ragged = lengths if bool((lengths != lengths[0]).any()) else None
        gain = padded.abs().amax(-1, keepdim=True)
        spectrogram = self.classifier.frontend(peak_normalize(padded), ragged)
        prediction = self.classifier.predict(spectrogram.log_magnitude, spectrogram.frames, spectrogram.phase)
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
            notes.append(NO_COMPONENT)
        return notes


def load(path: str | os.PathLike[str], method: str | None = None, **options: Any) -> Explainer:
    """Opens a model folder that a training wrote.

    Args:
        path: The folder ``model`` in the output folder of ``otoscope train`` or of a recipe.
        method: By default that of the interpreter in the folder. The name of one that needs no training (see
            `otoscope.interpreters.UNTRAINED`) explains the folder's classifier with that one.
        **options: Of such a method.

    Raises:
        CheckpointError: The folder is missing, incomplete, newer than this version, or holds only a
            classifier and no method is named.
        ConfigurationError: The folder holds another method, and the one named needs training or does not exist.
    """
    if method is not None and is_untrained(method):
        classifier = load_classifier(path)
        return Explainer(classifier, make_untrained(method, classifier, **options))
    interpreter, classifier = load_interpreter(path)
    explainer = Explainer(classifier, interpreter)
    if method is not None and method.lower() != explainer.method.lower():
        raise ConfigurationError(
            f"method: {path} holds {explainer.method}, not {method}; without training there are "
            f"{', '.join(sorted(UNTRAINED))}"
        )
    if options:
        raise ConfigurationError(f"{', '.join(options)}: {explainer.method} comes with its options from {path}")
    return explainer


def method_name(interpreter: Interpreter[Any]) -> str:
    """Name of an interpreter's method, as tables show it."""
    return type(interpreter).__name__.removesuffix("Interpreter")
