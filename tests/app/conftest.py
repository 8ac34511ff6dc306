"""A small model and recordings for the tests of the app."""

import numpy as np
import pytest
import soundfile
import torch

from otoscope.app.explaining import AppModel
from otoscope.app.shelf import Shelf
from otoscope.classifiers import Conv2dClassifier
from otoscope.explain import load

RATE_HZ = 16_000


@pytest.fixture
def model(experienced):
    """A model of two classes with random weights."""
    torch.manual_seed(0)
    classifier = experienced(Conv2dClassifier(["dog", "rain", "cat"], width=4, head_width=5)).freeze()
    return AppModel(load(classifier, "saliency"), "small model")


@pytest.fixture
def shelf(tmp_path):
    """An empty shelf."""
    return Shelf(tmp_path / "results", 3600)


@pytest.fixture
def recording(tmp_path):
    """A recording of half a second."""
    path = tmp_path / "uploads" / "a clip.wav"
    path.parent.mkdir()
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ // 2), RATE_HZ)
    return path
