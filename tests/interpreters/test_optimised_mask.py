"""The mask optimised for one clip."""

import pytest
import torch
from attributions import EARLY, HIGH, LATE, LOW, Window, attribution_of, make, sounds

from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError
from otoscope.metrics.ranking import largest_bins, ranks


@pytest.fixture
def classifier():
    return Window().freeze()


def kept(classifier, clips, attribution, area, target):
    """Probability of the target from the evidence at an area."""
    masks = torch.stack([largest_bins(one, area) for one in attribution])
    return classifier(masks * clips).probabilities[:, target]


@pytest.mark.parametrize("area", [0.05, 0.1, 0.2, 0.3])
def test_one_order_serves_every_area(classifier, area):
    clips = sounds(2)
    found = attribution_of("optimised_mask", classifier, clips, 0, steps=60)
    loudest = kept(classifier, clips, ranks(clips), area, 0)
    assert (kept(classifier, clips, found, area, 0) > loudest).all()


def test_more_steps_find_more(classifier):
    clips = sounds(2)
    few, many = (attribution_of("optimised_mask", classifier, clips, 0, steps=steps) for steps in (2, 40))
    assert (kept(classifier, clips, many, 0.1, 0) > kept(classifier, clips, few, 0.1, 0)).all()


def test_it_has_no_chance_in_it(classifier):
    clips = sounds(1)
    first, again = (attribution_of("optimised_mask", classifier, clips, 0) for _ in range(2))
    assert torch.equal(first, again)


def test_flat_start_knows_nothing_finer_than_a_cell(classifier):
    clips = sounds(1)
    field = attribution_of("optimised_mask", classifier, clips, 0, start="flat")[0]
    assert field[LOW + 8 : HIGH - 8, EARLY + 8 : LATE - 8].min() > field.mean()
    assert field.diff(dim=0).abs().max() < 0.5 * (field.max() - field.min())


def test_start_by_attribution_joins_loudness_and_integrated_gradients(classifier):
    clips = sounds(2)
    still = attribution_of("optimised_mask", classifier, clips, 0, steps=1, learning_rate=1e-9)
    found = attribution_of("integrated_gradients", classifier, clips, 0, steps=16)
    torch.testing.assert_close(still, 2 * ranks(ranks(clips) + ranks(found)) - 1)


def test_smoothness_smooths(classifier):
    clips = sounds(1)
    rough, smooth = (
        attribution_of("optimised_mask", classifier, clips, 0, start="flat", smoothness=weight)[0]
        for weight in (0.0, 20.0)
    )
    assert smooth.diff(dim=1).abs().mean() < 0.5 * rough.diff(dim=1).abs().mean()


def test_hardly_a_step_is_the_start_and_the_remainder_can_be_left_out(experienced):
    classifier = experienced(Conv2dClassifier(["dog", "rain"], Window().frontend, width=4, head_width=4)).freeze()
    clips, sizes = sounds(1), []
    classifier.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    still = attribution_of("optimised_mask", classifier, clips, steps=1, learning_rate=1e-9, start="loudness")
    torch.testing.assert_close(still, 2 * ranks(clips) - 1)
    attribution_of("optimised_mask", classifier, clips, steps=1, remainder=0.0, start="loudness")
    assert sizes == [1, 2, 1, 1]


def test_evidence_and_remainder_together_fill_a_batch_at_most(classifier):
    sizes = []
    classifier.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    attribution_of("optimised_mask", classifier, sounds(5), steps=1, batch=4, start="flat")
    assert sizes == [5, 4, 4, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"areas": []}, r"areas: expected shares between 0 and 1, got \[\]"),
        ({"areas": [0.1, 1.0]}, "areas"),
        ({"steps": 0}, "steps: 0 must be a whole number, 1 or more"),
        ({"smoothness": -1.0}, "smoothness"),
        ({"start": "loud"}, "start: 'loud' is none of attribution, loudness, flat"),
    ],
)
def test_mistakes_are_named(classifier, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make("optimised_mask", classifier, **options)
