"""The built wheel installs into an empty environment and works there."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, cwd):
    """Run a command and return what it prints; `cwd` keeps the source tree off the import path."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(cwd),
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # A copy: setuptools builds inside the source tree, and modules of an earlier build would get into the wheel.
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    options = ["-q", "--no-deps", "--no-build-isolation"]
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", folder, source, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Make an environment with the wheel, which sees the dependencies that are installed beside the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel, cwd=folder)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # Python ignores .pth files in a folder that a .pth file adds, so an editable otoscope there stays out.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"otoscope", f"{wheel.name.split('-py3')[0]}.dist-info"}
    assert "otoscope/py.typed" in names
    assert not [name for name in names if "test" in Path(name).name or "conftest" in name]
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "otoscope").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    models = ROOT / "src" / "otoscope" / "models"
    data = {str(path.relative_to(ROOT / "src")) for path in models.rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("otoscope/models/")} == {
        name for name in data if "__pycache__" not in name
    }
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_command_runs(environment):
    import otoscope

    assert otoscope.__version__ in run(environment / "bin" / "otoscope", "--version", cwd=environment)


def test_a_sample_is_explained_without_a_model(environment):
    code = "from otoscope.models import sample_recordings; print(sample_recordings()[0].path)"
    sample = run(environment / "bin" / "python", "-c", code, cwd=environment).strip()
    assert Path(sample).is_relative_to(environment)
    options = ["--output_folder", environment / "out"]
    assert "p = " in run(environment / "bin" / "otoscope", "explain", sample, *options, cwd=environment)
    assert (environment / "out" / Path(sample).stem / "interpretation.wav").is_file()


def test_package_is_imported_from_the_wheel(environment):
    code = "import otoscope; print(otoscope.__file__); print(otoscope.Conv2dClassifier.__name__)"
    path, name = run(environment / "bin" / "python", "-c", code, cwd=environment).split()
    assert Path(path).is_relative_to(environment)
    assert (Path(path).parent / "py.typed").is_file()
    assert name == "Conv2dClassifier"
