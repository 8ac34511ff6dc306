"""PyTorch modules as classifiers: forms of input and output, layers, modes, weights, model folders, errors."""

import dataclasses
import json
import sys
import types

import pytest
import torch
from torch import nn

from otoscope.audio import Frontend, MelBank, Spectrogram
from otoscope.classifiers import TorchClassifier, save_classifier
from otoscope.classifiers.external.layers import as_map
from otoscope.classifiers.external.torch_module import take_logits
from otoscope.errors import CheckpointError, ConfigurationError, RepresentationError, ShapeError
from otoscope.explain import Explainer
from otoscope.interpreters import L2IInterpreter, PIQInterpreter, make_untrained, save_interpreter
from otoscope.loading import load_classifier, load_interpreter

LABELS = ["dog", "rain"]


class Probe(nn.Module):
    """Network that keeps its last input."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.input = None

    def forward(self, x):
        self.input = x.detach()
        return self.scale * x.flatten(1).mean(1, keepdim=True)


class Net(nn.Module):
    """Small convolutional network with batch norm and dropout, which differ between training and evaluation."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, width, 5, stride=4), nn.BatchNorm2d(width), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.drop(self.conv(x).mean((2, 3))))


@pytest.fixture
def importable(monkeypatch):
    """Class path and arguments of `Net`, in a module that can be imported."""
    module = types.ModuleType("my_nets")
    module.Net = Net
    monkeypatch.setattr(Net, "__module__", "my_nets")
    monkeypatch.setitem(sys.modules, "my_nets", module)
    return {"class_path": "my_nets.Net", "init_args": {"width": 3}}


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("bft", (2, 513, 30)), ("btf", (2, 30, 513)), ("bcft", (2, 1, 513, 30)), ("bctf", (2, 1, 30, 513))],
)
def test_axes_of_a_spectrogram(axes, shape):
    classifier, log_magnitude = TorchClassifier(Probe(), LABELS, axes=axes), torch.rand(2, 513, 30)
    classifier(log_magnitude)
    values = classifier.module.input
    assert values.shape == shape
    if axes[-2:] == "tf":
        values = values.transpose(-1, -2)
    assert torch.equal(values.reshape(2, 513, 30), log_magnitude)


@pytest.mark.parametrize(("axes", "ndim"), [("bt", 2), ("bct", 3)])
def test_axes_of_a_waveform(axes, ndim):
    classifier, waveform = TorchClassifier(Probe(), LABELS, input="waveform", axes=axes), torch.randn(2, 8000)
    classifier.predict(classifier.frontend(waveform))
    assert classifier.module.input.ndim == ndim
    torch.testing.assert_close(classifier.module.input.reshape(2, -1)[:, :8000], waveform, rtol=1e-4, atol=1e-4)


def test_input_is_magnitude_mel_or_a_function_of_the_log_magnitude():
    log_magnitude = torch.rand(1, 513, 20)
    bank = MelBank(40)
    expected = {
        "log_magnitude": log_magnitude,
        "magnitude": log_magnitude.expm1(),
        "mel": bank(log_magnitude.expm1()).log1p(),
    }
    for name, values in expected.items():
        classifier = TorchClassifier(Probe(), LABELS, input=name, mel_bins=40, axes="bft")
        classifier(log_magnitude)
        torch.testing.assert_close(classifier.module.input, values)
    classifier = TorchClassifier(Probe(), LABELS, input=lambda values: values.square()[:, ::2])
    classifier(log_magnitude)
    torch.testing.assert_close(classifier.module.input, log_magnitude.square()[:, ::2])


def test_mel_bank_fits_the_front_end():
    frontend = Frontend(32_000, 2048)
    classifier = TorchClassifier(Probe(), LABELS, frontend, input="mel", mel_bins=50, axes="bft")
    values = torch.rand(1, 1025, 9)
    classifier(values)
    torch.testing.assert_close(classifier.module.input, MelBank(50, 1025, 32_000)(values.expm1()).log1p())


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (lambda x: x, None),
        (lambda x: Output(x), None),
        (lambda x: {"logits": x}, None),
        (lambda x: {"clipwise": x}, "clipwise"),
        (lambda x: (x, "other"), None),
        (lambda x: [x], None),
    ],
)
def test_forms_of_the_output(wrap, key):
    values = torch.randn(2, 3)
    assert torch.equal(take_logits(wrap(values), key), values)


