import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import otoscope
from otoscope.audio import Frontend
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import CheckpointError, DownloadError, OtoscopeError
from otoscope.explain import Explainer
from otoscope.interpreters import L2IInterpreter, PIQInterpreter
from otoscope.nn import NMFDictionary
from otoscope.speechbrain import names
from otoscope.store.folder import find_model_folder, open_model
from otoscope.store.hub import Repository, hub_answers, is_repository_id
from otoscope.training import L2I, PIQ

LABELS = ["dog", "rain", "siren"]
WEIGHTS = "model.safetensors"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("speechbrain/PIQ-ESC50", True),
        ("me/my.model_2", True),
        ("model", False),
        ("a/b/c", False),
        ("./me/model", False),
        ("../model", False),
        ("/me/model", False),
        ("me/", False),
        ("~/model", False),
    ],
)
def test_repository_ids(source, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_repository_id(source) == expected
    if expected:
        Path(source).mkdir(parents=True)
        assert not is_repository_id(source), "local paths take precedence"


def test_first_fetch_and_cached_second_load(hub, published, explainer, no_network, same):
    first = otoscope.load(published)
    assert same(first, explainer)
    fetched = [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    assert len(fetched) == 4
    no_network()
    started = time.monotonic()
    second = otoscope.load(published)
    assert same(second, first)
    assert second.details["metrics"] == {"scores": {"PIQ": {"AI": 12.5}}}
    assert same(Explainer.from_pretrained(published), first)
    assert open_model(published, role="classifier").labels == LABELS
    assert time.monotonic() - started < 10
    assert not hub.requests


def test_offline_by_setting(hub, published, explainer, monkeypatch, same):
    otoscope.load(published)
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert same(otoscope.load(published), explainer)
    assert not hub.requests


@pytest.mark.parametrize("written", ["http://{}", "{}"])
def test_a_proxy_that_does_not_answer(hub, monkeypatch, written):
    assert hub_answers()
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = "{}:{}".format(*proxy.getsockname())
        monkeypatch.setenv("http_proxy", written.format(address))
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://hub.invalid")
        assert hub_answers()
    assert not hub_answers()


def test_a_name_that_is_looked_up_for_too_long(hub, monkeypatch):
    monkeypatch.setattr("otoscope.store.hub._CONNECT_TIMEOUT_S", 0.05)
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait() and [])
    assert not hub_answers()
    released.set()


def test_without_network_and_cache(hub, no_network):
    no_network()
    with pytest.raises(DownloadError) as caught:
        otoscope.load("me/piq")
    address = f"{hub.address}/me/piq/resolve/main/config.json"
    for words in ("me/piq: is no local folder", address, "the hub does not answer", str(Path("me/piq").absolute())):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_off(hub, published, explainer, same):
    """The error names the damaged file, and the next load fetches it again."""
    hub.shortened.add(WEIGHTS)
    with pytest.raises(DownloadError, match=WEIGHTS):
        otoscope.load(published)
    hub.shortened.clear()
    assert same(otoscope.load(published), explainer)


def test_an_interrupted_download_is_resumed(hub, published, explainer, monkeypatch, same):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)  # else ten million
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: hub.break_after.clear())
    hub.break_after[WEIGHTS] = 5000
    assert same(otoscope.load(published), explainer)
    ranges = [range_ for method, path, range_ in hub.requests if method == "GET" and path.endswith(f"/{WEIGHTS}")]
    assert "bytes=5000-" in ranges or "bytes=4096-" in ranges


def test_a_download_that_breaks_repeatedly(hub, published, explainer, monkeypatch, same):
    pauses = []
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", pauses.append)
    hub.break_after[WEIGHTS] = 100
    with pytest.raises(DownloadError, match=WEIGHTS):
        otoscope.load(published)
    assert len(pauses) == 5
    hub.break_after.clear()
    assert same(otoscope.load(published), explainer)
    assert hub.fetched(f"{hub.commit(published)}/config.json") == 1, "files that arrived are kept"


def test_missing_repositories_revisions_and_files(hub, published):
    with pytest.raises(DownloadError, match="me/absent: is neither a local folder nor a repository"):
        otoscope.load("me/absent")
    with pytest.raises(DownloadError, match="no such revision"):
        otoscope.load(published, revision="v7")
    del hub.repositories[published][WEIGHTS]
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS}: cannot be read"):
        otoscope.load(published)
    hub.repositories["me/empty"] = {"README.md": b"nothing"}
    with pytest.raises(CheckpointError, match="neither a model of otoscope nor one of SpeechBrain"):
        otoscope.load("me/empty")
    with pytest.raises(CheckpointError, match="holds no model that otoscope saved"):
        open_model("me/empty")


def test_gated_repositories_ask_for_a_login(hub, published):
    hub.gated.add(published)
    with pytest.raises(
        DownloadError,
        match=r"me/piq: is neither .* `hf auth login` if it is private or gated; files .* into /.*/me/piq, which",
    ):
        otoscope.load(published)


