"""Hyperparameter files of SpeechBrain: values and references are read, and no code is executed."""

from pathlib import Path

import pytest
import torch

import otoscope
from otoscope.errors import CheckpointError
from otoscope.speechbrain import Hyperparameters


@pytest.fixture
def read(tmp_path):
    def write_and_read(text):
        path = tmp_path / "hyperparams.yaml"
        path.write_text(text)
        return Hyperparameters(path)

    return write_and_read


def test_values_and_references(read):
    content = read("""
        rate: 16000
        share: 0.35
        use: True
        nothing: null
        folder: results/piq
        again: !ref <rate>
        far: !ref <again>
        path: !ref <folder>/<rate>/psi.ckpt
        inner: {deep: {value: 7}}
        within: !ref <inner[deep][value]>
        of_object: !ref <stft[n_fft]>
        stft: !new:speechbrain.processing.features.STFT
            n_fft: 1024
            rate: !ref <rate>
        copied: !copy <rate>
        place: !PLACEHOLDER
    """)
    values = {"rate": 16_000, "share": 0.35, "use": True, "nothing": None, "again": 16_000, "far": 16_000}
    values |= {"path": "results/piq/16000/psi.ckpt", "within": 7, "of_object": 1024, "copied": 16_000}
    assert {key: content.get(key) for key in values} == values
    assert content.get("absent", 3) == 3
    assert "share" in content
    assert "absent" not in content
    stft = content.call("absent", "stft")
    assert (stft.kind, stft.target, stft.name) == ("new", "speechbrain.processing.features.STFT", "STFT")
    assert stft.arguments == {"n_fft": 1024, "rate": 16_000}
    assert content.call("rate") is None


def test_arguments_without_names_and_aliases(read):
    content = read("""
        backbone: !apply:transformers.ViTModel.from_pretrained [google/vit, !ref <size>]
        size: base
        first: &net !new:torch.nn.Linear {in_features: 3}
        second: *net
        optimizer: !name:torch.optim.Adam
    """)
    assert content.call("backbone").positional == ["google/vit", "base"]
    assert content.call("second").arguments == {"in_features": 3}
    assert content.call("optimizer").target == "torch.optim.Adam"


@pytest.mark.parametrize("key", ["cycle", "swing", "lost", "lost_inside", "too_long"])
def test_unresolvable_references_are_reported(read, key):
    content = read(
        "cycle: !ref <cycle>\nswing: !ref <swung>\nswung: !ref a<swing>\nlost: !ref <absent>\n"
        "lost_inside: !ref <lost_in[absent]>\nlost_in: {present: 1}\n"
        + "".join(f"a{i}: !ref {'<a' + str(i + 1) + '>'!s}{'<a' + str(i + 1) + '>'!s}\n" for i in range(40))
        + "a40: 0123456789\ntoo_long: !ref <a0>\n"
    )
    with pytest.raises(CheckpointError, match=r"hyperparams\.yaml: (!ref )?.*<"):
        content.get(key)


OBJECTS = {
    "apply": "evil: !!python/object/apply:os.system ['touch {canary}']",
    "new": "evil: !!python/object/new:os.system ['touch {canary}']",
    "object": "evil: !!python/object:pathlib.Path {{}}",
    "name": "evil: !!python/name:os.system",
    "module": "evil: !!python/module:os",
    "hyperpyyaml apply": "evil: !apply:os.system ['touch {canary}']",
    "hyperpyyaml new": "evil: !new:subprocess.Popen [['touch', '{canary}']]",
    "hyperpyyaml name": "evil: !name:builtins.eval [\"open('{canary}', 'w')\"]",
    "nested": "fine: {{deep: [1, !apply:os.system ['touch {canary}']]}}",
    "in a key": "? !!python/object/apply:os.system ['touch {canary}']\n: 1",
    "in an argument": "net: !new:torch.nn.Linear\n    size: !apply:pathlib.Path ['{canary}']",
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_are_refused_and_not_executed(tmp_path, kind):
    canary = tmp_path / "canary"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "hyperparams.yaml").write_text("sample_rate: 16000\n" + OBJECTS[kind].format(canary=canary) + "\n")
    with pytest.raises(CheckpointError, match="was not opened and nothing was executed") as caught:
        otoscope.load(folder)
    assert str(folder / "hyperparams.yaml") in str(caught.value)
    assert not canary.exists()


def test_tags_of_recipes_are_read_and_not_executed(read, monkeypatch):
    def refuse(*_):
        raise AssertionError("was called")

    monkeypatch.setattr(torch, "manual_seed", refuse)
    content = read("""
        seed: 3
        __set_seed: !!python/object/apply:torch.manual_seed [!ref <seed>]
        __again: !apply:torch.manual_seed [!ref <seed>]
        pair: !!python/tuple [1, 2]
        unknown: !new:no.such.module.Thing {value: 1}
    """)
    assert content.call("__set_seed").positional == [3]
    assert content.call("unknown").target == "no.such.module.Thing"


@pytest.mark.parametrize(
    "text", ["a: [1, 2", "- 1\n- 2\n", "", "a: \x00", "[" * 3000, "a: " + "x" * (1 << 20)], ids=range(6)
)
def test_invalid_hyperparameter_files_are_refused(read, text):
    with pytest.raises(CheckpointError, match=r"hyperparams\.yaml"):
        read(text)


ALIASES = {
    "multiplied": "a0: &a0 [x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
    "merged": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
    "in itself": "a: &a [*a]\n",
    "merged with itself": "a: &a {<<: *a}\n",
}


@pytest.mark.parametrize("kind", ALIASES)
def test_aliases_that_multiply_values_are_refused(tmp_path, kind):
    path = tmp_path / "hyperparams.yaml"
    path.write_text(ALIASES[kind])
    fault = None
    # Without pytest's own report of the chain of errors, which would print the expanded values.
    try:
        Hyperparameters(path)
    except CheckpointError as error:
        fault = str(error)
    assert fault in (
        f"{path}: cannot be read (it holds more than 20000 values, or aliases that multiply them)",
        f"{path}: cannot be read (an alias refers to what contains it)",
    )


@pytest.mark.parametrize(
    "text", ["a: !ref <a[a]>\n", "a: !ref <b[x]>\nb: !ref <a[x]>\n", "a: !!timestamp x\n", "a: !!int ''\n"]
)
def test_endless_references_and_odd_values_are_one_error(tmp_path, text):
    path = tmp_path / "hyperparams.yaml"
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"hyperparams\.yaml"):
        Hyperparameters(path).get("a")


def test_missing_file_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        Hyperparameters(Path(tmp_path / "hyperparams.yaml"))
