"""Sanity checks: similarity against scipy-free oracles, the cascade, and that the classifier comes back whole."""

import numpy as np
import pytest
import torch

from otoscope.classifiers import Cnn14Classifier
from otoscope.evaluation.batch import classify_batch
from otoscope.evaluation.methods import build_methods, digest
from otoscope.evaluation.sanity import cascade, compare_maps, forgetting, rank_correlation, similarity, verdict
from otoscope.evaluation.statistics import Estimate


def test_rank_correlation_by_a_slow_loop():
    rng = np.random.default_rng(0)
    first, second = rng.integers(5, size=40), rng.integers(5, size=40)
    ranks = [[np.mean(np.nonzero(np.sort(one) == value)[0]) for value in one] for one in (first, second)]
    expected = np.corrcoef(ranks)[0, 1]
    assert rank_correlation(torch.tensor(first), torch.tensor(second)) == pytest.approx(expected, abs=1e-6)


def test_rank_correlation_knows_order_alone():
    values = torch.rand(9, 8)
    assert rank_correlation(values, values.exp() * 3) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    assert np.isnan(rank_correlation(values, torch.ones(9, 8)))


def test_similarity_of_pictures():
    values = torch.rand(40, 50)
    assert similarity(values, 3 * values + 1) == pytest.approx(1, abs=1e-5)
    assert abs(similarity(values, torch.rand(40, 50))) < 0.2
    assert np.isnan(similarity(values, torch.full((40, 50), torch.nan)))


def test_cascade_runs_from_the_head_down(classifier):
    names = [layer.name for layer in cascade(classifier)]
    assert names == ["head", "residual", "blocks.2", "blocks.1", "blocks.0"]
    assert next(layer.name for layer in cascade(Cnn14Classifier(["a", "b"], width=2))) != "frontend"


def test_forgetting_is_cumulative_keeps_the_scale_and_ends(classifier):
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    changed = set()
    with forgetting(classifier, seed=0) as layers:
        for layer in layers:
            now = classifier.state_dict()
            different = {name for name in before if not torch.equal(before[name], now[name])}
            assert changed <= different
            assert all(name.startswith(layer) for name in different - changed)
            changed = different
        weight = "blocks.0.0.weight"
        assert weight in changed
        assert torch.equal(before[weight].flatten().sort().values, now[weight].flatten().sort().values)
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())


def test_the_classifier_comes_back_after_an_error(classifier):
    former = digest(classifier)

    def fail():
        with forgetting(classifier, seed=0) as layers:
            next(layers)
            raise RuntimeError("a method failed")

    with pytest.raises(RuntimeError, match="a method failed"):
        fail()
    assert digest(classifier) == former


def test_maps_of_a_gradient_change_and_a_constant_does_not(classifier, kinds, batch):
    wanted = {name: kinds[name](classifier) for name in ("gradient", "constant")}
    methods = list(build_methods(wanted, classifier).ready.values())
    found = compare_maps(methods, classify_batch(classifier, batch, 0), seed=0)
    for clip in found["gradient"]:
        correlations = [one["rank_correlation"] for one in clip.values()]
        assert list(clip) == [layer.name for layer in cascade(classifier)]
        assert correlations[-1] < correlations[0] <= 1
        assert all(-1 <= value < 1 for value in correlations)
    assert all(np.isnan(one["rank_correlation"]) for clip in found["constant"] for one in clip.values())


def test_a_clip_gets_the_same_in_every_batch(classifier, gradient, data):
    from otoscope.data import collate

    methods = list(build_methods({"G": gradient}, classifier).ready.values())
    clips = [data.test_set[i] for i in range(3)]
    together = compare_maps(methods, classify_batch(classifier, collate(clips), 0), seed=0)["G"]
    for clip, expected in zip(clips, together, strict=True):
        (alone,) = compare_maps(methods, classify_batch(classifier, collate([clip]), 0), seed=0)["G"]
        for layer, values in alone.items():
            assert values == pytest.approx(expected[layer], abs=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "clips", "word"),
    [(-0.1, 0.2, 9, "passes"), (0.7, 0.9, 9, "fails"), (0.3, 0.7, 9, "unclear"), (0, 0, 0, "undefined")],
)
def test_verdict(low, high, clips, word):
    layers = {"head": Estimate(0.99, 0.98, 1.0, 9), "blocks.0": Estimate((low + high) / 2, low, high, clips)}
    assert verdict(layers).startswith(word)
