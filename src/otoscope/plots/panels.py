"""Pictures of several spectrograms or activation maps side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from otoscope.plots.cells import peak_magnitude
from otoscope.plots.spectrogram import draw_map, draw_mask, draw_spectrogram
from otoscope.plots.style import FrequencyAxis, figure_title, new_figure, title
from otoscope.plots.text import readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def spectra_picture(
    panels: Mapping[str, np.ndarray],
    name: str,
    sample_rate_hz: float,
    duration_s: float,
    axis: FrequencyAxis = "linear",
) -> Figure:
    """Draw spectrograms and masks side by side.

    Args:
        panels: Log magnitudes and masks by title. Shape (frequency, time) each. Those whose title begins with
            "mask" are drawn over the first spectrogram; the others in dB relative to the loudest of them.
        name: Title of the figure.
        sample_rate_hz: Sample rate, for the frequency axis.
        duration_s: Length of the recording, for the time axis.
        axis: Scale of the frequency axis, ``linear``, ``mel`` or ``log``.
    """
    spectra = [values for heading, values in panels.items() if not heading.startswith("mask")]
    # One reference for all spectrograms, so that their colours can be compared.
    peak = max(map(peak_magnitude, spectra), default=0.0)
    figure, axes = _grid(len(panels), name)
    for panel, (heading, values) in zip(axes, panels.items(), strict=False):
        if heading.startswith("mask"):
            if spectra:
                draw_spectrogram(panel, spectra[0], duration_s, sample_rate_hz, axis, peak, bar=False)
            draw_mask(panel, values, duration_s, sample_rate_hz, axis)
        else:
            draw_spectrogram(panel, values, duration_s, sample_rate_hz, axis, peak)
        title(panel, readable(heading, 34))
    return figure


def maps_picture(
    maps: Mapping[str, np.ndarray],
    name: str,
    sample_rate_hz: float,
    duration_s: float,
    axis: FrequencyAxis = "linear",
) -> Figure:
    """Draw activation maps in rows of at most four, each over its own range.

    Args:
        maps: Maps by title. Shape (frequency', time') each; their cells divide the frequency axis and the recording
            evenly.
        name: Title of the figure.
        sample_rate_hz: Sample rate, for the frequency axis.
        duration_s: Length of the recording, for the time axis.
        axis: Scale of the frequency axis, ``linear``, ``mel`` or ``log``.
    """
    figure, axes = _grid(len(maps), name)
    for panel, (heading, values) in zip(axes, maps.items(), strict=False):
        draw_map(panel, values, duration_s, sample_rate_hz, axis)
        title(panel, readable(heading, 34))
    return figure


def _grid(count: int, name: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title and panels in rows of at most four."""
    # As few rows as possible, and then as few columns: five panels are three and two.
    rows = max(-(-count // 4), 1)
    columns = max(-(-count // rows), 1)
    figure = new_figure(max(4.4 * columns, 6.0), 3.4 * rows + 0.7)
    # Fixed margins in inches, whatever the number of panels.
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=0.75 / width,
        right=1 - 0.65 / width,
        bottom=0.6 / height,
        top=1 - 0.95 / height,
        wspace=0.42,
        hspace=0.45,
    )
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    # The last row may have more places than panels.
    for axis in axes[count:]:
        axis.set_axis_off()
    figure_title(figure, name)
    return figure, axes
