"""Views of objects in notebooks: the function that shows each kind. Imports nothing until an object is shown.

The classes that show themselves lie below the package ``report``, whose templates and player draw them. Their views
are therefore named by path, as `store.kinds` names classes.
"""

from __future__ import annotations

import importlib
from typing import ClassVar

VIEWS = {
    "explanation": "otoscope.report.notebook.show_explanation",
    "explanations": "otoscope.report.notebook.show_explanations",
    "stored explanation": "otoscope.report.notebook.show_stored",
    "timeline": "otoscope.report.notebook.show_timeline",
    "evaluation": "otoscope.report.notebook.show_evaluation",
    "known use": "otoscope.report.notebook.show_text",
    "explainer": "otoscope.report.notebook.show_explainer",
}
"""Path of the function that shows each kind of object as HTML."""


class Shown:
    """Base class of objects that show themselves in notebooks.

    Attributes:
        view: Name of the view in `VIEWS`.
    """

    view: ClassVar[str]

    def _repr_html_(self) -> str:
        """Return the view of the object in a notebook. It loads nothing and has at most 3 MB."""
        module, _, name = VIEWS[self.view].rpartition(".")
        html: str = getattr(importlib.import_module(module), name)(self)
        return html
