"""Classifier and interpreter together: the path of one recording."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Frontend, MonoWaveform, open_recording
from otoscope.classifiers import Classifier
from otoscope.classifiers.base import require_classifier
from otoscope.errors import ConfigurationError, ShapeError, UnsuitableMethodError
from otoscope.explain.analysis import Analysis, analyse
from otoscope.explain.contrast import contrast
from otoscope.explain.notes import Explained, limit_notes, mask_notes, unheard_notes
from otoscope.explain.results import BatchInterpretation, FileInterpretation
from otoscope.explain.scored import ScoredBatch, score_batch
from otoscope.explanation import Explanation, Explanations
from otoscope.interpreters import Components, Interpreter
from otoscope.interpreters.base import write_interpreter
from otoscope.interpreters.sufficiency import Sufficiency, find_sufficient
from otoscope.methods import GRADIENT_FREE, title_of
from otoscope.store.folder import open_model
from otoscope.store.sharing import Shareable
from otoscope.views import Shown


class Explainer(Shown, Shareable):
    """Classifier and interpreter together: recording in, `Explanation` out.

    Args:
        classifier: Classifier to explain, or a pipeline of `transformers`.
        interpreter: Interpreter that makes the masks.

    Raises:
        ConfigurationError: The classifier is another object, such as a module of PyTorch.
    """

    view = "explainer"

    def __init__(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        # Frozen: gradient methods differentiate towards the input, and nothing is trained any more.
        self.classifier = require_classifier(classifier).freeze()
        self.interpreter = interpreter.eval().requires_grad_(False)
        self.details = interpreter.details

    def __repr__(self) -> str:
        count = len(self.labels)
        classes = f"{count} class{'' if count == 1 else 'es'}"
        name = type(self.classifier).__name__
        return f"Explainer({self.method} of {name}, {classes}, {self.sample_rate_hz} Hz)"

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        return self.classifier.labels

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of all waveforms, in and out."""
        return self.classifier.frontend.sample_rate_hz

    @property
    def method(self) -> str:
        """Title of the interpreter's method, as tables show it."""
        return title_of(type(self.interpreter))

    def to(self, device: str | torch.device) -> Explainer:
        """Move both networks to a device."""
        self.classifier.to(device)
        self.interpreter.to(device)
        return self

    def between(self, target: str, against: str) -> Explainer:
        """Return an explainer of the decision between two classes with the same method; see `contrast`."""
        return Explainer(*contrast(self.interpreter, target, against))

    def explain(
        self,
        audio: Any,
        target: str | None = None,
        scores: bool = True,
        name: str | None = None,
        threshold: float | None = None,
        sample_rate_hz: float | None = None,
        channel: int | None = None,
        normalize: bool | None = None,
        against: str | None = None,
    ) -> Explanation:
        """Explain one recording.

        Args:
            audio: Path of a sound file; samples as a tensor, array or list, of shape (samples,), (channels,
                samples) or (samples, channels), where the shorter axis is that of the channels; or a mapping with
                ``array`` and ``sampling_rate``, as in data sets of Hugging Face. Integers are divided by their full
                scale; see `otoscope.audio.to_mono`.
            target: Class to explain (default: the predicted one).
            scores: Whether to compute the scores of the method and of its controls, and the sufficient and the
                necessary share (32 more runs of the classifier).
            name: Name of the recording (default: the file name without its ending).
            threshold: Threshold that replaces the interpreter's: the relevance of L2I's components, the quantile of
                AMT, the area of attributions (a share instead of the smallest that suffices), or the threshold of
                PIQ's softplus mask.
            sample_rate_hz: Sample rate of samples in memory, which are resampled (default: that of the classifier,
                `sample_rate_hz`). Files and mappings state their own.
            channel: Channel to explain, counted from 0 (default: the average of all, with a note).
            normalize: Whether to scale the recording to a peak of 1 for the networks (default: as they were
                trained, see `Classifier.normalize`).
            against: Class that the target is compared with: why the target rather than this class? The
                probabilities of the explanation are then those of the two classes alone; see `between`.

        Raises:
            AudioError: The file cannot be read as sound, samples are not finite, the channels cancel out, or there
                is no such channel.
            ConfigurationError: The classifier does not know the target, the interpreter has no threshold, or the
                sample rate is implausible or contradicts that of the recording.
            ShapeError: The samples have another shape, are empty, or are no numbers.
        """
        if name is None:
            name = Path(audio).stem if isinstance(audio, str | os.PathLike) else "clip"
        if against is not None:
            if target is None:
                raise ConfigurationError(f"against: {against!r} is compared with a target; name the target too")
            pair = self.between(target, against)
            return pair.explain(audio, target, scores, name, threshold, sample_rate_hz, channel, normalize)
        recordings = [audio]
        return self.explain_batch(
            recordings, target, scores, [name], threshold, sample_rate_hz, channel, normalize
        )[0]

    def interpret_file(
        self,
        path: str | os.PathLike[str],
        target: str | None = None,
        threshold: float | None = None,
        normalize: bool | None = None,
        channel: int | None = None,
    ) -> FileInterpretation:
        """Return the evidence of one sound file, without scores and pictures.

        Args:
            path: Sound file; it is resampled to `sample_rate_hz` and mixed down to one channel.
            target: Class to explain (default: the predicted one).
            threshold: Threshold that replaces the interpreter's; see `explain`.
            normalize: Whether to scale the recording to a peak of 1 for the networks; see `explain`.
            channel: Channel to explain, counted from 0 (default: the average of all).

        Raises:
            AudioError: The file cannot be read as sound.
            ConfigurationError: The classifier does not know the target, or the interpreter has no threshold.
        """
        evidence, labels, rate = self.interpret_batch([path], target, threshold, normalize, channel=channel)
        return FileInterpretation(evidence[0], labels[0], rate)

    @torch.no_grad()
    def interpret_batch(
        self,
        wavs: Tensor | Sequence[Any],
        target: str | Sequence[str] | None = None,
        threshold: float | None = None,
        normalize: bool | None = None,
        sample_rate_hz: float | None = None,
        channel: int | None = None,
    ) -> BatchInterpretation:
        """Return the evidence of several clips from one run of the networks, on the device of the networks.

        Args:
            wavs: Recordings, as `explain` takes them, of any lengths and on any device, such as a tensor of shape
                (batch, samples).
            target: Class to explain, or one class for each clip (default: the predicted ones).
            threshold: Threshold that replaces the interpreter's; see `explain`.
            normalize: Whether to scale each clip to a peak of 1 for the networks (default: as they were trained;
                see `explain`).
            sample_rate_hz: Sample rate of samples in memory; see `explain`.
            channel: Channel to explain; see `explain`.

        Raises:
            AudioError: A recording cannot be used; see `explain`.
            ConfigurationError: The classifier does not know a target, or the interpreter has no threshold.
            ShapeError: The waveforms have another shape.
        """
        sounds = [sound.samples for sound in self._open(wavs, sample_rate_hz, channel)]
        analysis = analyse(self.classifier, sounds, target, normalize)
        decoded = self.interpreter.decode(analysis.spectrogram, analysis.prediction)
        mask, _, _ = self._cut(self.interpreter.with_threshold(threshold), decoded, analysis)
        labels = [self.labels[index] for index in analysis.prediction.explained.tolist()]
        evidence = analysis.masked_sound(mask)
        # silence where the classifier hears nothing
        evidence = F.pad(evidence, (0, max(map(len, sounds)) - evidence.shape[-1]))
        return BatchInterpretation(evidence, labels, self.sample_rate_hz)

    @torch.no_grad()
    def explain_batch(
        self,
        waveforms: Tensor | Sequence[Any],
        target: str | None = None,
        scores: bool = True,
        names: Sequence[str] | None = None,
        threshold: float | None = None,
        sample_rate_hz: float | None = None,
        channel: int | None = None,
        normalize: bool | None = None,
    ) -> Explanations:
        """Explain several recordings, of any lengths, in one run of the networks.

        Args:
            waveforms: Recordings, as `explain` takes them.
            target: Class to explain (default: the predicted ones).
            scores: Whether to compute the scores; see `explain`.
            names: Names of the recordings (default: ``clip0``, ``clip1`` and so on).
            threshold: Threshold that replaces the interpreter's; see `explain`.
            sample_rate_hz: Sample rate of samples in memory; see `explain`.
            channel: Channel to explain; see `explain`.
            normalize: Whether to scale each recording to a peak of 1 for the networks; see `explain`.
        """
        sounds = self._open(waveforms, sample_rate_hz, channel, names)
        analysis = analyse(self.classifier, [sound.samples for sound in sounds], target, normalize)
        spectrogram, prediction = analysis.spectrogram, analysis.prediction
        # The network runs once. A threshold only changes how masks are cut from its result.
        decoded = self.interpreter.decode(spectrogram, prediction)
        # A copy, because other threads may use this explainer with other thresholds.
        interpreter = self.interpreter.with_threshold(threshold)
        mask, importance, searches = self._cut(interpreter, decoded, analysis, search=scores)
        components = interpreter.components(decoded, spectrogram)
        names = list(names) if names is not None else [f"clip{i}" for i in range(len(sounds))]
        scored = score_batch(analysis, self.method, mask, names) if scores else None
        if scored is not None:
            # method-specific scores exist for the method only, not for the controls
            scored.heard[self.method] |= self.interpreter.own_scores(decoded, prediction)
        explanations = self._explanations(analysis, names, mask, importance, searches, scored, components, target)
        for explanation, sound in zip(explanations, sounds, strict=True):
            explanation.notes += sound.notes
            explanation.notes += unheard_notes(explanation.original, sound.samples, self.sample_rate_hz)
        return Explanations(explanations)

    def _open(
        self,
        recordings: Any,
        sample_rate_hz: float | None,
        channel: int | None,
        names: Sequence[str] | None = None,
    ) -> list[MonoWaveform]:
        """Return recordings as mono waveforms at the sample rate of the classifier."""
        if isinstance(recordings, str | os.PathLike | Mapping | MonoWaveform) or not hasattr(
            recordings, "__iter__"
        ):
            raise ShapeError(
                f"expected a sequence of recordings, got {type(recordings).__name__}; put a single one into a list"
            )
        recordings = list(recordings)
        names = names or [f"waveform {i}" for i in range(len(recordings))]
        if not recordings or len(recordings) != len(names):
            raise ShapeError(f"expected one or more recordings, and a name for each; got {len(recordings)}")
        rate_hz = self.sample_rate_hz
        return [
            open_recording(audio, rate_hz, sample_rate_hz, channel, name)
            for audio, name in zip(recordings, names, strict=True)
        ]

    def _cut(
        self, interpreter: Interpreter[Any], decoded: Any, analysis: Analysis, search: bool = False
    ) -> tuple[Tensor, Tensor, list[Sufficiency] | None]:
        """Return the mask, the map that it was cut from, and the shares that suffice, if they were searched for.

        Args:
            interpreter: Interpreter with the threshold of the masks.
            decoded: Result of the interpreter's ``decode``.
            analysis: Clips.
            search: Whether to search for the shares even if the mask does not depend on them.
        """
        spectrogram = analysis.spectrogram
        importance = spectrogram.zero_padding(interpreter.output(decoded, spectrogram))
        self._require_finite(importance)
        searches = None
        if search or interpreter.share is not None:
            searches = find_sufficient(
                self.classifier,
                spectrogram,
                analysis.prediction,
                importance,
                interpreter.neutral,
                analysis.normalize,
            )
        if searches is not None and interpreter.share is not None:
            mask = torch.stack([result.mask_of(interpreter.share) for result in searches])
        else:
            mask = interpreter.mask(decoded, spectrogram)
        self._require_finite(mask)
        return mask, importance, searches

    def _require_finite(self, values: Tensor) -> None:
        # NaN would spread to the sounds and to every score, where its cause is hard to see
        if bool(values.isnan().any()):
            raise UnsuitableMethodError(
                f"{self.method}: its mask is not finite for this recording and classifier; try another method, "
                f"such as {', '.join(GRADIENT_FREE)}"
            )

    def _explanations(
        self,
        analysis: Analysis,
        names: Sequence[str],
        mask: Tensor,
        importance: Tensor,
        searches: Sequence[Sufficiency] | None,
        scored: ScoredBatch | None,
        components: Sequence[Components] | None,
        target: str | None,
    ) -> list[Explanation]:
        """Cut the results of a batch into clips without padding, on the CPU."""
        spectrogram, prediction = analysis.spectrogram, analysis.prediction
        # Masks multiply the logarithm of the magnitude: evidence and remainder add up to the recording only if the
        # mask holds nothing but zeros and ones.
        evidence, remainder = analysis.masked_sound(mask), analysis.masked_sound(1 - mask)
        maps = self.interpreter.maps(prediction)
        # a copy on the CPU, like everything that an explanation holds
        frontend = Frontend(**self.classifier.frontend.config)
        explanations = []
        for i, (name, samples) in enumerate(zip(names, analysis.lengths.tolist(), strict=True)):
            # the batch was padded to its longest clip; each explanation gets its own length back
            count = self.classifier.frontend.frames(samples)
            parts = None if components is None else components[i].cpu()
            search = None if searches is None else searches[i].cut(count)
            peak = float(analysis.waveform[i].abs().max())
            explained = Explained(peak, mask[i], importance[i], search, parts)
            scores, controls = scored.heard_row(i) if scored else ({}, {})
            mask_scores, mask_controls = scored.seen_row(i) if scored else ({}, {})
            heard = scored.parts[:, i].tolist() if scored else ([], [])
            explanations.append(
                Explanation(
                    label=self.labels[int(prediction.explained[i])],
                    predicted=self.labels[int(prediction.predicted[i])],
                    probabilities=dict(zip(self.labels, prediction.probabilities[i].tolist(), strict=True)),
                    mask=mask[i, :, :count].cpu(),
                    original=analysis.waveform[i, :samples].cpu(),
                    evidence=evidence[i, :samples].cpu(),
                    remainder=remainder[i, :samples].cpu(),
                    log_magnitude=spectrogram.log_magnitude[i, :, :count].cpu(),
                    sample_rate_hz=self.sample_rate_hz,
                    method=self.method,
                    scores=scores,
                    controls=controls,
                    mask_scores=mask_scores,
                    mask_controls=mask_controls,
                    evidence_probabilities=dict(zip(self.labels, heard[0], strict=bool(scored))),
                    remainder_probabilities=dict(zip(self.labels, heard[1], strict=bool(scored))),
                    importance=importance[i, :, :count].cpu(),
                    sufficiency=search,
                    name=name,
                    notes=self._notes(explained, target is not None, float(prediction.probabilities[i].max())),
                    components=parts,
                    frontend=frontend,
                    maps={key: values[i].cpu() for key, values in maps.items()},
                    normalized=analysis.normalize,
                )
            )
        return explanations

    def _notes(self, explained: Explained, is_asked_for: bool, confidence: float) -> list[str]:
        """Return what limits an explanation: remarks on the classifier, the mask and the confidence."""
        return [
            *([] if self.classifier.remark is None else [self.classifier.remark]),
            *mask_notes(self.interpreter, self.method, explained, is_asked_for),
            *limit_notes(self.classifier, confidence),
        ]

    @override
    def write_model(self, folder: Path, **details: Any) -> None:
        write_interpreter(self.interpreter, self.classifier, folder, **details)

    @classmethod
    @override
    def from_pretrained(cls, source: str | os.PathLike[str], revision: str | None = None) -> Self:
        interpreter, classifier = open_model(source, revision, role="interpreter")
        return cls(classifier, interpreter)
