"""Batches of clips with everything that no method changes, and the classification of masked clips."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.audio.padding import valid_frames
from otoscope.classifiers import Classifier, Prediction
from otoscope.data import Batch, annotated_bins
from otoscope.metrics import ideal_mask
from otoscope.metrics.ranking import neutral_order


@dataclass(frozen=True)
class Truth:
    """The part of each clip that belongs to its label.

    Attributes:
        event: Sound of that part. Shape (batch, samples).
        ideal: Ideal mask: 1 where the part is louder than the rest. Shape (batch, frequency, time).
        lead: Magnitude of the part minus that of the rest, the ideal ranking of the bins. Same shape.
    """

    event: Tensor
    ideal: Tensor
    lead: Tensor


@dataclass(frozen=True)
class Answers:
    """What the classifier answers to one mask of each clip.

    Attributes:
        seen: Probabilities of evidence and remainder, from the masked spectrograms. Shape (2, batch, classes).
        heard: The same from their sounds. Same shape.
        sound: Scores of the sound of the evidence; none if the truth is not known. Shape of each (batch,).
    """

    seen: Tensor
    heard: Tensor
    sound: dict[str, Tensor]


@dataclass(frozen=True)
class ClassifiedBatch:
    """Clips, the classifier's prediction, and the order of equal bins.

    Attributes:
        classifier: Classifier that is explained.
        names: Names of the clips.
        waveform: Waveforms, padded with zeros. Shape (batch, samples).
        spectrogram: Spectrogram of the clips, with valid frames and samples where clips were padded.
        prediction: Prediction of the classifier for the clips.
        order: Order of bins of equal importance in each clip; see `neutral_order`.
        inputs_at_once: Largest number of inputs that are classified at a time.
        truth: Part of each clip that belongs to its label; None if it is not known.
        annotated: Bins that a person has marked as events of the explained label, nowhere in clips without any;
            None if no clip of the batch has annotations. Shape (batch, frequency, time).
        answers: Answers of the classifier to masks that it has been asked about, by `digest` of the mask.
        silences: Its answers to silence by number of samples, which batches can share; see `silence_of`.
    """

    classifier: Classifier
    names: list[str]
    waveform: Tensor
    spectrogram: Spectrogram
    prediction: Prediction
    order: list[Tensor]
    inputs_at_once: int
    truth: Truth | None
    annotated: Tensor | None = None
    answers: dict[str, Answers] = field(default_factory=dict)
    silences: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @cached_property
    def direction(self) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the phase, which all masks share. Shape of each (batch, time, frequency)."""
        phase = self.spectrogram.require_phase("the sound of a mask").float().transpose(1, 2).contiguous()
        return phase.cos(), phase.sin()

    @cached_property
    def everything(self) -> str:
        """Digest of the mask that keeps everything but the padding."""
        return digest(self.zero_padding(torch.ones_like(self.spectrogram.log_magnitude)))

    @cached_property
    def whole(self) -> Tensor:
        """Log magnitude, 0 in the padding. Shape (batch, frequency, time)."""
        return self.zero_padding(self.spectrogram.log_magnitude)

    def versions(self, log_magnitudes: Tensor) -> Spectrogram:
        """Return the clips with other log magnitudes, without a phase unless the classifier needs it.

        Args:
            log_magnitudes: Log magnitudes, shape (versions, batch, frequency, time).

        Returns:
            Spectrograms of all versions; row = version * clips + clip.
        """
        count, spectrogram = len(log_magnitudes), self.spectrogram
        phase = spectrogram.phase if self.classifier.needs_phase else None
        return replace(
            spectrogram,
            log_magnitude=log_magnitudes.flatten(0, 1),
            phase=None if phase is None else phase.repeat(count, 1, 1),
            frames=None if spectrogram.frames is None else spectrogram.frames.repeat(count),
            lengths=None if spectrogram.lengths is None else spectrogram.lengths.repeat(count),
        )

    @property
    def frames(self) -> Tensor | None:
        """Valid frames of each clip, where clips were padded. Shape (batch,)."""
        return self.spectrogram.frames

    def zero_padding(self, mask: Tensor) -> Tensor:
        """Set a mask to 0 in the padding, whatever it holds there."""
        valid = valid_frames(self.frames, mask)
        # Filled, not multiplied: a mask may hold NaN in the padding, and 0 * NaN is NaN.
        return mask if valid is None else mask.masked_fill(valid == 0, 0.0)


@dataclass(frozen=True)
class MaskedProbabilities:
    """Class probabilities of masked clips.

    Attributes:
        seen: Probabilities from the masked spectrograms. Shape (masks, batch, classes).
        heard: Probabilities from the sounds of the masked spectrograms, analysed again; None if they were not
            requested. Same shape.
        sounds: These sounds; None if they were not requested, or the truth is not known. Shape (masks, batch,
            samples).
    """

    seen: Tensor
    heard: Tensor | None
    sounds: Tensor | None

    def of(self, mask: int) -> MaskedProbabilities:
        """Return the part of one mask, of the same dimensions."""
        part = slice(mask, mask + 1)
        heard = None if self.heard is None else self.heard[part]
        return MaskedProbabilities(self.seen[part], heard, None if self.sounds is None else self.sounds[part])


