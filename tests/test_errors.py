"""Lists and close names in messages."""

import pytest

from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError, choices, close_names, listed

LABELS = [f"label {number}" for number in range(520)] + ["Dog barking loudly"]


def test_short_lists_are_complete_and_long_ones_are_cut():
    assert listed(["dog", "rain"]) == "dog, rain"
    assert listed([]) == "none"
    assert listed(LABELS) == "label 0, label 1, label 2, label 3, label 4 ... (521 in all)"
    assert len(listed(["x" * 5000, "y" * 5000])) < 200


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("salience", ["saliency"]),
        ("SALIENCY", ["saliency"]),
        ("grad-cam", ["grad_cam"]),
        ("cam", ["grad_cam"]),
        ("xyz", []),
        ("", []),
    ],
)
def test_close_names(given, expected):
    assert close_names(given, ["saliency", "grad_cam", "rise"]) == expected


def test_choices_name_close_ones_first_and_never_everything():
    assert choices("dgo", ["dog", "rain"]) == "did you mean 'dog'? There are dog, rain"
    assert choices("cat", ["dog", "rain"]) == "there are dog, rain"
    assert choices("barking", LABELS) == "did you mean 'Dog barking loudly'?"
    assert choices("cat", LABELS) == f"there are {listed(LABELS)}"


@pytest.mark.parametrize(("given", "close"), [("dog barking", "Dog barking loudly"), ("label 51", "label 51")])
def test_a_classifier_of_many_labels_answers_briefly(given, close):
    classifier = Conv2dClassifier([label for label in LABELS if label != given], width=4)
    with pytest.raises(ConfigurationError, match=f"does not know '{given}'; did you mean .*{close}") as caught:
        classifier.index_of(given)
    assert len(str(caught.value)) < 200
