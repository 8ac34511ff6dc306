"""One function opens classifiers, interpreters and dictionaries, and reads each configuration once."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import otoscope
from otoscope.audio import Frontend
from otoscope.classifiers import Conv2dClassifier, save_classifier
from otoscope.errors import CheckpointError
from otoscope.explain import Explainer
from otoscope.interpreters import PIQInterpreter, save_interpreter
from otoscope.nn import NMFDictionary
from otoscope.store import folder as store
from otoscope.store import places
from otoscope.store.folder import find_model_folder, locate, model_folder_of, open_model


@pytest.fixture
def folders(tmp_path):
    """A folder of each role."""
    classifier = Conv2dClassifier(["dog", "rain"], width=2, head_width=3)
    interpreter = PIQInterpreter(classifier, codes=4)
    return {
        "classifier": save_classifier(classifier, tmp_path / "classifier", metrics={"accuracy": 0.5}),
        "interpreter": save_interpreter(interpreter, classifier, tmp_path / "piq", note="x"),
        "dictionary": NMFDictionary(torch.rand(513, 3), Frontend()).save(tmp_path / "nmf", metrics={"error": 0.1}),
    }


@pytest.fixture
def reads(monkeypatch):
    """Paths of the JSON files that are read."""
    paths = []
    read = store.read_json
    monkeypatch.setattr(store, "read_json", lambda path: paths.append(path) or read(path))
    return paths


def test_each_role_is_opened_frozen_with_its_details(folders):
    classifier = open_model(folders["classifier"])
    interpreter, inner = open_model(folders["interpreter"])
    dictionary = open_model(folders["dictionary"])
    assert [type(model) for model in (classifier, interpreter, inner, dictionary)] == [
        Conv2dClassifier,
        PIQInterpreter,
        Conv2dClassifier,
        NMFDictionary,
    ]
    assert classifier.details == {"metrics": {"accuracy": 0.5}, "normalize": True}
    assert interpreter.details == {"note": "x"}
    assert dictionary.details == {"metrics": {"error": 0.1}}
    for model in (classifier, interpreter, inner, dictionary):
        assert not model.training
        assert not any(value.requires_grad for value in model.parameters())


def test_the_classifier_of_an_interpreter_can_be_opened_alone(folders):
    assert isinstance(open_model(folders["interpreter"], role="classifier"), Conv2dClassifier)


@pytest.mark.parametrize(
    ("role", "held", "message"),
    [
        ("interpreter", "classifier", "holds a classifier without an interpreter; train one on it"),
        ("interpreter", "dictionary", "holds an NMF dictionary, not an interpreter; train L2I with it"),
        ("dictionary", "classifier", "holds no NMF dictionary; train one"),
        ("dictionary", "interpreter", "holds no NMF dictionary; train one"),
        ("classifier", "dictionary", "holds no classifier"),
    ],
)
def test_a_model_of_another_role_is_refused(folders, role, held, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        open_model(folders[held], role=role)
    assert str(caught.value).startswith(f"{folders[held]}: ")


def test_each_configuration_is_read_once(folders, reads):
    configs = [folders["interpreter"] / "config.json", folders["interpreter"] / "classifier" / "config.json"]
    for load in (open_model, otoscope.load, otoscope.load_interpreter, Explainer.from_pretrained):
        reads.clear()
        load(folders["interpreter"])
        assert reads == configs
    reads.clear()
    otoscope.load(folders["interpreter"], "grad_cam")
    assert reads == configs
    for role in ("classifier", "dictionary"):
        reads.clear()
        open_model(folders[role])
        assert reads == [folders[role] / "config.json"]


def test_the_source_is_examined_once(folders, monkeypatch):
    asked = []
    monkeypatch.setattr(places, "is_repository_id", lambda source: asked.append(source))
    otoscope.load(folders["interpreter"])
    assert asked == [folders["interpreter"]]


def test_local_paths_have_no_revision(folders):
    with pytest.raises(CheckpointError, match="revision v1: only repositories on the hub have revisions"):
        locate(folders["classifier"], "v1")


@pytest.mark.parametrize("text", ["{", "[1]", '{"speechbrain_interface": "x"}', '{"format": 1}'])
def test_folders_of_other_packages_are_no_model_folders(tmp_path, text):
    assert find_model_folder(tmp_path) is None
    (tmp_path / "config.json").write_text(text)
    assert find_model_folder(tmp_path) is None


def test_negative_values_of_a_dictionary_are_refused(folders):
    dictionary = open_model(folders["dictionary"])
    dictionary.components.neg_()
    dictionary.save(folders["dictionary"])
    with pytest.raises(CheckpointError, match="its dictionary has negative values"):
        open_model(folders["dictionary"])


def test_the_folder_of_a_run_leads_to_its_model(folders, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    folders["interpreter"].rename(run / "model")
    assert find_model_folder(run).path == run / "model"
    assert open_model(run, role="classifier").labels == ["dog", "rain"]
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.ckpt").touch()
    for path in (run, run / "model", run / "checkpoints" / "best.ckpt", run / "model" / "config.json"):
        assert model_folder_of(path) == run / "model"
    assert model_folder_of(tmp_path / "absent") == tmp_path / "absent"


def test_an_unfinished_run_is_no_model_of_speechbrain(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "hyperparams.yaml").write_text("model: {}\n")
    with pytest.raises(CheckpointError, match="training that has not finished"):
        find_model_folder(tmp_path)


def test_weights_in_half_precision_become_single_precision(folders):
    path = folders["classifier"] / "model.safetensors"
    weights = load_file(path)
    save_file({name: value.half() if value.is_floating_point() else value for name, value in weights.items()}, path)
    opened = open_model(folders["classifier"]).state_dict()
    assert opened.keys() == weights.keys()
    for name, value in opened.items():
        assert value.dtype == weights[name].dtype
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=1e-6)
