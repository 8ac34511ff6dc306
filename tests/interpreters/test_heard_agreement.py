"""Heard agreement: its goals, and what they cost."""

import pytest
import torch

from otoscope.classifiers import Classifier, Conv2dClassifier, ListenerClassifier, Prediction
from otoscope.data import ListenerScenes
from otoscope.errors import ConfigurationError
from otoscope.explain import Explainer
from otoscope.interpreters import HeardAgreementInterpreter, SegmentRegressionInterpreter
from otoscope.interpreters.masked_sounds import MaskedSounds
from otoscope.metrics.ranking import ranks


class LowShare(Classifier):
    """Decides by the share of the energy below 1 kHz, whatever the level."""

    representation_channels = ()

    def forward(self, log_magnitude, frames=None):
        energy = log_magnitude.expm1().square()
        low = energy[:, :65].sum((1, 2)) / energy.sum((1, 2)).clamp(min=1e-9)
        return Prediction(torch.stack([10 * (low - 0.5), torch.zeros_like(low)], -1), ())


@pytest.fixture
def classifier():
    return LowShare(["low", "high"]).freeze()


@pytest.fixture
def clip(classifier):
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(8000) / 16_000
    low, high = torch.sin(2 * torch.pi * 600 * time), torch.sin(2 * torch.pi * 4000 * time)
    return classifier.hear((low + 0.6 * high + 0.05 * torch.randn(8000, generator=generator))[None])


def test_the_start_is_the_sum_of_agreement_and_segment_regression(classifier, clip):
    target = classifier.predict(clip).explained
    agreement = HeardAgreementInterpreter(classifier, steps=4, passes=0).start(clip, target)
    both = HeardAgreementInterpreter(classifier, steps=4, passes=30, seed=5).start(clip, target)
    segments = SegmentRegressionInterpreter(classifier, passes=30, seed=5).attribute(clip, target)
    assert torch.allclose(both - agreement, segments / segments.abs().mean(), atol=1e-3)
    assert float(agreement.abs().mean()) == pytest.approx(1)


def missed(interpreter, importance, clip, prediction):
    """Return by how much a map misses the goals."""
    whole = -prediction.probabilities.gather(-1, prediction.explained[:, None]).log()[:, 0]
    sounds = MaskedSounds(interpreter.classifier, clip)
    return float(interpreter.objective(importance, sounds, prediction.explained, whole))


def test_the_descent_lowers_what_is_missed(classifier, clip):
    prediction = classifier.predict(clip)
    # The large beta makes the start follow the loudness, which includes the tone that speaks against the class.
    options = {"steps": 4, "passes": 0, "beta": 1e3, "areas": [0.02, 0.1], "keep": 0.0, "lose": 0.0, "rate": 0.05}
    start = HeardAgreementInterpreter(classifier, refinements=0, **options)
    descent = HeardAgreementInterpreter(classifier, refinements=8, **options)
    before, after = (
        missed(start, method.decode(clip, prediction), clip, prediction) for method in (start, descent)
    )
    assert after < 0.5 * before


def test_goals_that_are_reached_leave_the_start_as_it_is(classifier, clip):
    prediction = classifier.predict(clip)
    options = {"steps": 4, "keep": 1e6, "weight": 0.0}
    start, end = (
        HeardAgreementInterpreter(classifier, refinements=count, **options).decode(clip, prediction)
        for count in (0, 4)
    )
    assert torch.equal(start, end)


def test_the_best_bins_of_the_start_stay_the_best():
    """On a listener that is known, the descent must not lose what agreement knew."""
    scene = next(ListenerScenes(["band"], 1).scenes("band"))
    listener = ListenerClassifier(design="band").freeze()
    spectrogram = listener.hear(scene.waveform[None])
    prediction = listener.predict(spectrogram)
    start, end = (
        HeardAgreementInterpreter(listener, refinements=count).decode(spectrogram, prediction) for count in (0, 4)
    )
    best = [ranks(importance).flatten().topk(200).indices.tolist() for importance in (start, end)]
    assert len({*best[0]} & {*best[1]}) >= 150


def test_gradients_reach_the_mask_through_the_sound(classifier, clip):
    mask = torch.full_like(clip.log_magnitude, 0.5).requires_grad_()
    classifier.logits(classifier.heard(clip, mask))[0, 0].backward()
    assert mask.grad is not None
    assert mask.grad[:, :65].abs().sum() > 0


class Peaks(LowShare):
    """Remembers the largest log magnitude of each batch that it is asked about."""

    def __init__(self, labels):
        super().__init__(labels)
        self.heard_peaks = []

    def forward(self, log_magnitude, frames=None):
        self.heard_peaks.append(float(log_magnitude.detach().amax()))
        return super().forward(log_magnitude, frames)


@pytest.mark.parametrize("by_default", [True, False])
@pytest.mark.parametrize("asked_for", [None, True, False])
@pytest.mark.parametrize("passes", [0, 12])
def test_sounds_are_asked_about_at_the_level_of_the_explanation(passes, by_default, asked_for):
    """A quiet tone: at a peak of 1 its spectrogram is a hundred times that at its own level."""
    classifier = Peaks(["low", "high"]).freeze()
    classifier.normalize = by_default
    options = {"steps": 2, "passes": passes, "refinements": 2, "keep": 0.0, "lose": 0.0}
    interpreter = HeardAgreementInterpreter(classifier, area=0.2, **options)
    quiet = 0.01 * torch.sin(2 * torch.pi * 600 * torch.arange(8000) / 16_000)
    Explainer(classifier, interpreter).explain(quiet, scores=False, normalize=asked_for)
    normalized = by_default if asked_for is None else asked_for
    own_level = float(classifier.hear(quiet[None], normalize=False).log_magnitude.amax())
    peak_of_1 = float(classifier.hear(quiet[None], normalize=True).log_magnitude.amax())
    assert peak_of_1 > 3 * own_level
    # the clip, two points of the gradients, and the descent: its start and two steps
    assert len(classifier.heard_peaks) >= 5
    if normalized:
        assert max(classifier.heard_peaks[-3:]) > 0.8 * peak_of_1
    else:
        assert max(classifier.heard_peaks) < 1.2 * own_level


@pytest.mark.parametrize(
    "options",
    [
        {"passes": 1.5},
        {"passes": -1},
        {"areas": []},
        {"areas": [1.5]},
        {"keep": -1},
        {"lose": -1},
        {"weight": -1},
        {"cell": [0, 1]},
        {"rate": 0},
    ],
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        HeardAgreementInterpreter(Conv2dClassifier(["a", "b"], width=4).freeze(), **options)
