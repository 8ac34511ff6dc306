"""The recipes of interpreters, run as a user runs them, with the models that they fetch when none was trained.

A local server stands for the hub. Its files are written by SpeechBrain's modules, narrow and with random weights.
All other connections are refused.
"""

import contextlib
import importlib.util
import io
import json
import os
import runpy
import shutil
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from huggingface_hub import constants

from otoscope.speechbrain.labels import ESC50_LABELS

TESTS = Path(__file__).parent
RECIPES = TESTS.parent / "recipes" / "ESC50"
COMMIT_DIGITS = 7

DESCRIPTION = """
sample_rate: 16000
use_vq: True
use_mask_output: True
compute_stft: !new:speechbrain.processing.features.STFT
    n_fft: 1024
    hop_length: 11.6099
    win_length: 23.2199
    sample_rate: !ref <sample_rate>
embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
    dim: 8
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 8
    out_neurons: 50
    lin_blocks: 1
psi_model: !new:speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio
    dim: 8
    K: 120
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    paths:
        embedding_model: speechbrain/PIQ-ESC50/embedding_modelft.ckpt
        classifier: speechbrain/PIQ-ESC50/classifier.ckpt
        psi_model: speechbrain/PIQ-ESC50/psi_model.ckpt
        label_encoder: speechbrain/PIQ-ESC50/label_encoder.txt
"""


def module_at(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fixtures = module_at(TESTS / "reference" / "conftest.py", "published_fixtures")
hub_server = module_at(TESTS / "hub_server.py", "published_hub_server")
reference, theirs = fixtures.reference, fixtures.theirs


@pytest.fixture(scope="module")
def published(reference, theirs, tmp_path_factory):
    """Folder with the published repositories, in the layout of the hub."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("published")
    conv2d, cnn14 = reference.ReferenceConv2d(50, 8), reference.ReferenceCnn14(50, 2)
    repositories = {
        "speechbrain/PIQ-ESC50": {
            "embedding_model.ckpt": theirs.Conv2dEncoder(dim=8),
            "embedding_modelft.ckpt": conv2d.encoder,
            "classifier.ckpt": conv2d.head,
            "psi_model.ckpt": theirs.VectorQuantizedPSI(dim=8, K=120),
            "nmf_decoder.ckpt": theirs.NMFDecoder(n_comp=6, n_freq=513),
        },
        "fpaissan/r": {"embedding_model.ckpt": cnn14.encoder, "classifier.ckpt": cnn14.head},
        "speechbrain/cnn14-esc50": {"embedding_model.ckpt": cnn14.encoder},
    }
    if importlib.util.find_spec("transformers"):
        focalnet = reference.ReferenceFocalNet(50, 2)
        files = {"embedding_model.ckpt": focalnet.encoder, "classifier.ckpt": focalnet.head}
        repositories["speechbrain/focalnet-base-esc50"] = files
    for name, files in repositories.items():
        (root / name).mkdir(parents=True)
        for file, module in files.items():
            torch.save(module.state_dict(), root / name / file)
    folder = root / "speechbrain" / "PIQ-ESC50"
    (folder / "hyperparams.yaml").write_text(DESCRIPTION)
    (folder / "label_encoder.txt").write_text(
        "".join(f"{label!r} => {i}\n" for i, label in enumerate(ESC50_LABELS))
    )
    return root


QUICK = [
    *(
        "--data.batch_size=3",
        "--trainer.accelerator=cpu",
        "--trainer.max_epochs=1",
        "--trainer.limit_train_batches=1",
    ),
    *("--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1", "--trainer.enable_progress_bar=false"),
]
PIQ = ("train_piq.py", "hparams/piq_vq.yaml", "--model.codes=100", "--interpretations.clips=0")
PLAIN = ("train_piq.py", "hparams/piq_plain.yaml", "--interpretations.clips=0")
L2I = ("train_l2i.py", "hparams/l2i_conv2dclassifier.yaml", "--interpretations.clips=0")
LMAC = ("train_lmac.py", "hparams/lmac_cnn14.yaml", "--interpretations.clips=0")
AMT = ("interpret_amt.py", "hparams/amt_focalnet.yaml", "--overlap.clips=0", "--interpretations.clips=0")
TRAIN = ("train.py", "hparams/conv2d.yaml", "--model.classifier.width=8", "--model.classifier.head_width=192")
OTHER_WIDTH = ("train.py", "hparams/conv2d.yaml", "--model.classifier.width=6", "--model.classifier.head_width=8")
ABSENT = "../classification/results/conv2d/1234/model does not exist"


class Outcome(NamedTuple):
    """Exit code, output and error output of a script."""

    code: int
    output: str
    errors: str

    @property
    def lines(self):
        return self.output.splitlines()


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Function that copies the recipes, without results, into a folder of its own."""
    root = tmp_path_factory.mktemp("recipes")

    def copied(name):
        return shutil.copytree(RECIPES, root / name, ignore=shutil.ignore_patterns("results"))

    return copied


@pytest.fixture(scope="module")
def run(esc50, tmp_path_factory):
    """Function that runs scripts of recipes in this process, with the hub at an address."""
    root = tmp_path_factory.mktemp("run")
    connect = socket.socket.connect

    def connect_locally(self, address):
        if isinstance(address, tuple) and address[0] != "127.0.0.1":
            raise OSError(f"{address} is outside of the test")
        return connect(self, address)

    def run_script(folder, script, *arguments):
        outputs = io.StringIO(), io.StringIO()
        options = [] if script == "eval.py" else QUICK
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(outputs[0]),
            contextlib.redirect_stderr(outputs[1]),
        ):
            patch.chdir(folder)
            patch.setattr(sys, "argv", [script, *arguments, f"--data_folder={esc50}", *options])
            with pytest.raises(SystemExit) as stop:
                runpy.run_path(script, run_name="__main__")
        return Outcome(stop.value.code or 0, *(output.getvalue() for output in outputs))

    def run_scripts(endpoint, *lines):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect", connect_locally)
            patch.setattr(constants, "ENDPOINT", endpoint)
            template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
            patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            patch.setattr(constants, "HF_HUB_CACHE", str(root / "hub" / endpoint.rpartition(":")[2]))
            patch.setenv("OTOSCOPE_CACHE", str(root / "cache"))
            for name in [name for name in os.environ if "proxy" in name.lower()]:
                patch.delenv(name)
            return [run_script(*line) for line in lines]

    return run_scripts