@torch.no_grad()
def classify_batch(
    classifier: Classifier,
    batch: Batch,
    seed: int,
    device: torch.device | str = "cpu",
    silences: dict[int, tuple[Tensor, Tensor]] | None = None,
) -> ClassifiedBatch:
    """Analyse and classify the clips of a batch.

    Args:
        classifier: Classifier, frozen.
        batch: Clips.
        seed: Seed of the order of equal bins.
        device: Device that the classifier is on.
        silences: See `ClassifiedBatch.silences` (default: none are known).
    """
    batch = _heard_part(classifier, batch)
    waveform = batch.waveform.to(device)
    lengths = batch.lengths.to(device) if batch.padded else None
    # Data sets hold clips at a peak of 1. A classifier that was not trained so hears recordings at their own level.
    level = _heard_level(classifier, batch).to(device)
    waveform = level * waveform
    spectrogram: Spectrogram = classifier.frontend(waveform, lengths)
    truth = None
    if batch.event is not None:
        # Magnitudes do not add, so the rest is analysed as a sound: it is what remains of the waveform.
        event = level * batch.event.to(device)
        alone, rest = (classifier.frontend.log_magnitude(sound) for sound in (event, waveform - event))
        truth = Truth(event, ideal_mask(alone, rest, frames=spectrogram.frames), alone.expm1() - rest.expm1())
    prediction = classifier.predict(spectrogram)
    return ClassifiedBatch(
        classifier=classifier,
        names=batch.name,
        waveform=waveform,
        spectrogram=spectrogram,
        prediction=prediction,
        order=neutral_order(spectrogram.log_magnitude, batch.name, seed, spectrogram.frames),
        inputs_at_once=max(8, 2 * len(batch)),
        truth=truth,
        annotated=_annotated(classifier, batch, prediction, spectrogram),
        silences={} if silences is None else silences,
    )


def _annotated(
    classifier: Classifier, batch: Batch, prediction: Prediction, spectrogram: Spectrogram
) -> Tensor | None:
    """Return the bins of the annotated events of the explained labels; see `ClassifiedBatch.annotated`."""
    annotations = batch.annotations or []
    if all(events is None for events in annotations):
        return None
    result = torch.zeros_like(spectrogram.log_magnitude, dtype=torch.bool)
    for index, events in enumerate(annotations):
        label = classifier.labels[int(prediction.explained[index])]
        frames = int(classifier.frontend.frames(int(batch.lengths[index])))
        covered = annotated_bins(events or (), label, classifier.frontend, frames)
        result[index, :, :frames] = covered.to(result.device)
    return result


def _heard_part(classifier: Classifier, batch: Batch) -> Batch:
    """Return the clips as far as the classifier hears them."""
    lengths = batch.lengths.tolist()
    heard = [classifier.heard_samples(samples) for samples in lengths]
    if heard == lengths:
        return batch

    def cut(sounds: Tensor | None) -> Tensor | None:
        if sounds is None:
            return None
        pieces = [sound[:samples] for sound, samples in zip(sounds, heard, strict=True)]
        return torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)

    waveform = cut(batch.waveform)
    assert waveform is not None
    return replace(
        batch,
        waveform=waveform,
        lengths=torch.tensor(heard, device=batch.lengths.device),
        padded=len(set(heard)) > 1,
        event=cut(batch.event),
        clean=cut(batch.clean),
    )


def _heard_level(classifier: Classifier, batch: Batch) -> Tensor:
    """Return the factor from clips to what the classifier hears, shape (batch, 1) or (1, 1)."""
    if classifier.normalize:
        peak = batch.waveform.abs().amax(-1, keepdim=True)
        return 1 / torch.where(peak > 0, peak, torch.ones_like(peak))
    return torch.ones(1, 1) if batch.peak is None else batch.peak[:, None]


@torch.no_grad()
def classify_parts(batch: ClassifiedBatch, masks: Sequence[Tensor], heard: bool) -> MaskedProbabilities:
    """Classify the evidence and the remainder of masks as the classifier sees them, and as a listener hears them.

    A listener hears the masked spectrogram after the inverse transform, as an explanation saves it: as 32-bit
    float, so that nothing clips and nothing is rounded. The classifier is given that sound like a recording: see
    `Classifier.hear`.

    Args:
        batch: Clips.
        masks: Masks in [0, 1], 0 in the padding. Shape of each (batch, frequency, time).
        heard: Whether to classify the sounds too.

    Returns:
        Probabilities of the evidence of all masks, then those of their remainders. Sounds are those of the evidence
        only.
    """
    evidence, remainder = [], []
    whole = batch.whole.transpose(1, 2)
    # A mask at a time, evidence and remainder together: few spectrograms are in memory, and each is made once.
    for mask in masks:
        # With time first in memory, as the transforms have it: neither they nor the products copy anything.
        parts = whole.new_empty(2, *whole.shape)
        torch.mul(mask.transpose(1, 2), whole, out=parts[0])
        # Not (1 - mask) times the whole, which takes longer; they are equal up to rounding.
        torch.sub(whole, parts[0], out=parts[1])
        answer = classify_versions(batch, parts.transpose(-1, -2), heard)
        evidence.append(answer.of(0))
        remainder.append(answer.of(1))
    return _joined([*evidence, *remainder])


