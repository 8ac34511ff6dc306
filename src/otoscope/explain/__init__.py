"""From a recording to an `Explanation`, in one call."""

from otoscope.explain.explainer import Explainer
from otoscope.explain.opening import load
from otoscope.explain.results import BatchInterpretation, FileInterpretation

__all__ = ["BatchInterpretation", "Explainer", "FileInterpretation", "load"]
