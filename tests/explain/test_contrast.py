"""Why one class rather than another: the classifier of a pair, and its explanations."""

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import (
    CallableClassifier,
    Classifier,
    ContrastClassifier,
    Conv2dClassifier,
    Prediction,
    save_classifier,
)
from otoscope.errors import ConfigurationError
from otoscope.explain import Explainer
from otoscope.interpreters import PIQInterpreter, make_untrained


class Bands(Classifier):
    """Two animals share a band, and each has one of its own; the third class listens elsewhere."""

    representation_channels = ()

    def forward(self, log_magnitude, frames=None):
        shared, first, second, other = (
            log_magnitude[:, low : low + 40].mean((1, 2)) for low in (20, 120, 220, 320)
        )
        return Prediction(torch.stack([4 * shared + 2 * first, 4 * shared + 2 * second, 6 * other], -1), ())


@pytest.fixture
def classifier():
    return Bands(["dog", "cat", "rain"]).freeze()


@pytest.fixture
def waveform():
    return 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0))


def share_by_band(importance):
    """Return the share of the positive importance in each band."""
    positive = importance.clamp(min=0)
    return [float(positive[low : low + 40].sum() / positive.sum()) for low in (20, 120, 220, 320)]


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_what_speaks_for_both_classes_does_not_count(classifier, waveform, method):
    explainer = Explainer(classifier, make_untrained(method, classifier))
    alone = share_by_band(explainer.explain(waveform, "dog", scores=False).importance)
    pair = explainer.explain(waveform, "dog", scores=False, against="cat")
    against = share_by_band(pair.importance)
    assert alone[0] > alone[1] > 0.1
    assert against[0] < 0.05
    assert against[1] > max(0.5, 1.5 * alone[1])
    assert pair.notes[0] == "dog against cat: the probabilities are those of these two alone"


def test_probabilities_are_those_of_the_pair(classifier, waveform):
    pair = ContrastClassifier(classifier, "cat", "dog")
    spectrogram = classifier.hear(waveform[None])
    among_all = classifier.probabilities(spectrogram)[0]
    between = pair.probabilities(spectrogram)[0]
    assert torch.allclose(between[0], among_all[1] / (among_all[0] + among_all[1]))
    assert between.sum() == pytest.approx(1.0)
    explanation = Explainer(classifier, make_untrained("integrated_gradients", classifier)).explain(
        waveform, "cat", against="dog"
    )
    assert explanation.label == "cat"
    assert explanation.probabilities["cat"] == pytest.approx(float(between[0]), abs=1e-5)


def test_black_boxes_and_classes_that_are_independent_are_compared(waveform):
    box = CallableClassifier(
        lambda sounds: [[0.9, 0.2, 0.5]] * len(sounds), ["dog", "cat", "rain"], multi_label=True
    )
    pair = ContrastClassifier(box, "dog", "rain")
    spectrogram = box.hear(waveform[None])
    assert not pair.predict(spectrogram).multi_label
    # the odds of the one over those of the other
    assert float(pair.probabilities(spectrogram)[0, 0]) == pytest.approx(9 / (9 + 1), abs=1e-4)
    assert pair.differentiable is False


def test_representations_and_levels_are_those_of_the_classifier():
    classifier = Conv2dClassifier(["dog", "cat", "rain"], width=4).freeze()
    classifier.normalize = False
    pair = ContrastClassifier(classifier, "dog", "rain")
    spectrogram = Spectrogram(torch.rand(2, 513, 40))
    expected = classifier.predict(spectrogram).representations[0]
    assert torch.equal(pair.predict(spectrogram).representations[0], expected)
    assert pair.normalize is False
    explainer = Explainer(classifier, make_untrained("grad_cam", classifier))
    assert explainer.between("dog", "rain").labels == ["dog", "rain"]


def test_what_cannot_be_compared_is_named(classifier, waveform, tmp_path):
    explainer = Explainer(classifier, make_untrained("saliency", classifier))
    with pytest.raises(ConfigurationError, match="against: 'dog' is the target itself"):
        explainer.explain(waveform, "dog", against="dog")
    with pytest.raises(ConfigurationError, match="does not know 'cow'"):
        explainer.explain(waveform, "dog", against="cow")
    with pytest.raises(ConfigurationError, match="name the target too"):
        explainer.explain(waveform, against="dog")
    conv2d = Conv2dClassifier(["dog", "cat"], width=4).freeze()
    trained = Explainer(conv2d, PIQInterpreter(conv2d, use_vq=False))
    with pytest.raises(ConfigurationError, match="PIQ was trained on decisions among all classes"):
        trained.explain(waveform, "dog", against="cat")
    with pytest.raises(ConfigurationError, match="cannot be saved"):
        save_classifier(ContrastClassifier(conv2d, "dog", "cat"), tmp_path / "model")
