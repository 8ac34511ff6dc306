"""Segment regression: what it fits, what it asks the classifier, and that it finds what black boxes use."""

import numpy as np
import pytest
import torch
from attributions import BINS, FRAMES, RectangleClassifier, attribution_of, sounds
from sklearn.linear_model import Ridge

from otoscope.audio import Spectrogram
from otoscope.classifiers import CallableClassifier, ListenerClassifier
from otoscope.data import ListenerScenes
from otoscope.errors import ConfigurationError
from otoscope.interpreters import SegmentRegressionInterpreter
from otoscope.interpreters.segment_regression import overlap, ridge_coefficients, sums

SMALL = {"bands": 3, "slices": 4, "patches": [2, 2]}


@pytest.fixture
def linear():
    """A classifier whose log-odds are linear in the log magnitude."""
    return RectangleClassifier(multi_label=True).freeze()


@pytest.fixture
def noise(linear):
    return linear.hear(torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)))


def test_a_linear_model_of_segments_is_recovered():
    """Where the score is a sum over the segments of one division, the fit is exact."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(200, 12, generator=generator).double()
    truth = torch.randn(12, generator=generator).double()
    torch.testing.assert_close(ridge_coefficients(features, features @ truth + 3), truth, rtol=0.02, atol=0.02)


def test_the_penalty_is_chosen_by_the_error_of_leaving_samples_out():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(60, 40, generator=generator).double()
    truth = torch.zeros(40).double()
    truth[:3] = 1
    values = features @ truth + 3 * torch.randn(60, generator=generator).double()
    coefficients = ridge_coefficients(features, values)
    centred, rest = (features - features.mean(0)).numpy(), (values - values.mean()).numpy()
    largest = np.linalg.svd(centred, compute_uv=False)[0] ** 2
    fits = [
        Ridge(alpha=largest * 10**power, fit_intercept=False).fit(centred, rest).coef_
        for power in np.arange(-5, 1.1, 0.5)
    ]
    # one of the penalties, and neither the smallest nor the largest
    distances = [np.abs(fit - coefficients.numpy()).max() for fit in fits]
    best = int(np.argmin(distances))
    assert distances[best] < 1e-8
    assert 0 < best < len(fits) - 1


def test_constant_scores_have_no_attribution():
    assert ridge_coefficients(torch.rand(9, 4).double(), torch.ones(9).double()).abs().max() < 1e-9
    assert ridge_coefficients(torch.zeros(9, 4).double(), torch.rand(9).double()).count_nonzero() == 0


def test_sums_and_overlaps_of_segments():
    first, second = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 1, 0, 1])
    values = torch.tensor([1.0, 2.0, 4.0, 8.0])
    assert sums(first, values).tolist() == [1, 6, 8]
    shared = overlap(first, second, values)
    assert shared.tolist() == [[0, 1], [4, 2], [0, 8]]
    assert torch.equal(shared.sum(1), sums(first, values))


def test_the_classifier_is_asked_about_the_heard_sound(linear, noise):
    """The sum of the sounds of segments is the sound of the masked spectrogram."""
    interpreter = SegmentRegressionInterpreter(linear, score="logit")
    division = torch.arange(BINS)[:, None].expand(noise.log_magnitude.shape[1:]).flatten() // 44
    sounding = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    scores = interpreter._scores_of(noise, division, sounding)
    masks = sounding[:, division].view(-1, *noise.log_magnitude.shape[1:])
    torch.testing.assert_close(scores, linear.logits(linear.heard(noise.repeat(3), masks)), rtol=1e-3, atol=1e-3)
    # without a phase, about the masked spectrogram
    seen = Spectrogram(noise.log_magnitude)
    scores = interpreter._scores_of(seen, division, sounding)
    torch.testing.assert_close(scores, linear.logits(seen.repeat(3).masked(masks)))


@pytest.mark.parametrize("passes", [1, 2, 7, 60])
def test_versions_are_pairs_of_complements(linear, passes):
    counts = []
    linear.register_forward_pre_hook(lambda module, inputs: counts.append(len(inputs[0])))
    interpreter = SegmentRegressionInterpreter(linear, passes=passes, batch=8, **SMALL)
    spectrogram = sounds(1)
    interpreter.attribute(spectrogram, torch.tensor([0]))
    assert sum(counts) == 2 * -(-passes // 2)
    assert max(counts) <= 8
    for sounding in interpreter._draw([3, 4, 4]):
        half = len(sounding) // 2
        assert torch.equal(sounding[:half], 1 - sounding[half:])
        # black boxes may fail on complete silence
        assert ((sounding.sum(1) > 0) & (sounding.sum(1) < sounding.shape[1])).all()


def test_the_attribution_is_the_log_magnitude_times_a_constant_in_each_cell(linear):
    spectrogram = sounds(1)
    attribution = attribution_of("segment_regression", linear, spectrogram, 0, passes=40, **SMALL)
    shares = (attribution / spectrogram.log_magnitude).round(decimals=4)
    # 3 bands and 4 slices cut the plane into at most 12 parts, which borders of patches cut further
    assert 2 <= len(shares.unique()) <= 3 * 4 * 2 * 5


def test_it_finds_the_cue_of_a_listener_without_gradients():
    scene = next(ListenerScenes(["band"], 1).scenes("band"))
    listener = ListenerClassifier(design="band").freeze()
    label, cue = next(iter(scene.cues.items()))
    spectrogram = listener.hear(scene.waveform[None])
    prediction = listener.predict(spectrogram).towards(torch.tensor([listener.index_of(label)]))
    importance = SegmentRegressionInterpreter(listener, passes=100, batch=32).decode(spectrogram, prediction)[0]
    truth = scene.truth(label, listener.frontend, 1.0)
    best = importance.flatten().topk(int(truth.sum())).indices
    assert truth.flatten()[best].float().mean() > 0.6  # the loudest bins: 0
    assert cue.abs().max() > 0


def test_a_function_of_the_user_is_explained():
    """A black box that decides by the share of the energy above 4 kHz."""

    def high(waveforms):
        energy = np.abs(np.fft.rfft(waveforms, axis=1)) ** 2
        share = energy[:, energy.shape[1] // 2 :].sum(1) / np.maximum(energy.sum(1), 1e-9)
        return np.stack([share, 1 - share], axis=1)

    classifier = CallableClassifier(high, ["high", "low"])
    time_s = torch.arange(8000) / 16_000
    waveform = torch.sin(2 * torch.pi * 700 * time_s) + 0.5 * torch.sin(2 * torch.pi * 5000 * time_s)
    spectrogram = classifier.hear(waveform[None])
    rows = []
    for target in (0, 1):
        prediction = classifier.predict(spectrogram).towards(torch.tensor([target]))
        importance = SegmentRegressionInterpreter(classifier, passes=60).decode(spectrogram, prediction)[0]
        rows.append(int(importance.mean(1).argmax()) * classifier.frontend.sample_rate_hz / 1024)
    assert abs(rows[0] - 5000) < 50
    assert abs(rows[1] - 700) < 50


def test_a_clip_of_one_frame_is_explained(linear):
    assert attribution_of("segment_regression", linear, sounds(1, frames=1), 0).shape == (1, BINS, 1)
    assert FRAMES > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 0}, "passes: 0 must be a whole number, 1 or more"),
        ({"bands": 0}, "bands: 0 must be"),
        ({"slices": 2.5}, r"slices: 2\.5 must be"),
        ({"patches": [3]}, r"patches: \[3\] must be two numbers"),
        ({"patches": [3, 0]}, r"patches\[1\]: 0 must be"),
    ],
)
def test_options_out_of_range_are_named(linear, options, message):
    with pytest.raises(ConfigurationError, match=message):
        SegmentRegressionInterpreter(linear, **options)
