"""The refined ranking: its start, its objective, and its descent."""

import itertools
import math

import pytest
import torch

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import each_clip
from otoscope.interpreters.integrated_gradients import IntegratedGradientsInterpreter
from otoscope.interpreters.refined import RefinedInterpreter, background, smoothed
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
def spectrogram():
    return Spectrogram(torch.rand(5, 33, 48))


@torch.no_grad()
def test_no_clip_ends_worse_than_it_starts(classifier, spectrogram):
    options = {"steps": 4, "areas": (0.2, 0.5), "cell": (3, 5), "rate": 0.02, "goal": 0.0}
    interpreter = RefinedInterpreter(classifier, **options, refinements=6)
    start = RefinedInterpreter(classifier, **options, refinements=0)
    prediction = classifier.predict(spectrogram)
    first, last = (
        interpreter.objective(method.decode(spectrogram, prediction), spectrogram, prediction.predicted)
        for method in (start, interpreter)
    )
    assert (last <= first + 1e-6).all()
    assert (last < first - 1e-3).any()


@torch.no_grad()
def test_start_is_the_mean_of_three_ranks(classifier, spectrogram):
    interpreter = RefinedInterpreter(classifier, steps=4, refinements=0, smoothing=(0, 0))
    prediction, magnitude = classifier.predict(spectrogram), spectrogram.log_magnitude
    gradients = IntegratedGradientsInterpreter(classifier, steps=4).decode(spectrogram, prediction)
    above = magnitude - background(magnitude)
    expected = (ranks(magnitude) + ranks(above) + ranks(gradients.clamp(min=0))) / 3
    torch.testing.assert_close(interpreter.decode(spectrogram, prediction), expected)


@torch.no_grad()
def test_nothing_is_changed_where_the_goal_is_reached(classifier, spectrogram):
    start = RefinedInterpreter(classifier, steps=4, refinements=0)
    easy = RefinedInterpreter(classifier, steps=4, goal=1e9)
    prediction = classifier.predict(spectrogram)
    ranking, expected = (method.decode(spectrogram, prediction) for method in (easy, start))
    torch.testing.assert_close(ranking, expected, rtol=0, atol=0)


@torch.no_grad()
def test_objective_by_hand(classifier, spectrogram):
    interpreter = RefinedInterpreter(classifier, areas=(0.25, 0.5), goal=0.9)
    ranking, target = ranks(torch.rand(5, 33, 48)), classifier.predict(spectrogram).predicted
    expected = torch.zeros(5)

    def cross_entropy(log_magnitude, label):
        return -classifier(log_magnitude).logits.log_softmax(-1)[0, label].item()

    for area in (0.25, 0.5):
        for i, (clip, label) in enumerate(each_clip(spectrogram, target)):
            values = ranking[i].flatten()
            mask = torch.zeros_like(values)
            mask[values.argsort(descending=True)[: round(area * len(values))]] = 1
            evidence = cross_entropy(mask.view(1, 33, 48) * clip.log_magnitude, label)
            expected[i] += max(0.0, evidence - 0.9 * cross_entropy(clip.log_magnitude, label)) / 2
    assert expected.any()
    objective = interpreter.objective(ranking, spectrogram, target)
    torch.testing.assert_close(objective, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 6, 11, 50])
def test_background_is_a_quantile(frames):
    magnitude = torch.rand(2, 5, frames)
    torch.testing.assert_close(background(magnitude), magnitude.quantile(0.2, dim=-1, keepdim=True))


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 16])
def test_few_frames_have_a_mask_and_silence_has_none(classifier, frames):
    for spectrogram, share in (
        (Spectrogram(torch.rand(1, 33, frames)), 0.2),
        (Spectrogram(torch.zeros(1, 33, 9)), 0),
    ):
        mask = RefinedInterpreter(classifier, steps=2)(spectrogram, classifier.predict(spectrogram))
        assert mask.sum() == round(share * mask.numel())


def test_smoothing_equals_a_slow_loop():
    values = torch.rand(2, 7, 9)
    expected = torch.zeros_like(values)
    weights = {(i, j): math.exp(-0.5 * i * i - 2 * j * j) for i in range(-3, 4) for j in range(-2, 3)}
    total = sum(weights.values())
    for f, t in itertools.product(range(7), range(9)):
        for (i, j), weight in weights.items():
            # values at the edge continue beyond it
            expected[:, f, t] += weight / total * values[:, min(max(f + i, 0), 6), min(max(t + j, 0), 8)]
    torch.testing.assert_close(smoothed(values, (1.0, 0.5)), expected)
    torch.testing.assert_close(smoothed(values, (0, 0)), values)


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_clip_has_exactly_the_same_result_in_every_batch(classifier, spectrogram, batch):
    interpreter = RefinedInterpreter(classifier, steps=4, goal=0.0, rate=0.02)
    expected = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    for i, clips in enumerate(spectrogram.split(batch)):
        ranking = interpreter.decode(clips, classifier.predict(clips))
        assert torch.equal(ranking, expected[i * batch : (i + 1) * batch])


def test_invalid_options_are_refused(classifier):
    for options in ({"areas": ()}, {"areas": (0.0, 0.5)}, {"cell": (0, 3)}, {"refinements": -1}, {"rate": 0.0}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            RefinedInterpreter(classifier, **options)
    for options in ({"goal": -1.0}, {"smoothing": (1.0,)}, {"smoothing": (-1.0, 0.0)}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            RefinedInterpreter(classifier, **options)