@pytest.fixture(scope="module")
def online(run, copy, published, esc50):
    """Folders of the recipes, outcomes by name, and commits by repository, with a hub."""
    clip = esc50 / "audio" / "5-50-A-0.wav"
    conv2d, trained_here = copy("conv2d"), copy("trained")
    interpret, other = conv2d / "interpret", trained_here / "interpret"
    trained = f"--model.classifier={trained_here / 'classification' / 'results' / 'conv2d' / '1234' / 'model'}"
    scripts = {
        "piq --test_only, published": (interpret, *PIQ, "--test_only"),
        "eval of an untrained piq": (interpret, "eval.py", "hparams/piq.yaml", f"--single_sample={clip}"),
        "piq": (interpret, *PIQ),
        "piq --test_only": (interpret, *PIQ, "--test_only"),
        "l2i": (interpret, *L2I),
        "l2i --test_only": (interpret, *L2I, "--test_only", "--json"),
        "lmac --test_only, untrained": (interpret, *LMAC, "--test_only"),
        "lmac": (interpret, *LMAC),
        "lmac --test_only": (interpret, *LMAC, "--test_only"),
        "plain piq": (other, *PLAIN),
        "train": (trained_here / "classification", *TRAIN),
        "train, other width": (trained_here / "classification", *OTHER_WIDTH, "--output_folder=results/other"),
        "plain piq --test_only": (other, *PLAIN, "--test_only"),
        "plain piq, trained": (other, *PLAIN, "--output_folder=results/new"),
        "plain piq, named": (other, *PLAIN, trained, "--output_folder=results/new", "--test_only"),
    }
    if importlib.util.find_spec("transformers"):
        scripts |= {"amt": (interpret, *AMT), "amt --test_only": (interpret, *AMT, "--test_only")}
    with hub_server.running() as server:
        for path in published.glob("*/*"):
            server.add(path.relative_to(published).as_posix(), path)
        outcomes = dict(zip(scripts, run(server.address, *scripts.values()), strict=True))
        commits = {name: server.commit(name)[:COMMIT_DIGITS] for name in server.repositories}
    return SimpleNamespace(folder=interpret, outcomes=outcomes, commits=commits)


