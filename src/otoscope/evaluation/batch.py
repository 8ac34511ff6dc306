"""A batch of clips with all that does not depend on the method: analysed, classified and ordered once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.audio.padding import valid_frames
from otoscope.classifiers import Classifier, Prediction
from otoscope.data import Batch
from otoscope.evaluation.areas import neutral_order
from otoscope.metrics import ideal_mask


@dataclass(frozen=True)
class Truth:
    """What truly belongs to the label.

    Attributes:
        event: Its sound. Shape (batch, samples).
        ideal: Where it is louder than the rest. Shape (batch, frequency, time).
        lead: Its magnitude minus that of the rest: ranks bins as one would who knows the truth. Same shape.
    """

    event: Tensor
    ideal: Tensor
    lead: Tensor


@dataclass(frozen=True)
class ClassifiedBatch:
    """Clips, what the classifier says of them, and the order of their equal bins.

    Attributes:
        classifier: The classifier that is explained.
        names: Of the clips.
        waveform: Shape (batch, samples).
        lengths: Samples of each clip where clips were padded, else None. Shape (batch,).
        spectrogram: Of the clips.
        prediction: The classifier's, of the clips as they are.
        order: See `neutral_order`.
        at_once: Inputs that the classifier gets at once, at most.
        truth: Where it is known.
    """

    classifier: Classifier
    names: list[str]
    waveform: Tensor
    lengths: Tensor | None
    spectrogram: Spectrogram
    prediction: Prediction
    order: list[Tensor]
    at_once: int
    truth: Truth | None

    @property
    def frames(self) -> Tensor | None:
        """Frames of each clip, where clips were padded."""
        return self.spectrogram.frames

    def inside(self, mask: Tensor) -> Tensor:
        """The mask with 0 in the padding."""
        keep = valid_frames(self.frames, mask)
        return mask if keep is None else mask.masked_fill(keep == 0, 0.0)


@dataclass(frozen=True)
class Answers:
    """What the classifier says of masked clips.

    Attributes:
        seen: Class probabilities from masked spectrograms. Shape (masks, batch, classes).
        heard: From the sounds of those, analysed again; None if not asked for. Same shape.
        sounds: Those sounds; None unless the truth is known. Shape (masks, batch, samples).
    """

    seen: Tensor
    heard: Tensor | None
    sounds: Tensor | None


@torch.no_grad()
def classify_batch(
    classifier: Classifier, batch: Batch, seed: int, device: torch.device | str = "cpu"
) -> ClassifiedBatch:
    """Runs front-end and classifier once.

    Args:
        classifier: Frozen.
        batch: The clips.
        seed: Of the order of equal bins.
        device: Where the classifier is.
    """
    waveform = batch.waveform.to(device)
    lengths = batch.lengths.to(device) if batch.padded else None
    spectrogram: Spectrogram = classifier.frontend(waveform, lengths)
    frames = spectrogram.frames
    prediction = classifier.predict(spectrogram.log_magnitude, frames, spectrogram.phase)
    truth = None
    if batch.event is not None:
        event = batch.event.to(device)
        alone, rest = (classifier.frontend.log_magnitude(sound) for sound in (event, waveform - event))
        truth = Truth(event, ideal_mask(alone, rest, frames=frames), alone.expm1() - rest.expm1())
    return ClassifiedBatch(
        classifier=classifier,
        names=batch.name,
        waveform=waveform,
        lengths=lengths,
        spectrogram=spectrogram,
        prediction=prediction,
        order=neutral_order(spectrogram.log_magnitude, batch.name, seed, frames),
        at_once=max(8, 2 * len(batch)),
        truth=truth,
    )


@torch.no_grad()
def ask(batch: ClassifiedBatch, masks: Tensor, hear: bool) -> Answers:
    """Asks the classifier about masked clips, in the mask's domain and in that of the listener.

    The listener's: the masked spectrogram becomes sound through the inverse transform, as an explanation saves it
    (32-bit float, so nothing clips and nothing is rounded, at the level that it has in the normalised clip), and
    the front-end analyses that sound as it would a recording.

    Args:
        batch: The clips.
        masks: Shape (masks, batch, frequency, time).
        hear: Whether to ask in the listener's domain too.
    """
    seen, heard, sounds = [], [], []
    for rows in _portions(masks.shape[0] * masks.shape[1], batch.at_once):
        part = _masked(batch, masks, rows)
        seen.append(batch.classifier.probabilities(part.log_magnitude, part.frames, part.phase))
        if not hear:
            continue
        clips = rows % masks.shape[1]
        lengths = None if batch.lengths is None else batch.lengths[clips]
        sound = batch.classifier.frontend.inverse(part, lengths)
        heard.append(_hear(batch.classifier, sound, lengths))
        if batch.truth is not None:
            sounds.append(torch.nn.functional.pad(sound, (0, batch.waveform.shape[-1] - sound.shape[-1])))
    shape = (masks.shape[0], masks.shape[1])
    return Answers(
        seen=_by_mask(seen, shape),
        heard=_by_mask(heard, shape) if heard else None,
        sounds=_by_mask(sounds, shape) if sounds else None,
    )


def _by_mask(parts: list[Tensor], shape: tuple[int, int]) -> Tensor:
    rows = torch.cat(parts)
    return rows.view(*shape, rows.shape[-1])


def _hear(classifier: Classifier, sound: Tensor, lengths: Tensor | None) -> Tensor:
    if not classifier.needs_phase:
        frames = None if lengths is None else classifier.frontend.frames(lengths)
        return classifier.probabilities(classifier.frontend.log_magnitude(sound), frames)
    again: Spectrogram = classifier.frontend(sound, lengths)
    return classifier.probabilities(again.log_magnitude, again.frames, again.phase)


def _masked(batch: ClassifiedBatch, masks: Tensor, rows: Tensor) -> Spectrogram:
    clips = rows % masks.shape[1]
    whole = batch.spectrogram
    frames = None if whole.frames is None else whole.frames[clips]
    part = replace(whole, log_magnitude=whole.log_magnitude[clips], phase=whole.phase[clips], frames=frames)
    return part.masked(masks.flatten(0, 1)[rows])


def _portions(count: int, size: int) -> Iterator[Tensor]:
    return (torch.arange(start, min(start + size, count)) for start in range(0, count, size))
