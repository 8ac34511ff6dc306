"""Methods are made from their specifications, and mistakes are reported by name."""

import pytest
import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.classifiers.fingerprint import digest
from otoscope.errors import ConfigurationError
from otoscope.evaluation.methods import build_methods
from otoscope.interpreters import PIQInterpreter, save_interpreter
from otoscope.methods import UNTRAINED


@pytest.fixture
def trained(classifier, tmp_path):
    folder = tmp_path / "piq"
    save_interpreter(PIQInterpreter(classifier, codes=6).eval(), classifier, folder)
    return folder


def test_model_folder(classifier, trained):
    method = build_methods({"PIQ": str(trained)}, classifier).ready["PIQ"]
    assert method.trained
    assert method.make() is method.interpreter
    assert isinstance(method.interpreter, PIQInterpreter)


def test_a_folder_of_another_classifier_is_skipped(classifier, trained):
    torch.manual_seed(5)
    other = Conv2dClassifier(classifier.labels, width=6, depth=3, head_width=8, scale=5.0).freeze()
    skipped = build_methods({"PIQ": str(trained)}, other).skipped["PIQ"]
    assert "another classifier" in skipped


def test_a_class_with_options(classifier):
    path = "otoscope.interpreters.PIQInterpreter"
    specs = {"P": {"class_path": path, "init_args": {"codes": 6}}}
    assert build_methods(specs, classifier).ready["P"].interpreter.config["codes"] == 6
    for spec, message in (
        ({"class_path": path, "init_args": {"coeds": 6}}, "coeds"),
        ({"class_path": path + "s"}, "cannot be imported"),
        ({"class_path": "otoscope.classifiers.Conv2dClassifier"}, "is not an Interpreter"),
        ({"class_path": path, "codes": 6}, "unknown codes"),
        ({"codes": 6}, "expected a model folder"),
        (3, "expected a model folder"),
        ({"name": "nonsense"}, r"needs no training; there are agreement, amt"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            build_methods({"P": spec}, classifier)


def test_message_for_an_unknown_name_lists_the_methods(classifier):
    with pytest.raises(ConfigurationError) as caught:
        build_methods({"X": "integrated_gardients"}, classifier)
    assert "methods.X" in str(caught.value)
    assert all(name in str(caught.value) for name in UNTRAINED)


@pytest.mark.parametrize("name", ["random", "ideal", " "])
def test_names_of_controls_are_reserved(classifier, gradient, name):
    with pytest.raises(ConfigurationError, match="name of a control"):
        build_methods({name: gradient}, classifier)


def test_a_loaded_method_runs_the_evaluated_classifier(classifier, kinds, tmp_path):
    folder = tmp_path / "gradient"
    save_interpreter(kinds["gradient"](classifier, power=2.0), classifier, folder)
    method = build_methods({"G": str(folder)}, classifier).ready["G"]
    assert method.interpreter.classifier is classifier
    assert method.interpreter.config == {"power": 2.0}


def test_fingerprint_depends_on_options_and_weights(classifier, kinds):
    def fingerprint(power):
        return build_methods({"G": kinds["gradient"](classifier, power)}, classifier).ready["G"].fingerprint

    assert fingerprint(1.0) == fingerprint(1.0) != fingerprint(2.0)
    former = digest(classifier)
    with torch.no_grad():
        next(classifier.parameters()).add_(1e-3)
    assert digest(classifier) != former


def test_an_interpreter_of_another_classifier_is_refused(classifier, kinds):
    other = Conv2dClassifier(classifier.labels, width=6, depth=3, head_width=8, scale=5.0).freeze()
    with pytest.raises(ConfigurationError, match="explains another classifier"):
        build_methods({"G": kinds["gradient"](other)}, classifier)
