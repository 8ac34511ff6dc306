"""Weights of SpeechBrain: no code is executed, parts are renamed and loaded, every misfit is reported."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import otoscope
from otoscope.errors import CheckpointError
from otoscope.speechbrain.names import backbone_spelling
from otoscope.speechbrain.weights import Part, load_parts, read_weights


class Malice:
    """Object that runs a command when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def save(tmp_path):
    def write(content, name="psi_model.ckpt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("form", ["torch", "old torch", "pickle", "among weights"])
def test_malicious_pickle_is_refused_and_not_executed(tmp_path, form):
    canary, path = tmp_path / "canary", tmp_path / "psi_model.ckpt"
    if form == "pickle":
        path.write_bytes(pickle.dumps(Malice(canary)))
    elif form == "among weights":
        torch.save({"weight": torch.ones(2), "evil": Malice(canary)}, path)
    else:
        torch.save(Malice(canary), path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(CheckpointError, match="was refused and nothing was executed") as caught:
        read_weights(path)
    assert str(path) in str(caught.value)
    assert ("system" in str(caught.value)) == (form != "pickle"), "torch does not report the name in a plain pickle"
    assert "\n" not in str(caught.value)
    assert not canary.exists()


def test_malicious_pickle_in_a_model_folder_is_refused(tmp_path):
    canary, folder = tmp_path / "canary", tmp_path / "model"
    folder.mkdir()
    (folder / "hyperparams.yaml").write_text(
        "embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2\n"
        "psi_model: !new:speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio\n"
    )
    (folder / "label_encoder.txt").write_text("'dog' => 0\n")
    torch.save(Malice(canary), folder / "embedding_model.ckpt")
    with pytest.raises(CheckpointError, match="nothing was executed"):
        otoscope.load(folder)
    assert not canary.exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"a": {"b": torch.ones(1)}}, torch.ones(3)], ids=str)
def test_files_without_a_state_dict_are_refused(save, content):
    with pytest.raises(CheckpointError, match=r"psi_model\.ckpt: holds no"):
        read_weights(save(content))


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 and no archive"], ids=range(3))
def test_damaged_file_is_reported(tmp_path, content):
    (tmp_path / "theta.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"theta\.ckpt"):
        read_weights(tmp_path / "theta.ckpt")


def test_truncated_or_missing_file_is_reported(save):
    path = save({"weight": torch.rand(1000)})
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"psi_model\.ckpt: cannot be read"):
        read_weights(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(Path(str(path) + ".absent"))


def test_prefix_of_data_parallel_weights_is_removed(save):
    weights = read_weights(save({"module.a.weight": torch.ones(2), "module.b": torch.zeros(1)}))
    assert list(weights) == ["a.weight", "b"]


def test_parts_are_renamed_and_loaded(save):
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1, bias=False))
    norm = {f"norm.{name}": torch.rand(3) for name in ("weight", "bias", "running_mean", "running_var")}
    first = {"layer.weight": torch.rand(3, 2), "layer.bias": torch.rand(3), **norm, "spare.weight": torch.rand(9)}
    last = {"weight": torch.rand(1, 3, dtype=torch.float64)}
    body = Part(save(first, "body.ckpt"), {"layer": "0", "norm": "1"}, unused=["spare"])
    head = Part(save(last, "head.ckpt"), {"": "2."})
    load_parts(module, [body, head])
    assert torch.equal(module[0].weight, first["layer.weight"])
    assert torch.equal(module[1].running_var, norm["norm.running_var"])
    assert torch.equal(module[2].weight, last["weight"].float())
    assert (body.network_name("layer.bias"), body.file_name("1.running_var")) == ("0.bias", "norm.running_var")
    assert (head.file_name("2.weight"), head.network_name("weight")) == ("weight", "2.weight")
    assert body.shape("layer.weight") == (3, 2)
    with pytest.raises(CheckpointError, match=r"body\.ckpt: layer\.wight is missing"):
        body.shape("layer.wight")


def test_every_misfit_is_reported(save):
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 1))
    weights = {
        "a.weight": torch.rand(2, 3),
        "b.weight": torch.rand(3, 3),
        "b.bias": torch.rand(3),
        "d": torch.ones(1),
    }
    part = Part(save(weights), {"a": "0", "b": "1"})
    with pytest.raises(CheckpointError) as caught:
        load_parts(module, [part])
    for fault in (
        "psi_model.ckpt: a.weight has shape (2, 3) instead of (3, 2)",
        "psi_model.ckpt: d is unknown",
        "psi_model.ckpt: a.bias is missing",
        "2.weight is missing",
    ):
        assert fault in str(caught.value)
    load_parts(nn.Sequential(nn.Linear(3, 3)), [Part(save({"b.weight": torch.ones(3, 3)}), {"b": "0"})], ["0.bias"])


def test_many_misfits_are_counted(save):
    with pytest.raises(CheckpointError, match="and 88 more"):
        load_parts(nn.Linear(1, 1), [Part(save({f"p{i}": torch.ones(1) for i in range(98)}), {})])


def test_spelling_of_backbones():
    older, newer = "encoder.layer.3.attention.attention.key.bias", "layers.3.attention.k_proj.bias"
    assert backbone_spelling([older], [newer]) == {older: newer}
    assert backbone_spelling([newer], [older]) == {newer: older}
    assert backbone_spelling([newer, "other"], [newer]) == {newer: newer, "other": "other"}