@pytest.mark.parametrize("output", [{"scores": torch.zeros(1, 2)}, None, "dog", torch.zeros(1, 2).long(), ()])
def test_output_without_logits_is_refused(output):
    with pytest.raises(ShapeError, match="no tensor of logits was found; set output_key"):
        take_logits(output)


@pytest.mark.parametrize("multi_label", [False, True])
def test_probabilities_as_output(multi_label):
    class Constant(nn.Module):
        def forward(self, x):
            return torch.tensor([[0.2, 0.8]]).expand(len(x), 2)

    classifier = TorchClassifier(Constant(), LABELS, output="probabilities", multi_label=multi_label)
    prediction = classifier(torch.rand(3, 513, 9))
    assert prediction.multi_label is multi_label
    torch.testing.assert_close(prediction.probabilities, torch.tensor([[0.2, 0.8]]).expand(3, 2))


def test_logits_of_a_single_class_may_lack_the_axis_of_classes():
    class Level(nn.Module):
        def forward(self, x):
            return x.mean((1, 2, 3))

    classifier = TorchClassifier(Level(), ["speech"], multi_label=True)
    assert classifier(torch.rand(3, 513, 9)).probabilities.shape == (3, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_of_the_network_is_kept(dtype):
    net = Net().to(dtype)
    classifier = TorchClassifier(net, LABELS, representation="conv")
    waveform = 0.3 * torch.randn(2, 8000)
    spectrogram = classifier.frontend(waveform)
    prediction = classifier.predict(spectrogram)
    assert net.head.weight.dtype == dtype
    assert prediction.logits.dtype == prediction.representations[0].dtype == torch.float32
    full = Net()
    full.load_state_dict(net.state_dict())
    expected = TorchClassifier(full, LABELS, representation="conv").predict(spectrogram)
    torch.testing.assert_close(prediction.logits, expected.logits, rtol=0.02, atol=0.02)
    for method in ("integrated_gradients", "grad_cam"):
        interpreter = make_untrained(method, classifier, area=0.2)
        mask = Explainer(classifier, interpreter).explain(waveform[0], scores=False).mask
        assert mask.dtype == torch.float32
        assert 0 < mask.mean() < 1


def test_networks_that_convert_their_input_themselves_get_float32():
    class Converts(Probe):
        def forward(self, x):
            return super().forward(x).to(torch.bfloat16)

    classifier = TorchClassifier(Converts().bfloat16(), LABELS)
    assert classifier(torch.rand(1, 513, 9)).logits.dtype == torch.float32
    assert classifier.module.input.dtype == torch.float32


def test_mixed_precisions_and_devices_are_named():
    net = Net()
    net.head.bfloat16()
    with pytest.raises(ConfigurationError, match=r"dtype: the weights of the network are bfloat16 and float32"):
        TorchClassifier(net, LABELS)(torch.rand(1, 513, 9))
    # on the device `meta`, as on an accelerator: other than the front-end's
    classifier = TorchClassifier(Net(), LABELS)
    classifier.module.to("meta")
    with pytest.raises(ConfigurationError, match=r"device: the network is on meta, the front-end on cpu; .*\.to"):
        classifier(torch.rand(1, 513, 9))


def test_front_end_moves_to_the_device_of_the_network():
    classifier = TorchClassifier(Net().to("meta"), LABELS, input="mel")  # with its mel bank
    assert classifier.frontend.window.is_meta
    assert classifier(torch.rand(1, 513, 20, device="meta")).logits.shape == (1, 2)


@pytest.mark.parametrize("frontend", [8000, "8000", {"sample_rate_hz": 8000}])
def test_what_is_no_front_end_is_named(frontend):
    with pytest.raises(ConfigurationError, match=r"frontend: expected a Frontend, got \w+; otoscope\.Frontend\("):
        TorchClassifier(Net(), LABELS, frontend)


def test_network_is_frozen_and_not_modified(experienced):
    net = experienced(Net()).train()
    classifier = TorchClassifier(net, LABELS, representation="conv")
    assert not any(part.training for part in classifier.modules())
    assert not any(value.requires_grad for value in classifier.parameters())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    values = torch.rand(4, 513, 40)
    first = classifier(values)
    assert torch.equal(classifier(values).logits, first.logits)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.conv[0]._forward_hooks
    assert not net.conv._forward_hooks


def test_reading_channels_of_a_network_in_training_mode_does_not_change_it():
    net = Net()
    classifier = TorchClassifier(net, LABELS, representation="conv").train()
    before = net.conv[1].running_mean.clone()
    assert classifier.representation_channels == (4,)
    assert net.training
    assert net.drop.training
    assert torch.equal(net.conv[1].running_mean, before)


@pytest.mark.parametrize(
    ("shape", "axes", "options", "expected"),
    [
        ((2, 7, 4, 6), "bcft", {}, (2, 7, 4, 6)),
        ((2, 7, 6, 4), "bctf", {}, (2, 7, 4, 6)),
        ((2, 7, 6), "bct", {}, (2, 7, 1, 6)),
        ((2, 6, 7), "btc", {}, (2, 7, 1, 6)),
        ((2, 26, 7), "btc", {"token_rows": 4, "special_tokens": 2}, (2, 7, 4, 6)),
        ((2, 7), "bc", {}, (2, 7, 1, 1)),
    ],
)
def test_layers_become_maps(shape, axes, options, expected):
    assert as_map(torch.rand(shape), axes, "layer", **options).shape == expected


def test_tokens_are_ordered_by_frequency_then_by_time():
    grid = torch.arange(12.0).reshape(3, 4)  # frequency, time
    tokens = torch.cat([torch.full((1, 1, 1), -1.0), grid.reshape(1, 12, 1)], 1)
    assert torch.equal(as_map(tokens, "btc", "layer", token_rows=3, special_tokens=1)[0, 0], grid)


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(
        ShapeError, match=r"layer returns shape \(2, 3\), which is not 'bcft'; set representation_axes"
    ):
        as_map(torch.rand(2, 3), "bcft", "layer")
    with pytest.raises(ShapeError, match="13 tokens, 0 of them special, which do not make 4 rows"):
        as_map(torch.rand(2, 13, 3), "btc", "layer", token_rows=4)


def test_layers_of_a_network_with_time_first():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 3, (3, 9), stride=(2, 8))
            self.rows = nn.GRU(3, 5, batch_first=True)
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.rows(self.conv(x).mean(3).transpose(1, 2))[0].mean(1))

    classifier = TorchClassifier(TimeFirst(), LABELS, axes="bctf", representation=["conv", "rows"])
    maps = classifier(torch.rand(1, 513, 64)).representations
    assert [value.shape for value in maps] == [(1, 3, 64, 32), (1, 5, 1, 32)]


