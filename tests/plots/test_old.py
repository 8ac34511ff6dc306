"""Pictures are drawn whole, and over the right axes."""

import numpy as np
import pytest

from otoscope.errors import OtoscopeError
from otoscope.plots import (
    components_picture,
    confusion_picture,
    relevance_picture,
    save_picture,
    spectra_picture,
)


def test_panels_share_axes_and_one_range_of_colours():
    rng = np.random.default_rng(0)
    panels = {
        "input": 3 * rng.random((9, 7)),
        "mask (mean 0.5)": rng.random((9, 7)),
        "evidence": rng.random((9, 7)),
    }
    figure = spectra_picture(panels, "dog", 16_000, 1.5)
    images = [axis.images[0] for axis in figure.axes[:3]]
    assert [axis.get_title() for axis in figure.axes[:3]] == list(panels)
    assert all(list(image.get_extent()) == [0, 1.5, 0, 8] for image in images)
    assert images[0].get_clim() == images[2].get_clim() == (0, panels["input"].max())
    assert images[1].get_clim() == (0, 1)
    assert figure.get_suptitle() == "dog"


@pytest.mark.parametrize("panels", [{"input": np.zeros((4, 1))}, {"mask": np.zeros((4, 3))}])
def test_silence_and_single_frames_are_drawn(panels, tmp_path):
    save_picture(spectra_picture(panels, "$ silent _ ^", 16_000, 0.01), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_confusions_with_counts_and_accuracy(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("otoscope.plots.save_picture", lambda figure, path: drawn.append(figure))
    confusion_picture(np.array([[3, 1], [0, 0]]), ["dog", "rain"], tmp_path / "c.png")
    axis = drawn[0].axes[0]
    assert axis.get_title() == "accuracy 75.0 % of 4 clips"
    assert sorted(text.get_text() for text in axis.texts) == ["1", "3"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["dog", "rain"]


def test_confusions_of_nothing(tmp_path):
    path = confusion_picture(np.zeros((1, 1), int), ["dog"], tmp_path / "new" / "c.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def refuse(self, path, **options):
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", refuse)
    with pytest.raises(OtoscopeError, match=r"a\.png: cannot be written .*No space left"):
        save_picture(Figure(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_components_with_centroids(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("otoscope.plots.save_picture", lambda figure, path: drawn.append(figure))
    components = np.array([[0.0, 2.0], [4.0, 1.0], [0.0, 0.0]])
    components_picture(components, np.array([4000.0, 1500.0]), 16_000, tmp_path / "c.png")
    axis = drawn[0].axes[0]
    shown = axis.images[0].get_array()
    assert shown.max(0).tolist() == [1, 1]  # each relative to its own maximum
    assert list(axis.images[0].get_extent()) == [-0.5, 1.5, 0, 8]
    assert axis.lines[0].get_ydata().tolist() == [4, 1.5]
    assert axis.get_title().startswith("2 components")


def test_relevance_marks_what_is_above_the_threshold():
    relevance, spectra, activations = np.array([1.0, 0.1, -0.5]), np.zeros((5, 3)), np.ones((3, 7))
    figure = relevance_picture([17, 4, 2], relevance, spectra, activations, 0.2, "dog", 16_000, 2.0)
    bars, shapes, course = figure.axes[:3]
    colors = [patch.get_facecolor() for patch in bars.patches]
    assert colors[1] == colors[2] != colors[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["17", "4", "2"]
    assert list(course.images[0].get_extent()) == [0, 2, 2.5, -0.5]
    assert shapes.images[0].get_array().shape == (5, 3)
