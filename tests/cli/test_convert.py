"""``otoscope convert``: interpreters, classifiers and dictionaries."""

import json

import pytest
import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.explain import Explainer
from otoscope.interpreters import PIQInterpreter
from otoscope.nn import NMFDictionary

LABELS = ["dog", "rain"]


@pytest.fixture
def explainer():
    classifier = Conv2dClassifier(LABELS, width=4, head_width=5)
    return Explainer(classifier, PIQInterpreter(classifier, codes=8))


@pytest.fixture
def model(explainer, tmp_path):
    return explainer.save_pretrained(tmp_path / "model")


def test_an_interpreter(run, model, tmp_path):
    code, output, _ = run("convert", model, tmp_path / "copy", "--license", "mit")
    assert code == 0
    assert output == f"{model} -> {tmp_path / 'copy'}\n"
    assert Explainer.from_pretrained(tmp_path / "copy").details == {"license": "mit"}


def test_a_classifier(run, model, tmp_path):
    code, output, _ = run("convert", model / "classifier", tmp_path / "copy", "--json")
    assert code == 0
    assert json.loads(output) == {"source": str(model / "classifier"), "output_folder": str(tmp_path / "copy")}
    assert Conv2dClassifier.from_pretrained(tmp_path / "copy").labels == LABELS


def test_a_dictionary(run, explainer, tmp_path):
    NMFDictionary(torch.rand(513, 3), explainer.classifier.frontend).save(tmp_path / "nmf")
    assert run("convert", tmp_path / "nmf", tmp_path / "copy")[0] == 0
    assert (tmp_path / "copy" / "config.json").is_file()


def test_an_absent_model(assert_error, tmp_path):
    assert_error(["convert", tmp_path / "nowhere", tmp_path / "copy"], "nowhere")
