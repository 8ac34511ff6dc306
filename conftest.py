"""What every test and every example shares: random numbers that no other test can have moved, and quiet threads."""

import random

import numpy as np
import pytest

from otoscope.cli.threads import share_cores

# Before PyTorch is imported: where other processes keep a core busy, threads that do not sleep while they wait made
# one test take minutes.
share_cores()

import torch  # noqa: E402


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    """Seed before a fixture that tests share, so that it does not depend on which test uses it first."""
    if fixturedef.scope != "function":
        _seed()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test begins with the same random numbers, the examples of docstrings and documents as well."""
    _seed()
