"""L-MAC: listenable maps for audio classifiers (Paissan et al. 2024, arXiv 2403.13086)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.audio.padding import valid_frames
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError
from otoscope.interpreters.base import Interpreter
from otoscope.nn import DecoderName, make_mask_decoder, use_channels_last
from otoscope.nn.decoders import decode_each

_EPSILON = 1e-10


@dataclass
class LMACDecoded:
    """Result of `LMACInterpreter.decode`.

    Attributes:
        logits: Output of the decoder. Shape (batch, frequency, time).
        mask: Sigmoid of the logits, 0 in the padding. Same shape.
    """

    logits: Tensor
    mask: Tensor


class LMACInterpreter(Interpreter[LMACDecoded]):
    r"""Decodes the classifier's representations to a mask that keeps the decision, and without which it is lost.

    With c the explained class, f the classifier and X the log magnitude, training minimises

    .. math:: l_{in}\,CE(f(M X), c) - l_{out}\,CE(f((1 - M) X), c) + l_1\,\mathrm{mean}\,M + tv\,\mathrm{TV}(M)

    with gradients through the frozen classifier. Fine-tuning (``guidance`` above 0) treats clips differently whose
    masked spectrogram already resembles the clean one: their mask is drawn towards the loud bins of the clean
    spectrogram, and is not regularised.

    Args:
        classifier: Classifier to explain; the loss runs it on masked inputs.
        decoder: ``light`` for any classifier, or ``published`` for CNN14 and published weights.
        l_in: Weight of the cross-entropy of the evidence.
        l_out: Weight of the cross-entropy of the remainder, which training raises.
        l1: Weight of the mean mask. The published code weights its sum over the clips of a batch by 0.4; for the
            published batches of 16 this equals 6.4 times the mean.
        tv: Weight of the mean squared difference of neighbouring bins, in frequency and in time.
        guidance: Weight of the binary cross-entropy to the loud bins of the clean spectrogram. 0: no fine-tuning;
            4: published for fine-tuning.
        guidance_correlation: Normalised product of masked and clean spectrogram from which a clip is guided.
        guidance_threshold: Share of the clean clip's maximum from which a bin is loud.
        decoder_width: Channels of the light decoder at half of the spectrogram's resolution (default: 16).

    Raises:
        GradientError: The classifier is a black box.
        ConfigurationError: A weight is negative, a threshold out of range, or the decoder does not fit.

    Reference:
        arXiv 2403.13086. Departures from the published code: the regularisers are means over clips; for multi-label
        classifiers the cross-entropy is that of the explained class alone; every frame gets a mask.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=8).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 100))
        >>> LMACInterpreter(classifier).eval()(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 100])
    """

    needs_gradient = True
    class_specific = False  # trained for the predicted class; the decoder reads only the representations
    argument_attributes: ClassVar[Mapping[str, str]] = {"decoder": "decoder_name"}

    def __init__(
        self,
        classifier: Classifier,
        decoder: DecoderName = "light",
        l_in: float = 4.0,
        l_out: float = 0.2,
        l1: float = 6.4,
        tv: float = 0.0,
        guidance: float = 0.0,
        guidance_correlation: float = 0.6,
        guidance_threshold: float = 0.35,
        decoder_width: int | None = None,
    ) -> None:
        super().__init__(classifier)
        weights = {"l_in": l_in, "l_out": l_out, "l1": l1, "tv": tv, "guidance": guidance}
        if negative := [f"{name} ({value})" for name, value in weights.items() if value < 0]:
            raise ConfigurationError(f"l-mac: {', '.join(negative)} must not be negative")
        if not 0 <= guidance_correlation <= 1 or not 0 < guidance_threshold < 1:
            raise ConfigurationError(
                f"l-mac: guidance_correlation ({guidance_correlation}) must lie in [0, 1], guidance_threshold "
                f"({guidance_threshold}) between 0 and 1"
            )
        self.decoder_name = decoder
        self.l_in, self.l_out, self.l1, self.tv, self.guidance = l_in, l_out, l1, tv, guidance
        self.guidance_correlation, self.guidance_threshold = guidance_correlation, guidance_threshold
        shapes, bins = classifier.representation_shapes(), classifier.frontend.bins
        self.decoder_width = decoder_width
        self.decoder = make_mask_decoder(decoder, shapes, bins, decoder_width)
        use_channels_last(self)

    @override
    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> LMACDecoded:
        hidden, time = prediction.representations, spectrogram.log_magnitude.shape[-1]
        # stretched representations have no padding to cut off: each clip is decoded to its own number of frames
        if prediction.stretched and spectrogram.frames is not None:
            logits = decode_each(
                lambda clips, count: self.decoder([values[clips] for values in hidden], count),
                time,
                spectrogram.frames,
                self.training,
            )
        else:
            logits = self.decoder(hidden, time, spectrogram.frames)
        return LMACDecoded(logits, spectrogram.zero_padding(logits.sigmoid()))

    @override
    def mask(self, decoded: LMACDecoded, spectrogram: Spectrogram) -> Tensor:
        return decoded.mask

    def loss(
        self,
        decoded: LMACDecoded,
        spectrogram: Spectrogram,
        prediction: Prediction,
        clean: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """Return the cross-entropies of evidence and remainder, regularisers and guidance, each with its weight.

        Args:
            decoded: Result of `decode`.
            spectrogram: Spectrogram of the clips.
            prediction: Prediction of the classifier for the same clips.
            clean: Log magnitude before noise was added (default: that of the spectrogram). Shape (batch, frequency,
                time).
            logits: Result of `masked_logits`, if it has been computed already.
        """
        mask = decoded.mask
        logits = self.masked_logits(decoded, spectrogram) if logits is None else logits
        explained = prediction.explained.repeat(2)
        values = class_cross_entropy(logits.flatten(0, 1), explained, prediction.multi_label)
        evidence, remainder = values.chunk(2)
        # the second term is negative, because the remainder should not be recognised as the class
        terms = {"evidence": self.l_in * evidence.mean(), "remainder": -self.l_out * remainder.mean()}
        # 1 for clips whose mask is regularised: all, except those that are guided in fine-tuning
        regularised = torch.ones_like(mask[:, 0, 0])
        if self.guidance > 0:
            loud_bins = self._loud_bins(self._clean(spectrogram, clean)).to(mask.dtype)
            # whether a clip is guided is a decision without gradient
            guided = self.guided(mask, spectrogram, clean)
            regularised = 1 - guided
            errors = F.binary_cross_entropy_with_logits(decoded.logits, loud_bins, reduction="none")
            terms["guidance"] = self.guidance * (_clip_means(errors, spectrogram.frames) * guided).mean()
        if self.l1 > 0:
            terms["area"] = self.l1 * (_clip_means(mask, spectrogram.frames) * regularised).mean()
        if self.tv > 0:
            terms["roughness"] = self.tv * (_roughness(mask, spectrogram.frames) * regularised).mean()
        return terms

    def masked_logits(self, decoded: LMACDecoded, spectrogram: Spectrogram) -> Tensor:
        """Return the classifier's logits for evidence and remainder, from one run. Shape (2, batch, classes).

        Args:
            decoded: Result of `decode`.
            spectrogram: Spectrogram of the clips.
        """
        evidence = decoded.mask * spectrogram.log_magnitude
        # the mask is 0 in the padding, so that the remainder would hold what the spectrogram holds there
        remainder = spectrogram.zero_padding(spectrogram.log_magnitude - evidence)
        masked = spectrogram.repeat(2).with_log_magnitude(torch.cat([evidence, remainder]))
        return self.classifier.logits(masked).view(2, len(spectrogram), -1)

    @torch.no_grad()
    def guided(self, mask: Tensor, spectrogram: Spectrogram, clean: Tensor | None = None) -> Tensor:
        """Return 1 for each clip that fine-tuning draws towards its loud bins, else 0; all 0 without guidance.

        Args:
            mask: Masks, shape (batch, frequency, time).
            spectrogram: Spectrogram of the clips.
            clean: Log magnitude before noise was added; see `loss`.

        Returns:
            Shape (batch,), of the type of the mask.
        """
        if self.guidance <= 0:
            return torch.zeros_like(mask[:, 0, 0])
        clean = self._clean(spectrogram, clean)
        evidence = mask * spectrogram.log_magnitude
        return (normalized_product(clean, evidence) >= self.guidance_correlation).to(mask.dtype)

    def _loud_bins(self, clean: Tensor) -> Tensor:
        """Return 1 for the loud bins of each clean clip, else 0. Shape as given."""
        return (clean >= self.guidance_threshold * clean.amax((-1, -2), keepdim=True)).to(clean.dtype)

    def _clean(self, spectrogram: Spectrogram, clean: Tensor | None) -> Tensor:
        return spectrogram.zero_padding(spectrogram.log_magnitude if clean is None else clean)


def class_cross_entropy(logits: Tensor, target: Tensor, multi_label: bool = False) -> Tensor:
    """Return minus the logarithm of the probability of one class per clip.

    Args:
        logits: Logits, shape (batch, classes).
        target: Class of each clip, shape (batch,), int64.
        multi_label: Whether probabilities are sigmoids instead of a softmax.

    Returns:
        Cross-entropy, not negative. Shape (batch,).

    Example:
        >>> class_cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
        tensor([1.3863])
    """
    logarithms = F.logsigmoid(logits) if multi_label else logits.log_softmax(-1)
    return -logarithms.gather(-1, target[:, None])[:, 0]


def normalized_product(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of the angle between the spectrograms of each clip; 0 if one is silent. Shape (batch,).

    Example:
        >>> normalized_product(torch.ones(1, 2, 2), torch.eye(2)[None])
        tensor([0.7071])
    """
    first, second = first.flatten(1), second.flatten(1)
    norms = torch.linalg.vector_norm(first, dim=-1) * torch.linalg.vector_norm(second, dim=-1)
    product: Tensor = (first * second).sum(-1) / (norms + _EPSILON)
    return product


def _clip_means(values: Tensor, frames: Tensor | None) -> Tensor:
    """Return the mean over the valid bins of each clip, (batch, frequency, time) to (batch,)."""
    valid = valid_frames(frames, values)
    if valid is None or frames is None:
        return values.mean((-1, -2))
    # at least 1: a clip of one frame has no difference in time, and the mean of none counts as 0
    return (values * valid).sum((-1, -2)) / (frames.to(values.device).clamp(min=1) * values.shape[-2])


def _roughness(mask: Tensor, frames: Tensor | None) -> Tensor:
    """Return the mean squared difference of neighbours in frequency plus that in time. Shape (batch,)."""
    over_frequency = _clip_means((mask[:, 1:] - mask[:, :-1]).square(), frames)
    # n valid frames have n - 1 valid differences
    differences = None if frames is None else frames - 1
    over_time = (mask[..., 1:] - mask[..., :-1]).square()
    return over_frequency + (_clip_means(over_time, differences) if over_time.shape[-1] else 0)
