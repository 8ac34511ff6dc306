"""What a configuration may hold: each fault is one error that names file and key, before anything is built."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from otoscope.audio import Frontend
from otoscope.classifiers import Conv2dClassifier, save_classifier
from otoscope.errors import CheckpointError
from otoscope.interpreters import L2IInterpreter, PIQInterpreter, save_interpreter
from otoscope.store.folder import open_model

FRONTEND = Frontend(16_000, 128, 8.0, 4.0)


@pytest.fixture
def folder(tmp_path):
    return save_classifier(
        Conv2dClassifier(["dog", "rain"], FRONTEND, width=2, depth=2, head_width=2), tmp_path / "m"
    )


def edit(folder, change):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refusal(folder):
    with pytest.raises(CheckpointError) as caught:
        open_model(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("init.width", True, "init.width: expected an integer, got True"),
        ("init.width", "2", "init.width: expected an integer, got '2'"),
        ("init.width", 10**40, "out of range"),
        ("init.scale", float("nan"), "init.scale: expected a finite number, got nan"),
        ("init.scale", float("inf"), "init.scale: expected a finite number"),
        ("init.train_scale", 1, "init.train_scale: expected true or false, got 1"),
        ("init.weights", "owner/name", "init.weights: is no option that a model folder may hold"),
        ("init", [], "init: expected an object"),
        ("frontend.n_fft", 65_537, "frontend.n_fft: 65537 is out of range"),
        ("frontend.hop_ms", None, "frontend.hop_ms: expected a finite number, got None"),
        ("labels", "dog", "labels: expected a list of a text"),
        ("labels", ["dog", "dog"], "labels: expected one or more different names"),
        ("labels", ["dog", "\ud800"], "labels: expected a list of a text"),
        ("labels", ["dog", 3], "labels: expected a list of a text"),
        ("labels", ["dog", "x" * 2000], "longer than 1000 characters"),
        ("normalize", "yes", "normalize: expected true or false"),
    ],
)
def test_a_wrong_value_is_named(folder, key, value, message):
    def change(content):
        *outer, last = key.split(".")
        for name in outer:
            content = content[name]
        content[last] = value

    edit(folder, change)
    assert message in refusal(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "it is nested too deeply"),
        ('{"format": 1, "format": 1}', "the key 'format' occurs twice"),
        ('{"format": true, "kind": "classifier"}', "is not a configuration"),
        (
            '{"format": 1, "kind": "classifier", "x": ' + "[" * 60 + "]" * 60 + "}",
            "nested more than 40 levels deep",
        ),
    ],
)
def test_a_file_that_is_nested_or_ambiguous(folder, text, message):
    (folder / "config.json").write_text(text)
    assert message in refusal(folder)


@pytest.mark.parametrize("width", [20_000, 900_000])
def test_no_more_memory_than_the_weights_take_is_asked_for(folder, width):
    edit(folder, lambda content: content["init"].update(width=width))
    assert "asks for more memory" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(folder, value):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["residual.conv1.weight" if "residual.conv1.weight" in weights else "head.weight"].view(-1)[0] = value
    save_file(weights, path)
    assert ("holds NaN" if value != value else "holds infinite values") in refusal(folder)


def test_a_folder_names_no_dictionary_outside_itself(tmp_path):
    classifier = Conv2dClassifier(["dog", "rain"], FRONTEND, width=2, depth=2, head_width=2).freeze()
    folder = save_interpreter(
        L2IInterpreter(classifier, components=3, decoder_width=4), classifier, tmp_path / "l2i"
    )
    assert open_model(folder)
    edit(folder, lambda content: content["init"].update(dictionary=str(tmp_path / "nmf")))
    assert "init.dictionary" in str(refusal(folder))


@pytest.mark.parametrize(
    "name",
    ["otoscope.__main__.main", "torch.hub.load", "torch.ops.aten.relu", "otoscope.load", "transformers.AutoModel"],
)
def test_only_kinds_are_classes(folder, name):
    edit(folder, lambda content: content.update({"class": name}))
    refusal(folder)


def test_the_classifier_of_an_interpreter_is_a_classifier(tmp_path):
    classifier = Conv2dClassifier(["dog", "rain"], FRONTEND, width=2, depth=2, head_width=2).freeze()
    folder = save_interpreter(PIQInterpreter(classifier, codes=4), classifier, tmp_path / "piq")
    (folder / "classifier" / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert "holds no classifier" in refusal(folder)


def test_nan_in_the_details_is_written_as_null(tmp_path):
    classifier = Conv2dClassifier(["dog", "rain"], FRONTEND, width=2, depth=2, head_width=2)
    folder = save_classifier(classifier, tmp_path / "model", metrics={"accuracy": float("nan")})
    assert open_model(folder).details["metrics"] == {"accuracy": None}


def test_nan_of_a_classifier_is_its_own_fault(folder):
    from otoscope.errors import ClassifierError

    classifier = open_model(folder)
    with torch.no_grad():
        classifier.head.weight.fill_(float("nan"))
    with pytest.raises(ClassifierError, match="the classifier returns NaN for this recording"):
        classifier.predict(classifier.frontend(torch.rand(1, 4000)))
