"""Picture of a long recording on one page: confidence by label, spectrogram, evidence and events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from otoscope.plots.cells import FLOOR_DB, decibels, frequency_edges, pixel_means, time_edges
from otoscope.plots.spectrogram import draw_spectrogram
from otoscope.plots.style import (
    SHARE_COLORS,
    TEXT_POINTS,
    TICK_POINTS,
    TITLE_POINTS,
    FrequencyAxis,
    color_bar,
    new_figure,
    set_frequency_axis,
    tick_labels,
    title,
    write_line,
)
from otoscope.plots.text import literal, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LABELS = 12
"""Number of labels whose confidence is drawn."""
_EVENT_COLOR = "#ff7f0e"
_MOST_FRAMES = 200
"""Number of events that are framed; more are underlined."""
_EVIDENCE_RGB = (0.0, 0.9, 1.0)
_EVIDENCE_OPACITY = 0.75
_COLUMNS = 1600
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 0.115, 0.935, 0.865, 0.085, 0.08
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)


@dataclass(frozen=True)
class EventBox:
    """Event as it is drawn.

    Attributes:
        label: Class.
        begin_s: Begin in the recording.
        end_s: End in the recording.
        low_hz: Lowest frequency.
        high_hz: Highest frequency; None: the event has no box.
    """

    label: str
    begin_s: float
    end_s: float
    low_hz: float = 0.0
    high_hz: float | None = None


def timeline_picture(
    log_magnitude: np.ndarray,
    share: np.ndarray,
    window_begins_s: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    events: Sequence[EventBox],
    start_s: float,
    duration_s: float,
    sample_rate_hz: float,
    *,
    window_s: float,
    min_confidence: float,
    headline: str = "",
    line: str = "",
    axis: FrequencyAxis = "linear",
) -> Figure:
    """Draw a recording of any length as one picture for a slide, 1920 x 1080 pixels.

    Args:
        log_magnitude: Pooled log magnitude; see `PooledSpectrogram`. Shape (rows, columns).
        share: Share of the energy of each cell that belongs to the evidence. Same shape.
        window_begins_s: Begin of each window in the recording. Shape (windows,).
        probabilities: Probability of each class in each window. Shape (windows, classes).
        labels: Names of the classes.
        events: Events.
        start_s: Begin of the analysed part in the recording.
        duration_s: Length of that part.
        sample_rate_hz: Sample rate.
        window_s: Length of a window.
        min_confidence: Probability that a window of every event reaches.
        headline: Headline.
        line: Line below the headline.
        axis: Scale of the frequency axis, ``linear``, ``mel`` or ``log``.
    """
    figure = new_figure()
    width = _RIGHT - _LEFT
    write_line(figure, readable(headline, 160), _LEFT, 0.958, width, fontsize=TITLE_POINTS, fontweight="bold")
    write_line(figure, readable(line, 160), _LEFT, 0.918, width, fontsize=TEXT_POINTS, color="#444444")
    shown = shown_labels(probabilities, labels, events)
    # A lane is high enough for its name; the spectrogram gets the rest of the page.
    room = _TOP - _BOTTOM - _GAP
    lanes = min(0.06 + 0.032 * len(shown), 0.5 * room)
    top = figure.add_axes((_LEFT, _TOP - lanes, width, lanes))
    bottom = figure.add_axes((_LEFT, _BOTTOM, width, room - lanes))
    limits = (start_s, start_s + duration_s)
    _draw_lanes(top, window_begins_s, probabilities, [labels.index(label) for label in shown], window_s, limits)
    _mark_lanes(top, shown, events)
    marked = "framed" if len(events) <= _MOST_FRAMES else "underlined"
    title(top, f"Confidence by label; events, from {min_confidence:.2f}, are {marked}")
    _draw_sound(bottom, log_magnitude, share, duration_s, sample_rate_hz, axis, start_s)
    _draw_boxes(bottom, events, sample_rate_hz, limits)
    # Without explanations there is neither evidence nor a box.
    is_explained = bool(share.any()) or any(event.high_hz is not None for event in events)
    title(bottom, "Spectrogram, evidence (cyan) and events (boxes)" if is_explained else "Spectrogram")
    for axes in (top, bottom):
        _set_clock_axis(axes, limits)
    bottom.set_xlabel(_clock_label(limits[1]), fontsize=TICK_POINTS)
    return figure


def shown_labels(probabilities: np.ndarray, labels: Sequence[str], events: Sequence[EventBox]) -> list[str]:
    """Return the labels whose confidence is drawn: those with events, the longest first, then the most probable.

    Example:
        >>> events = [EventBox("cat", 0, 1), EventBox("dog", 0, 5)]
        >>> shown_labels(np.array([[0.1, 0.2, 0.7]]), ["cat", "dog", "hen"], events)
        ['dog', 'cat', 'hen']
    """
    seconds = dict.fromkeys(labels, 0.0)
    for event in events:
        seconds[event.label] += event.end_s - event.begin_s
    largest = dict(zip(labels, probabilities.max(0, initial=0.0), strict=True))
    ranked = sorted(labels, key=lambda label: (-seconds[label], -largest[label]))
    return ranked[:MOST_LABELS]


def _draw_lanes(
    axes: Axes,
    begins_s: np.ndarray,
    probabilities: np.ndarray,
    rows: list[int],
    window_s: float,
    limits: tuple[float, float],
) -> None:
    """Draw a row of colours for each label: the highest confidence among the windows nearest to each column."""
    edges = np.linspace(*limits, _COLUMNS + 1)
    # Between the centres of two windows, the nearer one counts; a column may hold many windows.
    centers = begins_s + window_s / 2
    borders = np.concatenate([[-np.inf], (centers[1:] + centers[:-1]) / 2, [np.inf]])
    first = np.searchsorted(borders, edges[:-1], side="right") - 1
    last = np.searchsorted(borders, edges[1:], side="left")
    values = np.empty((len(rows), _COLUMNS), np.float32)
    for column, (begin, end) in enumerate(zip(first, np.maximum(last, first + 1), strict=True)):
        values[:, column] = probabilities[begin:end][:, rows].max(0)
    extent = (*limits, len(rows) - 0.5, -0.5)
    image = axes.imshow(
        values, aspect="auto", extent=extent, cmap=SHARE_COLORS, vmin=0, vmax=1, interpolation="nearest"
    )
    color_bar(axes, image).set_ticks([0, 0.5, 1])


def _mark_lanes(axes: Axes, shown: Sequence[str], events: Sequence[EventBox]) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    tick_labels(axes, "y", shown, TICK_POINTS)
    place = {label: index for index, label in enumerate(shown)}
    # The frames of many events, a few pixels wide, would hide the confidence in them.
    is_framed = len(events) <= _MOST_FRAMES
    above, height = (-0.42, 0.84) if is_framed else (0.34, 0.14)
    marks = [
        Rectangle((event.begin_s, place[event.label] + above), event.end_s - event.begin_s, height)
        for event in events
        if event.label in place
    ]
    style: dict[str, Any] = {"facecolor": _EVENT_COLOR, "linewidth": 0}
    if is_framed:
        style = {"facecolor": "none", "edgecolor": _EVENT_COLOR, "linewidth": _line_width(len(events))}
    axes.add_collection(PatchCollection(marks, **style))


def _draw_sound(
    axes: Axes,
    log_magnitude: np.ndarray,
    share: np.ndarray,
    duration_s: float,
    sample_rate_hz: float,
    axis: FrequencyAxis,
    start_s: float,
) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    image = draw_spectrogram(axes, log_magnitude, duration_s, sample_rate_hz, axis)
    # In a cell that is drawn as silence, a share of nothing would be bright.
    share = np.where(decibels(log_magnitude) > FLOOR_DB, share, 0)
    begin_s, end_s = time_edges(log_magnitude.shape[1], duration_s)
    values, low_hz, high_hz = frequency_edges(
        pixel_means(share, sample_rate_hz, axis, axes.bbox.height), sample_rate_hz, axis
    )
    extent = (start_s + begin_s, start_s + end_s, low_hz, high_hz)
    image.set_extent(extent)
    ends = [(*_EVIDENCE_RGB, 0.0), (*_EVIDENCE_RGB, _EVIDENCE_OPACITY)]
    overlay = LinearSegmentedColormap.from_list("evidence", ends)
    axes.imshow(values, origin="lower", aspect="auto", extent=extent, cmap=overlay, vmin=0, vmax=1)
    # matplotlib sets the limits to those of the image
    set_frequency_axis(axes, sample_rate_hz, axis)


def _draw_boxes(axes: Axes, events: Sequence[EventBox], sample_rate_hz: float, limits: tuple[float, float]) -> None:
    from matplotlib import patheffects
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    boxes = [event for event in events if event.high_hz is not None]
    patches = [
        Rectangle((box.begin_s, box.low_hz), box.end_s - box.begin_s, (box.high_hz or 0.0) - box.low_hz)
        for box in boxes
    ]
    # White with a dark edge is seen on silence, on bright sound and on the evidence.
    width = _line_width(len(boxes))
    for color, line_width in (("black", width + 1.2), ("white", width)):
        axes.add_collection(PatchCollection(patches, facecolor="none", edgecolor=color, linewidth=line_width))
    outline = [patheffects.withStroke(linewidth=2.5, foreground="black")]
    # A name is written where it has room: about its own width behind the name before it.
    free_from = -np.inf
    for box in sorted(boxes, key=lambda box: box.begin_s):
        text = readable(box.label, 16)
        if box.begin_s < free_from:
            continue
        free_from = box.begin_s + 0.0085 * len(text) * (limits[1] - limits[0])
        height = min((box.high_hz or 0.0) + 0.012 * sample_rate_hz / 2, 0.95 * sample_rate_hz / 2)
        style = {"fontsize": TICK_POINTS - 2, "color": "white", "va": "bottom", "clip_on": True}
        style["path_effects"] = outline
        axes.text(box.begin_s, height, text, **style, **literal(text))  # type: ignore[arg-type]


def _line_width(events: int) -> float:
    """Return the width of the frames of events: thin where many narrow ones would hide what they frame."""
    return 1.1 if events <= 60 else 0.6


def _set_clock_axis(axes: Axes, limits: tuple[float, float]) -> None:
    """Set the limits of a time axis, and ticks at whole seconds, minutes or hours."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    axes.set_xlim(*limits)
    length_s = limits[1] - limits[0]
    step_s = next((step for step in _STEPS_S if length_s / step <= 12), 86_400)
    if length_s > 5:
        axes.xaxis.set_major_locator(MultipleLocator(step_s))
    if limits[1] > 120:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock_text(seconds, limits[1])))
    axes.tick_params(labelsize=TICK_POINTS)


def clock_text(seconds: float, longest_s: float) -> str:
    """Return a time in hours, minutes and seconds, or in minutes and seconds if no time of the axis needs hours.

    Example:
        >>> clock_text(754, 3000), clock_text(3754, 7200)
        ('12:34', '1:02:34')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:d}:{rest:02d}" if longest_s < 3600 else f"{minutes // 60:d}:{minutes % 60:02d}:{rest:02d}"


def _clock_label(end_s: float) -> str:
    if end_s <= 120:
        return "time (s)"
    return "time (min:s)" if end_s < 3600 else "time (h:min:s)"
