"""Views without sounds: explainers, and results that are text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otoscope.files.json import json_text
from otoscope.report.notebook import frame
from otoscope.report.rendering import render

if TYPE_CHECKING:
    from otoscope.evaluation import KnownUseReport
    from otoscope.explain import Explainer

_MOST_CLASSES, _LONGEST_DETAIL = 60, 200
_DETAILS = ("data", "metrics", "license", "source")


def show_explainer(explainer: Explainer) -> str:
    """Return the view of an explainer: method, classifier, classes, and where they come from."""
    classifier, labels = explainer.classifier, explainer.labels
    facts: dict[str, Any] = {
        "method": explainer.method,
        "classifier": type(classifier).__name__,
        "sample rate": f"{explainer.sample_rate_hz} Hz",
    }
    if classifier.clip_s is not None:
        facts["length of clips in training"] = f"{classifier.clip_s:.3g} s"
    details = {**classifier.details, **explainer.details}
    facts |= {name: _short(details[name]) for name in _DETAILS if details.get(name)}
    content = {
        "facts": facts,
        "labels": labels[:_MOST_CLASSES],
        "others": max(len(labels) - _MOST_CLASSES, 0),
        "count": len(labels),
    }
    return str(render("explainer.html.j2", content))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json_text(value)
    return text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]}…"


def show_text(report: KnownUseReport) -> str:
    """Return the view of a report that is text."""
    text = report.text
    # Every character may become a reference of five.
    longest = frame.MOST_BYTES // 6
    rest = len(text) - longest
    note = f"{rest} characters are left out; known_use.txt in {report.folder} holds all" if rest > 0 else ""
    return str(render("text.html.j2", {"text": text[:longest], "note": note}))
