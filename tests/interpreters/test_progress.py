"""Progress of explanations that take long: every input is counted, and nothing is shown unasked."""

from typing import ClassVar

import pytest
import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.interpreters import progress
from otoscope.interpreters.untrained import make_untrained


class Bar:
    """Bar that remembers what it counts."""

    made: ClassVar[list["Bar"]] = []

    def __init__(self, total, **options):
        self.total, self.count = total, 0
        Bar.made.append(self)

    def update(self, count):
        self.count += count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr(progress, "_Bar", Bar)
    monkeypatch.setattr(Bar, "made", [])
    return Bar.made


@pytest.fixture(scope="module")
def explained():
    """Function that explains two clips with a method."""
    classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
    spectrogram = classifier.hear(torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)))

    def explain(method):
        return make_untrained(method, classifier).decode(spectrogram, classifier.predict(spectrogram))

    return explain


@pytest.mark.parametrize("method", ["integrated_gradients", "smoothgrad", "rise", "segment_regression"])
def test_all_runs_are_counted(bars, explained, method):
    with progress.shown_progress():
        explained(method)
    [bar] = bars
    assert bar.count == bar.total > 2


def test_runs_of_a_descent_are_counted_without_a_total(bars, explained):
    with progress.shown_progress():
        explained("heard_agreement")
    [bar] = bars
    assert bar.total is None
    assert bar.count > 2


def test_nothing_is_shown_unasked(bars, explained):
    explained("saliency")
    assert bars == []
