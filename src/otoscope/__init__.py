"""Explanations of audio classifiers in sound.

Names are imported when they are first used, so that ``import otoscope`` is fast.

Example:
    >>> import otoscope
    >>> explanation = otoscope.load("results/piq/1234/model").explain("clip.wav")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from otoscope.store.kinds import KINDS
from otoscope.version import __version__ as __version__

if TYPE_CHECKING:
    from otoscope.audio import Frontend as Frontend
    from otoscope.audio import Spectrogram as Spectrogram
    from otoscope.audio import load_audio as load_audio
    from otoscope.audio import save_audio as save_audio
    from otoscope.classifiers import *  # noqa: F403
    from otoscope.errors import OtoscopeError as OtoscopeError
    from otoscope.evaluation import run_evaluation as run_evaluation
    from otoscope.explain import Explainer as Explainer
    from otoscope.explain import load as load
    from otoscope.explanation import Explanation as Explanation
    from otoscope.explanation import Explanations as Explanations
    from otoscope.interpreters import *  # noqa: F403
    from otoscope.loading import load_classifier as load_classifier
    from otoscope.loading import load_dictionary as load_dictionary
    from otoscope.loading import load_interpreter as load_interpreter
    from otoscope.nn import NMFDictionary as NMFDictionary
    from otoscope.recordings import Timeline as Timeline
    from otoscope.recordings import explain_long as explain_long
    from otoscope.training import run_training as run_training

_HOMES = {
    "audio": ("Frontend", "Spectrogram", "load_audio", "save_audio"),
    "classifiers": ("Classifier", "Prediction", "from_pipeline", "save_classifier"),
    "errors": ("OtoscopeError",),
    "evaluation": ("run_evaluation",),
    "explain": ("Explainer", "load"),
    "explanation": ("Explanation", "Explanations"),
    "interpreters": ("Components", "Interpreter", "make_untrained", "save_interpreter"),
    "loading": ("load_classifier", "load_dictionary", "load_interpreter"),
    "recordings": ("Timeline", "explain_long"),
    "training": ("run_training",),
}
_HOME_OF = {name: f"otoscope.{home}" for home, names in _HOMES.items() for name in names}
# Every classifier, interpreter and dictionary that can be saved is public; the table of kinds lists them.
_HOME_OF |= {name: module for module, _, name in (path.rpartition(".") for path in KINDS.values())}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'otoscope' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