def test_piq(online):
    first, second, third = (
        online.outcomes[name] for name in ("piq --test_only, published", "piq", "piq --test_only")
    )
    assert (first.code, second.code, third.code) == (0, 0, 0)
    commit = online.commits["speechbrain/PIQ-ESC50"]
    source = f"classifier: speechbrain/PIQ-ESC50/embedding_modelft.ckpt at {commit}"
    assert first.lines[:2] == [
        f"{source} (published weights, downloaded); {ABSENT}",
        f"interpreter: speechbrain/PIQ-ESC50 at {commit} (published weights, downloaded); "
        "results/piq_vq/1234/checkpoints/best.ckpt does not exist",
    ]
    assert first.lines[3].startswith("PIQ ")
    assert second.lines[0] == f"{source} (published weights, cached); {ABSENT}"
    assert second.lines[2].startswith("PIQ ")
    assert second.lines[2] != first.lines[3], "the trained interpreter is not the published one"
    assert third.output == second.output, "a test alone gives the numbers of the training"


def test_a_file_whose_training_has_not_run_evaluates_the_published_model(online):
    outcome = online.outcomes["eval of an untrained piq"]
    assert outcome.code == 0, outcome.errors
    commit = online.commits["speechbrain/PIQ-ESC50"]
    assert outcome.lines[0] == (
        f"classifier: speechbrain/PIQ-ESC50 at {commit} (published weights, cached); "
        "results/piq/1234/model does not exist"
    )
    folder = online.folder / "results" / "piq" / "1234" / "single_sample" / "5-50-A-0"
    assert json.loads((folder / "explanation.json").read_text())["predicted"] in ESC50_LABELS


def test_l2i(online):
    first, second = online.outcomes["l2i"], online.outcomes["l2i --test_only"]
    assert (first.code, second.code) == (0, 0)
    commit = online.commits["speechbrain/PIQ-ESC50"]
    cached = f"at {commit} (published weights, cached)"
    assert first.lines[:2] == [
        f"dictionary: speechbrain/PIQ-ESC50/nmf_decoder.ckpt at {commit} (published weights, downloaded); "
        "results/nmf/1234/model does not exist",
        f"classifier: speechbrain/PIQ-ESC50/embedding_modelft.ckpt {cached}; {ABSENT}",
    ]
    written = online.folder / "results" / "l2i_conv2dclassifier" / "1234"
    assert json.loads(second.output) == json.loads((written / "test.json").read_text())
    options = json.loads((written / "model" / "config.json").read_text())["init"]
    assert options["temperature"] == 0.01, "published logits are cosines"
    assert options["components"] == 6
    classifier = json.loads((written / "model" / "classifier" / "config.json").read_text())
    assert classifier["labels"] == ESC50_LABELS


