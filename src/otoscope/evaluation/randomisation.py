"""Randomisation check with several shuffles of all weights, and the variances of clips and of shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otoscope.classifiers import Prediction
from otoscope.errors import ConfigurationError
from otoscope.evaluation.batch import ClassifiedBatch
from otoscope.evaluation.methods import Method
from otoscope.evaluation.sanity import randomisation, rank_correlation
from otoscope.evaluation.statistics import Values
from otoscope.metrics.map_change import best_share_overlap, complexity_rise
from otoscope.seeding import generator_for

SHUFFLES = 5
"""Number of shuffles: the map of one method had correlations of .07, .58 and .18 with those of three shuffles."""
NOISE = 0.1
"""Standard deviation of the noise of sMPRT, relative to the range of a clip's log magnitude."""
NAMES = ("rank_correlation", "overlap", "eMPRT", "sMPRT")


@dataclass(frozen=True)
class TwoWayMean:
    """A mean over shuffles and clips.

    Attributes:
        mean: Mean of all values.
        low: Lower end of the 95 % interval, for new clips and new shuffles.
        high: Upper end.
        clip_variance: Variance between clips.
        shuffle_variance: Variance between shuffles.
        shuffles: Number of shuffles.
        clips: Number of clips.
    """

    mean: float
    low: float
    high: float
    clip_variance: float
    shuffle_variance: float
    shuffles: int
    clips: int


@torch.no_grad()
def check_shuffles(
    method: Method,
    batch: ClassifiedBatch,
    seed: int = 1234,
    shuffles: int = SHUFFLES,
    noisy_inputs: int = 0,
    noise: float = NOISE,
) -> dict[str, Values]:
    """Compare the maps of a method with its maps of the classifier whose weights are all shuffled, several times.

    Args:
        method: Method to check.
        batch: Clips. The explained class remains the one that the intact classifier predicts.
        seed: Seed of the shuffles and of the noise.
        shuffles: Number of shuffles.
        noisy_inputs: Number of noisy copies of a clip whose maps are averaged with its own before they are compared
            (sMPRT); 0: none.
        noise: Standard deviation of that noise, relative to the range of a clip's log magnitude.

    Returns:
        For each of `NAMES` the values by shuffle and clip, shape (shuffles, clips): Spearman's rank correlation;
        the overlap of the best fifth, whose value by chance is 0.2; the relative rise of complexity; and, with
        noisy inputs, the rank correlation of averaged maps.

    Raises:
        ConfigurationError: A number is out of its range.
        OtoscopeError: The method cannot explain a shuffled classifier.

    Reference:
        Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv 1810.03292; Hedström et al. 2023, Sanity Checks
        Revisited, arXiv 2401.06465 (eMPRT and sMPRT). Departures: weights are shuffled, not drawn anew, and all at
        once; SSIM is in the cascade of `otoscope.evaluation.sanity`.
    """
    if shuffles < 1 or noisy_inputs < 0 or noise < 0:
        raise ConfigurationError(
            f"shuffles ({shuffles}) must be 1 or more, noisy_inputs ({noisy_inputs}) and noise ({noise}) not "
            "negative"
        )
    counts = batch.spectrogram.frame_counts
    originals = _maps(method.interpreter, batch, batch.prediction)
    smooth = _smooth_maps(method.interpreter, batch, originals, noisy_inputs, noise, seed)
    rows: dict[str, list[list[float]]] = {name: [] for name in NAMES[: 3 + (noisy_inputs > 0)]}
    for shuffle in range(shuffles):
        with randomisation(batch.classifier, seed + shuffle) as layers:
            for _ in layers:  # down to the last layer: all weights are shuffled
                pass
            interpreter = method.make()
            prediction = batch.classifier.predict(batch.spectrogram).towards(batch.prediction.explained)
            changed = _maps(interpreter, batch, prediction)
            changed_smooth = _smooth_maps(interpreter, batch, changed, noisy_inputs, noise, seed)
        pairs = [
            (before[:, :count], after[:, :count])
            for before, after, count in zip(originals, changed, counts, strict=True)
        ]
        rows["rank_correlation"].append([rank_correlation(*pair) for pair in pairs])
        rows["overlap"].append([best_share_overlap(*pair) for pair in pairs])
        rows["eMPRT"].append([complexity_rise(*pair) for pair in pairs])
        if smooth is not None and changed_smooth is not None:
            smooth_pairs = zip(smooth, changed_smooth, counts, strict=True)
            rows["sMPRT"].append([rank_correlation(a[:, :count], b[:, :count]) for a, b, count in smooth_pairs])
    return {name: np.array(values, dtype=np.float64) for name, values in rows.items()}