def test_files_in_the_cache_show_no_progress_and_are_not_fetched_again(hub, published, explainer, capfd, same):
    otoscope.load(published)
    hub.requests.clear()
    capfd.readouterr()
    assert same(otoscope.load(published), explainer)
    assert capfd.readouterr() == ("", "")
    assert not [address for _, address, _ in hub.requests if "/resolve/" in address]


@pytest.mark.parametrize(
    "networks", [{"network.onnx", "net.onnx.data"}, {"network.tflite"}, {"classifier/network.onnx"}]
)
def test_all_files_of_a_model_are_fetched_and_no_others(hub, networks):
    config = b'{"format": 1, "kind": "classifier", "class": "onnx"}'
    others = {"README.md": b"card", "notes/long.txt": b"text"}
    files = {"config.json": config, WEIGHTS: b"weights", **dict.fromkeys(networks, b"net")}
    hub.repositories["me/onnx"] = {**files, **others}
    folder = find_model_folder(Repository("me/onnx")).path
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"config.json", WEIGHTS} | networks


def test_all_files_come_from_one_commit(hub, published, tmp_path, explainer):
    repository = Repository(published)
    first = repository.file("config.json")
    other = Explainer(explainer.classifier, PIQInterpreter(explainer.classifier, codes=5))
    hub.add(published, other.save_pretrained(tmp_path / "other"))
    with pytest.raises(DownloadError, match="no such revision"):
        repository.file(WEIGHTS)  # this server forgets former commits
    assert Repository(published).file("config.json").parent != first.parent
    assert repository.file("absent.txt") is None


def test_a_newer_format(hub, published):
    content = hub.repositories[published]["config.json"]
    hub.repositories[published]["config.json"] = content.replace(b'"format": 1', b'"format": 2')
    with pytest.raises(CheckpointError, match=r"format 2 is newer than 1.*update otoscope"):
        otoscope.load(published)


def test_revisions(hub, published, explainer, no_network, tmp_path, same):
    former = hub.commit(published)
    assert same(otoscope.load(published), explainer)
    other = Explainer(explainer.classifier, PIQInterpreter(explainer.classifier, codes=12))
    hub.add(published, other.save_pretrained(tmp_path / "other"))
    assert same(otoscope.load(published), other)
    no_network()
    assert same(otoscope.load(published, revision=former), explainer)
    with pytest.raises(CheckpointError, match="only repositories on the hub have revisions"):
        otoscope.load(tmp_path / "other", revision="main")


def test_trainings_take_classifiers_and_dictionaries_from_the_hub(hub, explainer, tmp_path):
    hub.add("me/classifier", explainer.classifier.save_pretrained(tmp_path / "classifier"))
    hub.add("me/dictionary", NMFDictionary(torch.rand(513, 7), Frontend()).save(tmp_path / "dictionary"))
    assert PIQ("me/classifier", codes=12).labels == LABELS
    assert isinstance(L2I("me/classifier", "me/dictionary").interpreter, L2IInterpreter)


def theirs(state, *tables):
    """A state dict under SpeechBrain's names."""
    back = {ours: name for table in tables for name, ours in table.items()}
    renamed = {}
    for name, value in state.items():
        fitting = [ours for ours in back if name == ours or name.startswith(f"{ours}.")]
        if fitting:
            ours = max(fitting, key=len)
            renamed[back[ours] + name.removeprefix(ours)] = value
    return renamed


def test_speechbrain_on_the_hub(hub, no_network, experienced, tmp_path, same):
    classifier = experienced(Conv2dClassifier(LABELS, width=6, head_width=5, scale=1))
    options = {"decoder": "published", "codes": 60, "codebook_init": "uniform", "codebook_classes": 50}
    explainer = Explainer(classifier, PIQInterpreter(classifier, **options))
    folder = tmp_path / "PIQ-ESC50"
    folder.mkdir()
    state = classifier.state_dict()
    torch.save(theirs(state, names.CONV2D_ENCODER), folder / "embedding_modelft.ckpt")
    torch.save({"wrong": torch.ones(1)}, folder / "embedding_model.ckpt")
    torch.save(theirs(state, names.COSINE_HEAD), folder / "classifier.ckpt")
    torch.save(theirs(explainer.interpreter.state_dict(), names.PIQ), folder / "psi_model.ckpt")
    (folder / "label_encoder.txt").write_text("".join(f"{label!r} => {i}\n" for i, label in enumerate(LABELS)))
    (folder / "config.json").write_text('{"speechbrain_interface": "PIQAudioInterpreter"}')
    (folder / "hyperparams.yaml").write_text("""
        root: speechbrain/PIQ-ESC50
        embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
        psi: !new:speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio
        pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
            paths:
                embedding_model: !ref <root>/embedding_modelft.ckpt
                classifier: !ref <root>/classifier.ckpt
                psi: !ref <root>/psi_model.ckpt
                label_encoder: !ref <root>/label_encoder.txt
    """)
    hub.add("speechbrain/PIQ-ESC50", folder)
    assert same(otoscope.load("speechbrain/PIQ-ESC50"), explainer)
    assert hub.fetched("embedding_model.ckpt") == 0
    assert PIQ("speechbrain/PIQ-ESC50", codes=12).labels == LABELS
    no_network()
    again = otoscope.load("speechbrain/PIQ-ESC50")
    assert same(again, explainer)
    with pytest.raises(OtoscopeError, match=r"SpeechBrain checkpoint, open it with otoscope\.load"):
        open_model("speechbrain/PIQ-ESC50")


