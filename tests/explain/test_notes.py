"""Notes: attributions that are zero everywhere, and recordings longer than what the classifier hears."""

import pytest
import torch
from torch import nn

from otoscope.classifiers import CallableClassifier, TorchClassifier
from otoscope.explain import Explainer
from otoscope.interpreters import make_untrained
from otoscope.methods import UNTRAINED

LABELS = ["dog", "rain"]


class Blind(nn.Module):
    """Network whose output does not depend on its input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.output = nn.Parameter(torch.tensor([1.0, 0.0]))

    def forward(self, x):
        return self.output + 0 * self.conv(x).relu().mean((1, 2, 3))[:, None]


class Saturated(nn.Module):
    """Network whose sigmoid is exactly 1 for every sound that is not silent."""

    def forward(self, x):
        loud = (1000 * x.mean((1, 2, 3))).sigmoid()
        return torch.stack([loud, 1 - loud], 1)


class Level(nn.Module):
    """Network that answers to the mean of its input."""

    def forward(self, x):
        return torch.stack([x.flatten(1).mean(1), -x.flatten(1).mean(1)], 1)


FEW = {"rise": {"masks": 20}, "slime": {"samples": 20}}


@pytest.mark.parametrize("method", sorted(set(UNTRAINED) - {"amt"}))
def test_no_bins_are_kept_at_random_where_the_attribution_is_zero(method):
    classifier = TorchClassifier(Blind(), LABELS, representation="conv")
    interpreter = make_untrained(method, classifier, area=0.2, **FEW.get(method, {}))
    explanation = Explainer(classifier, interpreter).explain(0.1 * torch.randn(2000), scores=False)
    assert not explanation.mask.any()
    assert not explanation.importance.any()
    (note,) = explanation.notes
    assert "the attribution is zero everywhere" in note
    assert "saturated output" in note


def test_a_saturated_output_is_reported_and_not_supported():
    classifier = TorchClassifier(Saturated(), LABELS, output="probabilities")
    for options in ({}, {"area": 0.2}):
        explainer = Explainer(classifier, make_untrained("saliency", classifier, **options))
        explanation = explainer.explain(0.3 * torch.randn(2000))
        assert explanation.scores["MM"] == 0
        assert all(explanation.controls[name]["MM"] == 0 for name in ("random", "loudest"))
        assert explanation.verdict.level == "not supported"
        assert any("no gradient: saturated output" in note for note in explanation.notes)


def test_one_blank_clip_does_not_change_the_others_of_its_batch():
    net = TorchClassifier(Level(), LABELS)
    explainer = Explainer(net, make_untrained("input_x_gradient", net, area=0.2))
    waveform = 0.3 * torch.randn(2000)
    alone = explainer.explain(waveform, scores=False)
    both = explainer.explain_batch([torch.zeros(2000), waveform], scores=False)
    assert torch.equal(both[1].mask, alone.mask)
    assert both[0].notes == ["the recording is silent"]


def make_half_deaf():
    return TorchClassifier(Level(), LABELS, input="waveform", duration_s=0.25)


def make_black_box():
    def answer(waveforms):
        assert waveforms.shape[1] == 4000
        level = torch.as_tensor(waveforms).abs().mean(1).clamp(max=1)
        return torch.stack([level, 1 - level], 1)

    return CallableClassifier(answer, LABELS, duration_s=0.25)


@pytest.mark.parametrize("make", [make_half_deaf, make_black_box])
@pytest.mark.parametrize("options", [{}, {"area": 0.2}])
def test_what_the_classifier_does_not_hear_is_left_out(make, options):
    classifier = make()
    interpreter = make_untrained("occlusion", classifier, **options)
    explainer, waveform = Explainer(classifier, interpreter), 0.3 * torch.randn(16_000)
    explanation = explainer.explain(waveform)
    alone = explainer.explain(waveform[:4000])
    assert explanation.original.shape == explanation.evidence.shape == (4000,)
    assert torch.equal(explanation.mask, alone.mask)
    assert explanation.scores == alone.scores
    assert explanation.controls == alone.controls
    note = "the classifier hears only the first 0.25 s of 1.00 s"
    assert [text for text in explanation.notes if text.startswith(note)]
    assert len(explanation.notes) == len(alone.notes) + 1
    evidence = explainer.interpret_batch([waveform]).evidence
    assert evidence.shape == (1, 16_000)
    assert not evidence[:, 4000:].any()
    expected = classifier.predict(classifier.frontend(waveform[None])).probabilities[0].tolist()
    assert list(explanation.probabilities.values()) == pytest.approx(expected, abs=1e-3)


def test_clips_of_one_batch_are_left_whole_where_they_are_short():
    classifier = make_half_deaf()
    explainer = Explainer(classifier, make_untrained("input_x_gradient", classifier, area=0.2))
    short, long = explainer.explain_batch([0.3 * torch.randn(2000), 0.3 * torch.randn(9000)], scores=False)
    assert (len(short.original), len(long.original)) == (2000, 4000)
    assert not any("hears only" in note for note in short.notes)
    assert any("hears only the first 0.25 s of 0.56 s" in note for note in long.notes)