def two_way_mean(values: Values, level: float = 0.95) -> TwoWayMean:
    r"""Return the mean over shuffles and clips with an interval that holds for new shuffles and new clips.

    .. math:: \mathrm{Var}(\bar x) = \sigma^2_\text{shuffle} / S + \sigma^2_\text{clip} / C + \sigma^2 / SC

    Args:
        values: Values by shuffle and clip; clips with an undefined value (NaN) are left out. Shape
            (shuffles, clips).
        level: Level of the interval.

    Reference:
        Searle, Casella & McCulloch 1992, Variance Components (two-way random model without replication, analysis of
        variance). Departures: negative components count as 0; the quantile is Student's with the smaller number of
        degrees of freedom of both components that exist.

    Example:
        >>> result = two_way_mean(np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]))
        >>> result.mean, result.clip_variance, result.shuffle_variance
        (1.5, 1.0, 0.5)
    """
    from scipy.stats import t as student  # only evaluations need it

    values = values[:, np.isfinite(values).all(0)]
    shuffles, clips = values.shape
    if not clips:
        nan = float("nan")
        return TwoWayMean(nan, nan, nan, nan, nan, shuffles, 0)
    mean = float(values.mean())
    by_shuffle, by_clip = values.mean(1), values.mean(0)
    rest = values - by_shuffle[:, None] - by_clip[None] + mean
    residual = float((rest**2).sum() / max((shuffles - 1) * (clips - 1), 1))
    # E[variance of shuffle means] = shuffle variance + residual / clips, and the same for clips
    shuffle_variance = _component(by_shuffle, residual / clips)
    clip_variance = _component(by_clip, residual / shuffles)
    variance = shuffle_variance / shuffles + clip_variance / clips + residual / (shuffles * clips)
    freedom = min([count - 1 for count in (shuffles, clips) if count > 1], default=0)
    half = float(student.ppf((1 + level) / 2, freedom) * np.sqrt(variance)) if freedom else float("nan")
    return TwoWayMean(mean, mean - half, mean + half, clip_variance, shuffle_variance, shuffles, clips)


def _component(means: Values, noise: float) -> float:
    return max(float(means.var(ddof=1)) - noise, 0.0) if len(means) > 1 else 0.0


def _maps(interpreter: Any, batch: ClassifiedBatch, prediction: Prediction) -> Sequence[Tensor]:
    maps: Tensor = interpreter.output(interpreter.decode(batch.spectrogram, prediction), batch.spectrogram)
    return list(maps)


def _smooth_maps(
    interpreter: Any, batch: ClassifiedBatch, maps: Sequence[Tensor], copies: int, noise: float, seed: int
) -> Sequence[Tensor] | None:
    """Return the mean of each clip's map and of those of its noisy copies; None for no copy."""
    if not copies:
        return None
    spectrogram, target = batch.spectrogram, batch.prediction.explained
    log_magnitude = spectrogram.log_magnitude
    total = torch.stack(list(maps))
    for number in range(copies):
        # below silence there is no magnitude
        noisy = (log_magnitude + _noise_like(batch, noise, seed, number)).clamp(min=0)
        changed = spectrogram.with_log_magnitude(spectrogram.zero_padding(noisy))
        prediction = batch.classifier.predict(changed).towards(target)
        total += interpreter.output(interpreter.decode(changed, prediction), changed)
    return list(total / (1 + copies))


def _noise_like(batch: ClassifiedBatch, noise: float, seed: int, number: int) -> Tensor:
    """Return noise for each clip, which depends on its name and not on the batch. Shape as the log magnitude."""
    log_magnitude = batch.spectrogram.log_magnitude
    result = torch.zeros_like(log_magnitude)
    for clip, (name, count) in enumerate(zip(batch.names, batch.spectrogram.frame_counts, strict=True)):
        valid = log_magnitude[clip, :, :count]
        drawn = torch.randn(valid.shape, generator=generator_for(seed, "sMPRT", name, number))
        result[clip, :, :count] = noise * (valid.max() - valid.min()) * drawn.to(valid)
    return result
