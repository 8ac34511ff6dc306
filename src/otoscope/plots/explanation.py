"""Picture of an explanation: recording, attribution, mask, evidence, and what they do to the decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from otoscope.errors import ConfigurationError, ShapeError, choices
from otoscope.plots.cells import peak_magnitude
from otoscope.plots.decision import SufficiencyCurve, draw_curve, draw_probabilities
from otoscope.plots.spectrogram import draw_importance, draw_mask, draw_spectrogram
from otoscope.plots.style import (
    TEXT_POINTS,
    TITLE_POINTS,
    FrequencyAxis,
    new_figure,
    title,
    use_font_size_of_user,
    write_line,
)
from otoscope.plots.text import readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PanelName = Literal["recording", "attribution", "mask", "evidence", "remainder", "decision", "sufficiency"]
"""Name of a panel."""
Panel = tuple[str, "Callable[[Axes], object]"]
"""Title of a panel, and the function that draws it."""


@dataclass(frozen=True)
class ExplanationData:
    """What the panels of an explanation show.

    Attributes:
        log_magnitude: ``log1p`` of the recording's magnitude. Shape (frequency, time).
        mask: Mask in [0, 1], same shape.
        duration_s: Length of the recording.
        sample_rate_hz: Sample rate.
        label: Explained class.
        importance: Attribution map that the mask is cut from, signed, same shape.
        recording_probabilities: Probability of each class for the recording, by label.
        evidence_probabilities: Probabilities of the evidence alone.
        remainder_probabilities: Probabilities of the remainder.
        curve: Probability of the explained class over the area of the mask.
        axis: Scale of the frequency axes, ``linear``, ``mel`` or ``log``.

    Raises:
        ShapeError: Mask or attribution map differ in shape from the spectrogram.
    """

    log_magnitude: np.ndarray
    mask: np.ndarray
    duration_s: float
    sample_rate_hz: float
    label: str = ""
    importance: np.ndarray | None = None
    recording_probabilities: Mapping[str, float] | None = None
    evidence_probabilities: Mapping[str, float] | None = None
    remainder_probabilities: Mapping[str, float] | None = None
    curve: SufficiencyCurve | None = None
    axis: FrequencyAxis = "linear"

    def __post_init__(self) -> None:
        shape = np.shape(self.log_magnitude)
        for part, values in (("mask", self.mask), ("importance", self.importance)):
            if values is not None and np.shape(values) != shape:
                raise ShapeError(f"{part}: shape {np.shape(values)} differs from that of the spectrogram, {shape}")

    def panels(self) -> dict[PanelName, Panel]:
        """Return the panels that there is data for, by name, in the order of the argument."""
        log_magnitude, mask = np.asarray(self.log_magnitude), np.asarray(self.mask)
        peak = peak_magnitude(log_magnitude)
        place = (self.duration_s, self.sample_rate_hz, self.axis)

        def spectrogram(values: np.ndarray) -> Callable[[Axes], object]:
            return lambda axes: draw_spectrogram(axes, values, *place, peak=peak)

        def draw_overlay(axes: Axes) -> None:
            draw_spectrogram(axes, log_magnitude, *place, peak=peak, bar=False)
            draw_mask(axes, mask, *place)

        # What was heard, what counted in it, what was cut out, and what that does.
        panels: dict[PanelName, Panel] = {"recording": ("Recording", spectrogram(log_magnitude))}
        if (importance := self.importance) is not None:
            title = "Attribution: for (+), against (−)"
            panels["attribution"] = (title, lambda axes: draw_importance(axes, importance, *place))
        panels["mask"] = (f"Mask: {100 * mask.mean():.3g} % of the area", draw_overlay)
        panels["evidence"] = ("Evidence alone", spectrogram(log_magnitude * mask))
        panels["remainder"] = ("Remainder", spectrogram(log_magnitude * (1 - mask)))
        if before := self.recording_probabilities:
            after, without, label = self.evidence_probabilities, self.remainder_probabilities, self.label or None
            panels["decision"] = (
                "Decision",
                lambda axes: draw_probabilities(axes, before, after, without, label),
            )
        if (curve := self.curve) is not None:
            title = f"How much suffices for {readable(self.label, 20)}"
            panels["sufficiency"] = (title, lambda axes: draw_curve(axes, curve))
        return panels


def draw_explanation_panels(axes: Mapping[PanelName, Axes], data: ExplanationData) -> Figure:
    """Draw panels of an explanation on axes of any figure, in the font size of `matplotlib.rcParams`.

    Args:
        axes: Axes by name of the panel.
        data: What the panels show.

    Returns:
        The figure of the axes.

    Raises:
        ConfigurationError: There is no such panel, there is no data for it, or something else than axes is given.
    """
    from matplotlib.axes import Axes as MatplotlibAxes

    panels = data.panels()
    for name, panel in axes.items():
        if name not in get_args(PanelName):
            raise ConfigurationError(f"axes: there is no panel {name!r}; {choices(str(name), get_args(PanelName))}")
        if name not in panels:
            raise ConfigurationError(
                f"axes: this explanation has no data for the panel {name!r}; it has {', '.join(panels)}"
            )
        if not isinstance(panel, MatplotlibAxes):
            raise ConfigurationError(
                f"axes: {type(panel).__name__} is no matplotlib Axes; give one, or some by name of the panel, such "
                "as {'recording': left, 'evidence': right}"
            )
    if not axes:
        raise ConfigurationError(f"axes: no panel is named; choose among {', '.join(panels)}")
    for name, panel in axes.items():
        heading, draw = panels[name]
        draw(panel)
        title(panel, heading)
        use_font_size_of_user(panel)
    return cast("Figure", next(iter(axes.values())).get_figure(root=True))


def explanation_picture(
    log_magnitude: np.ndarray,
    mask: np.ndarray,
    duration_s: float,
    sample_rate_hz: float,
    *,
    name: str = "",
    label: str = "",
    method: str = "",
    importance: np.ndarray | None = None,
    recording_probabilities: Mapping[str, float] | None = None,
    evidence_probabilities: Mapping[str, float] | None = None,
    remainder_probabilities: Mapping[str, float] | None = None,
    curve: SufficiencyCurve | None = None,
    verdict: str = "",
    axis: FrequencyAxis = "linear",
) -> Figure:
    """Draw an explanation as one picture for a slide, 1920 x 1080 pixels; panels without data are left out.

    Args:
        log_magnitude: ``log1p`` of the recording's magnitude. Shape (frequency, time).
        mask: Mask in [0, 1], same shape.
        duration_s: Length of the recording.
        sample_rate_hz: Sample rate.
        name: Name of the recording.
        label: Explained class.
        method: Title of the method.
        importance: Attribution map that the mask is cut from, signed, same shape.
        recording_probabilities: Probability of each class for the recording, by label.
        evidence_probabilities: Probabilities of the evidence alone.
        remainder_probabilities: Probabilities of the remainder.
        curve: Probability of the explained class over the area of the mask.
        verdict: Headline of one sentence.
        axis: Scale of the frequency axes, ``linear``, ``mel`` or ``log``.

    Raises:
        ConfigurationError: The scale of the frequency axis is another one.
        ShapeError: Mask or attribution map differ in shape from the spectrogram.
    """
    panels = ExplanationData(
        log_magnitude,
        mask,
        duration_s,
        sample_rate_hz,
        label,
        importance,
        recording_probabilities,
        evidence_probabilities,
        remainder_probabilities,
        curve,
        axis,
    ).panels()
    # The recording minus the evidence can be imagined; the numbers cannot.
    del panels["remainder"]
    numbers = len({"decision", "sufficiency"} & panels.keys())
    figure = new_figure()
    probability = (recording_probabilities or {}).get(label)
    _write_titles(figure, verdict, _described(name, label, probability, method))
    places = _axes(figure, len(panels) - numbers, numbers)
    for axes, (heading, draw) in zip(places, panels.values(), strict=True):
        draw(axes)
        title(axes, heading)
    return figure


def _described(name: str, label: str, probability: float | None, method: str) -> list[str]:
    """Return the parts of the line that says what is explained: recording, class with its probability, method."""
    parts = [readable(part, longest) for part, longest in ((name, 48), (label, 32), (method, 32))]
    if parts[1] and probability is not None:
        parts[1] += f" (p = {probability:.2f})"
    return [part for part in parts if part]


def _write_titles(figure: Figure, verdict: str, parts: list[str]) -> None:
    """Write the headline, or else the recording's name, and below it what is explained."""
    headline, parts = (readable(verdict, 110), parts) if verdict else (parts[0] if parts else "", parts[1:])
    line = "   ·   ".join(parts)
    write_line(figure, headline, _LEFT, 0.952, _RIGHT - _LEFT, fontsize=TITLE_POINTS, fontweight="bold")
    write_line(figure, line, _LEFT, 0.9, _RIGHT - _LEFT, fontsize=TEXT_POINTS, color="#444444")


_LEFT, _RIGHT, _TOP, _BOTTOM = 0.055, 0.96, 0.842, 0.072
"""Edges of the panels as shares of the figure. Ticks and colour bars are outside."""
_GAP, _ROW_GAP = 0.085, 0.132


def _axes(figure: Figure, spectrograms: int, numbers: int) -> list[Axes]:
    """Place three panels in the first row and the others with equal widths in the second.

    The places are fixed, because a constrained layout draws the whole figure several times.
    """
    second = spectrograms + numbers - 3
    rows = 2 if second else 1
    height = (_TOP - _BOTTOM - _ROW_GAP * (rows - 1)) / rows
    axes = []
    for row, count in enumerate([3, second][:rows]):
        width = (_RIGHT - _LEFT - _GAP * (count - 1)) / count
        low = _TOP - height - row * (height + _ROW_GAP)
        axes += [figure.add_axes((_LEFT + i * (width + _GAP), low, width, height)) for i in range(count)]
    return axes
