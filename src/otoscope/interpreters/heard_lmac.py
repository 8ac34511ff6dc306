"""Heard L-MAC: a decoder that is trained by what the classifier says to the sounds of evidence and remainder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import is_number, require_positive
from otoscope.interpreters.base import Interpreter
from otoscope.metrics.ranking import largest_bins, top_share
from otoscope.nn import SmoothMask
from otoscope.nn.decoders import decode_each
from otoscope.nn.decoders.smooth import normalized

_UNIT = math.log(math.e - 1)
"""Where softplus is 1: a network that decodes 0 leaves the sound as it is."""


@dataclass
class HeardLMACDecoded:
    """Result of `HeardLMACInterpreter.decode`.

    Attributes:
        ranking: Map of a mean of 0 and a variance of 1; higher is more important. Shape (batch, frequency, time).
        areas: Area that the map of each clip was decoded for. Shape (batch,).
        prediction: Prediction that was decoded, to decode it again for another area.
    """

    ranking: Tensor
    areas: Tensor
    prediction: Prediction


class HeardLMACInterpreter(Interpreter[HeardLMACDecoded]):
    r"""Decodes representations and sound to the mask of a class at an area, trained by the sounds of its two parts.

    With :math:`E` the sound of the bins that the mask keeps, :math:`R` the sound of all others, X the clip, and
    :math:`o` the log-odds of the explained class, training minimises

    .. math:: l_{in} \max(0, \max(0, o(X)) + gain - o(E)) + l_{out} \max(0, o(R) - \min(0, o(X)) + drop)
        + tv\,\mathrm{TV}(M)

    The sounds are computed as they are saved: by the inverse transform with the clip's phase, scaled as the
    classifier's recordings are, and analysed again. Log-odds have a gradient where a confident classifier's
    probabilities have none. Each training clip is decoded for an area drawn from `areas`, so that one network makes
    the masks of all areas; the mask keeps exactly this share of the bins. The map is the product of what is decoded
    and a power of the log magnitude: silence is no evidence.

    Args:
        classifier: Classifier to explain; the loss runs it on the sounds.
        area: Share of a clip's bins that the mask keeps, exactly (rounded to whole bins).
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

    Raises:
        GradientError: The classifier is a black box.
        ConfigurationError: An option is out of its range, or the classifier has no representation.

    Reference:
        This project; see docs/methods/heard_lmac.md. It follows L-MAC (arXiv 2403.13086).

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=8).freeze()
        >>> spectrogram = classifier.hear(torch.randn(2, 8000))
        >>> interpreter = HeardLMACInterpreter(classifier, area=0.1).eval()
        >>> round(float(interpreter(spectrogram, classifier.predict(spectrogram)).mean()), 3)
        0.1
    """

    needs_gradient = True
    needs_phase = True
    threshold_name = "area"
    neutral = None  # a ranking: none of its values means that a bin does not matter

    def __init__(
        self,
        classifier: Classifier,
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
    ) -> None:
        super().__init__(classifier)
        weights = {"gain": gain, "drop": drop, "l_in": l_in, "l_out": l_out, "tv": tv}
        weights["loudness"] = loudness
        if negative := [f"{name} ({value})" for name, value in weights.items() if value < 0]:
            raise ConfigurationError(f"heard L-MAC: {', '.join(negative)} must not be negative")
        if len(areas) != 2 or not 0 < areas[0] <= areas[1] < 1:
            raise ConfigurationError(
                f"areas: {list(areas)} must be the smallest and the largest area, shares between 0 and 1"
            )
        require_positive(softness=softness, decoder_width=decoder_width)
        self.area = area
        self.areas, self.gain, self.drop = list(areas), gain, drop
        self.l_in, self.l_out, self.tv = l_in, l_out, tv
        self.softness, self.loudness, self.decoder_width = softness, loudness, decoder_width
        shapes = classifier.representation_shapes()
        if not shapes:
            raise ConfigurationError("heard L-MAC: this classifier gives no representation to decode")
        self.decoder = SmoothMask(shapes, classifier.frontend.bins, len(classifier.labels), decoder_width)

    @property
    def area(self) -> float:
        """Share of a clip's bins that the mask keeps."""
        return self._area

    @area.setter
    def area(self, value: float) -> None:
        if not is_number(value) or not 0 < value < 1:
            raise ConfigurationError(f"area: {value!r} must lie between 0 and 1")
        self._area = value

    @override
    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> HeardLMACDecoded:
        like = spectrogram.log_magnitude
        areas = self.draw_areas(len(spectrogram)) if self.training else torch.full((len(spectrogram),), self.area)
        areas = areas.to(like)
        return HeardLMACDecoded(self._ranking(spectrogram, prediction, areas), areas, prediction)

    @override
    def output(self, decoded: HeardLMACDecoded, spectrogram: Spectrogram) -> Tensor:
        return decoded.ranking

    @override
    def mask(self, decoded: HeardLMACDecoded, spectrogram: Spectrogram) -> Tensor:
        ranking, areas = decoded.ranking, decoded.areas.tolist()
        if not self.training:
            present = torch.full_like(decoded.areas, self.area)
            if not torch.equal(present, decoded.areas):
                # the area was changed after decoding: the network makes another map, not only another cut
                ranking = self._ranking(spectrogram, decoded.prediction, present)
            # in double precision: rounding could change a number of bins
            areas = [self.area] * len(present)
        mask = torch.zeros_like(ranking)
        for clip, (count, area) in enumerate(zip(spectrogram.frame_counts, areas, strict=True)):
            mask[clip, :, :count] = largest_bins(ranking[clip, :, :count].detach(), area)
        return mask

    def loss(
        self, decoded: HeardLMACDecoded, spectrogram: Spectrogram, prediction: Prediction
    ) -> Mapping[str, Tensor]:
        """Return what evidence and remainder miss of their goals, and the roughness, each with its weight.

        Args:
            decoded: Result of `decode`.
            spectrogram: Spectrogram of the clips, with its phase.
            prediction: Prediction of the classifier for the same clips.
        """
        mask = self.soft_mask(decoded, spectrogram)
        # 1 - mask would keep the padding
        parts = torch.cat([mask, spectrogram.zero_padding(1 - mask)])
        target, multi_label = prediction.explained, prediction.multi_label
        logits = self.classifier.logits(self.classifier.heard(spectrogram.repeat(2), parts))
        evidence, remainder = log_odds(logits, target.repeat(2), multi_label).chunk(2)
        whole = log_odds(prediction.logits, target, multi_label)
        # relu: a goal that is reached adds nothing to the gradient
        convinces_less = (whole.clamp(min=0) + self.gain - evidence).relu()
        convinces_still = (remainder - whole.clamp(max=0) + self.drop).relu()
        terms = {"evidence": self.l_in * convinces_less.mean(), "remainder": self.l_out * convinces_still.mean()}
        if self.tv > 0:
            terms["roughness"] = self.tv * total_variation(mask, spectrogram.frames).mean()
        return terms

    def soft_mask(self, decoded: HeardLMACDecoded, spectrogram: Spectrogram) -> Tensor:
        """Return the mask of ones and zeros, with the gradient of a sigmoid. Shape (batch, frequency, time)."""
        frames, time = spectrogram.frame_counts, decoded.ranking.shape[-1]
        masks = []
        for ranking, count, area in zip(decoded.ranking, frames, decoded.areas.tolist(), strict=True):
            # clip by clip, because each has its own number of bins and its own area
            mask = top_share(ranking[None, :, :count], area, self.softness)
            masks.append(F.pad(mask, (0, time - count)))
        return torch.cat(masks)

    def draw_areas(self, count: int) -> Tensor:
        """Draw areas, evenly in their logarithm: one from each of as many parts of the range, in random order.

        Args:
            count: Number of areas.

        Returns:
            Areas, shape (count,).
        """
        low, high = (math.log(area) for area in self.areas)
        # parts of equal size: a batch has small and large areas, so that its loss varies less
        places = (torch.randperm(count) + torch.rand(count)) / count
        return (low + (high - low) * places).exp()

    def _ranking(self, spectrogram: Spectrogram, prediction: Prediction, areas: Tensor) -> Tensor:
        hidden, target, frames = prediction.representations, prediction.explained, spectrogram.frames
        sound = normalized(spectrogram.log_magnitude, frames)
        # stretched representations have no padding to cut off: each clip is decoded to its own number of frames
        if prediction.stretched and frames is not None:
            decoded = decode_each(
                lambda clips, count: self.decoder(
                    [values[clips] for values in hidden], sound[clips, :, :count], target[clips], areas[clips]
                ),
                sound.shape[-1],
                frames,
            )
        else:
            decoded = self.decoder(hidden, sound, target, areas, frames)
        if self.loudness > 0:
            # zeros around the clip and its padding count alike, so that a clip is averaged as it is alone
            level = F.avg_pool2d(spectrogram.zero_padding(spectrogram.log_magnitude)[:, None], 3, 1, 1)[:, 0]
            decoded = level.pow(self.loudness) * F.softplus(decoded + _UNIT)
        return normalized(decoded, frames)


