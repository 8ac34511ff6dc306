"""Linear baseline: logistic regression on the mean and the deviation of the log-mel spectrogram over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from otoscope.audio import Frontend
from otoscope.audio.mel import mel_filters
from otoscope.data import Clip, SoundData

N_MELS = 40
_FLOOR = 1e-4  # added to mel magnitudes, so that silence has a logarithm: -80 dB below a full-scale bin of 1
_PENALTY = 1.0
_MAX_ITERATIONS = 200


@dataclass(frozen=True)
class LinearModel:
    """Logistic regression on standardised features.

    Attributes:
        mean: Mean of each feature. Shape (features,).
        deviation: Standard deviation of each feature. Shape (features,).
        weight: Weights. Shape (features, classes).
        bias: Bias of each class. Shape (classes,).
    """

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits of features (clips, features), shape (clips, classes)."""
        return (features - self.mean) / self.deviation @ self.weight + self.bias


def log_mel_statistics(waveform: Tensor, frontend: Frontend, filters: Tensor) -> Tensor:
    """Return the features of a clip: mean and standard deviation over time of each log-mel band.

    Args:
        waveform: Samples, shape (samples,).
        frontend: Front-end that computes the spectrogram.
        filters: Mel filters, shape (bands, bins).

    Returns:
        Features, shape (2 bands,).
    """
    magnitude = frontend.log_magnitude(waveform[None])[0].expm1()
    log_mel = (filters @ magnitude + _FLOOR).log()
    # correction 0, because a clip of one frame has a deviation of zero, not of 0 / 0
    return torch.cat([log_mel.mean(1), log_mel.std(1, correction=0)])


def fit_logistic_regression(features: Tensor, target: Tensor, classes: int) -> LinearModel:
    """Fit a multinomial logistic regression with an L2 penalty of 1 (scikit-learn's default).

    Args:
        features: Features of the training clips, shape (clips, features).
        target: Class of each clip, shape (clips,).
        classes: Number of classes.
    """
    mean, deviation = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
    standardised = (features - mean) / deviation
    weight = torch.zeros(features.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    # The objective is convex and smooth: L-BFGS finds its only minimum from any start, without a learning rate.
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_MAX_ITERATIONS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        losses = F.cross_entropy(standardised @ weight + bias, target, reduction="sum")
        loss = losses + _PENALTY / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    return LinearModel(mean, deviation, weight.detach(), bias.detach())


def baseline_accuracy(data: SoundData, frontend: Frontend) -> float:
    """Return the accuracy of the linear baseline on the test clips, trained on the training clips.

    Args:
        data: Data, set up for training.
        frontend: Front-end of the classifier that the baseline is compared with.

    Returns:
        Share of the test clips that are classified correctly, in [0, 1].
    """
    frontend = Frontend(**frontend.config)  # of its own, on the CPU, where this takes a few seconds
    filters = mel_filters(N_MELS, frontend.bins, frontend.sample_rate_hz)
    features, target = _features(data.train_set, frontend, filters)
    model = fit_logistic_regression(features, target, len(data.labels))
    features, target = _features(data.test_set, frontend, filters)
    return float((model.logits(features).argmax(1) == target).float().mean())


def compare(accuracy: float, baseline: float) -> str:
    """Describe the accuracy of a classifier beside that of the linear baseline, with a warning if it is lower.

    Example:
        >>> compare(0.95, 0.90)
        'linear baseline (log-mel mean and deviation, logistic regression) 90.0 %'
    """
    line = f"linear baseline (log-mel mean and deviation, logistic regression) {100 * baseline:.1f} %"
    if accuracy >= baseline:
        return line
    return (
        f"{line}: WARNING: the classifier loses to it; train longer (trainer.max_epochs), use settings that suit "
        "the data (--follow_data true), or give it more recordings before you explain it"
    )


def _features(clips: Dataset[Clip], frontend: Frontend, filters: Tensor) -> tuple[Tensor, Tensor]:
    chosen: Sequence[Clip] = [clips[index] for index in range(len(clips))]  # type: ignore[arg-type]
    with torch.no_grad():
        features = [log_mel_statistics(clip.waveform, frontend, filters) for clip in chosen]
    return torch.stack(features), torch.tensor([clip.target for clip in chosen])
