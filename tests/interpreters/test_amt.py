"""AMT: masks from thresholds of activation maps."""

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Conv2dClassifier, Prediction
from otoscope.errors import ActivationMapError, ConfigurationError
from otoscope.interpreters import AMTInterpreter
from otoscope.interpreters.amt import AMTDecoded


class ClassifierWithMaps(Conv2dClassifier):
    """A classifier with two fixed activation maps, of low frequencies and of late frames."""

    def forward(self, log_magnitude, frames=None):
        prediction = super().forward(log_magnitude, frames)
        low = torch.linspace(1, 0, 8)[:, None].expand(8, 6).expand(len(log_magnitude), 8, 6)
        late = torch.linspace(0, 1, 6).expand(len(log_magnitude), 8, 6)
        return Prediction(prediction.logits, prediction.representations, None, {"low": low, "late": late})


@pytest.fixture
def classifier():
    return ClassifierWithMaps(["dog", "rain"], width=4, head_width=4).freeze()


def explain(classifier, interpreter, frames=None, time=60):
    spectrogram = Spectrogram(torch.rand(2, 513, time), frames=frames)
    return interpreter(spectrogram, classifier.predict(spectrogram))


@pytest.mark.parametrize("quantile", [0.5, 0.75, 0.9])
def test_mask_is_binary_and_has_the_requested_area(classifier, quantile):
    mask = explain(classifier, AMTInterpreter(classifier, quantile, "low"))
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask.mean().item() == pytest.approx(1 - quantile, abs=0.06)  # rows of the map share a value


def test_last_map_is_the_default(classifier):
    late = explain(classifier, AMTInterpreter(classifier))
    assert late[..., :20].count_nonzero() == 0
    assert late[..., -3:].all()
    low = explain(classifier, AMTInterpreter(classifier, activation_map="low"))
    assert low[:, :5].all()
    assert low[:, 300:].count_nonzero() == 0


def test_quantile_is_that_of_the_clip_without_padding(classifier):
    mask = explain(classifier, AMTInterpreter(classifier), torch.tensor([60, 24]))
    assert mask[1, :, 24:].count_nonzero() == 0
    share = mask.sum((1, 2)) / (513 * torch.tensor([60, 24]))
    assert share.tolist() == pytest.approx([0.1, 0.1], abs=0.06)


def test_threshold_can_be_changed(classifier):
    interpreter = AMTInterpreter(classifier, activation_map="low")
    narrow = explain(classifier, interpreter)
    with interpreter.at_threshold(0.5):
        wide = explain(classifier, interpreter)
    assert (wide >= narrow).all()
    assert wide.sum() > narrow.sum()
    assert interpreter.config == {"quantile": 0.9, "activation_map": "low"}


def test_invalid_options_are_refused(classifier):
    with pytest.raises(ConfigurationError, match=r"quantile: 1\.0"):
        AMTInterpreter(classifier, 1.0)
    with pytest.raises(ActivationMapError, match="no 'high'; there are low, late"):
        AMTInterpreter(classifier, activation_map="high")
    with pytest.raises(ActivationMapError, match="no activation map; use FocalNet or ViT"):
        AMTInterpreter(Conv2dClassifier(["dog"], width=4).freeze())


@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.9, 0.999])
def test_edge_of_the_mask_is_the_quantile(classifier, quantile):
    interpreter = AMTInterpreter(classifier, quantile)
    for saliency in (torch.rand(2, 7, 11), torch.rand(2, 3, 7), torch.randint(3, (2, 9, 9)).float()):
        edge = saliency.flatten(1).double().quantile(quantile, dim=1)[:, None, None]
        mask = interpreter.mask(AMTDecoded(saliency), Spectrogram(torch.zeros_like(saliency)))
        assert torch.equal(mask, (saliency >= edge).float())
