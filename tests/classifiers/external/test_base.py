"""External classifiers: the input of the network, clips of several lengths, phase, columns of representations."""

import pickle

import pytest
import torch
from torch import nn

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import CallableClassifier, TorchClassifier, save_classifier
from otoscope.classifiers.external.base import frontend_at, logits_of
from otoscope.errors import ActivationMapError, ConfigurationError, PhaseError, ShapeError
from otoscope.explain import Explainer
from otoscope.interpreters import make_untrained
from otoscope.loading import load_classifier

LABELS = ["dog", "rain", "clock"]


class WaveNet(nn.Module):
    """Two strided convolutions over the waveform, mean over time."""

    def __init__(self, stride: int = 31):
        super().__init__()
        self.first = nn.Conv1d(1, 6, 64, stride=stride)
        self.second = nn.Conv1d(6, 5, 9, stride=6)
        self.head = nn.Linear(5, 3)
        self.inputs = []

    def forward(self, waveform):
        self.inputs.append(waveform.detach())
        return self.head(self.second(self.first(waveform[:, None]).relu()).relu().mean(-1))


class SpectrumNet(nn.Module):
    """Network that would be misled by padding: it reads the mean over all frames and their number."""

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


def test_padded_clip_gets_the_same_result_as_alone(classifier, pad_sounds):
    clips, padded, lengths = pad_sounds([16_000, 7000, 16_000, 3000, 7000])
    together = classifier.predict(classifier.frontend(padded, lengths))
    for row, clip in enumerate(clips):
        alone = classifier.predict(classifier.frontend(clip[None]))
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-4, atol=1e-5)
        for whole, single in zip(together.representations, alone.representations, strict=True):
            columns = single.shape[-1]
            torch.testing.assert_close(whole[row, ..., :columns], single[0], rtol=1e-4, atol=1e-5)
            assert whole[row, ..., columns:].count_nonzero() == 0


def test_clips_of_equal_length_go_through_the_network_together(pad_sounds):
    classifier = wave_classifier()
    _, padded, lengths = pad_sounds([9000, 5000, 9000, 5000])
    classifier.module.inputs.clear()
    classifier.predict(classifier.frontend(padded, lengths))
    probe, *runs = classifier.module.inputs
    assert probe.count_nonzero() == 0, "the first run measures the layers on silence"
    assert sorted(len(run) for run in runs) == [2, 2]


@pytest.mark.parametrize("samples", [4000, 16_000, 16_111])
def test_network_receives_the_clip_and_less_than_a_hop_of_silence(samples):
    classifier, clip = wave_classifier(), torch.randn(1, samples)
    classifier.predict(classifier.frontend(clip))
    waveform = classifier.module.inputs[-1]
    assert 0 <= waveform.shape[-1] - samples < classifier.frontend.hop_length
    torch.testing.assert_close(waveform[:, :samples], clip, rtol=1e-4, atol=1e-4)
    assert waveform[:, samples:].abs().max() < 1e-4 if waveform.shape[-1] > samples else True


