"""Bars of probabilities, and the curve over the area."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from otoscope.plots import SufficiencyCurve, draw_curve, draw_probabilities


def new_axes():
    return Figure().subplots()


def names_from_above(axes):
    labels = [text for text in axes.texts if not text.get_text()[0].isdigit()]
    return [text.get_text() for text in sorted(labels, key=lambda text: text.get_position()[1])]


def test_bars_of_the_leading_classes():
    axes = new_axes()
    recording = {"rain": 0.5, "dog": 0.3, "cat": 0.15, "hen": 0.05}
    draw_probabilities(axes, recording, {"dog": 0.9}, {"dog": 0.1, "hen": 0.8}, label="dog", classes=3)
    # the explained class on top, then the largest probability in any of the three
    assert names_from_above(axes) == ["dog", "hen", "rain"]
    widths = [[bar.get_width() for bar in container] for container in axes.containers]
    assert widths == [[0.3, 0.05, 0.5], [0.9], [0.1, 0.8]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["recording", "evidence", "remainder"]


def test_the_recording_alone_and_many_classes():
    axes = new_axes()
    draw_probabilities(axes, {f"class {i}": i / 10 for i in range(10)})
    assert names_from_above(axes) == ["class 9", "class 8", "class 7"]
    assert len(axes.containers) == 1


def test_bars_do_not_overlap():
    axes = new_axes()
    draw_probabilities(axes, {"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0})
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for group in axes.containers for bar in group)
    assert len(spans) == 6
    assert all(below[0] >= above[1] for above, below in pairwise(spans))


def test_the_curve_and_its_chosen_area():
    axes = new_axes()
    area = np.array([0.1, 0.5, 1.0])
    draw_curve(axes, SufficiencyCurve(area, np.array([0.2, 0.8, 0.9]), np.array([0.8, 0.1, 0.0]), chosen_area=0.25))
    evidence, remainder, mark = axes.lines
    assert evidence.get_xydata().tolist() == [[0.1, 0.2], [0.5, 0.8], [1.0, 0.9]]
    assert remainder.get_ydata().tolist() == [0.8, 0.1, 0.0]
    assert set(mark.get_xdata()) == {0.25}
    assert axes.texts[0].get_text() == "shown: 25 %"


@pytest.mark.parametrize("chosen", [0.01, 1.0])
def test_the_mark_stays_inside(chosen):
    axes = new_axes()
    draw_curve(axes, SufficiencyCurve(np.array([0.01, 1]), np.array([0.1, 0.2]), chosen_area=chosen))
    axes.figure.draw_without_rendering()
    box, text = axes.get_window_extent(), axes.texts[0].get_window_extent()
    assert box.x0 <= text.x0
    assert text.x1 <= box.x1


def test_a_curve_without_remainder_and_mark():
    axes = new_axes()
    draw_curve(axes, SufficiencyCurve(np.array([0.5]), np.array([0.4])))
    assert len(axes.lines) == 1
