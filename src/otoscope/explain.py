"""From a recording to an `Explanation`: the whole story on one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import Frontend, Spectrogram, load_audio, peak_normalize
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import (
    AudioError,
    CheckpointError,
    ConfigurationError,
    ShapeError,
    UnsuitableMethodError,
)
from otoscope.explanation import NO_COMPONENT, Explanation
from otoscope.interpreters import Components, Interpreter, is_untrained, make_untrained
from otoscope.interpreters.base import write_interpreter
from otoscope.loading import load_classifier, load_interpreter
from otoscope.methods import GRADIENT_FREE, UNTRAINED, same_method, title_of
from otoscope.scoring import score_against_controls
from otoscope.store.folder import open_model
from otoscope.store.sharing import Shareable


class FileInterpretation(NamedTuple):
    """What `Explainer.interpret_file` returns; can be unpacked in this order.

    Attributes:
        evidence: The sound that the decision rests on, mono. Shape (samples,).
        label: The class that is explained.
        sample_rate_hz: Of the sound.
    """

    evidence: Tensor
    label: str
    sample_rate_hz: int


class BatchInterpretation(NamedTuple):
    """What `Explainer.interpret_batch` returns; can be unpacked in this order.

    Attributes:
        evidence: The sounds that the decisions rest on; silence behind shorter clips. Shape (batch, samples).
        labels: The class that is explained, of each clip.
        sample_rate_hz: Of the sounds.
    """

    evidence: Tensor
    labels: list[str]
    sample_rate_hz: int


class Explainer(Shareable):
    """A classifier with an interpreter: recording in, `Explanation` out.

    Args:
        classifier: The classifier to explain.
        interpreter: Makes the masks.
    """

    def __init__(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        self.classifier = classifier.freeze()
        self.interpreter = interpreter.eval().requires_grad_(False)
        self.details = interpreter.details

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
            scores: Compute the scores and those of the controls (eight more runs of the classifier).
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

    def interpret_file(
        self,
        path: str | os.PathLike[str],
        target: str | None = None,
        threshold: float | None = None,
        normalize: bool | None = None,
    ) -> FileInterpretation:
        """The evidence of one sound file, alone: no scores, no pictures.

        Args:
            path: Sound file; brought to `sample_rate_hz` and one channel.
            target: Explain this class instead of the predicted one.
            threshold: See `explain`.
            normalize: See `interpret_batch`.

        Raises:
            AudioError: The file is no usable sound.
            ConfigurationError: The classifier does not know the target, or the interpreter no threshold.
        """
        waveform = load_audio(path, self.sample_rate_hz)
        found = self.interpret_batch([waveform], target, threshold, normalize)
        return FileInterpretation(found.evidence[0], found.labels[0], found.sample_rate_hz)

    @torch.no_grad()
    def interpret_batch(
        self,
        wavs: Tensor | Sequence[Tensor],
        target: str | Sequence[str] | None = None,
        threshold: float | None = None,
        normalize: bool | None = None,
    ) -> BatchInterpretation:
        """The evidence of several clips in one run of the networks, on the device that these are on.

        Args:
            wavs: Mono, at `sample_rate_hz`, on any device. Shape (batch, samples), or a sequence of (samples,) of
                any lengths.
            target: Explain this class instead of the predicted ones; or one for each clip.
            threshold: See `explain`.
            normalize: Bring each clip to a peak of 1 for the networks, as trainings do, and `explain`. By default
                that is done, except with models that come from SpeechBrain: its interface takes clips as they are.

        Raises:
            ConfigurationError: The classifier does not know a target, or the interpreter no threshold.
            ShapeError: The waveforms have another shape.
        """
        if normalize is None:
            normalize = bool(self.details.get("normalize", True))
        heard = self._hear(list(wavs), target, normalize)
        frames = heard.spectrogram.frames
        decoded = self.interpreter.decode(heard.spectrogram.log_magnitude, heard.prediction, frames)
        with self.interpreter.at_threshold(threshold):
            mask = self.interpreter.mask(decoded, frames)
        labels = [self.labels[index] for index in heard.prediction.explained.tolist()]
        return BatchInterpretation(self._sound(heard, mask), labels, self.sample_rate_hz)

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
        heard = self._hear(waveforms, target)
        padded, lengths, gain = heard.waveform, heard.lengths, heard.gain
        spectrogram, prediction = heard.spectrogram, heard.prediction
        decoded = self.interpreter.decode(spectrogram.log_magnitude, prediction, spectrogram.frames)
        with self.interpreter.at_threshold(threshold):
            mask = self.interpreter.mask(decoded, spectrogram.frames)
            components = self.interpreter.components(decoded, spectrogram.frames)
        if bool(mask.isnan().any()):
            raise UnsuitableMethodError(
                f"{self.method}: its mask is not finite for this recording and classifier; another method may do, "
                f"such as {', '.join(GRADIENT_FREE)}"
            )
        evidence, remainder = self._sound(heard, mask), self._sound(heard, 1 - mask)
        names = list(names) if names is not None else [f"clip{i}" for i in range(len(waveforms))]
        table = {}
        if scores:
            table = score_against_controls(self.classifier, spectrogram, prediction, {self.method: mask}, names)
            table[self.method] |= self.interpreter.own_scores(decoded, prediction)
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

    def _hear(
        self, waveforms: Sequence[Tensor], target: str | Sequence[str] | None, normalize: bool = True
    ) -> _Heard:
        """What the classifier says of waveforms, which may be of different lengths."""
        if not len(waveforms) or any(one.ndim != 1 or len(one) == 0 for one in waveforms):
            shapes = ", ".join(str(tuple(one.shape)) for one in waveforms) or "none"
            raise ShapeError(f"expected mono waveforms of shape (samples,) each, got {shapes}")
        if broken := [i for i, one in enumerate(waveforms) if not bool(one.isfinite().all())]:
            raise AudioError(
                f"waveform {broken[0]}: holds NaN or infinite values; repair or leave out the recording"
            )
        device = self.classifier.frontend.window.device
        padded = torch.nn.utils.rnn.pad_sequence([w.float() for w in waveforms], batch_first=True).to(device)
        lengths = torch.tensor([len(w) for w in waveforms], device=device)
        ragged = lengths if bool((lengths != lengths[0]).any()) else None
        gain = padded.abs().amax(-1, keepdim=True) if normalize else torch.ones_like(padded[:, :1])
        spectrogram = self.classifier.frontend(peak_normalize(padded) if normalize else padded, ragged)
        prediction = self.classifier.predict(spectrogram.log_magnitude, spectrogram.frames, spectrogram.phase)
        if target is not None:
            targets = [target] * len(padded) if isinstance(target, str) else list(target)
            if len(targets) != len(padded):
                raise ConfigurationError(
                    f"target: {len(targets)} labels for {len(padded)} clips; give one, or each its own"
                )
            indices = [self.classifier.index_of(label) for label in targets]
            prediction = prediction.towards(torch.tensor(indices, device=device))
        return _Heard(padded, lengths, ragged, gain, spectrogram, prediction)

    def _sound(self, heard: _Heard, mask: Tensor) -> Tensor:
        """What a mask keeps, as loud as it was. Shape (batch, samples)."""
        masked = heard.spectrogram.masked(mask)
        sound: Tensor = heard.gain * self.classifier.frontend.inverse(masked, heard.ragged)
        return sound

    def write_model(self, folder: Path, **details: Any) -> None:
        """See `Shareable.write_model`."""
        write_interpreter(self.interpreter, self.classifier, folder, **details)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], revision: str | None = None) -> Self:
        """See `Shareable.from_pretrained`; `load` opens SpeechBrain's models too."""
        interpreter, classifier = open_model(source, revision, role="interpreter")
        return cls(classifier, interpreter)

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


