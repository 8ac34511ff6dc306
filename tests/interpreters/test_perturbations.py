"""Methods that silence parts of a clip and classify it again: occlusion, RISE and SLIME against slow loops."""

import numpy as np
import pytest
import torch
from attributions import BINS, FRAMES, RectangleClassifier, attribution_of, make, sounds
from sklearn.linear_model import Ridge

from otoscope.audio import Frontend
from otoscope.errors import ConfigurationError
from otoscope.interpreters.occlusion import cell_size
from otoscope.interpreters.rise import random_mask
from otoscope.interpreters.slime import ridge_regression, segments


@pytest.fixture
def classifier():
    return RectangleClassifier().freeze()


def dog_logit(classifier, log_magnitude):
    return classifier(log_magnitude).logits[0, 0]


def test_occlusion_equals_a_slow_loop(classifier):
    spectrogram = sounds(1)
    log_magnitude = spectrogram.log_magnitude
    attribution = attribution_of("occlusion", classifier, spectrogram, 0, patch_hz=1500.0, patch_s=0.08, overlap=2)
    height, width = cell_size(classifier, log_magnitude, 1500.0, 0.08)
    assert (height, width) == (24, 10)
    whole = dog_logit(classifier, log_magnitude)
    drop, times = torch.zeros(BINS, FRAMES), torch.zeros(BINS, FRAMES)
    # patches overlap by half, and the last of a row or column may reach beyond the edge
    rows, columns = (
        range(0, side - size + size // 2, size // 2) for side, size in ((BINS, height), (FRAMES, width))
    )
    for row in rows:
        for column in columns:
            patch = torch.zeros(BINS, FRAMES)
            patch[row : row + height, column : column + width] = 1
            drop += (whole - dog_logit(classifier, log_magnitude * (1 - patch))) * patch
            times += patch
    torch.testing.assert_close(attribution[0], drop / times, rtol=1e-3, atol=1e-4)


def test_rise_equals_a_slow_loop(classifier):
    spectrogram = sounds(2)
    options = {"masks": 9, "batch": 4, "seed": 3, "cell_s": 0.1, "probability": 0.4}
    attribution = attribution_of("rise", classifier, spectrogram, 0, **options)
    generator = torch.Generator().manual_seed(3)
    cell = cell_size(classifier, spectrogram.log_magnitude, 1000.0, 0.1)
    masks = [random_mask((BINS, FRAMES), cell, 0.4, generator) for _ in range(9)]
    for clip, values in zip(spectrogram.log_magnitude, attribution, strict=True):
        scores = [classifier(clip[None] * mask).probabilities[0, 0] for mask in masks]
        mean = sum(scores) / 9
        expected = sum((score - mean) * mask for score, mask in zip(scores, masks, strict=True)) / (9 * 0.4)
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-6)


def test_random_masks_are_coarse_shifted_and_of_the_right_mean():
    generator = torch.Generator().manual_seed(0)
    masks = torch.stack([random_mask((40, 60), (8, 12), 0.3, generator) for _ in range(300)])
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert masks.mean().item() == pytest.approx(0.3, abs=0.03)
    # thanks to the shifts, every bin is masked about equally often
    assert masks.mean(0).max() - masks.mean(0).min() < 0.25
    assert masks.diff(dim=2).abs().max() <= 1 / 12 + 1e-6


def test_rise_fills_batches_with_masks(classifier):
    batches = []
    classifier.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    attribution_of("rise", classifier, sounds(1), masks=10, batch=4)
    assert batches == [1, 4, 4, 2]


def test_slime_has_one_value_per_segment_and_recovers_a_linear_classifier(classifier):
    """The classifier is linear in the segments: with enough samples the fitted model equals the classifier."""
    spectrogram = sounds(1)
    log_magnitude = spectrogram.log_magnitude
    options = {"segment_hz": 1000.0, "segment_s": 0.128, "samples": 300, "ridge": 1e-6, "score": "logit"}
    attribution = attribution_of("slime", classifier, spectrogram, 0, **options)[0]
    numbers = segments(log_magnitude, (16, 16))[0]
    silent = dog_logit(classifier, torch.zeros_like(log_magnitude))
    for number in numbers.unique():
        inside = numbers == number
        assert attribution[inside].max() == attribution[inside].min()
        expected = dog_logit(classifier, log_magnitude * inside) - silent
        torch.testing.assert_close(attribution[inside][0], expected, rtol=1e-3, atol=1e-3)


def test_ridge_regression_equals_that_of_scikit_learn():
    features, values, weights = torch.rand(40, 6), torch.rand(40), torch.rand(40)
    coefficients = ridge_regression(features.double(), values.double(), weights.double(), 0.7)
    expected = Ridge(alpha=0.7).fit(features.numpy(), values.numpy(), sample_weight=weights.numpy())
    np.testing.assert_allclose(coefficients.numpy(), expected.coef_, rtol=1e-4, atol=1e-5)


def test_samples_near_the_clip_weigh_more(classifier):
    interpreter = make("slime", classifier, kernel_width=0.25)
    counts = torch.tensor([[10], [8], [5], [0]])
    weights = interpreter._weights((torch.arange(10) < counts).float()).tolist()
    assert weights[0] == 1
    assert weights == sorted(weights, reverse=True)
    assert weights[2] == pytest.approx(np.exp(-(((1 - 0.5**0.5) / 0.25) ** 2)), rel=1e-5)


def test_size_of_a_cell_in_bins_and_frames(classifier):
    classifier.frontend = Frontend()  # 15.625 Hz per bin, 11.6 ms per frame
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
def test_invalid_options_are_refused(classifier, method, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make(method, classifier, **options)
