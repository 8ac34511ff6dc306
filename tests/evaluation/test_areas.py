"""Masks of equal area: exact, neutral towards ties, the same in every batch."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from otoscope.errors import ShapeError
from otoscope.evaluation.areas import neutral_order, rank_bins


@given(st.floats(0, 1), st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_area_is_exact_whatever_the_ties(area, frequencies, frames, levels):
    values = torch.randint(levels + 1, (2, frequencies, frames)).float()
    order = neutral_order(values, ["a", "b"], seed=1)
    mask = rank_bins(values, order).mask(area)
    assert mask.sum((1, 2)).tolist() == [round(area * frequencies * frames)] * 2


def test_kept_bins_are_the_highest():
    values = torch.rand(3, 8, 11)
    mask = rank_bins(values, neutral_order(values, ["a", "b", "c"], 0)).mask(0.3)
    for one, kept in zip(values, mask, strict=True):
        assert one[kept == 1].min() >= one[kept == 0].max()


def test_ties_are_broken_without_preference_and_always_alike():
    flat = torch.zeros(1, 40, 50)
    order = neutral_order(flat, ["clip"], 0)
    mask = rank_bins(flat, order).mask(0.25)
    assert torch.equal(mask, rank_bins(flat, neutral_order(flat, ["clip"], 0)).mask(0.25))
    assert mask[:, :20].mean() == pytest.approx(0.25, abs=0.04)  # low bins get their share
    assert mask[..., :25].mean() == pytest.approx(0.25, abs=0.04)  # and so do early ones
    other = rank_bins(flat, neutral_order(flat, ["another"], 0)).mask(0.25)
    assert (other * mask).mean() == pytest.approx(0.0625, abs=0.03)


def test_padding_counts_not_at_all():
    short, long = torch.randn(1, 6, 4), torch.randn(1, 6, 9)
    padded = torch.cat([torch.nn.functional.pad(short, (0, 5), value=99.0), long])
    frames = torch.tensor([4, 9])
    together = rank_bins(padded, neutral_order(padded, ["s", "l"], 0, frames), frames).mask(0.5)
    alone = rank_bins(short, neutral_order(short, ["s"], 0)).mask(0.5)
    assert torch.equal(together[:1, :, :4], alone)
    assert together[0, :, 4:].sum() == 0


def test_nested_masks_grow():
    values = torch.rand(1, 5, 7)
    ranking = rank_bins(values, neutral_order(values, ["a"], 0))
    masks = [ranking.mask(area) for area in (0.0, 0.1, 0.4, 1.0)]
    assert all(bool((larger >= smaller).all()) for smaller, larger in itertools.pairwise(masks))
    assert masks[0].sum() == 0
    assert masks[-1].sum() == 35


def test_nan_is_undefined_and_stays_with_its_clip():
    values = torch.rand(2, 3, 4)
    values[0, 1, 1] = torch.nan
    mask = rank_bins(values, neutral_order(values, ["a", "b"], 0)).mask(0.5)
    assert torch.isnan(mask[0]).all()
    assert mask[1].sum() == 6


def test_as_many_bins_as_another_mask_is_worth():
    values, soft = torch.rand(2, 4, 5), torch.full((2, 4, 5), 0.33)
    assert rank_bins(values, neutral_order(values, ["a", "b"], 0)).mask_like(soft).sum((1, 2)).tolist() == [7, 7]


def test_wrong_orders_are_refused():
    with pytest.raises(ShapeError, match="does not fit"):
        rank_bins(torch.zeros(1, 2, 3), [torch.arange(5)])
    with pytest.raises(ShapeError, match="frequency, time"):
        rank_bins(torch.zeros(2, 3), [])
