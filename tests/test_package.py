"""``import otoscope`` is fast and offers every public name."""

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import otoscope
from otoscope.store.kinds import KINDS

HEAVY = "{'torch', 'lightning', 'matplotlib', 'torchmetrics', 'jsonargparse', 'captum', 'soundfile'}"


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "import otoscope; dir(otoscope); otoscope.__version__; otoscope.OtoscopeError",
        "from otoscope.cli.main import main; assert main(['--help']) == main(['--version']) == 0; main(['x'])",
    ],
    ids=["import", "help"],
)
def test_nothing_heavy_is_imported(code):
    result = run_python(f"import sys; {code}; print('heavy:', sorted({HEAVY} & set(sys.modules)))")
    assert result.stdout.endswith("heavy: []\n"), result.stderr


def test_explaining_imports_only_what_it_runs():
    unneeded = "{'lightning', 'torchmetrics', 'captum', 'transformers', 'scipy', 'matplotlib'}"
    code = "import otoscope.recordings, otoscope.loading"
    result = run_python(f"import sys; {code}; print('unneeded:', sorted({unneeded} & set(sys.modules)))")
    assert result.stdout == "unneeded: []\n", result.stderr


def test_every_public_name_can_be_imported():
    for name in otoscope.__all__:
        assert getattr(otoscope, name) is not None
    assert dir(otoscope) == sorted([*otoscope.__all__, "__version__"])


def test_names_are_those_of_their_modules():
    for name, module in otoscope._HOME_OF.items():
        assert getattr(otoscope, name) is getattr(importlib.import_module(module), name)


def test_type_checkers_see_the_public_names():
    tree = ast.parse(inspect.getsource(otoscope))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {}
    for line in block.body:
        module = importlib.import_module(line.module)
        names = module.__all__ if line.names[0].name == "*" else [alias.asname for alias in line.names]
        typed |= {name: getattr(module, name) for name in names}
    assert set(otoscope.__all__) <= set(typed)
    for name in otoscope.__all__:
        assert typed[name] is getattr(otoscope, name)


def test_everything_that_a_script_needs_is_public():
    names = {"load", "load_classifier", "load_interpreter", "load_dictionary", "load_audio", "make_untrained"}
    assert names | {"run_training", "run_evaluation"} <= set(otoscope.__all__)
    classes = {path.rpartition(".")[2] for path in KINDS.values()}
    assert classes <= set(otoscope.__all__)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="module 'otoscope' has no attribute 'explode'"):
        otoscope.explode  # noqa: B018


@pytest.mark.parametrize(
    "name", ["audio", "classifiers", "data", "interpreters", "metrics", "nn", "recordings", "training"]
)
def test_every_folder_lists_what_it_offers(name):
    module = importlib.import_module(f"otoscope.{name}")
    assert all(hasattr(module, public) for public in module.__all__)


def test_version_is_that_of_the_project():
    from importlib.metadata import version

    assert otoscope.__version__ == version("otoscope")
