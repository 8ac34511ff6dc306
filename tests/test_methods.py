"""The catalogue of methods: complete, consistent with the classes, and free of imports."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest

from otoscope import interpreters, methods
from otoscope.interpreters import AttributionInterpreter, Interpreter, SeededAttributionInterpreter
from otoscope.methods import GRADIENT_FREE, METHODS, UNTRAINED, find_method, same_method, title_of

BASE_CLASSES = {Interpreter, AttributionInterpreter, SeededAttributionInterpreter}


def _class_of(method):
    module, _, name = method.class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_public_interpreter_is_in_the_catalogue():
    public = {getattr(interpreters, name) for name in interpreters.__all__}
    classes = {item for item in public if inspect.isclass(item) and issubclass(item, Interpreter)}
    assert {_class_of(method) for method in METHODS.values()} == classes - BASE_CLASSES


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_entries_agree_with_their_classes(method):
    assert re.fullmatch(r"[a-z0-9_]+", method.name)
    assert title_of(_class_of(method)) == method.title
    assert _class_of(method).needs_gradient == ("gradient" in method.needs)


def test_names_titles_and_aliases_are_unique_and_sorted():
    assert list(METHODS) == sorted(METHODS)
    spellings = [
        (methods._spelling(spelling), method.name)
        for method in METHODS.values()
        for spelling in (method.name, method.title, *method.aliases)
    ]
    assert len({spelling for spelling, _ in spellings}) == len(set(spellings))


def test_groups():
    assert set(METHODS) - set(UNTRAINED) == {"piq", "l2i", "lmac", "heard_lmac"}
    assert {"occlusion", "rise", "slime"} <= set(GRADIENT_FREE) <= set(UNTRAINED)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_reference_describes_every_method(method):
    docstring = inspect.getdoc(_class_of(method))
    assert docstring.splitlines()[0].endswith(".")
    assert "Reference:" in docstring.split()


def test_methods_are_found_by_name_title_and_alias():
    for method in METHODS.values():
        for spelling in (method.name, method.title, method.title.upper(), *method.aliases):
            assert find_method(spelling) is method
    assert find_method("") is None


def test_names_of_unknown_methods_are_compared_by_spelling():
    assert same_method("MyMethod", "my method")
    assert not same_method("MyMethod", "piq")
    assert not same_method("MyMethod", "another")


def test_a_class_of_a_user_is_titled_by_its_own_name():
    class ConstantMaskInterpreter(interpreters.PIQInterpreter):
        pass

    assert title_of(ConstantMaskInterpreter) == "ConstantMask"


def test_the_catalogue_imports_nothing_of_the_package():
    code = "import sys, otoscope.methods; print(*(name for name in sys.modules if name.startswith('otoscope')))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    # the package itself reads the table of kinds, for its public names
    assert set(output.split()) == {
        "otoscope",
        "otoscope.methods",
        "otoscope.store",
        "otoscope.store.kinds",
        "otoscope.version",
    }
