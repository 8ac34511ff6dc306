"""Functions and ONNX files as classifiers: their output, checks, agreement with PyTorch, model folders."""

import json
import shutil
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from otoscope.audio import Frontend
from otoscope.classifiers import (
    CallableClassifier,
    OnnxClassifier,
    TorchClassifier,
    save_classifier,
)
from otoscope.classifiers.external.onnx_model import onnx_package
from otoscope.errors import (
    CheckpointError,
    ConfigurationError,
    GradientError,
    MissingExtraError,
    RepresentationError,
)
from otoscope.explain import Explainer
from otoscope.interpreters import Interpreter, L2IInterpreter, PIQInterpreter, make_untrained
from otoscope.loading import load_classifier

LABELS = ["loud", "soft"]


def loudness(waveforms):
    """Return the probabilities of loud, the largest sample, and soft."""
    loud = np.clip(np.abs(waveforms).max(axis=1), 0, 1)
    return np.stack([loud, 1 - loud], axis=1)


def predict(classifier, waveform):
    return classifier.predict(classifier.frontend(waveform))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((Frontend(8000),), {}),
        ((), {"frontend": Frontend(8000)}),
        ((8000,), {}),
        ((8000, False, Frontend(8000)), {}),
    ],
)
def test_front_end_or_sample_rate(arguments, options, tmp_path):
    classifier = CallableClassifier(loudness, LABELS, *arguments, **options)
    assert classifier.frontend.sample_rate_hz == 8000
    assert predict(classifier, torch.full((1, 4000), 0.25)).predicted.item() == 1
    loaded = load_classifier(save_classifier(classifier, tmp_path / "model"), function=loudness)
    assert loaded.frontend.same_as(classifier.frontend)


def test_function_receives_the_waveform():
    inputs = []

    def function(waveforms):
        inputs.append(waveforms)
        return loudness(waveforms)

    classifier = CallableClassifier(function, LABELS)
    waveform = torch.stack([torch.linspace(-0.25, 0.1, 8000), torch.linspace(0.0, 0.75, 8000)])
    prediction = predict(classifier, waveform)
    torch.testing.assert_close(prediction.probabilities[:, 0], torch.tensor([0.25, 0.75]), rtol=0, atol=1e-3)
    assert isinstance(inputs[0], np.ndarray)
    assert inputs[0].dtype == np.float32
    np.testing.assert_allclose(inputs[0][:, :8000], waveform.numpy(), atol=1e-4)
    assert not classifier.differentiable
    assert classifier.needs_phase


@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor, lambda x: np.asarray(x).tolist()])
def test_output_may_be_an_array_a_tensor_or_a_list(form):
    classifier = CallableClassifier(lambda w: form(loudness(w)), LABELS)
    assert predict(classifier, torch.full((2, 4000), 0.5)).probabilities.shape == (2, 2)


def test_function_may_take_tensors():
    def function(waveforms):
        assert isinstance(waveforms, torch.Tensor)
        return torch.softmax(waveforms[:, :3], -1)

    prediction = predict(CallableClassifier(function, ["a", "b", "c"], array="torch"), torch.randn(2, 4000))
    assert prediction.probabilities.shape == (2, 3)


def test_function_receives_clips_at_its_sample_rate(pad_sounds):
    shapes = []

    def function(waveforms):
        shapes.append(waveforms.shape)
        return loudness(waveforms)

    classifier = CallableClassifier(function, LABELS, sample_rate_hz=48_000)
    assert classifier.frontend.sample_rate_hz == 48_000
    clips, padded, lengths = pad_sounds([48_000, 20_000])
    together = classifier.predict(classifier.frontend(padded.clamp(-1, 1), lengths))
    assert sorted(shape[0] for shape in shapes) == [1, 1]
    for row, clip in enumerate(clips):
        alone = predict(classifier, clip[None].clamp(-1, 1))
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-4, atol=1e-4)


def test_multi_label_probabilities_need_not_sum_to_one():
    classifier = CallableClassifier(lambda w: np.tile([[0.9, 0.8]], (len(w), 1)), LABELS, multi_label=True)
    prediction = predict(classifier, torch.randn(2, 4000))
    torch.testing.assert_close(prediction.probabilities, torch.tensor([[0.9, 0.8]]).expand(2, 2))
    assert prediction.multi_label


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda w: np.full((len(w), 3), 1 / 3),
            r"expected an answer of shape \(2, 2\), clips by labels, got \(2, 3\)",
        ),
        (lambda w: np.full(2, 0.5), r"got \(2,\)"),
        (lambda w: np.full((len(w), 2), np.nan), "holds NaN or infinite"),
        (lambda w: np.full((len(w), 2), 0.9), "sum to 1.8, not 1; set multi_label=True"),
        (
            lambda w: np.tile([[4.0, -3.0]], (len(w), 1)),
            r"expected probabilities in \[0, 1\], got values from -3 to 4",
        ),
        (lambda w: "dog", "is no array of numbers"),
        (lambda w: None, "is no array of numbers"),
    ],
)
def test_invalid_output_is_refused(function, message):
    with pytest.raises(ConfigurationError, match=f"function: .*{message}"):
        predict(CallableClassifier(function, LABELS), torch.randn(2, 4000))


