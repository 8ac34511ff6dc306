"""Randomisation check with several shuffles, and its two variances."""

import numpy as np
import pytest
import torch

from otoscope.classifiers.fingerprint import digest
from otoscope.data import collate
from otoscope.errors import ConfigurationError
from otoscope.evaluation.batch import classify_batch
from otoscope.evaluation.methods import build_methods
from otoscope.evaluation.randomisation import check_shuffles, two_way_mean


@pytest.fixture
def classified(classifier, data):
    clips = collate([data.test_set[index] for index in range(3)])
    return classify_batch(classifier, clips, 0, torch.device("cpu"))


def test_maps_that_ignore_the_classifier_stay_and_others_change(classifier, classified):
    methods = build_methods({"gradient": "saliency"}, classifier).ready
    before = digest(classifier)
    values = check_shuffles(methods["gradient"], classified, shuffles=3, noisy_inputs=2)
    assert digest(classifier) == before
    assert {name: of_name.shape for name, of_name in values.items()} == dict.fromkeys(values, (3, 3))
    assert values["rank_correlation"].max() < 0.9
    assert np.isfinite(values["sMPRT"]).all()
    # the shuffles differ
    assert values["rank_correlation"].std(0).max() > 0
    method = methods["gradient"]
    fixed = type(method)("loud", LoudMap(), True, LoudMap, "")
    values = check_shuffles(fixed, classified, shuffles=2)
    assert values["rank_correlation"] == pytest.approx(np.ones((2, 3)))
    assert values["overlap"] == pytest.approx(np.ones((2, 3)))
    assert values["eMPRT"] == pytest.approx(np.zeros((2, 3)))


class LoudMap:
    """Map that is the log magnitude, whatever the classifier."""

    def decode(self, spectrogram, prediction):
        return spectrogram.log_magnitude

    def output(self, decoded, spectrogram):
        return decoded


def test_variances_are_those_of_the_model():
    rng = np.random.default_rng(0)
    shuffle, clip = rng.normal(0, 0.3, (400, 1)), rng.normal(0, 0.5, (1, 300))
    result = two_way_mean(0.2 + shuffle + clip + rng.normal(0, 0.1, (400, 300)))
    assert result.shuffle_variance == pytest.approx(0.09, rel=0.2)
    assert result.clip_variance == pytest.approx(0.25, rel=0.2)
    assert result.low < 0.2 < result.high


def test_interval_covers_new_shuffles_where_a_bootstrap_of_clips_does_not():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        values = rng.normal(0, 0.3, (5, 1)) + rng.normal(0, 0.1, (1, 40)) + rng.normal(0, 0.1, (5, 40))
        result = two_way_mean(values)
        hits += result.low <= 0 <= result.high
    assert hits >= 180


def test_undefined_clips_are_left_out_and_wrong_numbers_reported(classifier, classified):
    values = np.array([[0.1, np.nan, 0.3], [0.2, 0.5, 0.4]])
    assert two_way_mean(values).clips == 2
    assert two_way_mean(np.full((2, 2), np.nan)).clips == 0
    method = build_methods({"saliency": "saliency"}, classifier).ready["saliency"]
    with pytest.raises(ConfigurationError, match="shuffles"):
        check_shuffles(method, classified, shuffles=0)
