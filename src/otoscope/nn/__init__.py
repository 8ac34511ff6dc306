"""Building blocks of networks: quantiser, decoders, NMF and its dictionary, pooling, residual block."""

from otoscope.nn.decoders import (
    ActivationDecoder,
    Decoder,
    DecoderName,
    LightDecoder,
    LightMask,
    MaskDecoder,
    PublishedDecoder,
    PublishedPictureDecoder,
    PyramidMask,
    SmoothMask,
    make_activation_decoder,
    make_decoder,
    make_mask_decoder,
)
from otoscope.nn.dictionary import NMFDictionary
from otoscope.nn.nmf import AmortizedNMF, SparseNMF, frames_of, infer_activations
from otoscope.nn.pooling import AttentionPooling, FixedLengthPooling, TimePooling
from otoscope.nn.quantizer import ClassQuantizer, CodebookInit, Quantized, class_of_codes
from otoscope.nn.residual import ResidualBlock
from otoscope.nn.transposed import use_channels_last

__all__ = [
    "ActivationDecoder",
    "AmortizedNMF",
    "AttentionPooling",
    "ClassQuantizer",
    "CodebookInit",
    "Decoder",
    "DecoderName",
    "FixedLengthPooling",
    "LightDecoder",
    "LightMask",
    "MaskDecoder",
    "NMFDictionary",
    "PublishedDecoder",
    "PublishedPictureDecoder",
    "PyramidMask",
    "Quantized",
    "ResidualBlock",
    "SmoothMask",
    "SparseNMF",
    "TimePooling",
    "class_of_codes",
    "frames_of",
    "infer_activations",
    "make_activation_decoder",
    "make_decoder",
    "make_mask_decoder",
    "use_channels_last",
]
