"""Methods that end early: by completeness, or once two halves of the draws rank the bins alike."""

import pytest
import torch
from attributions import RectangleClassifier, attribution_of, make, sounds

from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.stability import Halves, reliability

SAMPLED = ("smoothgrad", "gradient_shap", "expected_gradients", "rise")


def inputs_of(classifier, method, spectrogram, **options):
    """Return the attribution, and how many inputs the classifier was given for it."""
    sizes = []
    handle = classifier.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    attribution = attribution_of(method, classifier, spectrogram, 0, **options)
    handle.remove()
    return attribution, sum(sizes) - len(spectrogram)  # without the prediction


def options_of(method, count):
    options = {"masks" if method == "rise" else "samples": count, "batch": 4}
    return options | ({"baselines": [torch.zeros(1600)]} if method == "expected_gradients" else {})


def test_integrated_gradients_of_a_linear_classifier_end_after_nine_points():
    classifier, spectrogram = RectangleClassifier().freeze(), sounds(2)
    attribution, inputs = inputs_of(
        classifier, "integrated_gradients", spectrogram, steps=81, completeness_error=0.01
    )
    assert inputs == 2 * (9 + 2)
    expected = attribution_of("integrated_gradients", classifier, spectrogram, 0)
    torch.testing.assert_close(attribution, expected, rtol=1e-4, atol=1e-5)


def test_completeness_that_is_not_reached_takes_all_points_once():
    torch.manual_seed(0)
    classifier, spectrogram = Conv2dClassifier(["dog", "rain"], width=4).freeze(), sounds(1)
    spectrogram.log_magnitude = torch.rand(1, 513, 64)
    spectrogram.phase = None
    attribution, inputs = inputs_of(
        classifier, "integrated_gradients", spectrogram, steps=30, completeness_error=1e-12
    )
    assert inputs == 27 + 2  # 9, and 18 more
    positions = (torch.arange(27) + 0.5) / 27
    points = (positions[:, None, None] * spectrogram.log_magnitude).requires_grad_()
    (gradient,) = torch.autograd.grad(classifier(points).logits[:, 0].sum(), points)
    expected = spectrogram.log_magnitude * gradient.mean(0)
    torch.testing.assert_close(attribution, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", SAMPLED)
def test_stable_ranks_end_the_draws(method):
    classifier, spectrogram = RectangleClassifier().freeze(), sounds(2)
    options = options_of(method, 200)
    whole, all_inputs = inputs_of(classifier, method, spectrogram, **options)
    assert all_inputs == 2 * 200
    some, inputs = inputs_of(classifier, method, spectrogram, rank_stability=0.3, **options)
    assert 2 * 4 <= inputs < all_inputs
    assert reliability(some, whole) > 0.1


@pytest.mark.parametrize("method", SAMPLED)
def test_ranks_that_never_get_stable_change_nothing(method):
    torch.manual_seed(0)
    classifier = Conv2dClassifier(["dog", "rain"], RectangleClassifier().frontend, width=4).freeze()
    spectrogram, options = sounds(1), options_of(method, 8)
    expected, inputs = inputs_of(classifier, method, spectrogram, **options)
    attribution, same = inputs_of(classifier, method, spectrogram, rank_stability=1 - 1e-12, **options)
    assert inputs == same == 8
    assert torch.equal(attribution, expected)


def test_a_clip_that_is_stable_does_not_depend_on_the_other_clips():
    classifier, spectrogram = RectangleClassifier().freeze(), sounds(2)
    options = {**options_of("rise", 60), "rank_stability": 0.3}
    both = attribution_of("rise", classifier, spectrogram, 0, **options)
    for index in range(2):
        alone = attribution_of("rise", classifier, spectrogram.clip(index), 0, **options)
        torch.testing.assert_close(alone[0], both[index], rtol=1e-4, atol=1e-6)


def test_reliability_is_one_for_equal_ranks_and_zero_for_unrelated_ones():
    ramp = torch.arange(100.0)
    assert reliability(ramp, ramp.exp2()) == pytest.approx(1)
    assert reliability(ramp, -ramp) == 0
    assert reliability(ramp, torch.ones(100)) == 0


def test_halves_ask_only_after_half_as_many_draws_again():
    halves = Halves(torch.zeros(1, 2, 3), 0.99, is_absolute=False)
    noise = torch.randn(24, 2, 3, generator=torch.Generator().manual_seed(0))
    asked = []
    for draws in noise.split(2):
        halves.add(draws)
        before = halves._next
        halves.is_stable()
        if halves._next != before:
            asked.append(sum(halves.counts))
    assert asked == [2, 4, 6, 10, 16, 24]
    torch.testing.assert_close(halves.mean()[0], noise.mean(0))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("integrated_gradients", {"completeness_error": 0.0}, "completeness_error: 0.0 must be a positive number"),
        ("integrated_gradients", {"completeness_error": 0.1, "steps": 8}, "steps: 8 must be 9 or more"),
        *((method, {"rank_stability": 1.0}, "rank_stability: 1.0 must lie between 0 and 1") for method in SAMPLED),
        ("rise", {"rank_stability": "high"}, "rank_stability: 'high' must lie between 0 and 1"),
    ],
)
def test_options_out_of_range_are_refused(method, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make(method, RectangleClassifier().freeze(), **options)
