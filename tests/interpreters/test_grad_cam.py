"""Grad-CAM: gradients of representations that the logits are, or are not, computed from."""

import captum.attr
import numpy as np
import pytest
import torch
from attributions import FRAMES, RectangleClassifier, attribution_of, make, sounds
from torch import nn

from otoscope.audio import MelBank, Spectrogram, mel_centers_hz
from otoscope.classifiers import (
    Cnn14Classifier,
    Conv2dClassifier,
    FocalNetClassifier,
    Prediction,
    TorchClassifier,
    ViTClassifier,
)
from otoscope.classifiers.image import resize_map
from otoscope.errors import ConfigurationError, RepresentationError
from otoscope.interpreters.grad_cam import gradient_of_representation

LABELS = ["dog", "rain", "clock"]
FOCALNET = {"embed_dim": 4, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 32], "image_size": 64}
VIT = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 64,
}
NETWORKS = {
    "conv2d": lambda: Conv2dClassifier(LABELS, RectangleClassifier().frontend, width=4, head_width=4),
    "cnn14": lambda: Cnn14Classifier(LABELS, RectangleClassifier().frontend, width=2, mel_bins=32),
    "focalnet": lambda: FocalNetClassifier(LABELS, RectangleClassifier().frontend, FOCALNET, head_width=4),
    "vit": lambda: ViTClassifier(LABELS, RectangleClassifier().frontend, VIT, head_width=4),
}


@pytest.fixture(params=NETWORKS)
def classifier(request, experienced):
    return experienced(NETWORKS[request.param]()).freeze()


def test_every_shipped_classifier_has_an_attribution(classifier):
    spectrogram = sounds(2)
    attribution = attribution_of("grad_cam", classifier, spectrogram)
    assert attribution.shape == spectrogram.log_magnitude.shape
    assert attribution.isfinite().all()
    assert attribution.std() > 0


@pytest.mark.parametrize("layer", ["block4", "block6"])
def test_agrees_with_captum_where_captum_has_a_layer(layer, experienced):
    classifier = experienced(NETWORKS["cnn14"]()).freeze()
    spectrogram = sounds(2)
    inputs = spectrogram.log_magnitude.clone().requires_grad_()
    method = captum.attr.LayerGradCam(lambda x: classifier(x).logits, classifier.blocks[int(layer[-1]) - 1])
    coarse = method.attribute(inputs, classifier(inputs).predicted).detach()[:, 0].transpose(1, 2)
    rows = coarse.shape[1]
    wide = resize_map(coarse * coarse[0].numel(), rows, FRAMES)  # captum averages where we sum
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 34)[1:-1]
    centers = 700 * (10 ** (mels / 2595) - 1)
    # each row stands for 16 of the 32 mel bands and lies at the mean of its middle two
    rows_hz = [centers[16 * row + 7 : 16 * row + 9].mean() for row in range(rows)]
    hertz = np.linspace(0, 8000, inputs.shape[1])
    expected = [[np.interp(hertz, rows_hz, column) for column in clip.T] for clip in wide.double().numpy()]
    expected = torch.tensor(np.array(expected)).transpose(1, 2).float()
    attribution = attribution_of("grad_cam", classifier, spectrogram, representation=layer)
    torch.testing.assert_close(attribution, expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())


def _peak_hz(classifier, hertz):
    """Return the frequency where the attribution of a tone is largest."""
    time = torch.arange(classifier.frontend.sample_rate_hz) / classifier.frontend.sample_rate_hz
    spectrogram = classifier.frontend((2 * torch.pi * hertz * time).sin()[None])
    attribution = make("grad_cam", classifier).decode(spectrogram, classifier.predict(spectrogram))
    bin_hz = classifier.frontend.sample_rate_hz / 2 / (classifier.frontend.bins - 1)
    return attribution[0].mean(1).argmax().item() * bin_hz


