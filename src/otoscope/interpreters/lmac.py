"""L-MAC: listenable maps for audio classifiers (Paissan et al. 2024, arXiv 2403.13086)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.audio import valid_frames
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError
from otoscope.interpreters.base import Interpreter
from otoscope.nn import DecoderName, make_mask_decoder, use_channels_last
from otoscope.nn.decoders import decode_each

_EPSILON = 1e-10


@dataclass
class LMACDecoded:
    """What L-MAC's network returns.

    Attributes:
        logits: Decoder output; its sigmoid is the mask. Shape (batch, frequency, time).
    """

    logits: Tensor


class LMACInterpreter(Interpreter[LMACDecoded]):
    r"""Decodes the classifier's representations to a mask that keeps the decision, and without which it is lost.

    With c the explained class, f the classifier and X the log magnitude, training minimises

    .. math:: l_{in}\,CE(f(M X), c) - l_{out}\,CE(f((1 - M) X), c) + l_1\,\mathrm{mean}\,M + tv\,\mathrm{TV}(M)

    and runs back through the frozen classifier. Fine-tuning (``guidance`` above 0) treats clips whose masked
    spectrogram already resembles the clean one otherwise: their mask is drawn towards the loud bins of the clean
    spectrogram, and not regularised.

    Args:
        classifier: What it will explain; kept, for the loss asks it again.
        decoder: ``light`` for any classifier, or ``published`` for CNN14 and published weights.
        l_in: Weight of the cross-entropy of the evidence.
        l_out: Weight of that of the remainder, which is made large.
        l1: Weight of the mean mask. The published code sums 0.4 of it over the clips of a batch; 16 times 0.4 is
            that at its batches of 16.
        tv: Weight of the mean squared difference of neighbouring bins, in frequency and in time.
        guidance: Weight of the binary cross-entropy to the loud bins of the clean spectrogram. 0: no fine-tuning;
            4: as published for it.
        guidance_correlation: Normalised product of masked and clean spectrogram from which a clip is guided.
        guidance_threshold: Share of the clean clip's maximum from which a bin is loud.

    Raises:
        GradientError: The classifier is a black box.
        ConfigurationError: A weight is negative, a threshold out of range, or the decoder does not fit.

    Reference:
        arXiv 2403.13086; METHODS, "L-MAC". Departures from the published code: the regularisers are means over
        clips; with several labels a clip the cross-entropy is that of the explained class alone; every frame gets
        a mask.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=8).freeze()
        >>> spectrogram = torch.rand(2, 513, 100)
        >>> LMACInterpreter(classifier).eval()(spectrogram, classifier(spectrogram)).shape
        torch.Size([2, 513, 100])
    """

    needs_gradient = True
    class_specific = False  # it is trained for the predicted class, and sees the representations alone

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
        self._config: dict[str, Any] = {"decoder": decoder, **weights}
        self._config |= {"guidance_correlation": guidance_correlation, "guidance_threshold": guidance_threshold}
        self.l_in, self.l_out, self.l1, self.tv, self.guidance = l_in, l_out, l1, tv, guidance
        self.guidance_correlation, self.guidance_threshold = guidance_correlation, guidance_threshold
        shapes, bins = classifier.representation_shapes(), classifier.frontend.bins
        self.decoder = make_mask_decoder(decoder, shapes, bins)
        use_channels_last(self)

    @property
    def config(self) -> dict[str, Any]:
        """See `Interpreter.config`."""
        return dict(self._config)

    def decode(self, log_magnitude: Tensor, prediction: Prediction, frames: Tensor | None = None) -> LMACDecoded:
        """See `Interpreter.decode`."""
        hidden, time = prediction.representations, log_magnitude.shape[-1]
        if prediction.stretched and frames is not None:
            network = self.decoder
            logits = decode_each(
                lambda clip, own: network([one[clip] for one in hidden], own), time, frames, self.training
            )
        else:
            logits = self.decoder(hidden, time, frames)
        return LMACDecoded(logits)

    def mask(self, decoded: LMACDecoded, frames: Tensor | None = None) -> Tensor:
        """See `Interpreter.mask`."""
        mask = decoded.logits.sigmoid()
        keep = valid_frames(frames, mask)
        return mask if keep is None else mask * keep

    def output(self, decoded: LMACDecoded) -> Tensor:
        """The mask."""
        return decoded.logits.sigmoid()

    def loss(
        self,
        decoded: LMACDecoded,
        log_magnitude: Tensor,
        prediction: Prediction,
        frames: Tensor | None = None,
        clean: Tensor | None = None,
        answers: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """Cross-entropies of evidence and remainder, regularisers and guidance, each with its weight.

        Args:
            decoded: Of `decode`.
            log_magnitude: What the classifier heard. Shape (batch, frequency, time).
            prediction: The classifier's.
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,).
            clean: The spectrogram before noise was added, where it was. Shape as ``log_magnitude``.
            answers: Of `ask`, where they are known.
        """
        mask = self.mask(decoded, frames)
        keep = valid_frames(frames, mask)
        answers = self.ask(mask, log_magnitude, prediction, frames) if answers is None else answers
        explained = prediction.explained.repeat(2)
        values = class_cross_entropy(answers.flatten(0, 1), explained, prediction.multi_label)
        evidence, remainder = values.chunk(2)
        terms = {"evidence": self.l_in * evidence.mean(), "remainder": -self.l_out * remainder.mean()}
        free = torch.ones_like(mask[:, 0, 0])
        if self.guidance > 0:
            clean = log_magnitude if clean is None else clean
            clean = clean if keep is None else clean * keep
            kept = mask.detach() * log_magnitude
            guided = (normalized_product(clean, kept) >= self.guidance_correlation).to(mask.dtype)
            free = 1 - guided
            loud = clean >= self.guidance_threshold * clean.amax((-1, -2), keepdim=True)
            each = F.binary_cross_entropy_with_logits(decoded.logits, loud.to(mask.dtype), reduction="none")
            terms["guidance"] = self.guidance * (_means(each, frames) * guided).mean()
        if self.l1 > 0:
            terms["area"] = self.l1 * (_means(mask, frames) * free).mean()
        if self.tv > 0:
            terms["roughness"] = self.tv * (_roughness(mask, frames) * free).mean()
        return terms

    def ask(self, mask: Tensor, log_magnitude: Tensor, prediction: Prediction, frames: Tensor | None) -> Tensor:
        """Logits of evidence and of remainder, in one run of the classifier. Shape (2, batch, classes).

        Args:
            mask: Of `mask`. Shape (batch, frequency, time).
            log_magnitude: Shape (batch, frequency, time).
            prediction: The classifier's, of the whole clips.
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,).
        """
        keep = valid_frames(frames, mask)
        kept = mask * log_magnitude
        left = log_magnitude - kept if keep is None else (log_magnitude - kept) * keep
        frames = None if frames is None else frames.repeat(2)
        phase = None if prediction.phase is None else prediction.phase.repeat(2, 1, 1)
        logits = self.classifier.predict(torch.cat([kept, left]), frames, phase).logits
        return logits.view(2, len(mask), -1)


def class_cross_entropy(logits: Tensor, target: Tensor, multi_label: bool = False) -> Tensor:
    """Minus the logarithm of the probability of one class a clip.

    Args:
        logits: Shape (batch, classes).
        target: The class. Shape (batch,), int64.
        multi_label: Probabilities are sigmoids.

    Returns:
        Shape (batch,), not negative.

    Example:
        >>> class_cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
        tensor([1.3863])
    """
    logarithms = F.logsigmoid(logits) if multi_label else logits.log_softmax(-1)
    return -logarithms.gather(-1, target[:, None])[:, 0]


def normalized_product(one: Tensor, other: Tensor) -> Tensor:
    """Cosine of the angle between the spectrograms of each clip; 0 where one is silent. Shape (batch,).

    Example:
        >>> normalized_product(torch.ones(1, 2, 2), torch.eye(2)[None])
        tensor([0.7071])
    """
    one, other = one.flatten(1), other.flatten(1)
    size = torch.linalg.vector_norm(one, dim=-1) * torch.linalg.vector_norm(other, dim=-1)
    product: Tensor = (one * other).sum(-1) / (size + _EPSILON)
    return product


def _means(values: Tensor, frames: Tensor | None) -> Tensor:
    """Mean over the bins of each clip without padding, (batch, frequency, time) to (batch,)."""
    keep = valid_frames(frames, values)
    if keep is None or frames is None:
        return values.mean((-1, -2))
    return (values * keep).sum((-1, -2)) / (frames.to(values.device).clamp(min=1) * values.shape[-2])


def _roughness(mask: Tensor, frames: Tensor | None) -> Tensor:
    """Mean squared difference of neighbours in frequency plus that in time. Shape (batch,)."""
    over_frequency = _means((mask[:, 1:] - mask[:, :-1]).square(), frames)
    steps = None if frames is None else frames - 1
    over_time = (mask[..., 1:] - mask[..., :-1]).square()
    return over_frequency + (_means(over_time, steps) if over_time.shape[-1] else 0)
