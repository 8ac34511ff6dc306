"""The picture of an explanation has the panels that its data allow."""

import numpy as np
import pytest

from otoscope.errors import ConfigurationError, ShapeError
from otoscope.plots import (
    ExplanationData,
    SufficiencyCurve,
    draw_explanation_panels,
    explanation_picture,
    save_picture,
)

RNG = np.random.default_rng(0)
LOG_MAGNITUDE, MASK = np.log1p(100 * RNG.random((33, 20))), (RNG.random((33, 20)) > 0.7).astype(float)
PROBABILITIES = {"dog": 0.8, "cat": 0.15, "hen": 0.05}
CURVE = SufficiencyCurve(np.array([0.1, 0.5, 1]), np.array([0.2, 0.7, 0.8]), np.array([0.7, 0.2, 0.1]), 0.3)
EVERYTHING = {
    "importance": RNG.standard_normal((33, 20)),
    "recording_probabilities": PROBABILITIES,
    "evidence_probabilities": {"dog": 0.9, "cat": 0.1},
    "remainder_probabilities": {"dog": 0.1, "hen": 0.7},
    "curve": CURVE,
}


def picture(without=(), **options):
    return explanation_picture(
        LOG_MAGNITUDE,
        MASK,
        0.25,
        16_000,
        label="dog",
        **{name: value for name, value in options.items() if name not in without},
    )


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_all_panels_on_a_picture_for_a_slide():
    figure = picture(**EVERYTHING)
    assert titles(figure) == [
        "Recording",
        "Attribution: for (+), against (−)",
        f"Mask: {100 * MASK.mean():.3g} % of the area",
        "Evidence alone",
        "Decision",
        "How much suffices for dog",
    ]
    assert (figure.get_size_inches() * figure.dpi).tolist() == [1920, 1080]


@pytest.mark.parametrize(
    ("missing", "panels"), [(["importance"], 5), (["curve"], 5), (["curve", "recording_probabilities"], 4)]
)
def test_panels_without_data_are_left_out(missing, panels):
    assert len(titles(picture(missing, **EVERYTHING))) == panels


def test_recording_mask_and_evidence_alone_fill_the_picture():
    figure = picture()
    assert len(titles(figure)) == 3
    assert all(axes.get_position().height > 0.7 for axes in figure.axes)


@pytest.mark.parametrize(
    ("axis", "missing"), [("linear", []), ("mel", ["importance"]), ("log", ["curve"]), ("log", list(EVERYTHING))]
)
def test_nothing_overlaps(axis, missing):
    figure = picture(missing, **EVERYTHING, name="a.wav", verdict="The bark decides.", axis=axis)
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes] + [text.get_window_extent() for text in figure.texts]
    width, height = figure.get_size_inches() * figure.dpi
    for i, box in enumerate(boxes):
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_recording_and_evidence_share_the_scale():
    recording, _, evidence = (axes.images[0] for axes in picture().axes)
    assert recording.get_clim() == evidence.get_clim() == (-80, 0)
    assert recording.get_array().max() == pytest.approx(0, abs=1e-4)
    removed = MASK == 0
    assert (evidence.get_array()[removed] == -80).all()
    assert np.allclose(evidence.get_array()[~removed], recording.get_array()[~removed], atol=1e-4)


def test_the_verdict_is_the_headline():
    parts = {"name": "yard.wav", "method": "RISE", "recording_probabilities": PROBABILITIES}
    figure = picture(verdict="The bark decides.", **parts)
    assert texts(figure) == ["The bark decides.", "yard.wav   ·   dog (p = 0.80)   ·   RISE"]
    assert texts(picture(name="yard.wav")) == ["yard.wav", "dog"]


def test_names_are_drawn_literally():
    name, label = "$_$ \x1b犬" + 100 * "x", "$\\frac$"
    figure = explanation_picture(
        LOG_MAGNITUDE,
        MASK,
        0.25,
        16_000,
        name=name,
        label=label,
        verdict="$$",
        recording_probabilities={label: 0.5, "$": 0.5},
        curve=CURVE,
    )
    figure.draw_without_rendering()  # mathematics that cannot be parsed would be an error
    assert texts(figure)[0] == "$$"
    assert texts(figure)[1].startswith("$_$ \\x1b")
    assert "…" in texts(figure)[1]
    assert figure.axes[-1].get_title(loc="left") == "How much suffices for $\\frac$"


def test_the_longest_texts_fit():
    longest = {"name": 99 * "W", "method": 99 * "W", "verdict": "W " * 99}
    figure = picture(**longest)
    figure.draw_without_rendering()
    assert all(text.get_window_extent().x1 < 1920 for text in figure.texts)


@pytest.mark.parametrize(("axis", "frames"), [("linear", 1), ("mel", 2), ("log", 1)])
def test_silence_and_short_clips(axis, frames, tmp_path):
    silence = np.zeros((513, frames))
    figure = explanation_picture(silence, silence, 0.02, 16_000, importance=silence, axis=axis)
    assert save_picture(figure, tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize("part", ["mask", "importance"])
def test_other_shapes_are_an_error(part):
    parts = {"mask": MASK, "importance": MASK} | {part: MASK[:-1]}
    with pytest.raises(ShapeError, match=rf"{part}: shape \(32, 20\) differs .* \(33, 20\)"):
        explanation_picture(LOG_MAGNITUDE, duration_s=1, sample_rate_hz=16_000, **parts)


@pytest.fixture
def composed():
    """A figure of the user with two rows of four axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3))
    return figure, figure.subplots(2, 4).ravel()


def data(**options):
    return ExplanationData(LOG_MAGNITUDE, MASK, 0.25, 16_000, "dog", **options)


def test_panels_are_drawn_on_axes_of_another_figure(composed, pixels_of):
    from matplotlib import rc_context

    figure, axes = composed
    names = ["recording", "attribution", "mask", "evidence", "remainder", "decision", "sufficiency"]
    with rc_context({"font.size": 6}):
        assert draw_explanation_panels(dict(zip(names, axes, strict=False)), data(**EVERYTHING)) is figure
        pixels = pixels_of(figure)
    assert titles(figure)[:2] == ["Recording", "Attribution: for (+), against (−)"]
    assert titles(figure)[4] == "Remainder"
    assert pixels.std() > 10
    sizes = [text.get_fontsize() for panel in axes[:7] for text in (panel.title, *panel.get_xticklabels())]
    bars = [label.get_fontsize() for label in axes[0].child_axes[0].get_yticklabels()]
    assert max(sizes + bars) < 7.5  # those of a slide are 9 and more
    assert not axes[7].has_data()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["spectrum"], "there is no panel 'spectrum'"),
        (["sufficiency"], "no data for the panel 'sufficiency'; it has recording, mask, evidence, remainder"),
        ([], "no panel is named"),
    ],
)
def test_panels_that_cannot_be_drawn_are_named(composed, names, words):
    with pytest.raises(ConfigurationError, match=words):
        draw_explanation_panels(dict(zip(names, composed[1], strict=False)), data())


def test_something_else_than_axes_is_refused(composed):
    with pytest.raises(ConfigurationError, match="ndarray is no matplotlib Axes"):
        draw_explanation_panels({"mask": composed[1]}, data())
