"""Methods that need no training, made by name."""

import pytest
from attributions import RectangleClassifier

from otoscope.errors import ConfigurationError
from otoscope.interpreters import Interpreter, is_untrained, make_untrained
from otoscope.methods import METHODS, UNTRAINED, title_of


@pytest.mark.parametrize("name", [name for name in UNTRAINED if name != "amt"])
def test_every_name_makes_its_method(name):
    interpreter = make_untrained(name, RectangleClassifier().freeze())
    assert isinstance(interpreter, Interpreter)
    assert interpreter.needs_gradient == ("gradient" in METHODS[name].needs)
    # expected gradients keep the recordings that they compare with
    assert {*interpreter.state_dict()} == ({"baselines", "frames"} if name == "expected_gradients" else set())
    assert title_of(type(interpreter)) == METHODS[name].title


@pytest.mark.parametrize("spelling", ["LIME", "Integrated-Gradients", "integrated gradients", "optimized_mask"])
def test_case_and_separators_do_not_matter(spelling):
    assert is_untrained(spelling)
    assert isinstance(make_untrained(spelling, RectangleClassifier().freeze()), Interpreter)


def test_unknown_and_trained_methods_are_refused():
    assert not is_untrained("grad")
    assert not is_untrained("piq")
    for name in ("grad", "piq"):
        with pytest.raises(
            ConfigurationError, match=rf"there is no '{name}' .* [tT]here are agreement, amt, expected_gradients"
        ):
            make_untrained(name, RectangleClassifier())


def test_unknown_options_are_refused():
    with pytest.raises(ConfigurationError, match=r"method saliency: .*stepz"):
        make_untrained("saliency", RectangleClassifier(), stepz=3)
