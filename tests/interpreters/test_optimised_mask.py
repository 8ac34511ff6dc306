"""The mask that is optimised for each clip."""

import pytest
import torch
from attributions import EARLY, HIGH, LATE, LOW, RectangleClassifier, attribution_of, make, sounds

from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError
from otoscope.metrics.ranking import largest_bins, ranks


@pytest.fixture
def classifier():
    return RectangleClassifier().freeze()


def evidence_probability(classifier, spectrogram, attribution, area, target):
    """Return the probability of the target from the evidence of an area."""
    masks = torch.stack([largest_bins(values, area) for values in attribution])
    return classifier.probabilities(spectrogram.masked(masks))[:, target]


@pytest.mark.parametrize("area", [0.05, 0.1, 0.2, 0.3])
def test_one_order_serves_every_area(classifier, area):
    spectrogram = sounds(2)
    optimised = attribution_of("optimised_mask", classifier, spectrogram, 0, steps=60)
    loudest = ranks(spectrogram.log_magnitude)
    better, worse = (
        evidence_probability(classifier, spectrogram, order, area, 0) for order in (optimised, loudest)
    )
    assert (better > worse).all()


def test_more_steps_give_a_better_order(classifier):
    spectrogram = sounds(2)
    few, many = (
        evidence_probability(
            classifier,
            spectrogram,
            attribution_of("optimised_mask", classifier, spectrogram, 0, steps=steps),
            0.1,
            0,
        )
        for steps in (2, 40)
    )
    assert (many > few).all()


def test_result_is_deterministic(classifier):
    spectrogram = sounds(1)
    first, again = (attribution_of("optimised_mask", classifier, spectrogram, 0) for _ in range(2))
    assert torch.equal(first, again)


def test_flat_start_has_no_detail_finer_than_a_cell(classifier):
    field = attribution_of("optimised_mask", classifier, sounds(1), 0, start="flat")[0]
    assert field[LOW + 8 : HIGH - 8, EARLY + 8 : LATE - 8].min() > field.mean()
    assert field.diff(dim=0).abs().max() < 0.5 * (field.max() - field.min())


def test_start_by_attribution_joins_loudness_and_integrated_gradients(classifier):
    spectrogram = sounds(2)
    start = attribution_of("optimised_mask", classifier, spectrogram, 0, steps=1, learning_rate=1e-9)
    gradients = attribution_of("integrated_gradients", classifier, spectrogram, 0, steps=16)
    expected = 2 * ranks(ranks(spectrogram.log_magnitude) + ranks(gradients)) - 1
    torch.testing.assert_close(start, expected)


def test_smoothness_option_makes_the_field_smoother(classifier):
    spectrogram = sounds(1)
    rough, smooth = (
        attribution_of("optimised_mask", classifier, spectrogram, 0, start="flat", smoothness=weight)[0]
        for weight in (0.0, 20.0)
    )
    assert smooth.diff(dim=1).abs().mean() < 0.5 * rough.diff(dim=1).abs().mean()


def test_step_without_length_returns_the_start_and_the_remainder_is_optional(experienced):
    frontend = RectangleClassifier().frontend
    classifier = experienced(Conv2dClassifier(["dog", "rain"], frontend, width=4, head_width=4)).freeze()
    spectrogram, batches = sounds(1), []
    classifier.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    options = {"steps": 1, "start": "loudness"}
    start = attribution_of("optimised_mask", classifier, spectrogram, learning_rate=1e-9, **options)
    torch.testing.assert_close(start, 2 * ranks(spectrogram.log_magnitude) - 1)
    attribution_of("optimised_mask", classifier, spectrogram, remainder=0.0, **options)
    # per explanation the prediction, then one step: with and without the remainder
    assert batches == [1, 2, 1, 1]


def test_evidence_and_remainder_share_a_batch(classifier):
    batches = []
    classifier.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    attribution_of("optimised_mask", classifier, sounds(5), steps=1, batch=4, start="flat")
    assert batches == [5, 4, 4, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"areas": []}, r"areas: expected one or more shares between 0 and 1, got \[\]"),
        ({"areas": [0.1, 1.0]}, "areas"),
        ({"steps": 0}, "steps: 0 must be a whole number, 1 or more"),
        ({"smoothness": -1.0}, "smoothness"),
        ({"start": "loud"}, "start: 'loud' is none of attribution, loudness, flat"),
    ],
)
def test_invalid_options_are_refused(classifier, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make("optimised_mask", classifier, **options)
