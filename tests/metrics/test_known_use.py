"""Known-use scores against slow references."""

import pytest
import torch

from otoscope.errors import ShapeError
from otoscope.metrics.known_use import (
    energy_truth,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    target_swap_consistency,
    temporal_overlap,
)
from otoscope.metrics.ranking import neutral_order, rank_bins


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    relevance = torch.randn(3, 6, 8, generator=generator)
    truth = torch.rand(3, 6, 8, generator=generator) > 0.7
    return relevance, truth


def ranked(relevance, frames=None):
    names = [str(index) for index in range(len(relevance))]
    return rank_bins(relevance, neutral_order(relevance, names, 0, frames), frames)


def test_energy_truth_is_the_smallest_set_with_the_share(maps):
    log_magnitude = maps[0].abs()
    energy = log_magnitude.double().expm1().square()
    for clip, truth in zip(energy, energy_truth(log_magnitude, 0.8), strict=True):
        inside = clip[truth]
        assert inside.sum() >= 0.8 * clip.sum()
        assert inside.sum() - inside.min() < 0.8 * clip.sum()
        assert inside.min() >= clip[~truth].max()
    assert not energy_truth(torch.zeros(1, 2, 2)).any()


def test_mass_and_rank_accuracy_agree_with_the_definition(maps):
    relevance, truth = maps
    frames = torch.tensor([8, 5, 3])
    mass = relevance_mass_accuracy(relevance, truth, frames)
    rank = relevance_rank_accuracy(ranked(relevance, frames), truth, frames)
    for clip, count in enumerate(frames.tolist()):
        values, inside = relevance[clip, :, :count].flatten(), truth[clip, :, :count].flatten()
        positive = values.clamp(min=0)
        assert mass[clip] == pytest.approx(float(positive[inside].sum() / positive.sum()))
        best = values.argsort(descending=True)[: int(inside.sum())]
        assert rank[clip] == pytest.approx(float(inside[best].float().mean()))


def test_the_truth_as_map_has_the_best_scores(maps):
    truth = maps[1]
    ranking = ranked(truth.float())
    mask = ranking.mask_of(truth.flatten(1).sum(1))
    everything = [
        relevance_mass_accuracy(truth.float(), truth),
        relevance_rank_accuracy(ranking, truth),
        pointing_game(ranking, truth),
        target_swap_consistency(truth.float(), (~truth).float(), truth, ~truth),
    ]
    assert all(torch.equal(values, torch.ones(3)) for values in everything)
    full = torch.zeros(1, 6, 8)
    full[:, 2:4, 3:6] = 1
    overlap = temporal_overlap(full, full)
    assert torch.equal(mask, truth.float())
    assert overlap["temporal_iou"] == overlap["temporal_f1"] == 1


def test_undefined_maps_and_truths_are_nan(maps):
    relevance, truth = maps
    relevance[0, 0, 0] = torch.nan
    truth[1] = False
    for values in (
        relevance_mass_accuracy(relevance, truth),
        relevance_rank_accuracy(ranked(relevance), truth),
        pointing_game(ranked(relevance), truth),
    ):
        assert values.isnan().tolist() == [True, True, False]
    assert float(relevance_mass_accuracy(-torch.ones(1, 2, 2), torch.ones(1, 2, 2))) == 0


def test_a_map_that_ignores_the_class_does_not_distinguish_targets(maps):
    relevance, truth = maps
    assert target_swap_consistency(relevance, relevance, truth, ~truth).tolist() == pytest.approx([0.5] * 3)
    swapped = target_swap_consistency((~truth).float(), truth.float(), truth, ~truth)
    assert swapped.tolist() == [0.0] * 3


def test_frames_need_half_of_the_bins_of_the_truth():
    truth, mask = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    truth[0, :, 1] = 1
    mask[0, :2, 1] = 1  # half of the bins: marked
    mask[0, 0, 2] = 1  # a quarter: not marked
    assert temporal_overlap(mask, truth)["temporal_iou"] == 1


def test_wrong_shapes_are_reported(maps):
    with pytest.raises(ShapeError):
        relevance_mass_accuracy(maps[0], maps[1][:2])
