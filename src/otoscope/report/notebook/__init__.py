"""Views of results in notebooks, made of the templates and the player of a report; see `otoscope.views`."""

from otoscope.report.notebook.clips import show_explanation, show_explanations, show_stored
from otoscope.report.notebook.evaluation import show_evaluation
from otoscope.report.notebook.recording import show_timeline
from otoscope.report.notebook.texts import show_explainer, show_text

__all__ = [
    "show_evaluation",
    "show_explainer",
    "show_explanation",
    "show_explanations",
    "show_stored",
    "show_text",
    "show_timeline",
]
