"""Training of heard L-MAC on clips, pieces of clips, and mixtures of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import peak_normalize
from otoscope.data import Batch, batch_of
from otoscope.data.noise import mix
from otoscope.errors import ConfigurationError
from otoscope.interpreters import HeardLMACInterpreter
from otoscope.interpreters.attribution import require_positive
from otoscope.training.brain import ClassifierSource, Interpretation, InterpreterBrain
from otoscope.training.seam import stage_name


class HeardLMAC(InterpreterBrain):
    """Training of heard L-MAC, L-MAC for the ear.

    Args:
        classifier: Classifier, or its source; see `InterpreterBrain`.
        area: Share of a clip's bins that the mask keeps.
        areas: Smallest and largest area in training.
        gain: Least difference of the log-odds of the evidence to those of the whole clip, and to 0.
        drop: Least difference of the log-odds of the whole clip, and of 0, to those of the remainder.
        l_in: Weight of the evidence.
        l_out: Weight of the remainder.
        tv: Weight of the total variation, the share of neighbouring bins of which the mask keeps one.
        softness: Width of the sigmoid that replaces the cut in the gradient, in standard deviations of the map.
        loudness: Exponent of the log magnitude, averaged over 3 x 3 bins, in the map. 0: the map is what is
            decoded.
        decoder_width: Channels of the decoder at half of the spectrogram's resolution.
        mixed: Share of the training clips that another clip of the batch is added to. Of the two most probable
            classes of a mixture one is explained, drawn at random, so that the masks learn to tell classes apart.
        mixed_db: Largest level of a clip above or below the other, in dB; drawn evenly.
        crop_s: Length of the piece that is cut from each longer training clip at a random place (default: whole
            clips). Pieces save time and add variety.
        **training: See `InterpreterBrain`.

    Raises:
        ConfigurationError: An option is out of its range, or `cache_representations` is given while clips are
            mixed.
    """

    def __init__(
        self,
        classifier: ClassifierSource,
        area: float = 0.2,
        areas: Sequence[float] = (0.05, 0.5),
        gain: float = 0.7,
        drop: float = 2.2,
        l_in: float = 1.0,
        l_out: float = 0.5,
        tv: float = 1.0,
        softness: float = 0.5,
        loudness: float = 0.5,
        decoder_width: int = 8,
        mixed: float = 0.3,
        mixed_db: float = 6.0,
        crop_s: float | None = None,
        **training: Any,
    ) -> None:
        interpreter = partial(
            HeardLMACInterpreter,
            area=area,
            areas=areas,
            gain=gain,
            drop=drop,
            l_in=l_in,
            l_out=l_out,
            tv=tv,
            softness=softness,
            loudness=loudness,
            decoder_width=decoder_width,
        )
        super().__init__(classifier, interpreter, **training)
        if not 0 <= mixed <= 1 or mixed_db < 0:
            raise ConfigurationError(f"mixed ({mixed}) must lie in [0, 1], mixed_db ({mixed_db}) not below 0")
        if crop_s is not None:
            require_positive(crop_s=crop_s)
        if (mixed > 0 or crop_s is not None) and training.get("cache_representations"):
            raise ConfigurationError(
                "cache_representations: mixtures and pieces differ in every epoch, so that nothing can be stored; "
                "leave out this option, or leave out crop_s and set mixed to 0"
            )
        self.mixed, self.mixed_db, self.crop_s = mixed, mixed_db, crop_s

    @override
    def compute_forward(self, batch: Any, stage: object) -> Interpretation:
        """Run front-end, frozen classifier and interpreter, each once; in training, on mixtures too."""
        batch, stage = batch_of(batch), stage_name(stage)
        if stage != "train" or (self.mixed == 0 and self.crop_s is None):
            return super().compute_forward(batch, stage)
        if self.crop_s is not None:
            batch = cropped(batch, round(self.crop_s * self.frontend.sample_rate_hz))
        mixed = (torch.rand(len(batch)) < self.mixed) & (len(batch) > 1)
        batch = with_another(batch, mixed, self.mixed_db)
        spectrogram = self.frontend(batch.waveform, batch.lengths if batch.padded else None)
        prediction = self._predict(batch, spectrogram, stage)
        prediction = prediction.towards(one_of_two(prediction.logits, mixed))
        return Interpretation(spectrogram, prediction, self.interpreter.decode(spectrogram, prediction))


def cropped(batch: Batch, samples: int) -> Batch:
    """Cut a piece from each clip of a batch at a random place, scaled to a peak of 1.

    Args:
        batch: Clips.
        samples: Length of the pieces; shorter clips stay whole.

    Returns:
        The pieces. A silent piece stays silent.
    """
    lengths = batch.lengths.clamp(max=samples)
    waveform = torch.zeros_like(batch.waveform[:, : int(lengths.max())])
    for index, (length, whole) in enumerate(zip(lengths.tolist(), batch.lengths.tolist(), strict=True)):
        start = int(torch.randint(whole - length + 1, ()))
        waveform[index, :length] = batch.waveform[index, start : start + length]
    padded = bool((lengths != lengths[0]).any())
    return replace(batch, waveform=peak_normalize(waveform), lengths=lengths, padded=padded, event=None)


def with_another(batch: Batch, mixed: Tensor, largest_db: float) -> Batch:
    """Add the next clip of a batch to some of its clips, at a random level.

    Args:
        batch: Clips; their order is random in training.
        mixed: Whether another clip is added to each, shape (batch,), bool.
        largest_db: Largest level of a clip above or below the other.

    Returns:
        The same clips, those that were mixed with a peak of 1. Their padding stays silent.
    """
    waveform = batch.waveform.clone()
    for index in mixed.nonzero()[:, 0].tolist():
        length = int(batch.lengths[index])
        other = batch.waveform[(index + 1) % len(batch), :length]
        level_db = float(2 * torch.rand(()) - 1) * largest_db
        waveform[index, :length] = mix(batch.waveform[index, :length], other, level_db).waveform
    return replace(batch, waveform=waveform)


def one_of_two(logits: Tensor, drawn: Tensor) -> Tensor:
    """Return the most probable class of each clip, or one of the two most probable where it is drawn.

    Args:
        logits: Logits, shape (batch, classes).
        drawn: Whether the class of each clip is drawn, shape (batch,), bool.

    Returns:
        Class of each clip, shape (batch,), int64.
    """
    if logits.shape[-1] < 2:
        return logits.argmax(-1)
    best = logits.topk(2, -1).indices
    second = drawn & (torch.rand(len(logits)) < 0.5)
    return torch.where(second.to(logits.device), best[:, 1], best[:, 0])
