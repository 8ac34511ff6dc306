"""Conv2d: sizes, comparison with a plain implementation, padding, gradients."""

import pytest
import torch
from torch.nn import functional as F

from otoscope.audio import Frontend
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError

LABELS = ["dog", "rain", "clock"]
LENGTHS = [80_000, 31_000, 52_345, 2_000, 5_400]


@pytest.fixture
def make(experienced):
    def make(labels=LABELS, **options):
        return experienced(Conv2dClassifier(labels, **{"width": 6, "head_width": 5, **options})).freeze()

    return make


def test_published_sizes():
    with torch.device("meta"):
        classifier = Conv2dClassifier([f"{label}" for label in range(50)]).eval()
        prediction = classifier(torch.empty(1, 513, 431))
    assert prediction.logits.shape == (1, 50)
    assert [tuple(values.shape) for values in prediction.representations] == [(1, 256, 32, 26)]
    assert classifier.head.linear.weight.shape == (192, 256)
    assert classifier.config == {
        "width": 256,
        "depth": 4,
        "head_width": 192,
        "scale": 30.0,
        "train_scale": False,
    }


@pytest.mark.parametrize("depth", [1, 3, 4, 6])
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_depth_and_classes(make, depth, classes):
    classifier = make([str(label) for label in range(classes)], depth=depth, width=3)
    prediction = classifier(torch.rand(2, 513, 100))
    assert prediction.logits.shape == (2, classes)
    assert classifier.representation_channels == (3,)
    assert prediction.representations[-1].shape == (2, 3, 513 >> depth, 100 >> depth)
    torch.testing.assert_close(prediction.probabilities.sum(1), torch.ones(2))