def test_with_a_duration_the_network_receives_exactly_that_length():
    classifier, clip = wave_classifier(duration_s=1.0), torch.randn(1, 16_000)
    for cut in (16_000, 9000):
        classifier.predict(classifier.frontend(clip[:, :cut]))
        waveform = classifier.module.inputs[-1]
        assert waveform.shape == (1, 16_000)
        torch.testing.assert_close(waveform[:, :cut], clip[:, :cut], rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_spectrogram_through_the_inverse_transform():
    """Compare with central differences along random directions, in single precision."""
    frontend = Frontend(n_fft=256, window_ms=15, hop_ms=7.5)
    classifier = TorchClassifier(WaveNet(8), LABELS, frontend, input="waveform")
    spectrogram = frontend(torch.randn(1, 2000))
    base = spectrogram.log_magnitude.clone()
    leaf = base.clone().requires_grad_(True)
    classifier.logits(spectrogram.with_log_magnitude(leaf))[0, 1].backward()
    for _ in range(5):
        direction = torch.randn_like(base)
        higher, lower = (
            classifier.logits(spectrogram.with_log_magnitude(base + step * direction))[0, 1]
            for step in (1e-2, -1e-2)
        )
        expected = (higher - lower) / 2e-2
        torch.testing.assert_close((leaf.grad * direction).sum(), expected, rtol=2e-2, atol=2e-4)


def test_inverse_transform_and_its_gradient_are_adjoint():
    """The linear map A from magnitudes to samples satisfies <A x, y> = <x, A* y>."""
    frontend = Frontend(n_fft=128, window_ms=7, hop_ms=3)
    spectrogram = frontend(torch.randn(1, 900))
    magnitude = spectrogram.magnitude.requires_grad_(True)
    waveform = frontend.inverse(spectrogram.with_log_magnitude(magnitude.log1p()))
    other = torch.randn_like(waveform)
    (gradient,) = torch.autograd.grad((waveform * other).sum(), magnitude)
    torch.testing.assert_close((magnitude * gradient).sum(), (waveform * other).sum(), rtol=1e-4, atol=1e-4)


def test_masked_spectrogram_reaches_the_network_with_its_phase():
    classifier = wave_classifier()
    spectrogram = classifier.frontend(torch.randn(2, 8000))
    masked = spectrogram.masked(torch.rand_like(spectrogram.phase))
    logits = classifier.logits(masked)
    waveform = classifier.module.inputs[-1]
    torch.testing.assert_close(waveform[:, :8000], classifier.frontend.inverse(masked), rtol=1e-4, atol=1e-4)
    assert torch.equal(logits, classifier.module(waveform))
    assert torch.equal(classifier.predict(masked).logits, logits)


def test_no_phase_is_guessed():
    classifier = wave_classifier()
    waveform = torch.randn(1, 8000)
    spectrogram = classifier.frontend(waveform)
    with pytest.raises(
        PhaseError, match=r"TorchClassifier, .* needs the phase .* classifier\.frontend\(waveform\)"
    ):
        classifier(spectrogram.log_magnitude)
    for without_phase in (
        Spectrogram(spectrogram.log_magnitude),
        classifier.frontend(waveform, with_phase=False),
        Spectrogram(torch.rand(1, 513, 20)),
    ):
        with pytest.raises(PhaseError):
            classifier.predict(without_phase)
    with pytest.raises(ShapeError, match="a phase of shape"):
        Spectrogram(spectrogram.log_magnitude, spectrogram.phase[..., :5])


def test_columns_are_the_frames_divided_by_a_power_of_two():
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
def test_burst_appears_in_the_columns_of_its_time(kind):
    """Including classifiers whose network receives more, or less, than the clip."""
    classifier = KINDS[kind]()
    classifier.module.conv.weight.data.fill_(1.0)
    classifier.module.conv.bias.data.zero_()
    for frames in (40, 100):
        log_magnitude = torch.zeros(1, 513, frames)
        log_magnitude[..., 20:28] = 1.0
        (hidden,) = classifier(log_magnitude).representations
        assert hidden.shape[-1] == frames // 4
        energy = hidden[0].sum((0, 1))
        assert abs(float((energy * torch.arange(len(energy))).sum() / energy.sum()) - 5.5) < 0.6


def test_wrong_number_of_classes_is_reported():
    classifier = TorchClassifier(SpectrumNet(), ["dog", "rain"])
    with pytest.raises(ShapeError, match=r"shape \(1, 3\) for 1 clips and 2 labels \(dog, rain\)"):
        classifier(torch.rand(1, 513, 20))


@pytest.mark.parametrize("options", [{"duration_s": 0}, {"minimum_s": -1}, {"duration_s": 1, "minimum_s": 2}])
def test_invalid_lengths_are_refused(options):
    with pytest.raises(ConfigurationError, match="minimum_s"):
        TorchClassifier(SpectrumNet(), LABELS, **options)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
def test_front_ends_at_other_rates_keep_window_and_hop_in_seconds(rate):
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
    spectrogram.log_magnitude.requires_grad_(True)
    prediction = classifier.predict(spectrogram)
    assert len(prediction.sources) == len(prediction.representations)
    for source in prediction.sources:
        (gradient,) = torch.autograd.grad(prediction.logits.sum(), source, retain_graph=True)
        assert gradient.count_nonzero() > 0


class Loudness(nn.Module):
    """A single logit: positive for loud sounds."""

    def __init__(self, columns=1):
        super().__init__()
        self.columns = columns

    def forward(self, log_magnitude):
        level = 20 * (log_magnitude.mean((1, 2, 3)) - 0.1)
        return level if self.columns == 0 else level[:, None]


@pytest.mark.parametrize("columns", [0, 1])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_single_class_below_one_half_is_its_absence(columns, multi_label):
    classifier = TorchClassifier(Loudness(columns), ["siren"], multi_label=multi_label)
    assert classifier.labels == ["siren", "not siren"]
    loud, soft = torch.full((1, 513, 20), 0.2), torch.full((1, 513, 20), 0.05)
    expected = torch.tensor([[2.0, -1.0]]).sigmoid()
    for log_magnitude, p in ((loud, expected[0, 0]), (soft, expected[0, 1])):
        prediction = classifier(log_magnitude)
        assert torch.allclose(prediction.probabilities, torch.stack([p, 1 - p])[None], atol=1e-6)
        assert int(prediction.predicted) == (0 if p > 0.5 else 1)


def test_the_absence_of_a_single_class_is_explained_and_kept_in_model_folders(tmp_path):
    classifier = TorchClassifier({"class_path": f"{__name__}.Loudness"}, ["siren"])
    clip = 0.001 * torch.randn(8000, generator=torch.Generator().manual_seed(0))
    explanation = Explainer(classifier, make_untrained("saliency", classifier, area=0.2)).explain(clip)
    assert explanation.label == "not siren"
    assert explanation.probabilities["not siren"] > 0.5
    assert explanation.scores["Fid-In"] == 1.0
    save_classifier(classifier, tmp_path / "model")
    again = load_classifier(tmp_path / "model")
    assert again.labels == ["siren", "not siren"]
    spectrogram = classifier.hear(clip[None])
    assert torch.equal(again.logits(spectrogram), classifier.logits(spectrogram))


def test_a_black_box_with_one_probability():
    box = CallableClassifier(lambda sounds: [0.2] * len(sounds), ["siren"])
    probabilities = box.predict(box.hear(torch.randn(2, 8000))).probabilities
    assert torch.allclose(probabilities, torch.tensor([[0.2, 0.8], [0.2, 0.8]]), atol=1e-4)


def test_failure_of_the_network_is_reported_with_the_shape_of_its_input():
    net = nn.Sequential(nn.Flatten(), nn.Linear(7, 3))
    classifier = TorchClassifier(net, LABELS)
    with pytest.raises(ConfigurationError, match=r"failed on spectrograms of shape \(1, 513, 40\).*check input"):
        classifier(torch.rand(1, 513, 40))


def test_logits_of_nan_are_refused():
    class Logarithm(nn.Module):
        def forward(self, spectrogram):
            return spectrogram.mean((1, 2, 3)).log()[:, None] * torch.zeros(3)

    with pytest.raises(ConfigurationError, match="the classifier returns NaN for this recording"):
        TorchClassifier(Logarithm(), LABELS)(torch.zeros(1, 513, 40))


def test_probabilities_are_checked():
    class Raw(nn.Module):
        def forward(self, spectrogram):
            return spectrogram.mean((1, 2, 3))[:, None] * torch.tensor([0.5, 3.0, 2.0])

    spectrogram = torch.ones(2, 513, 40)
    with pytest.raises(ConfigurationError, match=r"probabilities in \[0, 1\], got values from 0.5 to 3"):
        TorchClassifier(Raw(), LABELS, output="probabilities")(spectrogram)
    with pytest.raises(ConfigurationError, match=r"sum to 1.1, not 1; set multi_label=True"):
        TorchClassifier(Raw(), LABELS, output="probabilities")(0.2 * spectrogram)


def test_labels_are_a_list_or_a_mapping_from_numbers():
    classifier = TorchClassifier(WaveNet(), {"1": "rain", "0": "dog", "2": "clock"}, input="waveform")
    assert classifier.labels == LABELS
    with pytest.raises(ConfigurationError, match="labels: expected a list of names, got the text 'dog'"):
        TorchClassifier(WaveNet(), "dog", input="waveform")


def test_can_be_pickled_after_a_prediction():
    classifier = TorchClassifier(WaveNet(), LABELS, input="waveform")
    spectrogram = classifier.frontend(torch.randn(1, 8000))
    expected = classifier.logits(spectrogram)
    copy = pickle.loads(pickle.dumps(classifier))
    torch.testing.assert_close(copy.logits(spectrogram), expected)


def test_layer_is_read_before_an_inplace_layer_overwrites_it():
    layers = (nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2, 3))
    classifier = TorchClassifier(net, LABELS, representation="1")
    spectrogram = Spectrogram(torch.rand(1, 513, 40))
    prediction = classifier.predict(spectrogram)
    hidden = prediction.representations[0]
    assert hidden.min() < 0
    torch.testing.assert_close(hidden, net[1](net[0](spectrogram.log_magnitude[:, None])))
    mask = make_untrained("grad_cam", classifier)(spectrogram, prediction)
    assert mask.mean() == pytest.approx(0.2, abs=1e-3)


def test_amt_is_refused_without_an_activation_map_whatever_the_input():
    for classifier in (
        TorchClassifier(WaveNet(), LABELS, input="waveform"),
        TorchClassifier(SpectrumNet(), LABELS),
    ):
        with pytest.raises(ActivationMapError, match="has no activation map"):
            make_untrained("amt", classifier)
