"""Levels in dB, and cells at the right place of every axis."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from otoscope.errors import ConfigurationError, ShapeError
from otoscope.plots import draw_importance, draw_map, draw_mask, draw_spectrogram
from otoscope.plots.cells import robust_limit
from otoscope.plots.style import hz_to_mel, mel_to_hz

AXES = ("linear", "mel", "log")


def new_axes():
    return Figure(figsize=(4, 4), dpi=100).subplots()


@pytest.fixture
def brightness(pixels_of):
    """Function that draws a panel and returns the pixels of its middle column: heights, and brightness."""

    def measure(axes):
        pixels = pixels_of(axes.figure)
        box = axes.get_window_extent()
        heights = np.arange(len(pixels)) + 0.5
        inside = (heights > box.y0 + 2) & (heights < box.y1 - 2)
        return heights[inside], pixels[inside, int(box.x0 + box.width / 2)]

    return measure


def test_mel_is_that_of_htk():
    assert hz_to_mel(np.array([0.0, 1000.0])) == pytest.approx([0, 999.99], abs=0.01)
    assert mel_to_hz(hz_to_mel(np.array([5.0, 440.0, 7999.0]))) == pytest.approx([5, 440, 7999])


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("bin_index", [8, 40, 100, 120])
def test_bins_lie_at_their_frequency(axis, bin_index, brightness):
    """A single loud bin lights exactly the pixels between its two edges on the scale of the axis."""
    log_magnitude = np.zeros((129, 11))
    log_magnitude[bin_index] = 3
    axes = new_axes()
    draw_spectrogram(axes, log_magnitude, 1.0, 16_000, axis, bar=False)
    heights, values = brightness(axes)
    bright = heights[values > 100]
    edges_hz = (bin_index + np.array([-0.5, 0.5])) * 8000 / 128
    low, high = axes.transData.transform([(0.5, hz) for hz in edges_hz])[:, 1]
    # Edges are rounded to pixels, by matplotlib 3.10 less precisely than by 3.11. A bin that is thinner than a
    # pixel may light two.
    tolerance = 1.2 if high - low > 1 else 1.8
    assert (bright.min() - 0.5, bright.max() + 0.5) == pytest.approx((low, high), abs=tolerance)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("bin_index", [400, 457, 490])
def test_tones_that_are_thinner_than_a_pixel_are_visible(axis, bin_index, brightness):
    """Eight bins share a pixel at the upper end of the logarithmic axis."""
    log_magnitude = np.zeros((513, 11))
    log_magnitude[bin_index] = 3
    axes = new_axes()
    draw_spectrogram(axes, log_magnitude, 1.0, 16_000, axis, bar=False)
    heights, values = brightness(axes)
    height = axes.transData.transform((0.5, bin_index * 15.625))[1]
    assert values.max() > 80
    assert heights[values.argmax()] == pytest.approx(height, abs=1.6)


@pytest.mark.parametrize("axis", AXES)
def test_a_mask_veils_the_bins_that_it_removes(axis, brightness):
    """The veil is lighter than silence, so that the pixels of the kept bins are the dark ones."""
    mask = np.zeros((129, 11))
    mask[60:80] = 1
    axes = new_axes()
    draw_spectrogram(axes, np.zeros((129, 11)), 1.0, 16_000, axis, bar=False)
    draw_mask(axes, mask, 1.0, 16_000, axis, outline=False)
    heights, values = brightness(axes)
    dark = heights[values < 30]
    low, high = axes.transData.transform([(0.5, 59.5 * 62.5), (0.5, 79.5 * 62.5)])[:, 1]
    assert (dark.min() - 0.5, dark.max() + 0.5) == pytest.approx((low, high), abs=1.01)


def test_a_spectrogram_is_visible_below_the_veil(brightness):
    axes = new_axes()
    draw_spectrogram(axes, np.repeat(np.linspace(0, 5, 129)[:, None], 3, 1), 1.0, 16_000, bar=False)
    draw_mask(axes, np.zeros((129, 3)), 1.0, 16_000)
    values = brightness(axes)[1]
    assert values[-1] - values[0] > 50


def test_frames_are_centred_on_their_time():
    axes = new_axes()
    image = draw_spectrogram(axes, np.zeros((5, 11)), 5.0, 16_000, bar=False)
    assert image.get_extent() == pytest.approx([-0.25, 5.25, -1000, 9000])
    assert axes.get_xlim() == (0, 5)
    assert axes.get_ylim() == (0, 8000)


@pytest.mark.parametrize(
    ("axis", "ticks", "limits"),
    [
        ("linear", ["0", "2 kHz", "4 kHz", "6 kHz", "8 kHz"], (0, 8000)),
        ("mel", ["0", "500 Hz", "1 kHz", "2 kHz", "4 kHz", "8 kHz"], (0, 8000)),
        ("log", ["50 Hz", "100 Hz", "200 Hz", "500 Hz", "1 kHz", "2 kHz", "5 kHz"], (50, 8000)),
    ],
)
def test_ticks_of_the_frequency_axis(axis, ticks, limits):
    axes = new_axes()
    draw_spectrogram(axes, np.zeros((129, 3)), 1.0, 16_000, axis)
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    shown = [label.get_text() for label in axes.get_yticklabels() if low <= label.get_position()[1] <= high]
    assert (low, high) == pytest.approx(limits)
    assert shown == ticks


def test_another_scale_is_an_error():
    with pytest.raises(ConfigurationError, match="axis: 'bark' is none of linear, mel, log"):
        draw_spectrogram(new_axes(), np.zeros((3, 3)), 1.0, 16_000, "bark")


@pytest.mark.parametrize("draw", [draw_spectrogram, draw_mask, draw_importance, draw_map])
def test_values_of_another_shape_are_an_error(draw):
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        draw(new_axes(), np.zeros(3), 1.0, 16_000)


@pytest.mark.parametrize(
    ("axis", "shape"), [("linear", (513, 1)), ("mel", (1, 1)), ("log", (1, 5)), ("log", (2, 2))]
)
@pytest.mark.parametrize("draw", [draw_spectrogram, draw_mask, draw_importance, draw_map])
def test_clips_of_one_frame_or_bin_and_silence(draw, shape, axis):
    """They are drawn on finite axes, without a warning."""
    axes = new_axes()
    image = draw(axes, np.zeros(shape), 0.01, 16_000, axis)
    axes.figure.draw_without_rendering()
    assert np.isfinite(image.get_extent()).all()


def test_evidence_on_the_scale_of_the_recording():
    image = draw_spectrogram(new_axes(), np.log1p(np.full((2, 2), 1.0)), 1.0, 16_000, peak=10.0)
    assert image.get_array().max() == pytest.approx(-20, abs=1e-4)
    assert image.get_clim() == (-80, 0)


def test_attributions_are_symmetric_about_zero_and_robust():
    values = np.random.default_rng(0).uniform(-1, 1, (50, 40))
    values[0, 0] = 1000
    image = draw_importance(new_axes(), values, 1.0, 16_000)
    low, high = image.get_clim()
    assert low == -high
    assert 0.95 < high < 1.01
    # 0 is white; positive values are red, negative ones blue
    zero, positive, negative = (image.to_rgba(np.array([value]))[0, :3] for value in (0.0, high, low))
    assert zero.min() > 0.95
    assert positive.argmax() == 0
    assert negative.argmax() == 2


def test_attributions_without_values():
    assert robust_limit(np.zeros((3, 3))) == 1
    draw_importance(new_axes(), np.full((3, 3), np.nan), 1.0, 16_000).figure.draw_without_rendering()


def test_levels_rise_in_lightness():
    """So that they can be read in grey print."""
    image = draw_spectrogram(new_axes(), np.zeros((2, 2)), 1.0, 16_000)
    colors = image.to_rgba(np.linspace(-80, 0, 100))[:, :3]
    grey = colors @ [0.299, 0.587, 0.114]
    assert (np.diff(grey) > 0).all()
    assert grey[-1] - grey[0] > 0.9


@pytest.mark.parametrize("value", [0, 1])
def test_a_constant_mask_has_no_outline(value):
    axes = new_axes()
    draw_mask(axes, np.full((20, 20), value), 1.0, 16_000)
    assert len(axes.collections) == 0


def test_a_scattered_mask_has_a_simple_outline():
    """Thousands of single bins would otherwise give thousands of lines."""
    mask = np.random.default_rng(0).random((513, 431)) < 0.1
    mask[100:200, 100:200] = np.random.default_rng(1).random((100, 100)) < 0.8
    axes = new_axes()
    draw_mask(axes, mask, 5.0, 16_000)
    vertices = sum(len(path.vertices) for path in axes.collections[0].get_paths())
    assert 50 < vertices < 2000