def test_methods_that_need_gradients_or_representations_are_refused():
    class Gradient(Interpreter):
        needs_gradient = True
        config, decode, mask, loss = {}, None, None, None

    classifier = CallableClassifier(loudness, LABELS)
    with pytest.raises(GradientError, match="Gradient needs gradients, and CallableClassifier is a black box"):
        Gradient(classifier)
    for method in (PIQInterpreter, L2IInterpreter):
        with pytest.raises(
            RepresentationError, match=r"black box without representations.* rise, slime and occlusion"
        ):
            method(classifier)


def test_importable_function_is_saved_by_name(tmp_path, monkeypatch):
    module = types.ModuleType("my_functions")
    module.loudness = loudness
    monkeypatch.setattr(loudness, "__module__", "my_functions")
    monkeypatch.setitem(sys.modules, "my_functions", module)
    classifier = CallableClassifier(loudness, LABELS, sample_rate_hz=8000, multi_label=True)
    folder = save_classifier(classifier, tmp_path / "model")
    loaded = load_classifier(folder)
    waveform = 0.3 * torch.randn(1, 4000)
    assert torch.equal(predict(loaded, waveform).logits, predict(classifier, waveform).logits)
    assert loaded.multi_label
    assert loaded.frontend.sample_rate_hz == 8000
    monkeypatch.delitem(sys.modules, "my_functions")
    with pytest.raises(CheckpointError, match="import my_functions before loading"):
        load_classifier(folder)


def test_other_functions_must_be_given_again(tmp_path):
    classifier = CallableClassifier(lambda w: loudness(w), LABELS)
    folder = save_classifier(classifier, tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"load_classifier\(folder, function=\.\.\.\)"):
        load_classifier(folder)
    loaded = load_classifier(folder, function=loudness)
    waveform = 0.3 * torch.randn(1, 4000)
    assert torch.equal(predict(loaded, waveform).logits, predict(classifier, waveform).logits)


def test_invalid_functions_and_front_ends_are_refused():
    with pytest.raises(ConfigurationError, match="function: expected a function, got int"):
        CallableClassifier(3, LABELS)
    with pytest.raises(ConfigurationError, match="frontend: it is at 8000 Hz, the function expects 16000 Hz"):
        CallableClassifier(loudness, LABELS, 16_000, frontend=Frontend(8000))
    with pytest.raises(ConfigurationError, match="frontend: expected a Frontend, got int"):
        CallableClassifier(loudness, LABELS, frontend=8000)


class WaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 6, 64, stride=16)
        self.head = nn.Linear(6, 2)

    def forward(self, waveform):
        return self.head(self.conv(waveform[:, None]).relu().mean(-1))


class SpectrumNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 5, stride=3)
        self.head = nn.Linear(5, 2)

    def forward(self, spectrogram):
        return self.head(self.conv(spectrogram).relu().mean((2, 3)))


