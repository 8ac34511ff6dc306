"""Colours, sizes and the frequency axis that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from otoscope.errors import ConfigurationError
from otoscope.plots.text import literal, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

FrequencyAxis = Literal["linear", "mel", "log"]
"""Scale of a frequency axis: linear in Hz, mel (HTK), or logarithmic from about 50 Hz."""

SLIDE_INCHES = (12.8, 7.2)
"""Width and height of a picture for a slide, 16:9."""
DPI = 150
"""Dots per inch: a picture for a slide has 1920 x 1080 pixels."""

TITLE_POINTS, TEXT_POINTS, TICK_POINTS = 17, 12, 10.5

LEVEL_COLORS = "magma"
"""Colour map of levels. Its lightness rises evenly from black to nearly white, over a larger range than that of
`viridis` and `cividis`, so that it also shows most levels in grey print and with every form of colour blindness."""
SHARE_COLORS = "Blues"
"""Colour map of shares in tables: white at 0, so that the numbers in the cells remain readable."""

RECORDING_COLOR, EVIDENCE_COLOR, REMAINDER_COLOR = "#222222", "#0072b2", "#e69f00"
"""Colours of the three sounds: of Okabe and Ito's palette for the colour-blind, and of different lightness."""

_LOWEST_LOG_HZ = 50.0
_TICKS_HZ = {
    "mel": (0, 500, 1000, 2000, 4000, 8000, 16_000, 32_000),
    "log": (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000),
}


def signed_colors() -> Colormap:
    """Return the colour map of signed values: blue below 0, white at 0, red above.

    Red and blue remain distinct with every form of red-green blindness, as long as they are not too dark: the ends
    of matplotlib's map, which are nearly black, are left out. Both ends are equally dark, as they are equally far
    from 0, so that grey print shows the amount without the sign.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", colormaps["RdBu_r"](np.linspace(0.09, 0.91, 128)))


def new_figure(width_inches: float = SLIDE_INCHES[0], height_inches: float = SLIDE_INCHES[1]) -> Figure:
    """Return an empty figure. It is made without pyplot: it needs no display and leaves no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inches, height_inches), dpi=DPI, facecolor="white")


def title(axes: Axes, text: str) -> None:
    """Write the title of a panel, at its left end."""
    # A given height spares matplotlib the search for one that clears all ticks, which takes a tenth of the drawing.
    axes.set_title(text, loc="left", y=1.0, pad=5, fontsize=TEXT_POINTS, **literal(text))


def figure_title(figure: Figure, text: str) -> None:
    """Write the title of a figure with `layout="constrained"`, or of a single panel."""
    text = readable(text, 90)
    figure.suptitle(text, fontsize=TITLE_POINTS - 3, **literal(text))


def write_line(figure: Figure, text: str, begin: float, height: float, width: float, **style: Any) -> None:
    """Write a line into a figure, in a smaller font if it would exceed its width.

    Args:
        figure: Figure.
        text: Line, readable.
        begin: Left end, as a share of the figure.
        height: Centre, as a share of the figure.
        width: Largest width, as a share of the figure.
        **style: Properties of the text.
    """
    line = figure.text(begin, height, text, va="center", **style, **literal(text))
    room = width * figure.bbox.width
    line.set_fontsize(float(line.get_fontsize()) * min(1.0, room / max(line.get_window_extent().width, 1.0)))


def tick_labels(axes: Axes, side: Literal["x", "y"], labels: Sequence[str], points: float, **options: Any) -> None:
    """Write names at the positions 0, 1, 2, ... of an axis."""
    shown = [readable(label, 28) for label in labels]
    set_ticks = axes.set_xticks if side == "x" else axes.set_yticks
    set_ticks(range(len(shown)), shown, fontsize=points, **options, **literal(*shown))


