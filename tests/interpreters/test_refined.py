import itertools
import math

import pytest
import torch

from otoscope.audio import Frontend
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import Clips
from otoscope.interpreters.integrated_gradients import IntegratedGradientsInterpreter
from otoscope.interpreters.refined import RefinedInterpreter, _descend, background, smoothed
from otoscope.metrics.ranking import ranks


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
def test_no_clip_ends_worse_than_it_starts(classifier, clips):
    options = {"steps": 4, "areas": (0.2, 0.5), "cell": (3, 5), "rate": 0.02, "goal": 0.0}
    interpreter = RefinedInterpreter(classifier, **options, refinements=6)
    start = RefinedInterpreter(classifier, **options, refinements=0)
    prediction = classifier(clips.log_magnitude)
    ends = interpreter.objective(interpreter.decode(clips.log_magnitude, prediction), clips)
    starts = interpreter.objective(start.decode(clips.log_magnitude, prediction), clips)
    assert (ends <= starts + 1e-6).all()
    assert (ends < starts - 1e-3).any()


@torch.no_grad()
def test_start_is_the_mean_of_three_ranks(classifier, clips):
    interpreter = RefinedInterpreter(classifier, steps=4, refinements=0, smoothing=(0, 0))
    prediction = classifier(clips.log_magnitude)
    evidence = IntegratedGradientsInterpreter(classifier, steps=4).decode(clips.log_magnitude, prediction)
    above = clips.log_magnitude - background(clips.log_magnitude)
    expected = (ranks(clips.log_magnitude) + ranks(above) + ranks(evidence.clamp(min=0))) / 3
    torch.testing.assert_close(interpreter.decode(clips.log_magnitude, prediction), expected)


@torch.no_grad()
def test_nothing_is_changed_where_the_goal_is_reached(classifier, clips):
    start = RefinedInterpreter(classifier, steps=4, refinements=0)
    easy = RefinedInterpreter(classifier, steps=4, goal=1e9)
    prediction = classifier(clips.log_magnitude)
    found, expected = (one.decode(clips.log_magnitude, prediction) for one in (easy, start))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@torch.no_grad()
def test_objective_by_hand(classifier, clips):
    interpreter = RefinedInterpreter(classifier, areas=(0.25, 0.5), goal=0.9)
    ranking = ranks(torch.rand(5, 33, 48))
    expected = torch.zeros(5)

    def cross_entropy(log_magnitude, target):
        return -classifier(log_magnitude).logits.log_softmax(-1)[0, target].item()

    for area in (0.25, 0.5):
        for i, one in enumerate(clips):
            values = ranking[i].flatten()
            kept = torch.zeros_like(values)
            kept[values.argsort(descending=True)[: round(area * len(values))]] = 1
            evidence = cross_entropy(kept.view(1, 33, 48) * one.log_magnitude, one.target)
            expected[i] += max(0.0, evidence - 0.9 * cross_entropy(one.log_magnitude, one.target)) / 2
    assert expected.any()
    torch.testing.assert_close(interpreter.objective(ranking, clips), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 6, 11, 50])
def test_background_is_a_quantile(frames):
    magnitude = torch.rand(2, 5, frames)
    torch.testing.assert_close(background(magnitude), magnitude.quantile(0.2, dim=-1, keepdim=True))


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 16])
def test_silence_and_few_frames(classifier, frames):
    silence = torch.zeros(1, 33, frames)
    mask = RefinedInterpreter(classifier, steps=2)(silence, classifier(silence))
    assert mask.sum() == round(0.2 * 33 * frames)


def test_smoothing_equals_a_loop():
    values = torch.rand(2, 7, 9)
    found = smoothed(values, (1.0, 0.5))
    expected = torch.zeros_like(values)
    weights = {(i, j): math.exp(-0.5 * i * i - 2 * j * j) for i in range(-3, 4) for j in range(-2, 3)}
    total = sum(weights.values())
    for f, t in itertools.product(range(7), range(9)):
        for (i, j), weight in weights.items():
            expected[:, f, t] += weight / total * values[:, min(max(f + i, 0), 6), min(max(t + j, 0), 8)]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(smoothed(values, (0, 0)), values)


def test_descent_arrives_and_asks_no_further():
    goal, asked = torch.tensor([1.0, -2.0]), []

    def objective(place):
        asked.append(place)
        return ((place - goal).square().sum(-1, keepdim=True) - 1e-3).relu()

    found = _descend(objective, torch.zeros(2), steps=40, rate=0.3)
    torch.testing.assert_close(found, goal, rtol=0, atol=0.05)
    assert objective(found) == 0
    assert len(asked) < 40


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_a_clip_gets_exactly_the_same_in_every_batch(classifier, clips, batch):
    options = {"steps": 4, "goal": 0.0, "rate": 0.02}
    expected = RefinedInterpreter(classifier, **options).decode(
        clips.log_magnitude, classifier(clips.log_magnitude)
    )
    interpreter = RefinedInterpreter(classifier, **options)
    for i, clip in enumerate(clips.split(batch)):
        found = interpreter.decode(clip.log_magnitude, classifier(clip.log_magnitude))
        assert torch.equal(found, expected[i * batch : (i + 1) * batch])


def test_refuses_what_makes_no_sense(classifier):
    for options in ({"areas": ()}, {"areas": (0.0, 0.5)}, {"cell": (0, 3)}, {"refinements": -1}, {"rate": 0.0}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            RefinedInterpreter(classifier, **options)
    for options in ({"goal": -1.0}, {"smoothing": (1.0,)}, {"smoothing": (-1.0, 0.0)}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            RefinedInterpreter(classifier, **options)
