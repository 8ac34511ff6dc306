"""PIQ: posthoc interpretation via quantisation (Paissan et al. 2023, arXiv 2303.12659)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.audio.padding import masked_mean, zero_padding
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

_KERNELS = {1: 3, 2: 4}
"""Sizes of the convolutions around the codes, by their stride."""


@dataclass
class PIQDecoded:
    """Result of `PIQInterpreter.decode`.

    Attributes:
        logits: Output of the decoder. Shape (batch, frequency, time).
        adapted: Representation before quantisation; None without quantisation. Shape (batch, channels, time',
            frequency').
        quantized: Result of the quantiser; None without quantisation.
        columns: Valid columns in time' of both, where clips were padded. Shape (batch,).
    """

    logits: Tensor
    adapted: Tensor | None = None
    quantized: Quantized | None = None
    columns: Tensor | None = None


class PIQInterpreter(Interpreter[PIQDecoded]):
    """Decodes the classifier's last representation, through class-specific codes, to a mask.

    Args:
        classifier: Classifier to explain; only its sizes are used.
        use_vq: Quantise the representation before decoding. Without quantisation the mask depends on the
            representation alone, not on the class.
        use_mask_output: If True, the mask is the sigmoid of the decoder's output. If False, the softplus of the
            output models the spectrogram, and the mask is 1 where it exceeds ``mask_threshold`` of its maximum in
            the clip.
        decoder: ``light``, or ``published`` for published weights.
        codes: Size of the codebook.
        shared_codes: Number of codes that every class may use.
        codebook_init: ``data`` starts with vectors of the first training batch; ``uniform``, as published, starts
            near zero, which leaves most codes unused for a long time.
        mask_threshold: Share of a clip's maximum above which a bin counts as present.
        code_stride: Columns and rows of the representation that one code stands for, along each axis: 2, as
            published, or 1, which makes four times as many codes of a clip, finer in time and frequency.
        codebook_classes: Number of classes that share the codes (default: that of the classifier). SpeechBrain
            divides them among 50 classes, however many the classifier has.

    Raises:
        ConfigurationError: A class would have no code, the threshold is not in (0, 1), or the stride is neither 1
            nor 2.

    Reference:
        arXiv 2303.12659. Departures: maxima are taken per clip, not over the batch; every frame gets a mask.

    Example:
        >>> import torch
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=8).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 100))
        >>> PIQInterpreter(classifier, codes=16).eval()(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 100])
    """

    argument_attributes: ClassVar[Mapping[str, str]] = {"decoder": "decoder_name"}

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
        code_stride: int = 2,
    ) -> None:
        super().__init__()
        self.use_vq = self.class_specific = use_vq
        self.use_mask_output = use_mask_output
        self.decoder_name = decoder
        self.codes, self.shared_codes, self.codebook_init = codes, shared_codes, codebook_init
        self.codebook_classes = codebook_classes
        if code_stride not in _KERNELS:
            raise ConfigurationError(f"code_stride: {code_stride} must be 1 or 2")
        self.code_stride = code_stride
        # the sigmoid mask has the threshold in its training target; only the softplus mask is cut afterwards
        self.threshold_name = None if use_mask_output else "mask_threshold"
        self.mask_threshold = mask_threshold
        channels = classifier.representation_channels[-1]
        if use_vq:
            self.adapter = ResidualBlock(channels)
            kernel = _KERNELS[code_stride]
            self.down = nn.Conv2d(channels, channels, kernel, stride=code_stride, padding=1)
            classes = codebook_classes or len(classifier.labels)
            if classes < len(classifier.labels):
                raise ConfigurationError(
                    f"codebook_classes: {classes} are fewer than the {len(classifier.labels)} of the classifier"
                )
            self.quantizer = ClassQuantizer(codes, channels, classes, shared_codes, init=codebook_init)
            self.up = nn.ConvTranspose2d(channels, channels, kernel, stride=code_stride, padding=1)
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

    @override
    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> PIQDecoded:
        hidden = prediction.representations[-1]
        if not self.use_vq:
            return PIQDecoded(self._decode_hidden(hidden, spectrogram, prediction.stretched))
        # The network is published with time before frequency; that is also how its input lies in memory.
        hidden = hidden.transpose(-1, -2)
        padded = None if prediction.stretched else spectrogram.frames
        columns = valid_columns(hidden.shape[-2], spectrogram.log_magnitude.shape[-1], padded)
        # Convolutions reach over a clip's end: padding is set to zero again after each.
        adapted = zero_padding(self.adapter(hidden), columns, axis=-2)
        rows, width = adapted.shape[-2:]
        # with a stride of 2 the convolution halves the columns; a clip keeps at least one
        coarse = None if columns is None else (columns // self.code_stride).clamp(min=1)
        adapted = zero_padding(self.down(_at_least(self.code_stride, adapted)), coarse, axis=-2)
        # The mask depends on the class here: only the codes of the explained class, and shared ones, can be chosen.
        quantized = self.quantizer(adapted, prediction.explained)
        straight_through = zero_padding(quantized.straight_through, coarse, axis=-2)
        # the convolution takes an odd and an even size to the same one, so the original size must be given
        raised = self.up(straight_through, output_size=[max(rows, self.code_stride), max(width, self.code_stride)])
        raised = zero_padding(raised[..., :rows, :width], columns, axis=-2)
        logits = self._decode_hidden(raised.transpose(-1, -2), spectrogram, prediction.stretched)
        return PIQDecoded(logits, adapted, quantized, coarse)

    def _decode_hidden(self, hidden: Tensor, spectrogram: Spectrogram, stretched: bool) -> Tensor:
        """Decode (batch, channels, frequency', time') to the resolution of the spectrogram."""
        bins, time = spectrogram.log_magnitude.shape[-2:]
        if stretched and spectrogram.frames is not None:
            return decode_each(
                lambda clips, frames: self.decoder(hidden[clips], bins, frames),
                time,
                spectrogram.frames,
                self.training,
            )
        decoded: Tensor = self.decoder(hidden, bins, time, spectrogram.frames)
        return decoded

    @override
    def mask(self, decoded: PIQDecoded, spectrogram: Spectrogram) -> Tensor:
        output = spectrogram.zero_padding(self.output(decoded, spectrogram))
        if self.use_mask_output:
            return output
        # relative to each clip's own maximum, so that a clip gets the same mask in every batch
        mask = (output > self.mask_threshold * output.amax((-1, -2), keepdim=True)).to(output.dtype)
        return spectrogram.zero_padding(mask)

    @override
    def output(self, decoded: PIQDecoded, spectrogram: Spectrogram) -> Tensor:
        return decoded.logits.sigmoid() if self.use_mask_output else F.softplus(decoded.logits)

    def loss(self, decoded: PIQDecoded, spectrogram: Spectrogram, prediction: Prediction) -> Mapping[str, Tensor]:
        """Return the reconstruction (binary cross-entropy or squared error), codebook and commitment terms."""
        log_magnitude, frames = spectrogram.log_magnitude, spectrogram.frames
        if self.use_mask_output:
            # frames in the padding still see the clip's last samples, and may be louder than any valid frame
            loudest = spectrogram.zero_padding(log_magnitude).amax((-1, -2), keepdim=True)
            present = (log_magnitude > self.mask_threshold * loudest).to(decoded.logits.dtype)
            errors = F.binary_cross_entropy_with_logits(decoded.logits, present, reduction="none")
        else:
            # softplus, as a log magnitude is not negative
            errors = (F.softplus(decoded.logits) - log_magnitude).square()
        terms = {"reconstruction": masked_mean(errors, frames)}
        if decoded.quantized is not None and decoded.adapted is not None:
            codes, adapted = decoded.quantized.codes.transpose(-1, -2), decoded.adapted.transpose(-1, -2)
            # each term moves one side only: the codes towards the vectors, the vectors towards the codes
            terms["codebook"] = masked_mean((adapted.detach() - codes).square(), decoded.columns)
            terms["commitment"] = masked_mean((adapted - codes.detach()).square(), decoded.columns)
        return terms


def _at_least(size: int, hidden: Tensor) -> Tensor:
    """Pad rows and columns with zeros to the stride of a convolution, the least that it takes."""
    rows, columns = hidden.shape[-2:]
    return F.pad(hidden, (0, max(size - columns, 0), 0, max(size - rows, 0)))
