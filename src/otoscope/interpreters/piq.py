"""PIQ: posthoc interpretation via quantisation (Paissan et al. 2023, arXiv 2303.12659)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.audio import masked_mean, valid_frames
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError
from otoscope.interpreters.base import Interpreter
from otoscope.nn import (
    ClassQuantizer,
    CodebookInit,
    DecoderName,
    Quantized,
    ResidualBlock,
    make_decoder,
    use_channels_last,
)
from otoscope.nn.decoders import decode_each, initialize_convolutions, valid_columns


@dataclass
class PIQDecoded:
    """What PIQ's network returns.

    Attributes:
        logits: Decoder output. Shape (batch, frequency, time).
        adapted: Representation before quantisation; None without quantisation.
        quantized: The quantiser's result; None without quantisation.
        columns: Columns of both that belong to each clip, where clips were padded.
    """

    logits: Tensor
    adapted: Tensor | None = None
    quantized: Quantized | None = None
    columns: Tensor | None = None


class PIQInterpreter(Interpreter[PIQDecoded]):
    """Decodes the classifier's last representation, through class-specific codes, to a mask.

    Args:
        classifier: What it will explain; gives the sizes, is not kept.
        use_vq: Quantise before decoding. Without, the mask depends on the representation alone, not on
            the class.
        use_mask_output: True: the mask is the sigmoid of the decoder's output. False: the output's
            softplus models the spectrogram, and the mask is 1 where it exceeds ``mask_threshold`` of its
            maximum in the clip.
        decoder: ``light``, or ``published`` for published weights.
        codes: Size of the codebook.
        shared_codes: Codes of it that every class may use.
        codebook_init: ``data``: codes start as vectors of the first training batch; ``uniform``: as published,
            near zero, which leaves most of them unused for long.
        mask_threshold: Share of a clip's maximum above which a bin counts as present.
        codebook_classes: Classes that the codes are divided among; by default the classifier's. SpeechBrain divides
            them among 50, however many the classifier has.

    Raises:
        ConfigurationError: Some class would have no code, or the threshold is not in (0, 1).

    Reference:
        arXiv 2303.12659. Departures: maxima are taken per clip, not over the batch; every frame gets a
        mask.

    Example:
        >>> import torch
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=8).freeze()
        >>> spectrogram = torch.rand(2, 513, 100)
        >>> PIQInterpreter(classifier, codes=16).eval()(spectrogram, classifier(spectrogram)).shape
        torch.Size([2, 513, 100])
    """

    def __init__(
        self,
        classifier: Classifier,
        use_vq: bool = True,
        use_mask_output: bool = True,
        decoder: DecoderName = "light",
        codes: int = 1024,
        shared_codes: int = 0,
        codebook_init: CodebookInit = "data",
        mask_threshold: float = 0.35,
        codebook_classes: int | None = None,
    ) -> None:
        super().__init__()
        self._config: dict[str, Any] = {"use_vq": use_vq, "use_mask_output": use_mask_output, "decoder": decoder}
        self._config |= {"codes": codes, "shared_codes": shared_codes, "codebook_init": codebook_init}
        self.use_vq = self.class_specific = use_vq
        self.use_mask_output = use_mask_output
        self.codebook_classes = codebook_classes
        # the sigmoid mask has the threshold in its training target; only the other one is cut afterwards
        self.threshold_name = None if use_mask_output else "mask_threshold"
        self.mask_threshold = mask_threshold
        channels = classifier.representation_channels[-1]
        if use_vq:
            self.adapter = ResidualBlock(channels)
            self.down = nn.Conv2d(channels, channels, 4, stride=2, padding=1)
            classes = codebook_classes or len(classifier.labels)
            if classes < len(classifier.labels):
                raise ConfigurationError(
                    f"codebook_classes: {classes} are fewer than the {len(classifier.labels)} of the classifier"
                )
            self.quantizer = ClassQuantizer(codes, channels, classes, shared_codes, init=codebook_init)
            self.up = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
            for part in (self.adapter, self.down, self.up):
                part.apply(initialize_convolutions)
        self.decoder = make_decoder(decoder, channels, classifier.stretched)
        use_channels_last(self)

    @property
    def mask_threshold(self) -> float:
        """Share of a clip's maximum above which a bin counts as present."""
        return self._mask_threshold

    @mask_threshold.setter
    def mask_threshold(self, value: float) -> None:
        if not 0 < value < 1:
            raise ConfigurationError(f"mask_threshold: {value} must lie between 0 and 1")
        self._mask_threshold = value

    @property
    def config(self) -> dict[str, Any]:
        """See `Interpreter.config`."""
        return {**self._config, "mask_threshold": self.mask_threshold, "codebook_classes": self.codebook_classes}

    def decode(self, log_magnitude: Tensor, prediction: Prediction, frames: Tensor | None = None) -> PIQDecoded:
        """See `Interpreter.decode`."""
        hidden = prediction.representations[-1]
        if not self.use_vq:
            return PIQDecoded(self._raise(hidden, log_magnitude, prediction.stretched, frames))
        # The network is published with time before frequency; that is also how its input lies in memory.
        hidden = hidden.transpose(-1, -2)
        padded = None if prediction.stretched else frames
        columns = valid_columns(hidden.shape[-2], log_magnitude.shape[-1], padded)
        adapted = _cut(self.adapter(hidden), columns)
        rows, width = adapted.shape[-2:]
        half = None if columns is None else (columns // 2).clamp(min=1)
        adapted = _cut(self.down(_at_least_two(adapted)), half)
        quantized = self.quantizer(adapted, prediction.explained)
        raised = self.up(_cut(quantized.straight_through, half), output_size=[max(rows, 2), max(width, 2)])
        raised = _cut(raised[..., :rows, :width], columns)
        logits = self._raise(raised.transpose(-1, -2), log_magnitude, prediction.stretched, frames)
        return PIQDecoded(logits, adapted, quantized, half)

    def _raise(self, hidden: Tensor, log_magnitude: Tensor, stretched: bool, frames: Tensor | None) -> Tensor:
        """To the resolution of the spectrogram."""
        bins, time = log_magnitude.shape[-2:]
        if stretched and frames is not None:
            network = self.decoder
            return decode_each(lambda clip, own: network(hidden[clip], bins, own), time, frames, self.training)
        decoded: Tensor = self.decoder(hidden, bins, time, frames)
        return decoded

    def mask(self, decoded: PIQDecoded, frames: Tensor | None = None) -> Tensor:
        """See `Interpreter.mask`."""
        output = self.output(decoded)
        if not self.use_mask_output:
            keep = valid_frames(frames, output)
            output = output if keep is None else output * keep
            output = (output > self.mask_threshold * output.amax((-1, -2), keepdim=True)).to(output.dtype)
        return _cut_time(output, frames)

    def output(self, decoded: PIQDecoded) -> Tensor:
        """Sigmoid of the decoder's output, or its softplus; see the class."""
        return decoded.logits.sigmoid() if self.use_mask_output else F.softplus(decoded.logits)

    def loss(
        self,
        decoded: PIQDecoded,
        log_magnitude: Tensor,
        prediction: Prediction,
        frames: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """Reconstruction (binary cross-entropy or squared error), codebook and commitment terms."""
        if self.use_mask_output:
            # the frames after a clip's end still hear its last samples, and may be louder than any of its own
            loudest = _cut_time(log_magnitude, frames).amax((-1, -2), keepdim=True)
            present = log_magnitude > self.mask_threshold * loudest
            each = F.binary_cross_entropy_with_logits(
                decoded.logits, present.to(decoded.logits.dtype), reduction="none"
            )
        else:
            each = (F.softplus(decoded.logits) - log_magnitude).square()
        terms = {"reconstruction": masked_mean(each, frames)}
        if decoded.quantized is not None and decoded.adapted is not None:
            codes, adapted = decoded.quantized.codes.transpose(-1, -2), decoded.adapted.transpose(-1, -2)
            terms["codebook"] = masked_mean((adapted.detach() - codes).square(), decoded.columns)
            terms["commitment"] = masked_mean((adapted - codes.detach()).square(), decoded.columns)
        return terms


def _cut(hidden: Tensor, columns: Tensor | None) -> Tensor:
    """Zero behind each clip's end, on (batch, channels, time, frequency)."""
    return hidden if columns is None else _cut_time(hidden.transpose(-1, -2), columns).transpose(-1, -2)


def _cut_time(values: Tensor, frames: Tensor | None) -> Tensor:
    keep = valid_frames(frames, values)
    return values if keep is None else values * keep


def _at_least_two(hidden: Tensor) -> Tensor:
    rows, columns = hidden.shape[-2:]
    return F.pad(hidden, (0, max(2 - columns, 0), 0, max(2 - rows, 0)))
