"""The reference system (SpeechBrain 1.1.2), its modules arranged as its interpretation recipes arrange them.

Tests compare results with it, benchmarks time. It computes what the recipes compute, in the recipes' order,
the needless parts included; reading files, loggers and checkpoints are left out. Time comes before
frequency here, as there. Needs the packages of the ``parity`` extra; torchaudio may be absent.
"""

from .amt import ReferenceAMT
from .base import Reference
from .classifiers import ReferenceClassifier, ReferenceCnn14, ReferenceConv2d
from .l2i import FRAMES, TEMPERATURES, ReferenceL2I
from .lmac import ReferenceLMAC
from .modules import quantus, speechbrain_modules
from .names import (
    ACTIVATION_NAMES,
    AMORTIZED_NAMES,
    CNN14_HEAD_NAMES,
    CNN14_NAMES,
    DICTIONARY_NAMES,
    ENCODER_NAMES,
    HEAD_NAMES,
    INTERPRETER_NAMES,
    MASK_NAMES,
    THETA_NAMES,
    inverted,
    renamed,
)
from .pictures import ReferenceFocalNet, ReferencePicture, ReferenceViT, backbone_options
from .piq import ReferencePIQ

__all__ = [
    "ACTIVATION_NAMES",
    "AMORTIZED_NAMES",
    "CNN14_HEAD_NAMES",
    "CNN14_NAMES",
    "DICTIONARY_NAMES",
    "ENCODER_NAMES",
    "FRAMES",
    "HEAD_NAMES",
    "INTERPRETER_NAMES",
    "MASK_NAMES",
    "TEMPERATURES",
    "THETA_NAMES",
    "Reference",
    "ReferenceAMT",
    "ReferenceClassifier",
    "ReferenceCnn14",
    "ReferenceConv2d",
    "ReferenceFocalNet",
    "ReferenceL2I",
    "ReferenceLMAC",
    "ReferencePIQ",
    "ReferencePicture",
    "ReferenceViT",
    "backbone_options",
    "inverted",
    "quantus",
    "renamed",
    "speechbrain_modules",
]