def export(module, example, path, time_axis):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    names = {"input_names": ["sound"], "output_names": ["logits"]}
    axes = {"sound": {0: "clips", time_axis: "time"}, "logits": {0: "clips"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns that it is deprecated
        torch.onnx.export(module.eval(), (example,), path, dynamo=False, dynamic_axes=axes, **names)
    return path


@pytest.fixture
def wave_pair(tmp_path):
    """Network that takes waveforms, and the path of the same network as an ONNX file."""
    net = WaveNet()
    return net, export(net, torch.randn(1, 4000), tmp_path / "net.onnx", 1)


def test_onnx_agrees_with_pytorch_on_waveforms(wave_pair, pad_sounds):
    net, path = wave_pair
    ours, original = OnnxClassifier(path, LABELS), TorchClassifier(net, LABELS, input="waveform")
    _, padded, lengths = pad_sounds([9000, 4000, 9000])
    spectrogram = ours.frontend(padded, lengths)
    torch.testing.assert_close(ours.logits(spectrogram), original.logits(spectrogram), rtol=1e-4, atol=1e-5)


def test_onnx_agrees_with_pytorch_on_spectrograms(tmp_path):
    net = SpectrumNet()
    path = export(net, torch.rand(1, 1, 513, 30), tmp_path / "net.onnx", 3)
    ours = OnnxClassifier(path, LABELS, input="log_magnitude")
    values = torch.rand(3, 513, 50)
    torch.testing.assert_close(
        ours(values).logits, TorchClassifier(net, LABELS)(values).logits, rtol=1e-4, atol=1e-5
    )
    assert not ours.needs_phase
    assert not ours.differentiable


def test_onnx_file_is_copied_into_the_model_folder(wave_pair, tmp_path):
    _, path = wave_pair
    classifier = OnnxClassifier(path, LABELS, multi_label=True)
    folder = save_classifier(classifier, tmp_path / "model")
    waveform = torch.randn(1, 6000)
    expected = predict(classifier, waveform).logits
    path.unlink()
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "model")
    loaded = load_classifier(moved)
    assert torch.equal(predict(loaded, waveform).logits, expected)
    assert (loaded.labels, loaded.multi_label) == (LABELS, True)


def test_labels_of_an_onnx_file(wave_pair):
    import onnx

    _, path = wave_pair
    assert OnnxClassifier(path).labels == ["0", "1"]
    model = onnx.load(path)
    entry = model.metadata_props.add()
    entry.key, entry.value = "labels", json.dumps(["dog", "rain"])
    onnx.save(model, path)
    assert OnnxClassifier(path).labels == ["dog", "rain"]


def test_invalid_onnx_files_and_options_are_reported(wave_pair, tmp_path):
    _, path = wave_pair
    with pytest.raises(ConfigurationError, match=r"nowhere\.onnx: no such file"):
        OnnxClassifier(tmp_path / "nowhere.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ConfigurationError, match=r"text.onnx is no network that onnxruntime reads"):
        OnnxClassifier(tmp_path / "text.onnx")
    with pytest.raises(ConfigurationError, match=r"output_name: .* has no 'odds'; it has logits"):
        OnnxClassifier(path, output_name="odds")
    with pytest.raises(ConfigurationError, match=r"axes: the default order does not fit the 2 axes"):
        OnnxClassifier(path, input="log_magnitude")
    with pytest.raises(ConfigurationError, match=r"expected an answer of shape \(1, 3\)"):
        predict(OnnxClassifier(path, ["a", "b", "c"]), torch.randn(1, 4000))
    with pytest.raises(ConfigurationError, match=r"expected probabilities in \[0, 1\]|sum to"):
        predict(OnnxClassifier(path, LABELS, output="probabilities"), 9 * torch.randn(1, 4000))


def test_network_for_clips_of_one_length_is_given_that_length(tmp_path):
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4000, 2)

        def forward(self, waveform):
            return self.head(waveform)

    pytest.importorskip("onnxruntime")
    net = Fixed()
    path = export(net, torch.randn(1, 4000), tmp_path / "net.onnx", 0)
    waveform = torch.randn(2, 4000)
    with pytest.raises(ConfigurationError, match=r"cannot run on shape \(2, 3200\).*duration_s"):
        predict(OnnxClassifier(path, LABELS, duration_s=0.2), waveform)
    prediction = predict(OnnxClassifier(path, LABELS), waveform)  # the length is read from the file
    torch.testing.assert_close(prediction.logits, net(waveform).detach(), rtol=1e-3, atol=1e-3)


def test_network_for_one_clip_at_a_time(tmp_path):
    pytest.importorskip("onnxruntime")
    net = nn.Sequential(nn.Linear(4000, 2))
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (torch.randn(1, 4000),), path, dynamo=False)
    classifier, waveform = OnnxClassifier(path, LABELS), torch.randn(3, 4000)
    torch.testing.assert_close(predict(classifier, waveform).logits, net(waveform).detach(), rtol=1e-3, atol=1e-3)
    spectrogram = classifier.frontend(waveform)
    mask = make_untrained("rise", classifier, masks=5)(spectrogram, classifier.predict(spectrogram))
    assert mask.mean() == pytest.approx(0.2, abs=1e-3)


def test_unknown_choices_are_refused(wave_pair):
    with pytest.raises(ConfigurationError, match="array: 'jax' is neither numpy nor torch"):
        CallableClassifier(len, LABELS, array="jax")
    with pytest.raises(ConfigurationError, match="input: 'mel' is none of waveform, log_magnitude"):
        OnnxClassifier(wave_pair[1], LABELS, input="mel")


def test_without_onnxruntime_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'otoscope\[onnx\]'"):
        onnx_package()


class LowerHalf(Interpreter):
    """Interpreter whose mask keeps the lower half of the frequencies."""

    def decode(self, spectrogram, prediction):
        mask = torch.zeros_like(spectrogram.log_magnitude)
        mask[:, : mask.shape[1] // 2] = 1
        return mask

    def mask(self, decoded, spectrogram):
        return decoded

    def loss(self, decoded, spectrogram, prediction):
        return {}


def test_black_box_is_explained_and_scored():
    classifier = CallableClassifier(loudness, LABELS)
    time = torch.arange(8000) / 16_000
    waveform = 0.2 * torch.sin(2 * torch.pi * 500 * time) + 0.6 * torch.sin(2 * torch.pi * 6000 * time)
    explanation = Explainer(classifier, LowerHalf()).explain(waveform)
    assert explanation.predicted == "loud"
    assert explanation.mask_scores["p_evidence"] < 0.5 < explanation.mask_scores["p_remainder"]
    # a function of the user hears both parts at the level of the recording
    assert explanation.scores["p_evidence"] < 0.5 < explanation.scores["p_remainder"]