def color_bar(axes: Axes, image: AxesImage, label: str = "") -> Colorbar:
    """Draw a slim colour bar at the right of a panel, without making the panel smaller."""
    place = axes.inset_axes((1.015, 0.0, 0.025, 1.0))
    bar = cast("Figure", axes.get_figure(root=True)).colorbar(image, cax=place)
    bar.ax.tick_params(labelsize=TICK_POINTS - 1.5, length=2, pad=2)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=TICK_POINTS - 1, labelpad=4)
    return bar


def use_font_size_of_user(axes: Axes) -> None:
    """Scale the texts of a panel and of its colour bar to the font size of `matplotlib.rcParams`."""
    from matplotlib import rcParams
    from matplotlib.text import Text

    factor = float(rcParams["font.size"]) / TICK_POINTS
    for part in (axes, *axes.child_axes):
        # Ticks that are made later follow the parameters of the axis; the others are texts already.
        for axis in (part.xaxis, part.yaxis):
            size = axis.get_tick_params().get("labelsize", TICK_POINTS)
            axis.set_tick_params(labelsize=factor * float(size))
        texts = {id(label) for axis in (part.xaxis, part.yaxis) for label in axis.get_ticklabels(which="both")}
        for text in part.findobj(Text, include_self=False):
            if id(text) not in texts:
                text.set_fontsize(factor * float(text.get_fontsize()))


def set_time_axis(axes: Axes, duration_s: float) -> None:
    """Set the limits and the label of a time axis in seconds."""
    axes.set_xlim(0, duration_s)
    axes.set_xlabel("time (s)", fontsize=TICK_POINTS)
    axes.tick_params(labelsize=TICK_POINTS)


def set_frequency_axis(axes: Axes, sample_rate_hz: float, axis: FrequencyAxis = "linear") -> None:
    """Set the scale, the limits and the ticks of a vertical frequency axis. Its data coordinates are Hz.

    Args:
        axes: Axes whose vertical axis is set.
        sample_rate_hz: Sample rate; the axis ends at half of it.
        axis: Scale, ``linear``, ``mel`` or ``log``.

    Raises:
        ConfigurationError: The scale is another one.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    check_axis(axis)
    top_hz = sample_rate_hz / 2
    if axis == "mel":
        axes.set_yscale("function", functions=(hz_to_mel, mel_to_hz))
    else:
        axes.set_yscale(axis)
    axes.set_ylim(lowest_hz(sample_rate_hz, axis), top_hz)
    # A scale brings ticks of its own; these replace them.
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]) if axis == "linear" else FixedLocator(_TICKS_HZ[axis])
    axes.yaxis.set_major_locator(ticks)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda hz, _: frequency_text(hz)))
    axes.tick_params(labelsize=TICK_POINTS)


def check_axis(axis: str) -> None:
    """Raise an error unless ``axis`` is a scale of the frequency axis.

    Raises:
        ConfigurationError: It is none.
    """
    if axis not in get_args(FrequencyAxis):
        raise ConfigurationError(f"axis: {axis!r} is none of {', '.join(get_args(FrequencyAxis))}")


def lowest_hz(sample_rate_hz: float, axis: FrequencyAxis) -> float:
    """Return the frequency at which an axis begins."""
    # A low sample rate still gets more than three octaves.
    return min(_LOWEST_LOG_HZ, sample_rate_hz / 20) if axis == "log" else 0.0


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Convert Hz to mel with HTK's formula, as the mel banks of the classifiers do."""
    # The lowest bin reaches half its width below 0 Hz, where the formula still holds; the limit is its pole.
    return np.asarray(2595 * np.log10(1 + np.maximum(hz, -699) / 700))


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Convert mel to Hz; the inverse of `hz_to_mel`."""
    return np.asarray(700 * (10 ** (np.asarray(mel) / 2595) - 1))


def frequency_text(hz: float) -> str:
    """Return a frequency with its unit.

    Example:
        >>> frequency_text(0), frequency_text(500), frequency_text(2500), frequency_text(16_000)
        ('0', '500 Hz', '2.5 kHz', '16 kHz')
    """
    if hz == 0:
        return "0"
    return f"{hz:g} Hz" if abs(hz) < 1000 else f"{hz / 1000:g} kHz"
