"""Small data sets, networks and trainings that the tests share."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from otoscope.classifiers import Classifier, Conv2dClassifier
from otoscope.data import SoundData, Synthetic
from otoscope.training import PIQ, ClassifierTraining

CLASSES = ["siren", "rooster", "clock_tick"]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Temporary folder that replaces the user's cache folder."""
    monkeypatch.setenv("OTOSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def data() -> SoundData:
    """Twelve training clips of half a second, three for validation and three for test."""
    return Synthetic(clips_per_class=4, classes=CLASSES, duration_s=0.5, batch_size=6, snr_db=(10, 20))


@pytest.fixture
def trainer_options() -> dict[str, Any]:
    return {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture
def classifier() -> Classifier:
    """An untrained classifier of the three classes."""
    return Conv2dClassifier(CLASSES, width=6, head_width=8).freeze()


@pytest.fixture
def make_classifier_task() -> Callable[..., ClassifierTraining]:
    def make(width: int = 6, **options: Any) -> ClassifierTraining:
        options = {"schedule": "constant", "learning_rate": 5e-3, **options}
        return ClassifierTraining(partial(Conv2dClassifier, width=width, head_width=8), **options)

    return make


@pytest.fixture
def make_piq(classifier: Classifier) -> Callable[..., PIQ]:
    def make(**options: Any) -> PIQ:
        options = {"schedule": "constant", "learning_rate": 3e-3, "codes": 12, **options}
        return PIQ(options.pop("classifier", classifier), **options)

    return make
