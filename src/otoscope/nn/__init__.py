"""Building blocks: quantiser, decoders, residual block."""

from otoscope.nn.decoder import Decoder, DecoderName, LightDecoder, PublishedDecoder, make_decoder
from otoscope.nn.quantizer import ClassQuantizer, CodebookInit, Quantized, class_of_codes
from otoscope.nn.residual import ResidualBlock

__all__ = [
    "ClassQuantizer",
    "CodebookInit",
    "Decoder",
    "DecoderName",
    "LightDecoder",
    "PublishedDecoder",
    "Quantized",
    "ResidualBlock",
    "class_of_codes",
    "make_decoder",
]