def log_odds(logits: Tensor, target: Tensor, multi_label: bool = False) -> Tensor:
    """Return the logarithm of the odds of one class per clip, against all others.

    Args:
        logits: Logits, shape (batch, classes).
        target: Class of each clip, shape (batch,), int64.
        multi_label: Whether probabilities are sigmoids instead of a softmax.

    Returns:
        ``log(p / (1 - p))``, also where p is so near to 1 that its rounded value is 1. Shape (batch,).

    Example:
        >>> log_odds(torch.tensor([[0.0, 0.0, 100.0]]), torch.tensor([2]))
        tensor([99.3069])
    """
    chosen = logits.gather(-1, target[:, None])[:, 0]
    if multi_label or logits.shape[-1] == 1:
        return chosen
    others = logits.scatter(-1, target[:, None], -math.inf)
    return chosen - others.logsumexp(-1)


def total_variation(mask: Tensor, frames: Tensor | None) -> Tensor:
    """Return the mean difference of neighbours in frequency plus that in time; padding does not count.

    Args:
        mask: Mask, shape (batch, frequency, time).
        frames: Valid frames of each clip, shape (batch,). None: all frames are valid.

    Returns:
        Total variation of each clip, 0 to 2, shape (batch,).

    Example:
        >>> total_variation(torch.tensor([[[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]]), None)
        tensor([0.5000])
    """
    variations = []
    counts = [mask.shape[-1]] * len(mask) if frames is None else frames.tolist()
    for clip, count in zip(mask, counts, strict=True):
        over_frequency, over_time = clip[:, :count].diff(dim=0).abs(), clip[:, :count].diff(dim=1).abs()
        # a clip of one frame has no difference in time, and the mean of none counts as 0
        variations.append(over_frequency.mean() + (over_time.mean() if count > 1 else 0))
    return torch.stack(variations)
