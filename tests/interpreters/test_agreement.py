"""Agreement: what it says where the attributions are known."""

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError
from otoscope.interpreters import AgreementInterpreter
from otoscope.interpreters.agreement import sign_agreement


class TwoBands(Classifier):
    """The first class speaks for the sum of one band and against that of another; nothing else matters."""

    representation_channels = ()

    def forward(self, log_magnitude, frames=None):
        difference = log_magnitude[:, 40:60].sum((1, 2)) - log_magnitude[:, 200:220].sum((1, 2))
        return Prediction(torch.stack([difference, -difference], -1), ())


@pytest.fixture
def interpreter():
    return AgreementInterpreter(TwoBands(["low", "high"]).freeze(), steps=2)


@pytest.fixture
def spectrogram():
    generator = torch.Generator().manual_seed(0)
    return Spectrogram(0.1 + torch.rand(1, 513, 60, generator=generator))


def test_the_best_bins_lie_in_the_band_of_the_class(interpreter, spectrogram):
    prediction = interpreter.classifier.predict(spectrogram)
    low, high = (
        interpreter.decode(spectrogram, prediction.towards(torch.tensor([target])))[0] for target in (0, 1)
    )
    share = 20 * 60
    for importance, band in ((low, range(40, 60)), (high, range(200, 220))):
        rows = importance.flatten().topk(share).indices // 60
        inside = torch.isin(rows, torch.tensor(list(band))).float().mean()
        assert inside > 0.4  # by chance: 0.04
    # Asking for the other class turns the signs round.
    assert (low[45:55] > 0).all()
    assert (high[45:55] < 0).all()


def test_random_signs_agree_less_the_larger_the_window(spectrogram):
    generator = torch.Generator().manual_seed(1)
    attribution = torch.randn(spectrogram.log_magnitude.shape, generator=generator)
    small, large = (sign_agreement(attribution, (size, size)).abs().mean() for size in (1, 8))
    assert large < 0.1 < small
    assert sign_agreement(attribution.abs(), (8, 8)).min() > 0.8


def test_the_scale_of_the_attributions_does_not_matter(interpreter, spectrogram):
    attribution = torch.randn(spectrogram.log_magnitude.shape, generator=torch.Generator().manual_seed(2))
    expected = interpreter.importance(spectrogram.log_magnitude, attribution)
    assert torch.allclose(
        interpreter.importance(spectrogram.log_magnitude, 1e-6 * attribution), expected, atol=1e-5
    )


def test_bins_without_attributions_are_ranked_by_the_sound_but_no_clip_by_it_alone(interpreter, spectrogram):
    attribution = torch.zeros_like(spectrogram.log_magnitude)
    assert not interpreter.importance(spectrogram.log_magnitude, attribution).any()
    attribution[0, 0, 0] = 1e-30
    importance = interpreter.importance(spectrogram.log_magnitude, attribution)
    assert not importance[1:].any()
    expected = 0.02 * spectrogram.log_magnitude[0].pow(0.75)
    assert torch.allclose(importance[0, :, -1], expected[:, -1])


@pytest.mark.parametrize(
    "options", [{"windows": []}, {"windows": [[1, -1]]}, {"windows": [[1]]}, {"beta": -1}, {"power": -1}]
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        AgreementInterpreter(Conv2dClassifier(["a", "b"], width=4).freeze(), **options)
