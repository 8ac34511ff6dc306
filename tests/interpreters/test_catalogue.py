"""Methods by name."""

import re

import pytest
from attributions import Window

from otoscope.cli import main
from otoscope.errors import ConfigurationError
from otoscope.interpreters import GRADIENT_FREE, UNTRAINED, Interpreter, is_untrained, make_untrained
from otoscope.interpreters.catalogue import ALIASES


@pytest.mark.parametrize("name", [name for name in UNTRAINED if name != "amt"])
def test_every_name_makes_its_method(name):
    interpreter = make_untrained(name, Window().freeze())
    assert isinstance(interpreter, Interpreter)
    assert interpreter.needs_gradient == (name not in GRADIENT_FREE)
    assert list(interpreter.state_dict()) == []


@pytest.mark.parametrize("spelling", ["LIME", "Integrated-Gradients", "integrated gradients", "optimized_mask"])
def test_spelling_hardly_matters(spelling):
    assert is_untrained(spelling)
    assert isinstance(make_untrained(spelling, Window().freeze()), Interpreter)


def test_other_names_lead_to_methods():
    assert set(ALIASES.values()) <= set(UNTRAINED)
    assert not set(ALIASES) & set(UNTRAINED)


def test_unknown_names_and_options_are_refused():
    assert not is_untrained("piq")
    with pytest.raises(ConfigurationError, match=r"there is no 'grad' .*; there are amt, grad_cam"):
        make_untrained("grad", Window())
    with pytest.raises(ConfigurationError, match=r"method saliency: .*stepz"):
        make_untrained("saliency", Window(), stepz=3)


def test_help_lists_every_name(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["explain", "--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert set(UNTRAINED) <= words