@pytest.fixture
def weights(hub, experienced, tmp_path):
    """A repository with files of SpeechBrain's weights and no description; returns the classifier in it."""
    classifier = experienced(Conv2dClassifier(LABELS, width=6, head_width=5, scale=1))
    folder = tmp_path / "weights"
    folder.mkdir()
    state = classifier.state_dict()
    torch.save(theirs(state, names.CONV2D_ENCODER), folder / "embedding_modelft.ckpt")
    torch.save(theirs(state, names.COSINE_HEAD), folder / "classifier.ckpt")
    torch.save({"W": torch.rand(513, 4)}, folder / "nmf_decoder.ckpt")
    hub.add("them/r", folder)
    return classifier


def equal(first, second):
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


def test_single_files_and_repositories_without_a_description(hub, weights, no_network, capsys):
    commit = hub.commit("them/r")
    file = "them/r/embedding_modelft.ckpt"
    loaded = otoscope.load_classifier(["../absent/model", file])
    assert equal(loaded, weights)
    assert loaded.labels == ["class 0", "class 1", "class 2"]
    assert loaded.details == {
        "source": f"SpeechBrain: {file}",
        "commit": commit,
        "remarks": ["labels: numbered, because there is no label_encoder.txt"],
        "normalize": False,
    }
    line = f"classifier: {file} at {commit[:7]} (published weights, downloaded); ../absent/model does not exist; "
    assert capsys.readouterr().out == line + "labels: numbered, because there is no label_encoder.txt\n"
    assert hub.fetched("nmf_decoder.ckpt") == 0
    assert equal(otoscope.load_classifier("them/r"), weights)
    assert len(otoscope.load_dictionary("them/r/nmf_decoder.ckpt")) == 4
    no_network()
    assert equal(otoscope.load_classifier(["../absent/model", file]), weights)
    assert "(published weights, cached)" in capsys.readouterr().out
    assert otoscope.load_dictionary("them/r/nmf_decoder.ckpt").details["commit"] == commit


def test_files_that_neither_cache_nor_repository_has(hub, weights, no_network):
    with pytest.raises(DownloadError, match=r"them/r: the repository has no file other\.ckpt"):
        otoscope.load_classifier("them/r/other.ckpt")
    with pytest.raises(DownloadError, match="no such revision"):
        otoscope.load_classifier("them/r/classifier.ckpt", revision="v3")
    otoscope.load_dictionary("them/r/nmf_decoder.ckpt")
    no_network()
    # The cache has other files of this repository, so that its folder exists.
    with pytest.raises(DownloadError) as caught:
        otoscope.load_classifier("them/r/embedding_modelft.ckpt")
    assert f"{hub.address}/them/r/resolve/main/embedding_modelft.ckpt" in str(caught.value)
    with pytest.raises(DownloadError, match=r"embedding_modelft\.ckpt"):
        otoscope.load_classifier("them/r")
    with pytest.raises(DownloadError, match=r"them/r: is no local folder, and .* cannot be fetched"):
        otoscope.load_interpreter("them/r")


def test_without_network_the_error_says_where_files_belong(hub, weights, no_network, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    no_network()
    sources = ["../absent/model", "them/r/embedding_modelft.ckpt"]
    with pytest.raises(DownloadError) as caught:
        otoscope.load_classifier(sources)
    message, place = str(caught.value), tmp_path / "work" / "them" / "r"
    assert message.startswith("classifier: ../absent/model does not exist, and them/r: is no local folder")
    for name in ("embedding_modelft.ckpt", "classifier.ckpt", "label_encoder.txt"):
        assert f"{hub.address}/them/r/resolve/main/{name}" in message
    assert f"put them into {place}, which is then opened instead" in message
    assert "\n" not in message
    place.mkdir(parents=True)
    for path in (tmp_path / "weights").iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    assert equal(otoscope.load_classifier(sources), weights)
    assert not hub.requests


def test_command_line_by_environment(hub, published, tmp_path):
    """Runs in a separate process, with the endpoint set by the environment variable as users set it."""
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "otoscope", "convert", published, str(tmp_path / "out")]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (process.returncode, process.stderr.count("Traceback")) == (0, 0), process.stderr
    assert process.stdout == f"me/piq -> {tmp_path / 'out'}\n"
    assert (tmp_path / "out" / "classifier" / WEIGHTS).is_file()
