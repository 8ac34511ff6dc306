"""The descent over cells that several methods share, and the checks of its options."""

import pytest
import torch

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.descent import (
    descend,
    explained_log_probabilities,
    interpolate_cells,
    refine_ranking,
    require_areas,
    require_cell,
)


def test_descent_reaches_the_goal_and_stops_there():
    goal, points = torch.tensor([1.0, -2.0]), []

    def objective(point):
        points.append(point)
        return ((point - goal).square().sum(-1, keepdim=True) - 1e-3).relu()

    end = descend(objective, torch.zeros(2), steps=40, rate=0.3)
    torch.testing.assert_close(end, goal, rtol=0, atol=0.05)
    assert objective(end) == 0
    assert len(points) < 40


def test_no_coordinate_moves_further_than_the_limit():
    steep = torch.full((400,), 0.01)
    steep[7] = 100.0

    def move(limit):
        return descend(lambda point: (10 - steep @ point)[None], torch.zeros(400), steps=1, rate=0.1, limit=limit)

    assert float(move(torch.inf).abs().amax()) == pytest.approx(2, rel=1e-3)  # 0.1 times the root of 400
    limited = move(3.0)
    assert float(limited.abs().amax()) == pytest.approx(0.3)
    assert torch.equal(limited.sign(), steep.sign())


def test_offsets_of_a_ranking_are_shared_by_cells():
    start, cell = torch.rand(1, 12, 20), (4, 10)
    wanted = torch.zeros(1, 12, 20)
    wanted[:, :4] = 1

    def objective(ranking):
        return (ranking - start - wanted).square().mean((1, 2))

    end = refine_ranking(objective, start, cell, steps=30, rate=0.2)
    assert objective(end) < 0.3 * objective(start)
    # the offset is a combination of the pictures of three rows and two columns of cells
    offset = (end - start).flatten()
    pictures = interpolate_cells(torch.eye(6).view(6, 1, 3, 2), start).flatten(1).T
    combined = pictures @ torch.linalg.lstsq(pictures, offset[:, None]).solution
    torch.testing.assert_close(combined[:, 0], offset, rtol=0, atol=1e-5)


def test_no_step_returns_the_start_itself():
    start = torch.rand(1, 4, 4)
    assert refine_ranking(lambda ranking: ranking.sum()[None], start, (1, 1), steps=0, rate=1.0) is start


@pytest.mark.parametrize("multi_label", [False, True])
def test_log_probabilities_are_those_of_the_explained_class(multi_label):
    classifier = Conv2dClassifier(
        ["dog", "rain", "sea"], Frontend(n_fft=64, window_ms=4, hop_ms=2), width=4, head_width=4
    ).freeze()
    classifier.multi_label = multi_label
    spectrogram, target = Spectrogram(torch.rand(3, 33, 40)), torch.tensor([2, 0, 1])
    values = explained_log_probabilities(classifier, spectrogram, target)
    probabilities = classifier.probabilities(spectrogram)
    torch.testing.assert_close(values.exp(), probabilities[[0, 1, 2], target])


@pytest.mark.parametrize("areas", [(), (0.0, 0.5), (1.0,)])
def test_areas_must_be_shares(areas):
    with pytest.raises(ConfigurationError, match="areas: expected one or more shares"):
        require_areas(areas)


@pytest.mark.parametrize("cell", [(1,), (0, 3), (1, 2, 3)])
def test_a_cell_has_two_sides(cell):
    with pytest.raises(ConfigurationError, match="cell"):
        require_cell(cell)