def test_lmac(online):
    names = ("lmac --test_only, untrained", "lmac", "lmac --test_only")
    first, second, third = (online.outcomes[name] for name in names)
    assert (first.code, second.code, third.code) == (2, 0, 0)
    assert first.errors.count("\n") == 1
    assert "results/lmac_cnn14/1234/checkpoints/best.ckpt: no such checkpoint to test; train first" in first.errors
    cached = f"at {online.commits['fpaissan/r']} (published weights, cached)"
    assert second.lines[0] == (
        f"classifier: fpaissan/r/embedding_model.ckpt {cached}; "
        "../classification/results/cnn14/1234/model does not exist; "
        "labels: those of ESC-50 in the order of SpeechBrain's recipes, because there is no label_encoder.txt"
    )
    assert "L-MAC " in second.output
    assert third.output == second.output


def test_amt(online):
    pytest.importorskip("transformers")
    first, second = online.outcomes["amt"], online.outcomes["amt --test_only"]
    assert (first.code, second.code) == (0, 0)
    name = "speechbrain/focalnet-base-esc50"
    line = f"classifier: {name}/embedding_model.ckpt at {online.commits[name]} (published weights, downloaded); "
    assert first.output.startswith(line)
    assert "AMT " in first.output
    assert second.output == first.output.replace("downloaded", "cached")


def test_a_classifier_that_was_trained_here_comes_first(online):
    outcomes = online.outcomes
    assert outcomes["plain piq"].code == 0
    source = "speechbrain/PIQ-ESC50/embedding_model.ckpt"
    start = f"start: {source} at {online.commits['speechbrain/PIQ-ESC50']} (published"
    assert outcomes["train"].lines[0].startswith(start)
    assert outcomes["train, other width"].code == 0
    assert outcomes["train, other width"].lines[0] == (
        f"start: random weights; {source} does not fit: width 6, published 8"
    )
    # This interpreter explains the published classifier, but now another one comes first.
    assert outcomes["plain piq --test_only"].code == 2
    assert "the checkpoint belongs to another classifier" in outcomes["plain piq --test_only"].errors
    trained, named = outcomes["plain piq, trained"], outcomes["plain piq, named"]
    assert trained.lines[0] == "classifier: ../classification/results/conv2d/1234/model"
    assert named.lines == trained.lines[1:], "what is named needs no report"


def test_without_network(run, copy, published):
    absent, placed = copy("absent") / "interpret", copy("placed") / "interpret"
    shutil.copytree(published / "speechbrain" / "PIQ-ESC50", placed / "speechbrain" / "PIQ-ESC50")
    classification = absent.parent / "classification"
    named = "--model.start=speechbrain/cnn14-esc50/embedding_model.ckpt"
    cnn14 = ("train.py", "hparams/cnn14.yaml", "--model.classifier.width=2")
    error, success, trained, strict = run(
        "http://127.0.0.1:9",
        (absent, *PLAIN),
        (placed, *PLAIN),
        (classification, *cnn14),
        (classification, *cnn14, named, "--output_folder=results/named"),
    )
    assert trained.code == 0, trained.errors
    assert trained.lines[0] == (
        "start: random weights; speechbrain/cnn14-esc50/embedding_model.ckpt cannot be fetched (the hub does not "
        "answer)"
    )
    assert strict.code == 2
    assert strict.errors.count("\n") == 1
    assert "put them into" in strict.errors
    assert strict.errors.endswith("--model.start null trains from random weights\n")
    assert (error.code, error.output) == (2, "")
    address = "http://127.0.0.1:9/speechbrain/PIQ-ESC50"
    names = ("embedding_modelft.ckpt", "classifier.ckpt", "label_encoder.txt")
    files = ", ".join(f"{address}/resolve/main/{name}" for name in names)
    assert error.errors == (
        f"otoscope train: classifier: {ABSENT}, and speechbrain/PIQ-ESC50: is no local folder, and {files} cannot "
        f"be fetched (the hub does not answer); without a network, download the files of {address} elsewhere and "
        f"put them into {absent / 'speechbrain' / 'PIQ-ESC50'}, which is then opened instead\n"
    )
    assert success.code == 0, success.errors
    assert success.lines[0] == f"classifier: speechbrain/PIQ-ESC50/embedding_modelft.ckpt; {ABSENT}"
