"""Networks in files: windows, patches, quantised inputs and outputs, fixed batches, labels, model folders."""

import copy
import importlib.util
import json
import pickle
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from otoscope.audio import Frontend
from otoscope.classifiers import OnnxClassifier, TfliteClassifier, save_classifier
from otoscope.classifiers.external import tflite_model
from otoscope.classifiers.external.network_file import Quantization
from otoscope.classifiers.external.patches import YamnetPatches, split_windows
from otoscope.errors import CheckpointError, ConfigurationError, MissingExtraError, OtoscopeError
from otoscope.explain import Explainer
from otoscope.interpreters import make_untrained
from otoscope.loading import load_classifier

_SPEC = importlib.util.spec_from_file_location("tflite_files", Path(__file__).parents[2] / "tflite_files.py")
tflite_files = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tflite_files)

LABELS = ["dog", "rain", "siren"]


def write_onnx(path, weights, bias, shape, dtype="FLOAT", scales=None, probabilities=False):
    """Write an ONNX file with one dense layer; free axes of its input are None."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    axes = [size if size is not None else f"axis{i}" for i, size in enumerate(shape)]
    constants = {"weights": weights.T.astype(np.float32), "bias": bias.astype(np.float32)}
    nodes, flat = [], "sound"
    if scales is not None:
        constants |= {"scale": np.float32(scales[0]), "zero": np.array(scales[1], dtype.lower())}
        nodes.append(helper.make_node("DequantizeLinear", ["sound", "scale", "zero"], ["numbers"]))
        flat = "numbers"
    elif dtype != "FLOAT":
        nodes.append(helper.make_node("Cast", ["sound"], ["numbers"], to=kinds.FLOAT))
        flat = "numbers"
    nodes.append(helper.make_node("Flatten", [flat], ["flat"], axis=1))
    nodes.append(helper.make_node("Gemm", ["flat", "weights", "bias"], ["sums"]))
    nodes.append(helper.make_node("Softmax" if probabilities else "Identity", ["sums"], ["scores"]))
    outlet = kinds.FLOAT
    if probabilities:
        constants |= {"out_scale": np.float32(1 / 256), "out_zero": np.array(0, "uint8")}
        nodes.append(helper.make_node("QuantizeLinear", ["scores", "out_scale", "out_zero"], ["integers"]))
        outlet = kinds.UINT8
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("sound", getattr(kinds, dtype), axes)],
        [helper.make_tensor_value_info("integers" if probabilities else "scores", outlet, [axes[0], len(bias)])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(params=["onnx", "tflite"])
def dense(request, tmp_path):
    """Function that makes a classifier of one dense layer in a file, and returns its weights and bias."""

    def make(shape, free_batch=False, **options):
        size = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
        rng = np.random.default_rng(0)
        weights, bias = rng.normal(size=(3, size)) / np.sqrt(size), rng.normal(size=3)
        path = tmp_path / f"dense.{request.param}"
        if request.param == "onnx":
            write_onnx(path, weights, bias, (None, *shape[1:]) if free_batch else shape)
            return OnnxClassifier(path, LABELS, **options), weights, bias
        pytest.importorskip("ai_edge_litert")
        tflite_files.write_dense(path, weights, bias, shape, free_batch)
        return TfliteClassifier(path, LABELS, **options), weights, bias

    return make


def received(classifier, waveform):
    """Return the waveforms that a network receives for clips, which are up to a hop longer."""
    return classifier._network_input(classifier.frontend(waveform)).numpy()


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("free_batch", [False, True])
def test_long_clips_are_the_mean_of_their_windows_and_short_ones_are_padded(dense, free_batch):
    classifier, weights, bias = dense((1, 4000), free_batch)
    long, short = 0.3 * torch.randn(2, 10_500), 0.3 * torch.randn(1, 1500)
    windows = np.pad(received(classifier, long), ((0, 0), (0, 2000)))[:, :12_000].reshape(2, 3, 4000)
    probabilities = classifier.predict(classifier.frontend(long)).probabilities
    expected = softmax(windows @ weights.T + bias).mean(1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    sound = received(classifier, short)
    expected = np.pad(sound, ((0, 0), (0, 4000 - sound.shape[1]))) @ weights.T + bias
    np.testing.assert_allclose(classifier.logits(classifier.frontend(short)), expected, atol=1e-5)


def test_independent_classes_are_averaged_by_class(dense):
    classifier, weights, bias = dense((1, 4000), multi_label=True)
    waveform = 0.3 * torch.randn(1, 7900)
    windows = received(classifier, waveform)
    windows = np.pad(windows, ((0, 0), (0, 200)))[:, :8000].reshape(1, 2, 4000)
    expected = 1 / (1 + np.exp(-(windows @ weights.T + bias)))
    probabilities = classifier.predict(classifier.frontend(waveform)).probabilities
    np.testing.assert_allclose(probabilities, expected.mean(1), atol=1e-5)


def test_a_duration_cuts_instead(dense):
    classifier, weights, bias = dense((1, 4000), duration_s=0.25)
    waveform = 0.3 * torch.randn(1, 12_000)
    inputs = received(classifier, waveform)
    assert inputs.shape == (1, 4000)
    expected = inputs @ weights.T + bias
    np.testing.assert_allclose(classifier.logits(classifier.frontend(waveform)), expected, atol=1e-5)


def test_last_window_counts_from_half_of_its_length():
    for samples, count in ((1, 1), (10, 1), (14, 1), (15, 2), (20, 2), (24, 2), (25, 3)):
        windows = split_windows(torch.ones(2, 3, samples), 10)
        assert windows.shape == (2, count, 3, 10)
        assert windows.sum() == 6 * min(samples, 10 * count)


@pytest.mark.parametrize("batch", [2, 4])
def test_networks_for_a_fixed_number_of_inputs_are_run_repeatedly(dense, batch):
    classifier, weights, bias = dense((batch, 4000))
    waveform = 0.3 * torch.randn(5, 4000)
    expected = received(classifier, waveform)[:, :4000] @ weights.T + bias
    np.testing.assert_allclose(classifier.logits(classifier.frontend(waveform)), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 4000), (1, 4000, 1), (4000,)])
def test_waveforms_have_the_axes_of_the_file(dense, request, shape):
    if len(shape) == 1 and "onnx" in request.node.name:
        pytest.skip("the ONNX network of this test needs an axis for the batch")
    classifier, weights, bias = dense(shape)
    waveform = 0.3 * torch.randn(2, 4000)
    expected = received(classifier, waveform)[:, :4000] @ weights.T + bias
    np.testing.assert_allclose(classifier.logits(classifier.frontend(waveform)), expected, atol=1e-5)


@pytest.mark.parametrize(("axes", "shape"), [("bft", (1, 129, 30)), ("btf", (1, 30, 129)), (None, (1, 129, 30, 1))])
def test_log_magnitudes_have_the_axes_of_the_file(dense, axes, shape):
    frontend = Frontend(8000, n_fft=256)
    classifier, weights, bias = dense(shape, frontend=frontend, input="log_magnitude", axes=axes)
    values = torch.rand(2, 129, 60)
    windows = torch.stack([values[..., :30], values[..., 30:]], 1)
    windows = windows.transpose(-1, -2) if axes == "btf" else windows
    expected = softmax(windows.flatten(2).numpy() @ weights.T + bias).mean(1)
    np.testing.assert_allclose(classifier(values).probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 96, 64), (1, 1, 96, 64), (1, 96, 64, 1), (1, 64, 96), (3, 96, 64)])
def test_scores_of_yamnet_patches_are_averaged(dense, shape):
    classifier, weights, bias = dense(shape, features="yamnet")
    waveform = 0.3 * torch.randn(2, 24_000)
    patches = YamnetPatches()(torch.from_numpy(received(classifier, waveform)))
    patches = patches.transpose(-1, -2) if shape[1] == 64 else patches
    assert patches.shape[:2] == (2, 3)
    expected = softmax(patches.flatten(2).numpy() @ weights.T + bias).mean(1)
    probabilities = classifier.predict(classifier.frontend(waveform)).probabilities
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def levels(waveforms):
    """Return the levels of eight parts of each clip, without patches."""
    return np.stack([np.abs(part).mean(1) for part in np.array_split(waveforms, 8, axis=1)], 1)


def level_patches(waveforms):
    """Return the levels of eight parts of both halves of each clip."""
    return np.stack([levels(half) for half in np.array_split(waveforms, 2, axis=1)], 1)


@pytest.mark.parametrize("features", [levels, level_patches])
def test_features_may_be_a_function(dense, features):
    classifier, weights, bias = dense((1, 8), free_batch=True, features=features)
    waveform = 0.3 * torch.randn(3, 8000)
    values = features(received(classifier, waveform)).reshape(3, -1, 8)
    expected = softmax(values @ weights.T + bias).mean(1)
    probabilities = classifier.predict(classifier.frontend(waveform)).probabilities
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_padding_does_not_change_a_clip(dense, pad_sounds):
    classifier, _, _ = dense((1, 96, 64), features="yamnet")
    clips, padded, lengths = pad_sounds([20_000, 9000])
    together = classifier.logits(classifier.frontend(padded, lengths))
    alone = torch.cat([classifier.logits(classifier.frontend(clip[None])) for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "zero_point"), [("UINT8", 128), ("INT8", -3)])
def test_integer_inputs_of_onnx_stand_for_numbers(tmp_path, dtype, zero_point):
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(3, 400)) / 20, rng.normal(size=3)
    path = write_onnx(tmp_path / "net.onnx", weights, bias, (1, 400), dtype, (0.01, zero_point))
    black_box = OnnxClassifier(path, LABELS)
    with pytest.raises(ConfigurationError, match=r"give input_quantization=\(scale, zero_point\)"):
        black_box.logits(black_box.frontend(torch.zeros(1, 400)))
    classifier = OnnxClassifier(path, LABELS, input_quantization=(0.01, zero_point), duration_s=0.025)
    waveform = 0.3 * torch.randn(2, 400)
    expected = np.clip(received(classifier, waveform), -1.28, 1.27).round(2) @ weights.T + bias
    logits = classifier.logits(classifier.frontend(waveform))
    np.testing.assert_allclose(logits, expected, atol=0.05)
    assert (np.abs(logits.numpy() - received(classifier, waveform) @ weights.T - bias) > 1e-6).any()


def test_quantised_probabilities_sum_to_one(tmp_path):
    weights, bias = np.zeros((40, 400)), np.zeros(40)
    path = write_onnx(tmp_path / "net.onnx", weights, bias, (None, 400), probabilities=True)
    classifier = OnnxClassifier(path, output="probabilities", output_quantization=(1 / 256, 0))
    # 1 / 40 becomes 6 / 256: without correction, they would sum to 0.94
    probabilities = classifier.predict(classifier.frontend(torch.zeros(2, 400))).probabilities
    torch.testing.assert_close(probabilities, torch.full((2, 40), 1 / 40))


def test_a_quantised_tflite_file_states_its_scales(tmp_path):
    pytest.importorskip("ai_edge_litert")
    rng = np.random.default_rng(0)
    weights, bias = rng.uniform(-1, 1, size=(3, 400)), rng.normal(size=3)
    path = tflite_files.write_dense(tmp_path / "net.tflite", weights, bias, scales=(0.01, 0.01, 0.1))
    classifier = TfliteClassifier(path, LABELS, duration_s=0.025)
    waveform = 0.1 * torch.randn(4, 400)
    logits = classifier.logits(classifier.frontend(waveform)).numpy()
    expected = received(classifier, waveform).clip(-1.28, 1.27).round(2) @ weights.round(2).T + bias.round(2)
    np.testing.assert_allclose(logits, expected, atol=0.11)
    np.testing.assert_allclose(logits, logits.round(1), atol=1e-5)


def test_quantisation_is_undone():
    quantization = Quantization(0.25, -7)
    numbers = np.array([-30.0, -1.0, 0.0, 0.3, 5.0, 90.0])
    integers = quantization.to_integers(numbers, np.dtype("int8"))
    assert integers.tolist() == [-127, -11, -7, -6, 13, 127]
    assert quantization.to_numbers(integers).tolist() == [-30.0, -1.0, 0.0, 0.25, 5.0, 33.5]


def test_files_and_options_are_saved_in_model_folders(dense, tmp_path):
    classifier, _, _ = dense((1, 96, 64), features="yamnet", multi_label=True)
    waveform = 0.3 * torch.randn(1, 20_000)
    expected = classifier.logits(classifier.frontend(waveform))
    folder = save_classifier(classifier, tmp_path / "model")
    classifier.path.unlink()
    loaded = load_classifier(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert type(loaded) is type(classifier)
    assert torch.equal(loaded.logits(loaded.frontend(waveform)), expected)
    again = load_classifier(save_classifier(loaded, tmp_path / "again"))
    assert torch.equal(again.logits(again.frontend(waveform)), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda classifier: pickle.loads(pickle.dumps(classifier))])
def test_copies_open_the_file_again(dense, copied):
    classifier, _, _ = dense((1, 4000), input_quantization=(0.5, 3))
    spectrogram = classifier.frontend(torch.randn(1, 9000))
    expected = classifier.logits(spectrogram)
    assert torch.equal(copied(classifier).logits(spectrogram), expected)


def test_functions_are_saved_by_name_or_given_again(dense, tmp_path, monkeypatch):
    waveform = 0.3 * torch.randn(1, 8000)
    classifier, _, _ = dense((1, 8), features=lambda waveforms: levels(waveforms))
    expected = classifier.logits(classifier.frontend(waveform))
    folder = save_classifier(classifier, tmp_path / "unnamed")
    with pytest.raises(CheckpointError, match=r"load it with load_classifier\(folder, features=\.\.\.\)"):
        load_classifier(folder)
    given = load_classifier(folder, features=levels)
    assert torch.equal(given.logits(given.frontend(waveform)), expected)
    module = types.ModuleType("my_features")
    module.levels = levels
    monkeypatch.setattr(levels, "__module__", "my_features")
    monkeypatch.setitem(sys.modules, "my_features", module)
    folder = save_classifier(dense((1, 8), features=levels)[0], tmp_path / "named")
    loaded = load_classifier(folder)
    assert torch.equal(loaded.logits(loaded.frontend(waveform)), expected)
    monkeypatch.delitem(sys.modules, "my_features")
    with pytest.raises(CheckpointError, match="import my_features before loading"):
        load_classifier(folder)


def test_weights_beside_an_onnx_file_are_saved_with_it(tmp_path):
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    (tmp_path / "net").mkdir()
    path = write_onnx(tmp_path / "net" / "net.onnx", rng.normal(size=(3, 400)), rng.normal(size=3), (1, 400))
    options = {"save_as_external_data": True, "location": "net.onnx.data", "size_threshold": 0}
    onnx.save(onnx.load(path), path, **options)
    classifier, waveform = OnnxClassifier(path, LABELS), torch.randn(1, 400)
    expected = classifier.logits(classifier.frontend(waveform))
    folder = save_classifier(classifier, tmp_path / "model")
    shutil.rmtree(tmp_path / "net")
    folder = save_classifier(load_classifier(folder), tmp_path / "again")
    loaded = load_classifier(folder)
    assert torch.equal(loaded.logits(loaded.frontend(waveform)), expected)


def test_labels_are_read_from_a_text_file(dense, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("Corvus corax_Raven\nPica pica_Magpie\n\nStrix aluco_Owl\n", encoding="utf-8-sig")
    classifier, _, _ = dense((1, 400))
    classifier = type(classifier)(classifier.path, path)
    assert classifier.labels == ["Corvus corax_Raven", "Pica pica_Magpie", "Strix aluco_Owl"]
    with pytest.raises(ConfigurationError, match=r"labels: .*nowhere\.txt cannot be read as a text file"):
        type(classifier)(classifier.path, tmp_path / "nowhere.txt")


def test_labels_in_the_metadata_of_a_tflite_file(dense, tmp_path):
    import zipfile

    classifier, _, _ = dense((1, 400))
    if isinstance(classifier, OnnxClassifier):
        pytest.skip("ONNX files have other metadata")
    assert TfliteClassifier(classifier.path).labels == ["0", "1", "2"]
    with zipfile.ZipFile(classifier.path, "a") as archive:
        archive.writestr("scores.txt", "0.1\n0.2\n")
        archive.writestr("labels.txt", "owl\nraven\nmagpie\n")
    labelled = TfliteClassifier(classifier.path)
    assert labelled.labels == ["owl", "raven", "magpie"]
    assert labelled.logits(labelled.frontend(torch.randn(1, 400))).shape == (1, 3)


@pytest.mark.parametrize("method", ["occlusion", "rise", "slime"])
def test_methods_without_gradients_explain_a_network_in_a_file(dense, method):
    options = {"rise": {"masks": 8}, "slime": {"samples": 8}, "occlusion": {"batch": 64}}[method]
    classifier, _, _ = dense((1, 96, 64), free_batch=True, features="yamnet")
    explainer = Explainer(classifier, make_untrained(method, classifier, **options))
    explanation = explainer.explain(0.3 * torch.randn(4000), scores=False)
    assert explanation.label in LABELS
    assert 0 < explanation.mask.mean() < 1


def test_methods_with_gradients_refuse_a_network_in_a_file(dense):
    classifier, _, _ = dense((1, 400))
    with pytest.raises(OtoscopeError, match="black box"):
        make_untrained("saliency", classifier)


def test_impossible_options_are_refused(dense):
    def refused(message, shape=(1, 400), **options):
        with pytest.raises(ConfigurationError, match=message):
            dense(shape, **options)

    refused("features: they are computed from the waveform", features=levels, axes="bt")
    refused("features: they are computed from the waveform", features=levels, input="log_magnitude")
    refused(
        "frontend: it is at 8000 Hz, the yamnet features are at 16000 Hz",
        features="yamnet",
        frontend=Frontend(8000),
    )
    refused(
        "frontend: it is at 8000 Hz, sample_rate_hz is 48000 Hz", frontend=Frontend(8000), sample_rate_hz=48_000
    )
    refused("input_quantization: expected a positive scale and a zero point", input_quantization=(0, 1))
    refused("output: 'odds' is neither logits nor probabilities", output="odds")
    refused("output_name: .* has no 'odds'; it has scores", output_name="odds")
    refused("axes: tb does not fit the 2 axes", axes="tb")


def test_features_that_do_not_fit_the_network_are_reported(dense):
    for features, message in (
        ("yamnet", r"takes inputs of shape \(1, 400\), which the features of 96 frames by 64 mel bins do not fit"),
        (levels, r"cannot run on shape \(1, 8\)"),
        (lambda waveforms: np.ones((len(waveforms), 1, 1, 400)), r"expected \(batch, \.\.\.\) like it"),
    ):
        classifier, _, _ = dense((1, 400), features=features)
        with pytest.raises(ConfigurationError, match=message):
            classifier.logits(classifier.frontend(torch.randn(1, 4000)))


def test_sample_rate_is_that_of_the_network(dense, tmp_path):
    classifier, _, _ = dense((1, 14_400), sample_rate_hz=48_000)
    assert classifier.frontend.sample_rate_hz == 48_000
    loaded = load_classifier(save_classifier(classifier, tmp_path / "model"))
    assert loaded.frontend.sample_rate_hz == 48_000


def test_files_that_are_no_networks_are_reported(tmp_path):
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "text.tflite").write_text("no network")
    with pytest.raises(ConfigurationError, match=r"text\.tflite is no network that LiteRT reads"):
        TfliteClassifier(tmp_path / "text.tflite")
    with pytest.raises(ConfigurationError, match=r"nowhere\.tflite: no such file"):
        TfliteClassifier(tmp_path / "nowhere.tflite")


def test_inputs_of_other_types_are_refused(tmp_path):
    path = write_onnx(tmp_path / "net.onnx", np.ones((3, 4)), np.ones(3), (1, 4), "INT64")
    with pytest.raises(ConfigurationError, match="has an input of type int64; expected are floats, or integers"):
        OnnxClassifier(path)


def test_without_litert_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'otoscope\[tflite\]'"):
        tflite_model.tflite_package()


def test_configuration_of_a_folder_holds_every_option(dense, tmp_path):
    classifier, _, _ = dense((1, 400), input_quantization=[0.5, 3], threads=1)
    folder = save_classifier(classifier, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())["init"]
    assert config["input_quantization"] == [0.5, 3]
    assert config["path"] == classifier.file_name
    assert set(config) | {"labels", "frontend", "sample_rate_hz"} == set(_parameters(type(classifier)))


def _parameters(kind):
    import inspect

    return [name for name in inspect.signature(kind).parameters if name != "self"]


@pytest.mark.parametrize("samples", [3000, 5900, 6100, 10_500])
def test_a_last_window_that_is_left_out_is_no_part_of_the_explanation(dense, samples):
    classifier, _, _ = dense((1, 4000))
    explainer = Explainer(classifier, make_untrained("rise", classifier, masks=10, area=0.2))
    explanation = explainer.explain(0.3 * torch.randn(samples), scores=False)
    heard = {3000: 3000, 5900: 4000, 6100: 6100, 10_500: 10_500}[samples]
    assert len(explanation.original) == heard
    assert any("hears only the first 0.25 s" in note for note in explanation.notes) == (heard < samples)


def quantised_levels(waveforms):
    """Return features of clips as integers, 8 levels of the waveform."""
    levels = np.abs(waveforms[:, :8000]).reshape(len(waveforms), 8, -1).mean(-1)
    return np.clip(np.round(255 * levels), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_features_that_are_quantised_already_are_passed_as_they_are(tmp_path, as_tensor):
    rng = np.random.default_rng(1)
    weights, bias = rng.normal(size=(3, 8)), rng.normal(size=3)
    path = write_onnx(tmp_path / "q.onnx", weights, bias, (None, 8), "UINT8", scales=(1 / 255, 0))

    def features(waveforms):
        values = quantised_levels(waveforms)
        return torch.from_numpy(values) if as_tensor else values

    classifier = OnnxClassifier(path, LABELS, features=features)
    waveform = 0.3 * torch.randn(2, 8000)
    expected = quantised_levels(received(classifier, waveform)) / 255 @ weights.T + bias
    np.testing.assert_allclose(classifier.logits(classifier.frontend(waveform)), expected, atol=1e-5)
    # other numbers need to be quantised, and the file does not state how
    by_number = OnnxClassifier(path, LABELS, features=lambda waveforms: quantised_levels(waveforms) / 255)
    with pytest.raises(ConfigurationError, match=r"input_quantization: .*type uint8"):
        by_number.logits(by_number.frontend(waveform))
    scaled = OnnxClassifier(path, LABELS, features=by_number._features[0], input_quantization=(1 / 255, 0))
    np.testing.assert_allclose(scaled.logits(scaled.frontend(waveform)), expected, atol=1e-5)


def test_inputs_that_do_not_fit_are_named_with_their_shapes(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    inputs = [
        helper.make_tensor_value_info("sound", kinds.FLOAT, ["clips", 4000]),
        helper.make_tensor_value_info("state", kinds.INT64, [2, 1, 128]),
    ]
    node = helper.make_node("Identity", ["sound"], ["scores"])
    outlet = helper.make_tensor_value_info("scores", kinds.FLOAT, ["clips", 4000])
    graph = helper.make_graph([node], "two inputs", inputs, [outlet])
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with pytest.raises(
        ConfigurationError, match=r"sound \(any, 4000\) float32, state \(2, 1, 128\) int64; one input"
    ):
        OnnxClassifier(path, LABELS)
    weights, bias = np.zeros((3, 64 * 96)), np.zeros(3)
    mel = write_onnx(tmp_path / "mel.onnx", weights, bias, (1, 96, 64))
    classifier = OnnxClassifier(mel, LABELS, input="log_magnitude", axes="btf")
    with pytest.raises(ConfigurationError, match=r"its input sound has shape \(1, 96, 64\)"):
        classifier.predict(classifier.frontend(torch.randn(1, 16_000)))
    five = write_onnx(tmp_path / "five.onnx", weights, bias, (1, 1, 1, 96, 64))
    with pytest.raises(ConfigurationError, match=r"the 5 axes that .*sound \(1, 1, 1, 96, 64\)"):
        OnnxClassifier(five, LABELS)
