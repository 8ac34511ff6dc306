"""Sanity check: similarity against slow loops, order of the layers, and restoration of the classifier."""

import numpy as np
import pytest
import torch
from torch import nn

from otoscope.classifiers import CallableClassifier, Cnn14Classifier, TorchClassifier
from otoscope.classifiers.fingerprint import digest
from otoscope.data import collate
from otoscope.evaluation.batch import classify_batch
from otoscope.evaluation.methods import build_methods
from otoscope.evaluation.sanity import cascade, compare_maps, randomisation, rank_correlation, similarity, verdict
from otoscope.evaluation.statistics import Estimate


def test_rank_correlation_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    first, second = rng.integers(5, size=40), rng.integers(5, size=40)
    ranks = [[np.mean(np.nonzero(np.sort(row) == value)[0]) for value in row] for row in (first, second)]
    expected = np.corrcoef(ranks)[0, 1]
    assert rank_correlation(torch.tensor(first), torch.tensor(second)) == pytest.approx(expected, abs=1e-6)


def test_rank_correlation_depends_on_order_only():
    values = torch.rand(9, 8)
    assert rank_correlation(values, values.exp() * 3) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    assert np.isnan(rank_correlation(values, torch.ones(9, 8)))


def test_similarity_of_maps():
    values = torch.rand(40, 50)
    assert similarity(values, 3 * values + 1) == pytest.approx(1, abs=1e-5)
    assert abs(similarity(values, torch.rand(40, 50))) < 0.2
    assert np.isnan(similarity(values, torch.full((40, 50), torch.nan)))


def test_cascade_runs_from_the_head_down(classifier):
    names = [layer.name for layer in cascade(classifier)]
    assert names == ["head", "residual", "blocks.2", "blocks.1", "blocks.0"]
    assert next(layer.name for layer in cascade(Cnn14Classifier(["a", "b"], width=2))) != "frontend"


def test_randomisation_is_cumulative_keeps_the_scale_and_is_undone(classifier):
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    changed = set()
    with randomisation(classifier, seed=0) as layers:
        for layer in layers:
            now = classifier.state_dict()
            different = {name for name in before if not torch.equal(before[name], now[name])}
            assert changed <= different
            assert all(name.startswith(layer) or layer == "the rest" for name in different - changed)
            changed = different
        weight = "blocks.0.0.weight"
        assert weight in changed
        assert torch.equal(before[weight].flatten().sort().values, now[weight].flatten().sort().values)
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())


def test_the_classifier_is_restored_after_an_error(classifier):
    former = digest(classifier)

    def fail():
        with randomisation(classifier, seed=0) as layers:
            next(layers)
            raise RuntimeError("a method failed")

    with pytest.raises(RuntimeError, match="a method failed"):
        fail()
    assert digest(classifier) == former


def test_maps_of_a_gradient_change_and_a_constant_map_does_not(classifier, kinds, batch):
    specs = {name: kinds[name](classifier) for name in ("gradient", "constant")}
    methods = list(build_methods(specs, classifier).ready.values())
    similarities = compare_maps(methods, classify_batch(classifier, batch, 0), seed=0)
    for clip in similarities["gradient"]:
        correlations = [layer["rank_correlation"] for layer in clip.values()]
        assert list(clip) == [layer.name for layer in cascade(classifier)]
        assert correlations[-1] < correlations[0] <= 1
        assert all(-1 <= value < 1 for value in correlations)
    assert all(np.isnan(layer["rank_correlation"]) for clip in similarities["constant"] for layer in clip.values())


def test_similarities_of_a_clip_do_not_depend_on_the_batch(classifier, gradient, data):
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


class HeadFirst(nn.Module):
    """Network that registers its head before its body, and has a weight and a buffer outside both."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.offset = nn.Parameter(torch.randn(4))
        self.body = nn.Sequential(nn.Linear(513, 8), nn.ReLU(), nn.Linear(8, 4))
        self.register_buffer("table", torch.randn(3, 3))

    def forward(self, log_magnitude):
        hidden = self.body(log_magnitude.mean(-1)) + self.offset
        return self.head(hidden) @ self.table


def test_cascade_follows_the_order_in_which_layers_run_and_leaves_nothing_out():
    classifier = TorchClassifier(HeadFirst(), ["a", "b", "c"], axes="bft")
    layers = cascade(classifier)
    assert [layer.name for layer in layers] == ["module.head", "module.body.2", "module.body.0", "the rest"]
    assert set(layers[-1].weights) == {"module.offset", "module.table"}
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    with randomisation(classifier, seed=0) as steps:
        assert len(list(steps)) == 4
        now = classifier.state_dict()
        assert all(not torch.equal(before[name], now[name]) for name in before)


def test_layers_of_a_transformer_are_randomised_separately():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    net = nn.Sequential(nn.Linear(513, 16), nn.TransformerEncoder(layer, 6), nn.Flatten(), nn.LazyLinear(2))
    net(torch.zeros(1, 64, 513))
    classifier = TorchClassifier(net, ["a", "b"], axes="btf", duration_s=63 * 186 / 16000)
    names = [layer.name for layer in cascade(classifier)]
    assert {f"module.1.layers.{i}" for i in range(6)} <= set(names)
    assert names.index("module.1.layers.5") < names.index("module.1.layers.0") < names.index("module.0")


def test_a_black_box_has_no_layers():
    box = CallableClassifier(lambda waveforms: np.full((len(waveforms), 2), 0.5), ["a", "b"])
    assert cascade(box) == []


def test_undefined_and_small_maps():
    values = torch.rand(9, 8)
    broken = values.clone()
    broken[3, 3] = torch.nan
    assert np.isnan(rank_correlation(values, broken))
    assert np.isnan(similarity(torch.rand(40, 5), torch.rand(40, 5)))
    assert np.isfinite(similarity(torch.rand(40, 6), torch.rand(40, 6)))
