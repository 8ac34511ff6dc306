"""``import otoscope`` costs nothing and offers what it says."""

import importlib
import subprocess
import sys

import pytest

import otoscope

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


def test_every_public_name_is_there():
    for name in otoscope.__all__:
        assert getattr(otoscope, name) is not None
    assert set(otoscope.__all__) == set(otoscope._HOME_OF)
    assert otoscope.__all__ == sorted(otoscope.__all__)
    assert dir(otoscope) == sorted([*otoscope.__all__, "__version__"])


def test_names_are_those_of_their_homes():
    for name, home in otoscope._HOME_OF.items():
        module = importlib.import_module(f"otoscope.{home}")
        assert getattr(otoscope, name) is getattr(module, name)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="module 'otoscope' has no attribute 'explode'"):
        otoscope.explode  # noqa: B018


@pytest.mark.parametrize(
    "name", ["audio", "classifiers", "data", "interpreters", "metrics", "nn", "recordings", "training"]
)
def test_every_folder_lists_what_it_offers(name):
    module = importlib.import_module(f"otoscope.{name}")
    assert all(hasattr(module, public) for public in module.__all__)


def test_version_is_the_projects():
    from importlib.metadata import version

    assert otoscope.__version__ == version("otoscope")
