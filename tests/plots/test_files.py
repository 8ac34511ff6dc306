"""Figures are written as PNG or SVG, whole, and the same each time."""

import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from otoscope.errors import ConfigurationError, OtoscopeError
from otoscope.plots import SufficiencyCurve, explanation_picture, save_picture

NAME = "собака $_$ & <b>"
SVG = "{http://www.w3.org/2000/svg}"


def picture():
    values = np.random.default_rng(0).random((40, 30))
    curve = SufficiencyCurve(np.array([0.1, 1]), np.array([0.1, 0.9]), chosen_area=0.5)
    return explanation_picture(
        values, values, 1.0, 16_000, name=NAME, recording_probabilities={"dog": 1.0}, curve=curve
    )


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_figure_gives_the_same_bytes(tmp_path, ending):
    first = save_picture(picture(), tmp_path / f"a.{ending}").read_bytes()
    second = save_picture(picture(), tmp_path / f"b.{ending}").read_bytes()
    assert first == second


def test_png_has_the_pixels_of_a_slide(tmp_path):
    assert imread(save_picture(picture(), tmp_path / "new" / "A.PNG")).shape[:2] == (1080, 1920)


def test_text_in_svg_remains_text_and_spectrograms_are_images(tmp_path):
    root = ElementTree.parse(save_picture(picture(), tmp_path / "a.svg")).getroot()
    texts = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    assert NAME in texts
    assert len(list(root.iter(f"{SVG}image"))) >= 3
    assert (tmp_path / "a.svg").stat().st_size < 2_000_000


def test_settings_of_the_process_are_restored(tmp_path):
    before = matplotlib.rcParams["svg.fonttype"], matplotlib.rcParams["svg.hashsalt"]
    save_picture(Figure(), tmp_path / "a.svg")
    assert (matplotlib.rcParams["svg.fonttype"], matplotlib.rcParams["svg.hashsalt"]) == before


@pytest.mark.parametrize("name", ["a", "a.jpg", "a.eps"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match=r"pictures are saved as \.png, \.svg or \.pdf"):
        save_picture(Figure(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def refuse(self, path, **options):
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", refuse)
    with pytest.raises(OtoscopeError, match=r"a\.png: cannot be written .*No space left"):
        save_picture(Figure(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
