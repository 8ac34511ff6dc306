"""Methods that silence parts and listen: occlusion, RISE, SLIME against slow oracles."""

import numpy as np
import pytest
import torch
from attributions import BINS, FRAMES, Window, attribution_of, make, sounds
from sklearn.linear_model import Ridge
from torch.utils.data import DataLoader, TensorDataset

from otoscope.audio import Frontend
from otoscope.errors import ConfigurationError
from otoscope.interpreters.occlusion import cell_size
from otoscope.interpreters.rise import random_mask
from otoscope.interpreters.slime import RidgeRegression, segments


@pytest.fixture
def classifier():
    return Window().freeze()


def dog(classifier, log_magnitude):
    return classifier(log_magnitude).logits[0, 0]


def test_occlusion_by_a_slow_loop(classifier):
    clip = sounds(1)
    found = attribution_of("occlusion", classifier, clip, 0, patch_hz=1500.0, patch_s=0.08, overlap=2)
    height, width = cell_size(classifier, clip, 1500.0, 0.08)
    assert (height, width) == (24, 10)
    whole, drop, times = dog(classifier, clip), torch.zeros(BINS, FRAMES), torch.zeros(BINS, FRAMES)
    tops, lefts = (
        list(range(0, side - size + size // 2, size // 2)) for side, size in ((BINS, height), (FRAMES, width))
    )
    for top in tops:
        for left in lefts:
            patch = torch.zeros(BINS, FRAMES)
            patch[top : top + height, left : left + width] = 1
            drop += (whole - dog(classifier, clip * (1 - patch))) * patch
            times += patch
    torch.testing.assert_close(found[0], drop / times, rtol=1e-3, atol=1e-4)


def test_rise_by_a_slow_loop(classifier):
    clips = sounds(2)
    found = attribution_of("rise", classifier, clips, 0, masks=9, batch=4, seed=3, cell_s=0.1, probability=0.4)
    generator = torch.Generator().manual_seed(3)
    cell = cell_size(classifier, clips, 1000.0, 0.1)
    masks = [random_mask((BINS, FRAMES), cell, 0.4, generator) for _ in range(9)]
    for clip, own in zip(clips, found, strict=True):
        scores = [classifier(clip[None] * mask).probabilities[0, 0] for mask in masks]
        mean = sum(scores) / 9
        expected = sum((score - mean) * mask for score, mask in zip(scores, masks, strict=True)) / (9 * 0.4)
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-6)


def test_random_masks_are_coarse_shifted_and_of_the_right_mean():
    generator = torch.Generator().manual_seed(0)
    masks = torch.stack([random_mask((40, 60), (8, 12), 0.3, generator) for _ in range(300)])
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert masks.mean().item() == pytest.approx(0.3, abs=0.03)
    # shifts leave no bin with more of the mask than another
    assert masks.mean(0).max() - masks.mean(0).min() < 0.25
    assert masks.diff(dim=2).abs().max() <= 1 / 12 + 1e-6


def test_rise_takes_no_more_than_a_batch_at_a_time(classifier):
    sizes = []
    classifier.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    attribution_of("rise", classifier, sounds(1), masks=10, batch=4)
    assert sizes == [1, 4, 4, 2]


def test_slime_gives_each_segment_one_value_and_finds_the_weights(classifier):
    """The classifier is linear in the segments: with enough samples the model is the classifier."""
    clip = sounds(1)
    options = {"segment_hz": 1000.0, "segment_s": 0.128, "samples": 300, "ridge": 1e-6, "score": "logit"}
    found = attribution_of("slime", classifier, clip, 0, **options)[0]
    numbers = segments(clip, (16, 16))[0]
    silent = classifier(torch.zeros_like(clip)).logits[0, 0]
    for number in numbers.unique():
        inside = numbers == number
        assert found[inside].max() == found[inside].min()
        expected = dog(classifier, clip * inside) - silent
        torch.testing.assert_close(found[inside][0], expected, rtol=1e-3, atol=1e-3)


def test_ridge_regression_is_that_of_scikit_learn():
    features, values, weights = torch.rand(40, 6), torch.rand(40), torch.rand(40)
    ours = RidgeRegression(0.7)
    ours.fit(DataLoader(TensorDataset(features, values, weights), batch_size=40))
    theirs = Ridge(alpha=0.7).fit(features.numpy(), values.numpy(), sample_weight=weights.numpy())
    np.testing.assert_allclose(ours.representation().numpy(), theirs.coef_, rtol=1e-4, atol=1e-5)


def test_samples_near_the_clip_count_more(classifier):
    interpreter = make("slime", classifier, kernel_width=0.25)
    weights = [
        float(interpreter._similarity(torch.zeros(1), torch.zeros(1), torch.tensor([[1] * on + [0] * (10 - on)])))
        for on in (10, 8, 5, 0)
    ]
    assert weights[0] == 1
    assert weights == sorted(weights, reverse=True)
    assert weights[2] == pytest.approx(np.exp(-(((1 - 0.5**0.5) / 0.25) ** 2)), rel=1e-5)


def test_size_of_a_cell_in_bins_and_frames(classifier):
    classifier.frontend = Frontend()  # 15.625 Hz a bin, 11.6 ms a frame
    clip = torch.zeros(1, 513, 431)
    assert cell_size(classifier, clip, 1000.0, 0.5) == (64, 43)
    assert cell_size(classifier, clip[..., :20], 1e6, 0.5) == (513, 20)
    assert cell_size(classifier, clip, 1.0, 1e-4) == (1, 1)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("occlusion", {"patch_hz": 0.0}, r"patch_hz: 0\.0 must be a positive number"),
        ("occlusion", {"overlap": 0}, "overlap: 0 must be a whole number, 1 or more"),
        ("rise", {"masks": 0}, "masks: 0 must be a whole number, 1 or more"),
        ("rise", {"probability": 1.0}, r"probability: 1\.0 must lie between 0 and 1"),
        ("slime", {"samples": 0}, "samples: 0 must be a whole number, 1 or more"),
        ("slime", {"kernel_width": 0.0}, r"kernel_width: 0\.0"),
    ],
)
def test_mistakes_are_named(classifier, method, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make(method, classifier, **options)
