import pytest
import torch

from otoscope.audio import Frontend
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import Clips
from otoscope.interpreters.integrated_gradients import IntegratedGradientsInterpreter
from otoscope.interpreters.refined import RefinedInterpreter, _descend, ranks


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    frontend = Frontend(n_fft=64, window_ms=4, hop_ms=2)
    classifier = Conv2dClassifier(["dog", "rain", "sea"], frontend, width=6, head_width=5, scale=10)
    for part in classifier.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    classifier.train()(torch.rand(6, 33, 48))
    return classifier.freeze()


@pytest.fixture
def clips(classifier):
    log_magnitude = torch.rand(5, 33, 48)
    return Clips(log_magnitude, classifier(log_magnitude).predicted)


@torch.no_grad()
def test_no_clip_ends_worse_than_its_starts(classifier, clips):
    interpreter = RefinedInterpreter(classifier, steps=4, refinements=6, cell=(3, 5))
    chosen = RefinedInterpreter(classifier, steps=4, refinements=0)
    prediction = classifier(clips.log_magnitude)
    ends = interpreter.objective(interpreter.decode(clips.log_magnitude, prediction), clips)
    starts = interpreter.objective(chosen.decode(clips.log_magnitude, prediction), clips)
    attribution = IntegratedGradientsInterpreter(classifier, steps=4).decode(clips.log_magnitude, prediction)
    assert (ends <= starts + 1e-6).all()
    assert (ends < starts - 1e-3).any()
    for other in (attribution, clips.log_magnitude):
        assert (starts <= interpreter.objective(ranks(other), clips) + 1e-6).all()


@torch.no_grad()
def test_objective_by_hand(classifier, clips):
    interpreter = RefinedInterpreter(classifier, areas=(0.25, 0.5), l_out=0.3)
    ranking = ranks(torch.rand(5, 33, 48))
    expected = torch.zeros(5)
    for area in (0.25, 0.5):
        for i, one in enumerate(clips):
            values = ranking[i].flatten()
            kept = torch.zeros_like(values)
            kept[values.argsort(descending=True)[: round(area * len(values))]] = 1
            mask = kept.view(1, 33, 48)
            kept, left = (
                -classifier(part * one.log_magnitude).logits.log_softmax(-1)[0, one.target]
                for part in (mask, 1 - mask)
            )
            expected[i] += (kept - 0.3 * left.clamp(max=6)).item() / 2
    torch.testing.assert_close(interpreter.objective(ranking, clips), expected, rtol=1e-4, atol=1e-4)


def test_descent_keeps_each_clip_apart():
    goal = torch.tensor([[1.0, -2.0], [0.1, 0.0]])
    asked = []

    def objective(place):
        asked.append(place)
        return (place - goal).square().sum(-1)

    found = _descend(objective, torch.zeros(2, 2), steps=40, rate=0.3)
    torch.testing.assert_close(found, goal, rtol=0, atol=0.05)
    assert len(asked) == 41
    alone = _descend(lambda place: (place - goal[:1]).square().sum(-1), torch.zeros(1, 2), steps=40, rate=0.3)
    torch.testing.assert_close(found[:1], alone)


def test_refuses_what_makes_no_sense(classifier):
    for options in ({"areas": ()}, {"areas": (0.0, 0.5)}, {"cell": (0, 3)}, {"refinements": -1}, {"rate": 0.0}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            RefinedInterpreter(classifier, **options)