def _summing_classifier(**options):
    """Return an external classifier whose logits grow with everything that is loud."""
    layer = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.constant_(layer.weight, 0.1)
    nn.init.zeros_(layer.bias)
    head = nn.Linear(1, 2)
    nn.init.constant_(head.weight, 1.0)
    module = nn.Sequential(layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return TorchClassifier(module, LABELS[:2], representation="1", **options).freeze()


@pytest.mark.parametrize("hertz", [300, 1000, 1800, 4000, 7000])
def test_attribution_of_a_tone_is_at_its_frequency_even_behind_a_mel_bank(hertz):
    assert _peak_hz(_summing_classifier(), hertz) == pytest.approx(hertz, abs=40)
    assert _peak_hz(_summing_classifier(input="mel"), hertz) == pytest.approx(hertz, rel=0.03)
    bank = MelBank(64)
    features = {
        "input": lambda values: bank(values.expm1()).log1p()[:, None],
        "rows_hz": mel_centers_hz(64).tolist(),
    }
    assert _peak_hz(_summing_classifier(**features), hertz) == pytest.approx(hertz, rel=0.04)


def test_row_frequencies_must_rise():
    with pytest.raises(ConfigurationError, match="rows_hz: expected frequencies in rising order"):
        _summing_classifier(rows_hz=[2, 1])


def test_gradient_has_the_layout_of_the_representation():
    source = torch.rand(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    representation = torch.nn.functional.interpolate(source.transpose(-1, -2), scale_factor=2.0)
    weights = torch.rand(3, 4, 5, dtype=torch.float64)
    score = (weights * source[0] ** 2).sum()
    prediction = Prediction(score.view(1, 1), (representation,), sources=(source,))
    gradient = gradient_of_representation(score, prediction, 0)
    # the gradient at the source by hand, brought into the layout of the representation by the same steps
    expected = 2 * (weights * source[0]).transpose(-1, -2)
    torch.testing.assert_close(gradient[0], torch.nn.functional.interpolate(expected[None], scale_factor=2.0)[0])


def test_padding_gets_no_mask_and_counts_in_no_area(experienced):
    classifier = experienced(NETWORKS["conv2d"]()).freeze()
    spectrogram = Spectrogram(sounds(2).log_magnitude, frames=torch.tensor([FRAMES, 32]))
    mask = make("grad_cam", classifier, area=0.5)(spectrogram, classifier.predict(spectrogram))
    assert mask[1, :, 32:].count_nonzero() == 0
    assert mask[1].sum() == round(0.5 * 129 * 32)


def test_guided_grad_cam_is_the_product_of_both(experienced):
    classifier = experienced(NETWORKS["conv2d"]()).freeze()
    spectrogram = sounds(2)
    coarse, fine = (attribution_of(name, classifier, spectrogram) for name in ("grad_cam", "guided_backprop"))
    product = attribution_of("guided_grad_cam", classifier, spectrogram)
    torch.testing.assert_close(product, coarse.clamp(min=0) * fine)


def test_classifier_without_representation_is_refused():
    class WithoutRepresentation(RectangleClassifier):
        @property
        def representation_channels(self):
            return ()

    with pytest.raises(RepresentationError, match="WithoutRepresentation has none; use a method that needs only"):
        make("grad_cam", WithoutRepresentation())
    with pytest.raises(RepresentationError, match="no 'block9'; there are representation1"):
        make("grad_cam", RectangleClassifier(), representation="block9")


def test_representation_that_the_logits_do_not_depend_on_needs_its_source():
    class Detached(RectangleClassifier):
        def forward(self, log_magnitude, frames=None):
            prediction = super().forward(log_magnitude, frames)
            return Prediction(prediction.logits, (log_magnitude[:, None] * 2,))

    with pytest.raises(RepresentationError, match=r"Prediction\(sources=\.\.\.\)"):
        attribution_of("grad_cam", Detached().freeze(), sounds(1))