@dataclass
class _Heard:
    """Waveforms, and what the classifier says of them."""

    waveform: Tensor
    lengths: Tensor
    ragged: Tensor | None
    gain: Tensor
    spectrogram: Spectrogram
    prediction: Prediction


def load(
    path: str | os.PathLike[str], method: str | None = None, revision: str | None = None, **options: Any
) -> Explainer:
    """Opens a model, wherever it comes from.

    Args:
        path: The folder ``model`` in the output folder of ``otoscope train`` or of a recipe; ``owner/name`` on the
            hub; a model folder of SpeechBrain's or the results of one of its trainings.
        method: By default that of the interpreter in the folder. The name of one that needs no training (see
            `otoscope.methods.UNTRAINED`) explains the folder's classifier with that one.
        revision: Branch, tag or commit on the hub.
        **options: Of such a method.

    Raises:
        CheckpointError: The folder is missing, incomplete, newer than this version, not to be trusted, or holds
            only a classifier and no method is named.
        DownloadError: The model cannot be fetched.
        ConfigurationError: The folder holds another method, and the one named needs training or does not exist.
    """
    if method is not None and is_untrained(method):
        classifier = load_classifier(path, revision)
        return Explainer(classifier, make_untrained(method, classifier, **options))
    try:
        interpreter, classifier = load_interpreter(path, revision)
    except CheckpointError as error:
        if method is None:
            raise
        raise ConfigurationError(
            f"method: {method!r} is none of {', '.join(UNTRAINED)}, which need no training; {error}"
        ) from error
    explainer = Explainer(classifier, interpreter)
    if method is not None and not same_method(method, explainer.method):
        raise ConfigurationError(
            f"method: {path} holds {explainer.method}, not {method}; without training there are "
            f"{', '.join(UNTRAINED)}"
        )
    if options:
        raise ConfigurationError(f"{', '.join(options)}: {explainer.method} comes with its options from {path}")
    return explainer


def method_name(interpreter: Interpreter[Any]) -> str:
    """Return the title of an interpreter's method, which tables and summaries show."""
    return title_of(type(interpreter))
