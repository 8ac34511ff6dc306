"""Otoscope explains audio classifiers in sound.

Names are imported when first used, so that ``import otoscope`` costs nothing.

Example:
    >>> import otoscope
    >>> explanation = otoscope.load("results/piq/1234/model").explain("clip.wav")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otoscope.audio import Frontend, Spectrogram, load_audio, save_audio
    from otoscope.classifiers import (
        CallableClassifier,
        Classifier,
        Cnn14Classifier,
        Conv2dClassifier,
        OnnxClassifier,
        Prediction,
        TorchClassifier,
        TransformersClassifier,
        save_classifier,
    )
    from otoscope.errors import OtoscopeError
    from otoscope.explain import Explainer, load
    from otoscope.explanation import Explanation
    from otoscope.interpreters import (
        Components,
        Interpreter,
        L2IInterpreter,
        PIQInterpreter,
        save_interpreter,
    )
    from otoscope.loading import load_classifier, load_dictionary, load_interpreter
    from otoscope.nn import NMFDictionary

__version__ = "0.1.0"

_HOMES = {
    "audio": ("Frontend", "Spectrogram", "load_audio", "save_audio"),
    "classifiers": (
        "CallableClassifier",
        "Classifier",
        "Cnn14Classifier",
        "Conv2dClassifier",
        "OnnxClassifier",
        "Prediction",
        "TorchClassifier",
        "TransformersClassifier",
        "save_classifier",
    ),
    "errors": ("OtoscopeError",),
    "explain": ("Explainer", "load"),
    "explanation": ("Explanation",),
    "interpreters": (
        "Components",
        "Interpreter",
        "L2IInterpreter",
        "PIQInterpreter",
        "save_interpreter",
    ),
    "nn": ("NMFDictionary",),
    "loading": ("load_classifier", "load_dictionary", "load_interpreter"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CallableClassifier",
    "Classifier",
    "Cnn14Classifier",
    "Components",
    "Conv2dClassifier",
    "Explainer",
    "Explanation",
    "Frontend",
    "Interpreter",
    "L2IInterpreter",
    "NMFDictionary",
    "OnnxClassifier",
    "OtoscopeError",
    "PIQInterpreter",
    "Prediction",
    "Spectrogram",
    "TorchClassifier",
    "TransformersClassifier",
    "load",
    "load_audio",
    "load_classifier",
    "load_dictionary",
    "load_interpreter",
    "save_audio",
    "save_classifier",
    "save_interpreter",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'otoscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"otoscope.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
