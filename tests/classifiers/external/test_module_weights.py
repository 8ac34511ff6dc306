"""Weights of a network in the files of training frameworks."""

import lightning
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from otoscope.classifiers.external.module_weights import load_module_weights
from otoscope.errors import CheckpointError


def network():
    return nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Flatten(), nn.LazyLinear(2))


@pytest.fixture
def trained():
    module = network()
    module(torch.zeros(2, 1, 8))
    with torch.no_grad():
        module[0].weight.fill_(0.75)
    return module


def loaded(path):
    module = network()
    module(torch.zeros(2, 1, 8))
    load_module_weights(module, path)
    return module[0].weight.unique().tolist()


def renamed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "model.", "model._orig_mod.", "a.b.module.", "encoder."]
)
def test_prefixes_of_training_frameworks_are_removed(trained, tmp_path, prefix):
    torch.save(renamed(trained.state_dict(), prefix), tmp_path / "weights.pt")
    assert loaded(tmp_path / "weights.pt") == [0.75]
    save_file({k: v.clone() for k, v in renamed(trained.state_dict(), prefix).items()}, tmp_path / "w.safetensors")
    assert loaded(tmp_path / "w.safetensors") == [0.75]


@pytest.mark.parametrize("entry", ["state_dict", "model_state_dict", "model", "net"])
def test_checkpoints_hold_weights_in_an_entry(trained, tmp_path, entry):
    torch.save(
        {"epoch": 3, entry: renamed(trained.state_dict(), "module."), "optimizer": {"state": {}}}, tmp_path / "c.pt"
    )
    assert loaded(tmp_path / "c.pt") == [0.75]


def test_checkpoint_of_lightning(trained, tmp_path):
    class Training(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = trained
            self.teacher = network()
            self.loss = nn.CrossEntropyLoss(weight=torch.ones(2))

    task = Training()
    task.teacher(torch.zeros(2, 1, 8))
    torch.save(
        {"state_dict": task.state_dict(), "pytorch-lightning_version": "2.6.0", "loops": {}}, tmp_path / "last.ckpt"
    )
    assert loaded(tmp_path / "last.ckpt") == [0.75]


def test_counters_of_batch_norm_may_be_absent(trained, tmp_path):
    state = {name: value for name, value in trained.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "weights.pt")
    assert loaded(tmp_path / "weights.pt") == [0.75]


def save_whole(module, path):
    torch.save(module, path)


def save_objects(module, path):
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": {"net": module}}, path)


def save_twice(module, path):
    torch.save(renamed(module.state_dict(), "one.") | renamed(module.state_dict(), "two."), path)


def save_other(module, path):
    torch.save({"conv.weight": torch.zeros(2)}, path)


def save_nothing(module, path):
    torch.save({"epoch": 3, "loss": 0.5}, path)


def save_script(module, path):
    torch.jit.save(torch.jit.trace(module.eval(), torch.zeros(1, 1, 8)), path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*TorchScript archive:UserWarning")
@pytest.mark.parametrize(
    ("save", "message"),
    [
        (save_whole, r"holds Python objects besides weights.*torch\.save\(checkpoint\.state_dict\(\)"),
        (save_objects, r"holds Python objects besides weights.*torch\.save\(checkpoint\[\"state_dict\"\]"),
        (save_twice, r"several times, under one\., two\."),
        (save_other, r"lacks 8 of the 8 weights of the network \(0\.weight, .*and has others \(conv\.weight\)"),
        (save_nothing, r"a mapping of epoch, loss, without weights by name; export them with torch\.save"),
        (save_script, "is a TorchScript archive; export its weights"),
    ],
)
def test_errors_say_how_to_export_again(trained, tmp_path, save, message):
    save(trained, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=message):
        loaded(tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 damaged"])
def test_damaged_files_are_named(trained, tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.pt"):
        loaded(tmp_path / "weights.pt")
