"""Rankings and cuts: exact areas, ties without preference, the same in every batch."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from otoscope.errors import ShapeError
from otoscope.metrics.ranking import (
    _order_of,
    keep_largest,
    largest_bins,
    mean_ranks,
    neutral_order,
    rank_bins,
    ranks,
    soft_cut,
    tie_order,
    top_share,
    upper_quantile,
)


@given(st.floats(0, 1), st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_area_is_exact_whatever_the_ties(area, frequencies, frames, levels):
    values = torch.randint(levels + 1, (2, frequencies, frames)).float()
    order = neutral_order(values, ["a", "b"], seed=1)
    expected = round(area * frequencies * frames)
    assert rank_bins(values, order).mask(area).sum((1, 2)).tolist() == [expected] * 2
    assert largest_bins(values[0], area).sum() == expected


def test_masks_keep_the_highest_bins():
    values = torch.rand(3, 8, 11)
    mask = rank_bins(values, neutral_order(values, ["a", "b", "c"], 0)).mask(0.3)
    for clip, clip_mask in zip(values, mask, strict=True):
        assert clip[clip_mask == 1].min() >= clip[clip_mask == 0].max()
        assert torch.equal(largest_bins(clip, 0.3), clip_mask)


def test_ties_are_broken_without_preference_and_reproducibly():
    flat = torch.zeros(1, 40, 50)
    order = neutral_order(flat, ["clip"], 0)
    mask = rank_bins(flat, order).mask(0.25)
    assert torch.equal(mask, rank_bins(flat, neutral_order(flat, ["clip"], 0)).mask(0.25))
    assert mask[:, :20].mean() == pytest.approx(0.25, abs=0.04)  # low bins get their share
    assert mask[..., :25].mean() == pytest.approx(0.25, abs=0.04)  # and so do early ones
    other = rank_bins(flat, neutral_order(flat, ["another"], 0)).mask(0.25)
    assert (other * mask).mean() == pytest.approx(0.0625, abs=0.03)


def test_orders_depend_on_seed_name_and_purpose():
    order = tie_order(100, 1, "dog")
    assert order.sort().values.tolist() == list(range(100))
    assert torch.equal(order, tie_order(100, 1, "dog", purpose="ties"))
    for other in (tie_order(100, 2, "dog"), tie_order(100, 1, "rain"), tie_order(100, 1, "dog", "random control")):
        assert not torch.equal(order, other)


def test_padding_never_counts():
    short, long = torch.randn(1, 6, 4), torch.randn(1, 6, 9)
    padded = torch.cat([torch.nn.functional.pad(short, (0, 5), value=99.0), long])
    frames = torch.tensor([4, 9])
    together = rank_bins(padded, neutral_order(padded, ["s", "l"], 0, frames), frames).mask(0.5)
    alone = rank_bins(short, neutral_order(short, ["s"], 0)).mask(0.5)
    assert torch.equal(together[:1, :, :4], alone)
    assert together[0, :, 4:].sum() == 0


def test_masks_of_growing_area_are_nested():
    values = torch.rand(1, 5, 7)
    ranking = rank_bins(values, neutral_order(values, ["a"], 0))
    masks = [ranking.mask(area) for area in (0.0, 0.1, 0.4, 1.0)]
    assert all(bool((larger >= smaller).all()) for smaller, larger in itertools.pairwise(masks))
    assert masks[0].sum() == 0
    assert masks[-1].sum() == 35


def test_nan_makes_the_mask_of_its_clip_undefined():
    values = torch.rand(2, 3, 4)
    values[0, 1, 1] = torch.nan
    mask = rank_bins(values, neutral_order(values, ["a", "b"], 0)).mask(0.5)
    assert torch.isnan(mask[0]).all()
    assert mask[1].sum() == 6
    assert largest_bins(values[0], 0.2).isnan().all()


def test_mask_like_keeps_the_area_of_another_mask():
    values, soft = torch.rand(2, 4, 5), torch.full((2, 4, 5), 0.33)
    assert rank_bins(values, neutral_order(values, ["a", "b"], 0)).mask_like(soft).sum((1, 2)).tolist() == [7, 7]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.data())
def test_selection_keeps_the_first_bins_of_the_ranking(levels, data):
    values = torch.tensor(levels).float()
    count = data.draw(st.integers(0, len(levels)))
    order = tie_order(len(levels), 0, "clip")
    ranking = rank_bins(values[None, None], [order])
    assert torch.equal(keep_largest(values, count, order), ranking.position.flatten() < count)


def test_ties_of_attributions_are_broken_at_random_and_reproducibly():
    values = torch.zeros(129, 40)
    values[:10] = 1
    mask = largest_bins(values, 0.5)
    assert torch.equal(mask, largest_bins(values, 0.5))
    assert mask[:10].all()
    tied = mask[10:]
    shares = [part.mean().item() for part in (tied[:40], tied[40:80], tied[80:], tied[:, :20], tied[:, 20:])]
    assert max(shares) - min(shares) < 0.1


@pytest.mark.parametrize("area", [0.1, 0.5])
def test_soft_cut_holds_the_area(area):
    field = torch.rand(2, 20, 30)
    mask = soft_cut(field, area, softness=1e-3)
    assert (mask >= 0.5).sum((1, 2)).tolist() == [round(area * 600)] * 2
    assert torch.equal(mask >= 0.5, soft_cut(field, area, softness=1.0) >= 0.5)


@pytest.mark.parametrize("area", [0.001, 0.1, 0.5])
def test_top_share_is_binary_with_the_gradient_of_a_sigmoid(area):
    ranking = torch.rand(2, 20, 30, requires_grad=True)
    mask = top_share(ranking, area, softness=0.1)
    binary = rank_bins(ranking.detach(), neutral_order(ranking, ["a", "b"], 0)).mask_of(
        torch.tensor([max(1, round(area * 600))] * 2)
    )
    torch.testing.assert_close(mask.detach(), binary)
    (gradient,) = torch.autograd.grad(mask.sum(), ranking)
    edge = torch.stack([clip[clip_mask == 0].max() for clip, clip_mask in zip(ranking, binary, strict=True)])
    soft = ((ranking - edge[:, None, None]) / 0.1).sigmoid()
    torch.testing.assert_close(gradient, soft * (1 - soft) / 0.1)


@pytest.mark.parametrize("quantile", [0.0, 0.05, 0.5, 0.9, 0.999, 1.0])
def test_upper_quantile_is_the_smallest_value_not_below_the_quantile(quantile):
    for values in (torch.rand(7, 11), torch.rand(1, 1), torch.randint(3, (9, 9)).float()):
        edge = values.double().quantile(quantile)
        assert upper_quantile(values, quantile) == values[values >= edge - 1e-9].min()


def test_upper_quantile_is_not_moved_by_rounding():
    assert 0.07 * 100 > 7
    assert upper_quantile(torch.arange(101.0), 0.07) == 7


def test_equal_bins_share_their_rank():
    values = torch.randint(0, 9, (2, 5, 7)).float()
    shares = ranks(values).flatten(1)
    mean = mean_ranks(values.flatten(1))
    for clip, clip_shares, clip_mean in zip(values.flatten(1), shares, mean, strict=True):
        for value, share, rank in zip(clip, clip_shares, clip_mean, strict=True):
            smaller, equal = (clip < value).sum(), (clip == value).sum() - 1
            assert share.item() == pytest.approx((smaller + equal / 2).item() / 34)
            assert rank.item() == (1 + smaller + equal / 2).item()


def test_a_single_bin_has_rank_zero():
    assert ranks(torch.ones(2, 1, 1)).tolist() == [[[0.0]], [[0.0]]]


def test_wrong_orders_are_refused():
    with pytest.raises(ShapeError, match="does not fit"):
        rank_bins(torch.zeros(1, 2, 3), [torch.arange(5)])
    with pytest.raises(ShapeError, match="does not fit"):
        keep_largest(torch.zeros(6), 2, torch.arange(5))
    with pytest.raises(ShapeError, match="frequency, time"):
        rank_bins(torch.zeros(2, 3), [])
    with pytest.raises(ShapeError, match="each of 2 clips"):
        neutral_order(torch.zeros(2, 3, 4), ["a", "b"], 0, torch.tensor([4]))


def test_a_map_of_zeros_ranks_nothing_if_asked():
    values = torch.stack([torch.zeros(3, 4), torch.rand(3, 4)])
    values[0, :, 3] = 1.0  # in the padding
    order, frames = neutral_order(values, ["a", "b"], 0, torch.tensor([3, 4])), torch.tensor([3, 4])
    ranking = rank_bins(values, order, frames, blank=True)
    assert ranking.empty.tolist() == [True, False]
    assert ranking.mask(0.5).sum((1, 2)).tolist() == ranking.mask_like(torch.ones(2, 3, 4) / 2).sum((1, 2)).tolist()
    assert ranking.mask(0.5).sum((1, 2)).tolist() == [0, 6]
    drawn = rank_bins(values, order, frames)
    assert not drawn.empty.any()
    assert torch.equal(drawn.position[1], ranking.position[1])


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("levels", [3, 1_000_000])
def test_fast_order_is_that_of_a_stable_sort(descending, levels):
    values = torch.randint(-levels, levels, (5000,), generator=torch.Generator().manual_seed(0)) / levels
    values[::7] = -0.0  # equal to 0
    values[0], values[1] = -torch.inf, torch.inf
    expected = values.argsort(descending=descending, stable=True)
    assert torch.equal(_order_of(values, descending), expected)