def test_network_agrees_with_a_plain_implementation(make):
    """The network: four strided blocks on (time, frequency), a residual block, the mean, the head."""
    classifier, log_magnitude = make(), torch.rand(2, 513, 70)
    hidden = log_magnitude.transpose(1, 2)[:, None]
    for convolution, norm, _ in classifier.blocks:
        hidden = F.conv2d(hidden, convolution.weight, convolution.bias, stride=2, padding=1)
        hidden = F.batch_norm(hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()
    hidden = classifier.residual(hidden)
    prediction = classifier(log_magnitude)
    torch.testing.assert_close(prediction.representations[0], hidden.transpose(2, 3))
    torch.testing.assert_close(prediction.logits, classifier.head(hidden.mean((2, 3))))


def test_scale_multiplies_the_logits(make):
    plain = make(scale=1.0)
    scaled = make(scale=7.0)
    scaled.load_state_dict({**plain.state_dict(), "head.log_scale": scaled.head.log_scale})
    log_magnitude = torch.rand(2, 513, 40)
    assert plain(log_magnitude).logits.abs().max() <= 1
    torch.testing.assert_close(scaled(log_magnitude).logits, 7 * plain(log_magnitude).logits)


@pytest.mark.parametrize("train_scale", [False, True])
def test_scale_can_be_trained(train_scale):
    classifier = Conv2dClassifier(LABELS, width=2, train_scale=train_scale)
    F.cross_entropy(classifier(torch.rand(3, 513, 20)).logits, torch.tensor([0, 1, 2])).backward()
    gradients = {name: value.grad for name, value in classifier.named_parameters()}
    assert ("head.log_scale" in gradients) == train_scale
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("depth", [2, 4, 6])
def test_padded_clip_gets_the_same_result_as_alone(make, pad_sounds, depth):
    classifier = make(scale=1.0, depth=depth)
    clips, batch, lengths = pad_sounds(LENGTHS)
    prediction = classifier.predict(classifier.frontend(batch, lengths))
    for row, clip in enumerate(clips):
        alone = classifier(classifier.frontend.log_magnitude(clip[None]))
        torch.testing.assert_close(prediction.logits[row], alone.logits[0], rtol=0, atol=1e-5)
        expected = alone.representations[0][0]
        padded = prediction.representations[0][row]
        torch.testing.assert_close(padded[..., : expected.shape[-1]], expected, rtol=1e-5, atol=1e-5)
        assert padded[..., expected.shape[-1] :].count_nonzero() == 0


def test_content_of_the_padding_does_not_matter(make):
    classifier, frames = make(), torch.tensor([37, 50])
    log_magnitude = torch.rand(2, 513, 50)
    before = classifier(log_magnitude, frames).logits
    log_magnitude[0, :, 37:] = 100
    torch.testing.assert_close(classifier(log_magnitude, frames).logits, before)


def test_all_frames_valid_is_the_same_as_no_frames_given(make):
    classifier, log_magnitude = make(), torch.rand(2, 513, 45)
    whole = classifier(log_magnitude, torch.tensor([45, 45])).logits
    torch.testing.assert_close(whole, classifier(log_magnitude).logits)


def test_clip_does_not_depend_on_the_rest_of_the_batch(make):
    classifier, log_magnitude = make(), torch.rand(4, 513, 45)
    together = classifier(log_magnitude).logits
    alone = torch.cat([classifier(row[None]).logits for row in log_magnitude])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("frames", [1, 3, 15, 16, 17])
def test_short_clip_is_continued_with_silence(make, frames):
    classifier = make()
    log_magnitude = torch.rand(2, 513, frames)
    prediction = classifier(log_magnitude)
    assert prediction.logits.isfinite().all()
    longer = F.pad(log_magnitude, (0, max(16 - frames, 0)))
    torch.testing.assert_close(prediction.logits, classifier(longer).logits)
    padded = classifier(F.pad(log_magnitude, (0, 20)), torch.tensor([frames, frames]))
    torch.testing.assert_close(padded.logits, prediction.logits, rtol=1e-5, atol=2e-5)


def test_logits_of_silence_are_finite(make):
    classifier = make()
    assert classifier(classifier.frontend.log_magnitude(torch.zeros(1, 3_000))).logits.isfinite().all()


def test_input_is_not_modified(make):
    log_magnitude = torch.rand(2, 513, 40)
    before = log_magnitude.clone()
    make()(log_magnitude, torch.tensor([20, 40]))
    assert torch.equal(log_magnitude, before)


def test_gradient_reaches_the_spectrogram_of_a_frozen_classifier(make):
    log_magnitude = torch.rand(1, 513, 40, requires_grad=True)
    make()(log_magnitude).logits[0, 1].backward()
    assert log_magnitude.grad.isfinite().all()
    assert (log_magnitude.grad != 0).any(1).all()  # every frame counts


@pytest.mark.parametrize("option", [{"width": 0}, {"depth": 0}, {"depth": 9}, {"scale": 0.0}, {"scale": -1.0}])
def test_impossible_sizes_are_refused(option):
    with pytest.raises(ConfigurationError, match="conv2d: "):
        Conv2dClassifier(LABELS, **option)


def test_config_makes_the_same_network(make):
    classifier = make(depth=3, scale=4.0, train_scale=True)
    copy = Conv2dClassifier(LABELS, **classifier.config)
    shapes = {name: value.shape for name, value in classifier.state_dict().items()}
    assert {name: value.shape for name, value in copy.state_dict().items()} == shapes
    assert copy.config == classifier.config


def test_another_frontend():
    frontend = Frontend(sample_rate_hz=8_000, n_fft=256)
    classifier = Conv2dClassifier(LABELS, frontend, width=2).freeze()
    prediction = classifier(frontend.log_magnitude(torch.randn(2, 8_000)))
    assert prediction.representations[0].shape[1:3] == (2, 129 >> 4)
    assert prediction.logits.isfinite().all()


def test_a_few_steps_of_training_separate_two_sounds():
    classifier = Conv2dClassifier(["low", "high"], width=4, head_width=8)
    time_s = torch.arange(4_000) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * hz * time_s) for hz in (300, 400, 4_000, 5_000)])
    log_magnitude, label = classifier.frontend.log_magnitude(tones), torch.tensor([0, 0, 1, 1])
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(classifier(log_magnitude).logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_too_few_frequency_bins_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"depth 4 needs 16 frequency bins or more, .* has 9"):
        Conv2dClassifier(["a", "b"], Frontend(n_fft=16, window_ms=1.0, hop_ms=0.5), width=4)
