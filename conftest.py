"""What every test and every example shares: random numbers that no other test can have moved."""

import random

import numpy as np
import pytest
import torch


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
