"""Pictures of an explanation: as a figure of its own, or on axes of a figure of the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from otoscope.plots import (
    ExplanationData,
    FrequencyAxis,
    PanelName,
    SufficiencyCurve,
    draw_explanation_panels,
    explanation_picture,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from otoscope.explanation.result import Explanation


def draw_explanation(
    explanation: Explanation, axis: FrequencyAxis, axes: Axes | Mapping[PanelName, Axes] | None
) -> Figure:
    """Draw an explanation; see `Explanation.plot`.

    Args:
        explanation: Explanation.
        axis: Scale of the frequency axes.
        axes: Axes to draw on (default: those of a new figure).
    """
    # A mask that is the map itself would be drawn twice.
    importance = explanation.importance
    is_cut = importance is not None and not torch.equal(importance, explanation.mask)
    content: dict[str, Any] = {
        "log_magnitude": explanation.log_magnitude.numpy(),
        "mask": explanation.mask.numpy(),
        "duration_s": len(explanation.original) / explanation.sample_rate_hz,
        "sample_rate_hz": explanation.sample_rate_hz,
        "label": explanation.label,
        "importance": importance.numpy() if importance is not None and is_cut else None,
        "recording_probabilities": explanation.probabilities,
        "evidence_probabilities": explanation.evidence_probabilities or None,
        "remainder_probabilities": explanation.remainder_probabilities or None,
        "curve": sufficiency_curve(explanation),
        "axis": axis,
    }
    if axes is not None:
        named: Mapping[PanelName, Axes] = axes if isinstance(axes, Mapping) else {"mask": axes}
        return draw_explanation_panels(named, ExplanationData(**content))
    verdict = "" if explanation.verdict is None else explanation.verdict.headline
    return explanation_picture(name=explanation.name, method=explanation.method, verdict=verdict, **content)


def sufficiency_curve(explanation: Explanation) -> SufficiencyCurve | None:
    """Return the probability of the explained class over the area of the mask; None if it was not measured."""
    if explanation.sufficiency is None:
        return None
    evidence, remainder = (
        np.array([point for point in points if point.area > 0]).reshape(-1, 2)
        for points in (explanation.sufficiency.evidence, explanation.sufficiency.remainder)
    )
    if not len(evidence):
        return None
    return SufficiencyCurve(
        area=evidence[:, 0],
        evidence=evidence[:, 1],
        remainder=remainder[:, 1],
        chosen_area=float(explanation.mask.mean()),
        remainder_area=remainder[:, 0],
    )
