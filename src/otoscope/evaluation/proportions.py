"""Exact intervals of proportions of clips, also where clips of one recording depend on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from otoscope.evaluation.statistics import Estimate, Values

_ROUNDING = 1e-9


def estimate_proportion(
    values: Values, estimated: Estimate, success: float, recordings: Sequence[str] | None = None
) -> Estimate:
    """Return an estimate of a proportion with its exact interval, which has a width also if all clips are equal.

    The number of trials is that of the clips if they are independent, and otherwise `effective_number`.

    Args:
        values: Value of each clip: 0, `success`, or NaN, which is left out. Shape (clips,).
        estimated: Estimate of these values, whose interval is replaced.
        success: Value of a success, 1 or 100.
        recordings: Recording of each clip (default: the clips are independent).

    Example:
        >>> from otoscope.evaluation.statistics import estimate, resampling
        >>> values = np.full(80, 100.0)
        >>> plain = estimate(values[:, None], resampling(80, 100, seed=0))[0]
        >>> exact = estimate_proportion(values, plain, success=100.0)
        >>> (plain.low, plain.high), (round(exact.low, 1), exact.high)
        ((100.0, 100.0), (95.5, 100.0))
    """
    defined = np.isfinite(values)
    if not defined.any():
        return estimated
    trials = float(defined.sum())
    if recordings is not None:
        trials = effective_number([name for name, counts in zip(recordings, defined, strict=True) if counts])
    low, high = exact_interval(float(np.mean(values[defined] / success)) * trials, trials)
    return replace(estimated, low=success * low, high=success * high)


def effective_number(recordings: Sequence[str]) -> float:
    r"""Return the number of independent clips that a proportion over dependent clips is worth at least.

    .. math:: n_\text{eff} = \Big(\sum_r m_r\Big)^2 \Big/ \sum_r m_r^2

    for recordings of :math:`m_r` clips. This is the number if all clips of a recording agree, the worst case. Where
    they agree less it is larger, but the few recordings with several clips do not show how much, and nothing shows
    it where every clip is a success.

    Args:
        recordings: Recording of each clip.

    Reference:
        Kish 1965, Survey Sampling (design effect, with an intra-class correlation of 1).

    Example:
        >>> effective_number(["a", "b", "c"]), effective_number(["a", "a", "b", "b"])
        (3.0, 2.0)
    """
    counts = np.unique(list(recordings), return_counts=True)[1]
    return float(counts.sum() ** 2 / (counts**2).sum())


def exact_interval(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a proportion, which has a width also at 0 and at 1.

    Args:
        successes: Number of successes. It may be fractional, as that of an `effective_number` of trials.
        trials: Number of trials, 1 or more.
        level: Level of the interval; whole numbers of independent trials miss it no more often than that.

    Returns:
        Lower and upper end.

    Reference:
        Clopper & Pearson 1934, The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial,
        Biometrika 26. Departures: none.

    Example:
        >>> low, high = exact_interval(80, 80)
        >>> round(low, 3), high
        (0.955, 1.0)
    """
    from scipy.special import betaincinv  # only evaluations need it

    tail = (1 - level) / 2
    failures = trials - successes
    # Products of proportions and fractional trials miss the ends by rounding.
    low = float(betaincinv(successes, failures + 1, tail)) if successes > _ROUNDING else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures > _ROUNDING else 1.0
    return low, high
