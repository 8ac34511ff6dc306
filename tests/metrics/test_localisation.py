"""Scores against a known truth, compared with slow formulas and torchmetrics."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from otoscope.errors import ShapeError
from otoscope.metrics import intersection_over_union, mask_auroc, si_sdr_improvement

LEVELS = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=14)


def pairwise_auroc(scores: list[float], inside: list[bool]) -> float:
    """The share of pairs in the right order, counted pair by pair."""
    positive = [s for s, i in zip(scores, inside, strict=True) if i]
    negative = [s for s, i in zip(scores, inside, strict=True) if not i]
    won = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    return won / (len(positive) * len(negative)) if positive and negative else float("nan")


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(LEVELS)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_auroc_counts_pairs(bins):
    scores, inside = [level / 4 for level, _ in bins], [is_inside for _, is_inside in bins]
    area = mask_auroc(torch.tensor([[scores]]), torch.tensor([[inside]]).float())
    assert area.item() == pytest.approx(pairwise_auroc(scores, inside), abs=1e-6, nan_ok=True)


def test_auroc_needs_only_the_order():
    mask, ideal = noise(0, 2, 6, 7), (noise(1, 2, 6, 7) > 0).float()
    torch.testing.assert_close(mask_auroc(mask.exp() - 5, ideal), mask_auroc(mask, ideal))
    torch.testing.assert_close(mask_auroc(-mask, ideal), 1 - mask_auroc(mask, ideal))
    assert mask_auroc(ideal, ideal).tolist() == [1, 1]
    assert mask_auroc(torch.ones_like(mask), ideal).tolist() == [0.5, 0.5]


def test_auroc_is_undefined_without_both_kinds_of_bins():
    ideal = torch.stack([torch.zeros(2, 3), torch.ones(2, 3), torch.eye(2, 3)])
    assert mask_auroc(noise(0, 3, 2, 3), ideal).isnan().tolist() == [True, True, False]
    broken = torch.full((1, 2, 3), torch.nan)
    assert mask_auroc(broken, torch.eye(2, 3)[None]).isnan().all()


def test_auroc_is_fast_enough_for_real_spectrograms():
    mask, ideal = noise(0, 2, 513, 431), (noise(1, 2, 513, 431) > 0).float()
    start = time.perf_counter()
    area = mask_auroc(mask, ideal)
    assert time.perf_counter() - start < 5
    assert area.tolist() == pytest.approx([0.5, 0.5], abs=0.01)


@pytest.mark.parametrize("function", [mask_auroc, intersection_over_union])
def test_padding_never_counts(function, clips, pad_clips):
    ideals = [(clip.flip(0) > 0.5).float() for clip in clips]
    alone = torch.cat([function(m[None], i[None]) for m, i in zip(clips, ideals, strict=True)])
    for padding_value in (0.0, 1.0, torch.nan):
        mask, frames = pad_clips(clips, padding_value)
        ideal, _ = pad_clips(ideals, 1.0)
        torch.testing.assert_close(function(mask, ideal, frames), alone, equal_nan=True)


def test_iou_counts_bins_of_binary_masks():
    mask, ideal = noise(0, 4, 6, 7) > 0, noise(1, 4, 6, 7) > 0
    expected = (mask & ideal).sum(dim=(1, 2)) / (mask | ideal).sum(dim=(1, 2))
    torch.testing.assert_close(intersection_over_union(mask, ideal), expected)
    torch.testing.assert_close(intersection_over_union(ideal.float(), mask.float()), expected)


def test_soft_iou_agrees_with_the_slow_formula(clips):
    for clip in clips:
        ideal = clip.flip(0)
        pairs = list(zip(clip.flatten().tolist(), ideal.flatten().tolist(), strict=True))
        expected = sum(min(pair) for pair in pairs) / sum(max(pair) for pair in pairs)
        assert intersection_over_union(clip[None], ideal[None]).item() == pytest.approx(expected)


def test_threshold_makes_masks_binary():
    mask, ideal = torch.tensor([[[0.9, 0.4, 0.2]]]), torch.tensor([[[1.0, 1.0, 0.0]]])
    assert intersection_over_union(mask, ideal, threshold=0.5).item() == 0.5
    assert intersection_over_union(mask, ideal, threshold=0.3).item() == 1
    assert intersection_over_union(mask, ideal, threshold=1.0).item() == 0


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_iou_of_empty_and_broken_masks(threshold):
    empty, full = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    assert intersection_over_union(empty, empty, threshold=threshold).item() == 1
    assert intersection_over_union(empty, full, threshold=threshold).item() == 0
    assert intersection_over_union(full * torch.nan, full, threshold=threshold).isnan().all()


def test_si_sdr_improvement_agrees_with_torchmetrics():
    event, background, error = noise(0, 3, 400), noise(1, 3, 400), noise(2, 3, 400)
    mixture, evidence = event + background, 2 * event + 0.3 * error
    ratio_db = scale_invariant_signal_distortion_ratio
    torch.testing.assert_close(
        si_sdr_improvement(evidence, mixture, event),
        ratio_db(evidence, event) - ratio_db(mixture, event),
        rtol=1e-4,
        atol=1e-4,
    )


def test_si_sdr_improvement_ignores_scale_even_of_faint_clips():
    event, background = noise(0, 2, 400), noise(1, 2, 400)
    loud = si_sdr_improvement(event + 0.1 * background, event + background, event)
    faint = si_sdr_improvement(1e-6 * event + 1e-7 * background, event + background, 1e-9 * event)
    torch.testing.assert_close(faint, loud, rtol=1e-3, atol=1e-3)


def test_si_sdr_is_clamped_to_its_limits():
    event = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    other = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    level = event + other  # 0 dB
    assert si_sdr_improvement(event, level, event).item() == pytest.approx(60)
    assert si_sdr_improvement(other, level, event).item() == pytest.approx(-30)
    assert si_sdr_improvement(event, other, event).item() == pytest.approx(90)


def test_silence():
    event = noise(0, 1, 50)
    mixture, silence = event + noise(1, 1, 50), torch.zeros(1, 50)
    same = si_sdr_improvement(mixture, mixture, event)
    assert same.item() == 0
    mixture_db = scale_invariant_signal_distortion_ratio(mixture, event)
    assert si_sdr_improvement(silence, mixture, event).item() == pytest.approx(-30 - mixture_db.item(), abs=1e-3)
    assert si_sdr_improvement(mixture, mixture, silence).isnan().all()
    assert si_sdr_improvement(silence, silence, silence).isnan().all()


def test_padding_of_waveforms_never_counts(pad_clips):
    events = [noise(seed, length) for seed, length in ((0, 40), (1, 7), (2, 25))]
    mixtures = [event + noise(9, len(event)) for event in events]
    estimates = [event + 0.2 * mixture for event, mixture in zip(events, mixtures, strict=True)]
    alone = [
        si_sdr_improvement(e[None], m[None], s[None]) for e, m, s in zip(estimates, mixtures, events, strict=True)
    ]
    (evidence, lengths), (mixture, _), (event, _) = (pad_clips(waves) for waves in (estimates, mixtures, events))
    torch.testing.assert_close(si_sdr_improvement(evidence, mixture, event, lengths), torch.cat(alone))


def test_refuses_shapes_that_do_not_fit():
    for function in (mask_auroc, intersection_over_union):
        with pytest.raises(ShapeError, match="ideal"):
            function(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))
    wave = torch.ones(2, 8)
    with pytest.raises(ShapeError, match="event"):
        si_sdr_improvement(wave, wave, wave[:1])
    with pytest.raises(ShapeError, match="samples"):
        si_sdr_improvement(wave[0], wave[0], wave[0])
    with pytest.raises(ShapeError, match="lengths"):
        si_sdr_improvement(wave, wave, wave, torch.tensor([8]))