def test_unknown_layer_is_reported_with_similar_names():
    with pytest.raises(ConfigurationError, match=r"no layer 'convv'; similar names: conv"):
        TorchClassifier(Net(), LABELS, representation="convv")


def test_methods_that_read_representations_list_the_layers():
    classifier = TorchClassifier(Net(), LABELS)
    for method in (PIQInterpreter, L2IInterpreter):
        with pytest.raises(
            RepresentationError, match=r"name one .* The last layers: conv.0, conv.1, conv.2, drop, head"
        ):
            method(classifier)
    assert classifier(torch.rand(1, 513, 20)).representations == ()


def test_layer_that_does_not_run_is_reported():
    net = Net()
    net.spare = nn.Linear(2, 2)
    with pytest.raises(RepresentationError, match="spare did not run"):
        TorchClassifier(net, LABELS, representation="spare")(torch.rand(1, 513, 20))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "wave"}, "input: 'wave' is none of log_magnitude, magnitude, mel, waveform"),
        ({"input": 3}, "input: expected a name or a function, got int"),
        ({"axes": "bct"}, "axes: with input=log_magnitude they are one of bcft, bctf, bft, btf, not 'bct'"),
        ({"input": "waveform", "axes": "bft"}, "axes: with input=waveform they are one of bt, bct"),
        ({"output": "odds"}, "output: 'odds' is neither"),
        ({"module": {"class_path": "torch.nn.Lineal"}}, "module: there is no 'torch.nn.Lineal'"),
        ({"module": {"class_path": "torch.nn.Linear"}}, "module: torch.nn.Linear cannot be created"),
        ({"module": 3}, "module: expected a torch.nn.Module, got int"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        TorchClassifier(**{"module": Net(), "labels": LABELS, **options})


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize("inside", [None, "state_dict"])
def test_weights_from_a_file(tmp_path, ending, inside):
    from safetensors.torch import save_file

    source, path = Net(), tmp_path / f"weights{ending}"
    if ending == ".pt":
        torch.save({inside: source.state_dict()} if inside else source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    net = Net()
    TorchClassifier(net, LABELS, weights=path)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in net.state_dict().items())
    with pytest.raises(CheckpointError, match=r"weights: .*size mismatch"):
        TorchClassifier(Net(3), LABELS, weights=path)
    with pytest.raises(CheckpointError, match=r"weights: .*nowhere"):
        TorchClassifier(Net(), LABELS, weights=tmp_path / f"nowhere{ending}")


def test_pickle_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("code of a pickle ran",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="weights"):
        TorchClassifier(Net(), LABELS, weights=tmp_path / "evil.pt")


def test_module_given_by_name_is_saved_and_loaded(importable, tmp_path, experienced):
    options = {"input": "mel", "mel_bins": 40, "representation": ["conv"], "multi_label": True, "minimum_s": 0.2}
    classifier = TorchClassifier(importable, LABELS, Frontend(n_fft=512), **options)
    experienced(classifier.module)
    values = torch.rand(2, 257, 50)
    loaded = load_classifier(save_classifier(classifier, tmp_path / "model"))
    expected, prediction = classifier(values), loaded(values)
    assert torch.equal(prediction.logits, expected.logits)
    assert torch.equal(prediction.representations[0], expected.representations[0])
    assert prediction.multi_label
    assert loaded.config == classifier.config


def test_module_given_as_an_object_must_be_given_again(tmp_path):
    net = Net()
    classifier = TorchClassifier(net, LABELS, representation="conv")
    folder = save_classifier(classifier, tmp_path / "model")
    with pytest.raises(
        CheckpointError, match=r"module: it was given as an object.*load_classifier\(folder, module="
    ):
        load_classifier(folder)
    loaded = load_classifier(folder, module=Net())
    values = torch.rand(1, 513, 30)
    assert torch.equal(loaded(values).logits, classifier(values).logits)
    interpreter = PIQInterpreter(classifier, codes=8)
    folder = save_interpreter(interpreter, classifier, tmp_path / "piq")
    assert torch.equal(load_classifier(folder, module=Net())(values).logits, classifier(values).logits)


def test_interpreter_is_loaded_with_a_module_given_by_name(importable, tmp_path):
    classifier = TorchClassifier(importable, LABELS, representation="conv")
    interpreter = PIQInterpreter(classifier, codes=8).eval()
    folder = save_interpreter(interpreter, classifier, tmp_path / "model")
    loaded, loaded_classifier = load_interpreter(folder)
    spectrogram = Spectrogram(torch.rand(1, 513, 64))
    expected = interpreter(spectrogram, classifier.predict(spectrogram))
    assert torch.equal(loaded(spectrogram, loaded_classifier.predict(spectrogram)), expected)


def test_layers_that_share_weights_are_saved(tmp_path):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(513, 2)
            self.second = self.first

        def forward(self, x):
            return self.second(x.mean(-1))

    classifier = TorchClassifier(Shared(), LABELS, axes="bft")
    loaded = load_classifier(save_classifier(classifier, tmp_path / "model"), module=Shared())
    values = torch.rand(1, 513, 9)
    assert torch.equal(loaded(values).logits, classifier(values).logits)


def test_model_folder_causes_no_import(importable, tmp_path, monkeypatch):
    folder = save_classifier(TorchClassifier(importable, LABELS), tmp_path / "model")
    monkeypatch.delitem(sys.modules, "my_nets")
    with pytest.raises(
        CheckpointError, match=r"my_nets\.Net is not part of otoscope; if you trust it, import my_nets"
    ):
        load_classifier(folder)


@pytest.mark.parametrize(
    "spec", [{"class_path": "os.system", "init_args": {"command": "true"}}, {"class_path": "os.system"}]
)
@pytest.mark.parametrize("option", ["module", "input"])
def test_model_folder_makes_nothing_but_modules(importable, tmp_path, option, spec):
    folder = save_classifier(TorchClassifier(importable, LABELS), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["init"][option] = spec
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"os\.system is neither"):
        load_classifier(folder)
