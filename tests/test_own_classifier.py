"""Classifiers of the user, named on the command line: interpreters are trained on them, and errors are reported."""

import json
import sys

import pytest
import torch

from otoscope import save_audio
from otoscope.cli.main import main
from otoscope.explain import load

MODULE = """
import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 5, stride=4)
        self.head = nn.Linear(width, 3)

    def forward(self, mel):
        return self.head(self.conv(mel).relu().mean((2, 3)))


class WaveNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 64, stride=186)
        self.head = nn.Linear(4, 3)

    def forward(self, waveform):
        return self.head(self.conv(waveform[:, None]).relu().mean(-1))


def guess(waveforms):
    return np.full((len(waveforms), 3), 1 / 3)
"""
LABELS = "[siren, rooster, clock_tick]"
DATA = f"""
data:
  class_path: otoscope.data.Synthetic
  init_args: {{clips_per_class: 4, duration_s: 0.5, classes: {LABELS}, batch_size: 6}}
trainer: {{max_epochs: 1, accelerator: cpu, enable_progress_bar: false}}
"""
PIQ = """
model:
  class_path: otoscope.training.PIQ
  init_args:
    codes: 12
    schedule: constant
    classifier:
      class_path: otoscope.classifiers.{kind}
      init_args: {{{arguments}, labels: {labels}}}
"""
MEL_NETWORK = (
    "module: {class_path: my_nets.Net, init_args: {width: 5}}, input: mel, representation: conv, weights: net.pt"
)
WAVEFORM_NETWORK = "module: {class_path: my_nets.WaveNet}, input: waveform, representation: conv"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Folder of the user, with a module and a recording, as the current folder."""
    monkeypatch.setenv("OTOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)
    (tmp_path / "my_nets.py").write_text(MODULE)
    save_audio(tmp_path / "clip.wav", 0.3 * torch.randn(8000))
    yield tmp_path
    sys.modules.pop("my_nets", None)


def train(folder, arguments, kind="TorchClassifier", *overrides):
    text = PIQ.format(kind=kind, arguments=arguments, labels=LABELS) + DATA
    (folder / "piq.yaml").write_text(text)
    quick = ["--interpretations.clips=0", "--output_folder=run"]
    return main(["train", "piq.yaml", *quick, *overrides])


def test_interpreter_is_trained_on_a_network_given_by_name(folder, capsys):
    sys.path.insert(0, str(folder))
    from my_nets import Net  # type: ignore[import-not-found]

    net = Net(5)
    torch.save(net.state_dict(), "net.pt")
    assert train(folder, MEL_NETWORK) == 0
    assert train(folder, MEL_NETWORK, "TorchClassifier", "--test_only") == 0
    assert main(["explain", "clip.wav", "--import", "my_nets", "--model", "run/model"]) == 0
    assert "siren" in capsys.readouterr().out
    weights = load("run/model").classifier.module.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


def test_interpreter_is_trained_on_a_network_that_takes_waveforms(folder):
    assert train(folder, WAVEFORM_NETWORK) == 0
    scores = json.loads((folder / "run" / "test.json").read_text())["scores"]
    assert set(scores) == {"PIQ", "all-pass", "random", "loudest", "ideal"}
    explanation = load("run/model").explain("clip.wav")
    assert explanation.mask.shape == (513, 44)


def test_options_can_be_overridden(folder):
    arguments = "module: {class_path: my_nets.Net}, representation: conv"
    assert train(folder, arguments, "TorchClassifier", "--model.classifier.init_args.input=magnitude") == 0
    config = json.loads((folder / "run" / "model" / "classifier" / "config.json").read_text())
    assert config["init"]["input"] == "magnitude"


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ("module: {class_path: my_nets.Nett}", "TorchClassifier", "there is no 'my_nets.Nett'"),
        ("module: {class_path: my_nets.Net}, representation: konv", "TorchClassifier", "similar names: conv"),
        ("module: {class_path: my_nets.Net}", "TorchClassifier", "name one when creating the TorchClassifier"),
        ("module: {class_path: my_nets.Net}, weights: no.pt", "TorchClassifier", "weights: no.pt does not fit"),
        ("function: {class_path: my_nets.guess}", "CallableClassifier", "black box without representations"),
        ("function: my_nets.guess", "CallableClassifier", "black box without representations"),
    ],
)
def test_errors_are_reported_in_one_line(folder, capsys, arguments, kind, message):
    assert train(folder, arguments, kind) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
