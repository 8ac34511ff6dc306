"""Decoders: from a classifier's representations back to the frames of the spectrogram.

=================== =============================== ==================== ========================================
family               inputs                          result, per frame    networks
=================== =============================== ==================== ========================================
`Decoder`            one representation              a logit per bin      `LightDecoder`, `PublishedDecoder`,
                                                                          `PublishedPictureDecoder`
`ActivationDecoder`  representations, deepest last   an activation per    `LightActivations`,
                                                     component            `PublishedActivations`,
                                                                          `PyramidActivations`
`MaskDecoder`        representations, deepest last   a logit per bin      `LightMask`, `PyramidMask`
=================== =============================== ==================== ========================================

`SmoothMask` stands beside these families: it also reads the log magnitude, a class and an area.

The light networks fit any representations and are the default. The published ones have the layers of the published
models, so that these can be loaded; they are in `published` (one representation) and `pyramid` (those of CNN14).
"""

from otoscope.nn.decoders.common import (
    ActivationDecoder,
    Decoder,
    DecoderName,
    MaskDecoder,
    initialize_convolutions,
)
from otoscope.nn.decoders.light import LightActivations, LightDecoder, LightMask
from otoscope.nn.decoders.make import make_activation_decoder, make_decoder, make_mask_decoder
from otoscope.nn.decoders.published import PublishedActivations, PublishedDecoder, PublishedPictureDecoder
from otoscope.nn.decoders.pyramid import PyramidActivations, PyramidMask
from otoscope.nn.decoders.sizes import decode_each, valid_columns
from otoscope.nn.decoders.smooth import SmoothMask

__all__ = [
    "ActivationDecoder",
    "Decoder",
    "DecoderName",
    "LightActivations",
    "LightDecoder",
    "LightMask",
    "MaskDecoder",
    "PublishedActivations",
    "PublishedDecoder",
    "PublishedPictureDecoder",
    "PyramidActivations",
    "PyramidMask",
    "SmoothMask",
    "decode_each",
    "initialize_convolutions",
    "make_activation_decoder",
    "make_decoder",
    "make_mask_decoder",
    "valid_columns",
]
