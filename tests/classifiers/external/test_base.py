"""Foreign networks: what they hear, clips of several lengths, phase, where their layers' columns go."""

import pickle

import pytest
import torch
from torch import nn

from otoscope.audio import Frontend
from otoscope.classifiers import TorchClassifier
from otoscope.classifiers.external.base import frontend_at, logits_of
from otoscope.errors import ActivationMapError, ConfigurationError, PhaseError, ShapeError
from otoscope.interpreters import make_untrained

LABELS = ["dog", "rain", "clock"]


class WaveNet(nn.Module):
    """Two strided convolutions over the waveform, mean over time."""

    def __init__(self, stride: int = 31):
        super().__init__()
        self.first = nn.Conv1d(1, 6, 64, stride=stride)
        self.second = nn.Conv1d(6, 5, 9, stride=6)
        self.head = nn.Linear(5, 3)
        self.heard = []

    def forward(self, waveform):
        self.heard.append(waveform.detach())
        return self.head(self.second(self.first(waveform[:, None]).relu()).relu().mean(-1))


class SpectrumNet(nn.Module):
    """What a spectrogram network may do that knows nothing of padding: a mean, and the number of its frames."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=(2, 4))
        self.head = nn.Linear(5, 3)

    def forward(self, spectrogram):
        pooled = self.conv(spectrogram).relu().mean((2, 3))
        length = spectrogram.new_full((len(pooled), 1), spectrogram.shape[-1] / 100)
        return self.head(torch.cat([pooled, length], 1))


def wave_classifier(**options):
    return TorchClassifier(WaveNet(), LABELS, input="waveform", representation=["first", "second"], **options)


KINDS = {
    "waveform": wave_classifier,
    "waveform-fixed": lambda: wave_classifier(duration_s=0.7),
    "spectrum": lambda: TorchClassifier(SpectrumNet(), LABELS, representation="conv"),
    "spectrum-fixed": lambda: TorchClassifier(SpectrumNet(), LABELS, representation="conv", duration_s=0.7),
    "spectrum-least": lambda: TorchClassifier(SpectrumNet(), LABELS, representation="conv", minimum_s=0.6),
}


@pytest.fixture(params=KINDS)
def classifier(request):
    return KINDS[request.param]()


def test_a_padded_clip_gets_what_it_gets_alone(classifier, pad_sounds):
    clips, padded, lengths = pad_sounds([16_000, 7000, 16_000, 3000, 7000])
    spectrogram = classifier.frontend(padded, lengths)
    together = classifier.predict(spectrogram.log_magnitude, spectrogram.frames, spectrogram.phase)
    for row, clip in enumerate(clips):
        own = classifier.frontend(clip[None])
        alone = classifier.predict(own.log_magnitude, None, own.phase)
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-4, atol=1e-5)
        for whole, single in zip(together.representations, alone.representations, strict=True):
            columns = single.shape[-1]
            torch.testing.assert_close(whole[row, ..., :columns], single[0], rtol=1e-4, atol=1e-5)
            assert whole[row, ..., columns:].count_nonzero() == 0


def test_clips_of_equal_length_go_through_the_network_together(pad_sounds):
    classifier = wave_classifier()
    _, padded, lengths = pad_sounds([9000, 5000, 9000, 5000])
    spectrogram = classifier.frontend(padded, lengths)
    classifier.module.heard.clear()
    classifier.predict(spectrogram.log_magnitude, spectrogram.frames, spectrogram.phase)
    probe, *runs = classifier.module.heard  # the first call looks at the layers with silence
    assert probe.count_nonzero() == 0
    assert sorted(len(run) for run in runs) == [2, 2]


@pytest.mark.parametrize("samples", [4000, 16_000, 16_111])
def test_the_network_hears_the_clip_and_less_than_a_hop_of_silence(samples):
    classifier, clip = wave_classifier(), torch.randn(1, samples)
    spectrogram = classifier.frontend(clip)
    classifier.predict(spectrogram.log_magnitude, None, spectrogram.phase)
    heard = classifier.module.heard[-1]
    assert 0 <= heard.shape[-1] - samples < classifier.frontend.hop_length
    torch.testing.assert_close(heard[:, :samples], clip, rtol=1e-4, atol=1e-4)
    assert heard[:, samples:].abs().max() < 1e-4 if heard.shape[-1] > samples else True


def test_with_a_duration_the_network_hears_exactly_that():
    classifier, clip = wave_classifier(duration_s=1.0), torch.randn(1, 16_000)
    for cut in (16_000, 9000):
        spectrogram = classifier.frontend(clip[:, :cut])
        classifier.predict(spectrogram.log_magnitude, None, spectrogram.phase)
        heard = classifier.module.heard[-1]
        assert heard.shape == (1, 16_000)
        torch.testing.assert_close(heard[:, :cut], clip[:, :cut], rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_spectrogram_through_the_inverse_transform():
    """Against central differences along random directions, in single precision."""
    frontend = Frontend(n_fft=256, window_ms=15, hop_ms=7.5)
    classifier = TorchClassifier(WaveNet(8), LABELS, frontend, input="waveform")
    spectrogram = frontend(torch.randn(1, 2000))
    base = spectrogram.log_magnitude.clone().requires_grad_(True)
    classifier.predict(base, None, spectrogram.phase).logits[0, 1].backward()
    for _ in range(5):
        direction = torch.randn_like(base.detach())
        ends = [
            classifier.predict(base.detach() + step * direction, None, spectrogram.phase).logits[0, 1]
            for step in (1e-2, -1e-2)
        ]
        expected = (ends[0] - ends[1]) / 2e-2
        torch.testing.assert_close((base.grad * direction).sum(), expected, rtol=2e-2, atol=2e-4)


def test_inverse_transform_and_its_gradient_are_adjoint():
    """<A x, y> = <x, A* y> for the linear map from magnitudes to samples."""
    frontend = Frontend(n_fft=128, window_ms=7, hop_ms=3)
    spectrogram = frontend(torch.randn(1, 900))
    magnitude = spectrogram.magnitude.requires_grad_(True)
    waveform = frontend.inverse(type(spectrogram)(magnitude.log1p(), spectrogram.phase, 900))
    other = torch.randn_like(waveform)
    (gradient,) = torch.autograd.grad((waveform * other).sum(), magnitude)
    torch.testing.assert_close((magnitude * gradient).sum(), (waveform * other).sum(), rtol=1e-4, atol=1e-4)


def test_without_a_phase_that_of_the_latest_spectrogram_serves():
    classifier = wave_classifier()
    spectrogram = classifier.frontend(torch.randn(2, 8000))
    expected = classifier.predict(spectrogram.log_magnitude, None, spectrogram.phase)
    found = classifier(spectrogram.log_magnitude)
    assert torch.equal(found.logits, expected.logits)
    assert found.phase is spectrogram.phase
    masked = spectrogram.masked(torch.rand_like(spectrogram.phase)).log_magnitude
    assert torch.equal(classifier(masked).logits, classifier.predict(masked, None, spectrogram.phase).logits)


def test_no_foreign_phase_is_guessed():
    classifier = wave_classifier()
    with pytest.raises(PhaseError, match=r"classifier\.predict\(log_magnitude, frames, phase\)"):
        classifier(torch.rand(1, 513, 20))
    one = classifier.frontend(torch.randn(1, 8000))
    other = classifier.frontend(torch.randn(1, 8000))
    with pytest.raises(PhaseError):
        classifier(one.log_magnitude)
    log_magnitude = other.log_magnitude
    del other
    with pytest.raises(PhaseError):
        classifier(log_magnitude)
    with pytest.raises(ShapeError, match="a phase of shape"):
        classifier.predict(one.log_magnitude, None, one.phase[..., :5])


def test_columns_of_time_are_the_frames_halved():
    shapes = {
        "waveform": [(6, 1, 512), (5, 1, 512)],
        "spectrum": [(4, 256, 128)],
    }
    for kind, expected in shapes.items():
        classifier = KINDS[kind]()
        assert classifier.representation_shapes() == expected
        assert classifier.representation_channels == tuple(shape[0] for shape in expected)
    assert KINDS["spectrum"]().representation_shapes(101) == [(4, 256, 25)]


@pytest.mark.parametrize("kind", ["spectrum", "spectrum-fixed"])
def test_a_burst_stands_in_the_columns_of_its_time(kind):
    """Also where the network sees more, or less, than the clip."""
    classifier = KINDS[kind]()
    classifier.module.conv.weight.data.fill_(1.0)
    classifier.module.conv.bias.data.zero_()
    for frames in (40, 100):
        spectrogram = torch.zeros(1, 513, frames)
        spectrogram[..., 20:28] = 1.0
        (hidden,) = classifier(spectrogram).representations
        assert hidden.shape[-1] == frames // 4
        energy = hidden[0].sum((0, 1))
        assert abs(float((energy * torch.arange(len(energy))).sum() / energy.sum()) - 5.5) < 0.6


def test_wrong_number_of_classes_is_told():
    classifier = TorchClassifier(SpectrumNet(), ["dog", "rain"])
    with pytest.raises(ShapeError, match=r"shape \(1, 3\) for 1 clips and 2 labels \(dog, rain\)"):
        classifier(torch.rand(1, 513, 20))


@pytest.mark.parametrize("options", [{"duration_s": 0}, {"minimum_s": -1}, {"duration_s": 1, "minimum_s": 2}])
def test_lengths_must_make_sense(options):
    with pytest.raises(ConfigurationError, match="minimum_s"):
        TorchClassifier(SpectrumNet(), LABELS, **options)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
def test_front_ends_at_other_rates_keep_their_times(rate):
    frontend = frontend_at(rate)
    assert abs(frontend.hop_length / rate - 0.01161) < 1e-4
    waveform = torch.randn(1, rate // 2)
    torch.testing.assert_close(frontend.inverse(frontend(waveform)), waveform, rtol=1e-4, atol=1e-4)


def test_logits_of_certain_probabilities_are_finite():
    certain = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    for multi_label in (False, True):
        logits = logits_of(certain, multi_label)
        assert logits.isfinite().all()
        back = logits.sigmoid() if multi_label else logits.softmax(-1)
        torch.testing.assert_close(back, certain, rtol=0, atol=1e-6)


def test_gradients_reach_the_layers_that_are_read(classifier):
    spectrogram = classifier.frontend(torch.randn(2, 9000))
    inputs = spectrogram.log_magnitude.requires_grad_(True)
    prediction = classifier.predict(inputs, None, spectrogram.phase)
    assert len(prediction.sources) == len(prediction.representations)
    for source in prediction.sources:
        (gradient,) = torch.autograd.grad(prediction.logits.sum(), source, retain_graph=True)
        assert gradient.count_nonzero() > 0


def test_one_class_needs_a_sigmoid():
    with pytest.raises(ConfigurationError, match="'dog', would always have probability 1; say multi_label=True"):
        TorchClassifier(WaveNet(), ["dog"], input="waveform")


def test_a_network_that_fails_is_named_with_what_it_was_given():
    net = nn.Sequential(nn.Flatten(), nn.Linear(7, 3))
    classifier = TorchClassifier(net, LABELS)
    with pytest.raises(ConfigurationError, match=r"failed on spectrograms of shape \(1, 513, 40\).*check input"):
        classifier(torch.rand(1, 513, 40))


def test_nan_is_not_explained():
    class Logarithm(nn.Module):
        def forward(self, spectrogram):
            return spectrogram.mean((1, 2, 3)).log()[:, None] * torch.zeros(3)

    with pytest.raises(ConfigurationError, match="the network returned NaN"):
        TorchClassifier(Logarithm(), LABELS)(torch.zeros(1, 513, 40))


def test_probabilities_are_checked():
    class Raw(nn.Module):
        def forward(self, spectrogram):
            return spectrogram.mean((1, 2, 3))[:, None] * torch.tensor([0.5, 3.0, 2.0])

    spectrogram = torch.ones(2, 513, 40)
    with pytest.raises(ConfigurationError, match=r"probabilities in \[0, 1\], got values from 0.5 to 3"):
        TorchClassifier(Raw(), LABELS, output="probabilities")(spectrogram)
    with pytest.raises(ConfigurationError, match=r"sum to 1.1, not 1; say multi_label=True"):
        TorchClassifier(Raw(), LABELS, output="probabilities")(0.2 * spectrogram)


def test_labels_as_a_mapping_from_numbers_or_not_at_all():
    classifier = TorchClassifier(WaveNet(), {"1": "rain", "0": "dog", "2": "clock"}, input="waveform")
    assert classifier.labels == LABELS
    with pytest.raises(ConfigurationError, match="labels: expected a list of names, got the text 'dog'"):
        TorchClassifier(WaveNet(), "dog", input="waveform")


def test_can_be_pickled_after_it_has_heard():
    classifier = TorchClassifier(WaveNet(), LABELS, input="waveform")
    spectrogram = classifier.frontend(torch.randn(1, 8000))
    again = pickle.loads(pickle.dumps(classifier))
    found, expected = (
        one.predict(spectrogram.log_magnitude, None, spectrogram.phase) for one in (again, classifier)
    )
    torch.testing.assert_close(found.logits, expected.logits)


def test_a_layer_is_read_before_what_follows_writes_into_it():
    layers = (nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2, 3))
    classifier = TorchClassifier(net, LABELS, representation="1")
    spectrogram = torch.rand(1, 513, 40)
    found = classifier(spectrogram).representations[0]
    assert found.min() < 0
    torch.testing.assert_close(found, net[1](net[0](spectrogram[:, None])))
    mask = make_untrained("grad_cam", classifier)(spectrogram, classifier(spectrogram))
    assert mask.mean() == pytest.approx(0.2, abs=1e-3)


def test_amt_is_refused_for_want_of_a_map_whatever_the_network_hears():
    for classifier in (
        TorchClassifier(WaveNet(), LABELS, input="waveform"),
        TorchClassifier(SpectrumNet(), LABELS),
    ):
        with pytest.raises(ActivationMapError, match="has no activation map"):
            make_untrained("amt", classifier)