@torch.no_grad()
def silence_of(batch: ClassifiedBatch) -> tuple[Tensor, Tensor]:
    """Return the probabilities of silence as long as each clip, seen and heard. Shape of each (batch, classes).

    They are the same for all masks, methods and clips of one length, so that the classifier is asked once.
    """
    classifier, frontend, waveform = batch.classifier, batch.classifier.frontend, batch.waveform
    lengths = batch.spectrogram.lengths
    samples = [waveform.shape[-1]] * len(waveform) if lengths is None else lengths.tolist()
    for length in set(samples) - batch.silences.keys():
        seen = replace(frontend.silence(frontend.frames(length)), length=length)
        heard = classifier.hear(waveform.new_zeros(1, length), with_phase=classifier.needs_phase)
        batch.silences[length] = classifier.probabilities(seen)[0], classifier.probabilities(heard)[0]
    seen_of_all, heard_of_all = zip(*(batch.silences[length] for length in samples), strict=True)
    return torch.stack(seen_of_all), torch.stack(heard_of_all)


@torch.no_grad()
def classify_versions(batch: ClassifiedBatch, log_magnitudes: Tensor, heard: bool) -> MaskedProbabilities:
    """Classify clips with other log magnitudes and their own phase, as in `classify_parts`.

    Args:
        batch: Clips.
        log_magnitudes: Log magnitudes, shape (versions, batch, frequency, time).
        heard: Whether to classify the sounds too.
    """
    size = max(1, batch.inputs_at_once // len(batch.names))
    starts = range(0, len(log_magnitudes), size)
    return _joined([_classify(batch, log_magnitudes[start : start + size], heard) for start in starts])


def _classify(batch: ClassifiedBatch, log_magnitudes: Tensor, heard: bool) -> MaskedProbabilities:
    classifier, by_version = batch.classifier, (*log_magnitudes.shape[:2], -1)
    changed = batch.versions(log_magnitudes)
    seen = classifier.probabilities(changed).view(by_version)
    if not heard:
        return MaskedProbabilities(seen, None, None)
    # In general no sound has the masked spectrogram, so analysing its inverse gives a different one.
    sound = _sounds(batch, changed)
    again = classifier.hear(sound, changed.lengths, with_phase=classifier.needs_phase)
    from_sounds = classifier.probabilities(again).view(by_version)
    return MaskedProbabilities(seen, from_sounds, sound.view(by_version) if batch.truth is not None else None)


def _joined(answers: Sequence[MaskedProbabilities]) -> MaskedProbabilities:
    """Return the answers one after the other; what one lacks, all lack."""

    def join(parts: Sequence[Tensor | None]) -> Tensor | None:
        values = [part for part in parts if part is not None]
        return torch.cat(values) if len(values) == len(parts) else None

    return MaskedProbabilities(
        torch.cat([answer.seen for answer in answers]),
        join([answer.heard for answer in answers]),
        join([answer.sounds for answer in answers]),
    )


def _sounds(batch: ClassifiedBatch, changed: Spectrogram) -> Tensor:
    """Return the sounds of versions of the clips, padded as the clips are.

    Args:
        batch: Clips.
        changed: Spectrograms as `ClassifiedBatch.versions` returns them.
    """
    frontend, clips = batch.classifier.frontend, len(batch.names)
    # The phase is that of the clip whatever the mask, so that its sine and cosine are computed once.
    magnitude = changed.magnitude.float().transpose(1, 2)
    by_version = magnitude.view(-1, clips, *magnitude.shape[1:])
    parts = by_version.new_empty(*by_version.shape, 2)
    for place, factor in enumerate(batch.direction):
        torch.mul(by_version, factor, out=parts[..., place])
    transform = torch.view_as_complex(parts).flatten(0, 1).transpose(1, 2)
    if changed.lengths is None:
        return frontend.inverse_transform(transform, changed.length)
    # Without padding, whose silent frames would attenuate the last samples of a clip; clips of one length together.
    lengths = changed.lengths.tolist()
    sounds = magnitude.new_zeros(len(lengths), batch.waveform.shape[-1])
    for length in set(lengths):
        index = torch.tensor([place for place, other in enumerate(lengths) if other == length])
        sounds[index, :length] = frontend.inverse_transform(transform[index, :, : frontend.frames(length)], length)
    return sounds


def digest(mask: Tensor) -> str:
    """Return a text that identifies a mask by its values."""
    # With time first, as masks lie in memory, see `classify_parts`.
    values = mask.detach().cpu().transpose(1, 2).contiguous()
    return hashlib.sha1(values.numpy().data, usedforsecurity=False).hexdigest()
