"""The linear baseline: its features, its regression against scikit-learn, and the comparison."""

import pytest
import torch

from otoscope.audio import Frontend, mel_filters
from otoscope.data import Synthetic
from otoscope.training.baseline import (
    baseline_accuracy,
    compare,
    fit_logistic_regression,
    log_mel_statistics,
)


def test_regression_equals_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(90, 6, generator=generator) * torch.tensor([1, 2, 3, 4, 5, 6.0]) + 2
    target = torch.arange(90) % 3
    features[:, 0] += target
    model = fit_logistic_regression(features, target, 3)
    standardised = (features - features.mean(0)) / features.std(0, correction=0)
    oracle = linear_model.LogisticRegression(C=1.0, max_iter=1000, tol=1e-8).fit(
        standardised.numpy(), target.numpy()
    )
    expected = torch.from_numpy(oracle.predict_proba(standardised.numpy())).float()
    torch.testing.assert_close(model.logits(features).softmax(1), expected, atol=2e-3, rtol=0)


def test_features_are_mean_and_deviation_over_time():
    frontend = Frontend(sample_rate_hz=8000, n_fft=256)
    filters = mel_filters(10, frontend.bins, 8000)
    steady = torch.sin(2 * torch.pi * 1000 / 8000 * torch.arange(8000.0))
    features = log_mel_statistics(steady, frontend, filters)
    halves = torch.cat([steady[:4000], 0.01 * steady[4000:]])
    other = log_mel_statistics(halves, frontend, filters)
    band = features[:10].argmax()
    assert other[band] == pytest.approx(features[band].item() - 0.5 * torch.tensor(100.0).log().item(), abs=0.2)
    assert other[10 + band] > 10 * features[10 + band]


def test_baseline_of_sounds_that_differ_in_their_spectrum():
    data = Synthetic(clips_per_class=8, classes=["siren", "clock_tick"], duration_s=0.5)
    data.setup("fit")
    assert baseline_accuracy(data, Frontend()) > 0.9


def test_only_a_classifier_that_loses_is_warned_about():
    assert compare(0.9, 0.9).endswith("90.0 %")
    assert "94.0 %: WARNING: the classifier loses to it" in compare(0.63, 0.94)
