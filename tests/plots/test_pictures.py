"""Pictures of maps, dictionaries and confusion matrices."""

import numpy as np
import pytest

from otoscope.plots import components_picture, confusion_picture, maps_picture, relevance_picture, spectra_picture

AXES = ("linear", "mel", "log")


def assert_apart(panels):
    boxes = [axes.get_tightbbox() for axes in panels]
    assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])


def test_spectrograms_share_one_scale_and_masks_lie_over_the_first():
    rng = np.random.default_rng(0)
    panels = {
        "input": 3 * rng.random((9, 7)),
        "mask (mean 0.5)": rng.random((9, 7)),
        "evidence": rng.random((9, 7)),
    }
    figure = spectra_picture(panels, "dog $_$", 16_000, 1.5)
    figure.draw_without_rendering()
    recording, mask, evidence = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(panels)
    assert recording.images[0].get_clim() == evidence.images[0].get_clim() == (-80, 0)
    assert evidence.images[0].get_array().max() < -10  # relative to the loudest of all panels
    assert np.array_equal(mask.images[0].get_array(), recording.images[0].get_array())
    assert mask.images[1].get_clim() == (0, 1)
    assert figure.get_suptitle() == "dog $_$"
    assert_apart(figure.axes)


@pytest.mark.parametrize("panels", [{"input": np.zeros((4, 1))}, {"mask": np.zeros((4, 3))}])
def test_silence_and_single_frames(panels):
    figure = spectra_picture(panels, "$ silent _ ^", 16_000, 0.01)
    figure.draw_without_rendering()
    assert figure.axes[0].get_xlim() == (0, 0.01)
    assert all(np.isfinite(axes.images[0].get_array()).all() for axes in figure.axes if axes.images)


@pytest.mark.parametrize(("count", "axis"), [(1, "linear"), (4, "mel"), (5, "log")])
def test_maps_fill_the_recording_and_the_frequencies(count, axis):
    figure = maps_picture({f"layer {i}": np.eye(4, 6) for i in range(count)}, "AMT", 16_000, 2.0, axis)
    figure.draw_without_rendering()
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == count
    assert shown[0].get_xlim() == (0, 2)
    assert shown[0].get_ylim()[1] == 8000
    assert shown[0].get_yscale() == ("function" if axis == "mel" else axis)
    assert_apart(shown)


def test_confusions_with_counts_and_accuracy():
    figure = confusion_picture(np.array([[3, 1], [0, 0]]), ["dog", "$\\rain$\n"])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "accuracy 75.0 % of 4 clips"
    assert sorted(text.get_text() for text in axes.texts) == ["1", "3"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dog", "$\\rain$\\n"]


def test_confusions_of_nothing():
    figure = confusion_picture(np.zeros((1, 1), int), ["dog"])
    figure.draw_without_rendering()
    assert figure.axes[0].get_title(loc="left") == "accuracy 0.0 % of 0 clips"


@pytest.mark.parametrize("axis", AXES)
def test_components_with_centroids(axis):
    components = np.log1p(np.array([[0.0, 2.0, 0], [4.0, 0.2, 0], [0.0, 0.0, 0]]))
    figure = components_picture(components, np.array([4000.0, 1500.0, 0.0]), 16_000, axis)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    levels = axes.images[0].get_array()
    # each in dB relative to its own maximum; an empty component lies at the floor
    expected = np.array([[-80, 0, -80], [0, -20, -80], [-80, -80, -80]])
    assert np.allclose(levels, expected[1:] if axis == "log" else expected, atol=1e-3)
    assert axes.lines[0].get_ydata().tolist() == [4000, 1500, 0]
    assert axes.get_xlim() == (-0.5, 2.5)
    assert axes.get_title(loc="left").startswith("3 components")


def test_relevance_marks_what_is_above_the_threshold():
    relevance, spectra, activations = np.array([1.0, 0.1, -0.5]), np.zeros((5, 3)), np.ones((3, 7))
    figure = relevance_picture([17, 4, 2], relevance, spectra, activations, 0.2, "dog", 16_000, 2.0)
    figure.draw_without_rendering()
    bars, shapes, course = figure.axes[:3]
    colors = [patch.get_facecolor() for patch in bars.patches]
    assert colors[1] == colors[2] != colors[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["17", "4", "2"]
    assert list(course.images[0].get_extent()) == [0, 2, 2.5, -0.5]
    assert shapes.images[0].get_array().shape == (5, 3)
    assert_apart((bars, shapes, course))
