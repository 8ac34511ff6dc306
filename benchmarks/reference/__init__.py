"""The reference system (SpeechBrain 1.1.2): its modules, arranged as in its recipes of interpretation.

Tests compare results with it, and benchmarks compare times. It computes the same as the recipes, in their order and
including superfluous parts, but without reading files, logging and checkpoints. Time comes before frequency, as in
SpeechBrain. It needs the packages of the ``parity`` extra; torchaudio may be absent.
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
