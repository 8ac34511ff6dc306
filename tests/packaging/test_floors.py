"""``make test-oldest`` tests the lower limits that pyproject.toml states."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Extras with pinned versions or tools that the package itself does not import.
UNTESTED_EXTRAS = {"parity", "docs", "dev"}
# Tools of the tests; the runs with the oldest and the newest versions use the same.
TOOLS = {
    "silero-vad",
    "pyopen-wakeword",
    "pytest",
    "pytest-xdist",
    "hypothesis",
    "setuptools",
    "nbclient",
    "ipykernel",
    "nbconvert",
    "playwright",
}


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"]]
    lists += [texts for extra, texts in project["optional-dependencies"].items() if extra not in UNTESTED_EXTRAS]
    return sorted({text for texts in lists for text in texts if Requirement(text).name not in TOOLS})


def pins(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("text", requirements())
def test_oldest_run_uses_the_lower_limit(text):
    requirement = Requirement(text)
    (limit,) = requirement.specifier
    assert limit.operator == ">="
    pin = pins("constraints-oldest.txt")[canonicalize_name(requirement.name)]
    if requirement.name == "torch":
        assert pin == pins("constraints.txt")["torch"]
    else:
        assert Requirement(f"x=={limit.version}").specifier.contains(pin), f"{pin} is tested, {limit} is stated"


@pytest.mark.parametrize("text", requirements())
def test_every_requirement_has_a_tested_newest_version(text):
    requirement = Requirement(text)
    pin = pins("constraints.txt").get(canonicalize_name(requirement.name))
    assert pin is not None or requirement.name == "tensorboard"  # optional, and no test uses it
    assert pin is None or requirement.specifier.contains(pin)
