"""Bootstrap intervals of means over clips, and of differences between methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FEWEST_CLIPS = 6
"""Least number of clips for a significant difference: a two-sided sign test of 5 cannot reach the level of 5 %."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with its interval.

    Attributes:
        mean: Mean; NaN if it is defined for no clip.
        low: Lower end of the interval.
        high: Upper end of the interval.
        clips: Number of clips whose value is defined.
    """

    mean: float
    low: float
    high: float
    clips: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0, with `FEWEST_CLIPS` clips or more."""
        return self.clips >= FEWEST_CLIPS and bool(self.low > 0 or self.high < 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as a JSON object."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.clips}


def resampling(clips: int, count: int, seed: int) -> Values:
    """Return how often each clip occurs in each bootstrap sample.

    One table serves all methods and scores, so that they are compared on the same samples.

    Args:
        clips: Number of clips, and of draws with replacement for each sample.
        count: Number of samples.
        seed: Seed of the draws.

    Returns:
        Numbers of draws, shape (count, clips). Each row sums to ``clips``.

    Example:
        >>> resampling(3, 2, seed=0).sum(1)
        array([3., 3.])
    """
    drawn = np.random.default_rng(seed).integers(clips, size=(count, clips))
    table = np.zeros((count, clips))
    # add.at counts a clip as often as it was drawn; indexing with += would count it once.
    np.add.at(table, (np.arange(count)[:, None], drawn), 1)
    return table


def estimate(values: Values, table: Values, level: float = 0.95) -> list[Estimate]:
    r"""Return means over clips with bootstrap intervals; undefined values (NaN) are left out, also of each sample.

    The ends are percentiles of the sample means, expanded until the interval of normal values is as wide as
    Student's, because plain percentiles are too narrow with few clips. The interval of strongly skewed values still
    misses the mean more often than its level states.

    Args:
        values: Values of each clip, shape (clips, columns).
        table: Bootstrap samples of `resampling`, shape (count, clips).
        level: Level of the interval.

    Returns:
        One estimate for each column.

    Reference:
        Hesterberg 2015, What Teachers Should Know About the Bootstrap, The American Statistician 69 (expanded
        percentile interval). Departures: none.

    Example:
        >>> estimate(np.array([[1.0], [3.0]]), resampling(2, 1000, seed=0))
        [Estimate(mean=2.0, low=1.0, high=3.0, clips=2)]
    """
    defined = np.isfinite(values)
    filled = np.where(defined, values, 0.0)
    clips = defined.sum(0)
    # Every sample mean is a weighted mean of the clips, so one matrix product computes all of them. Undefined
    # values have weight 0; a sample that drew no defined clip is 0 / 0, which is NaN.
    with np.errstate(invalid="ignore"):
        means = filled.sum(0) / clips
        samples = (table @ filled) / (table @ defined)
    ends = np.full((2, values.shape[1]), np.nan)
    # nanquantile leaves out samples that are NaN, but is slow: it serves only the columns that need it.
    complete = np.isfinite(samples).all(0)
    # The percentiles depend on the number of defined clips, so columns of equal number are taken together.
    for count in np.unique(clips[clips > 0]):
        tail = _tail(int(count), level)
        for quantile, columns in ((np.quantile, complete), (np.nanquantile, ~complete)):
            chosen = columns & (clips == count)
            ends[:, chosen] = quantile(samples[:, chosen], (tail, 1 - tail), axis=0)
    return [Estimate(float(m), float(a), float(b), int(n)) for m, a, b, n in zip(means, *ends, clips, strict=True)]


def better(difference: Estimate, direction: Literal["higher", "lower", "neither"]) -> int:
    """Return which of two methods is better.

    Args:
        difference: Paired difference of the methods, first minus second.
        direction: Whether higher or lower values are better.

    Returns:
        1 for the first, -1 for the second, and 0 if the interval includes 0, there are fewer than `FEWEST_CLIPS`
        clips, or the score has no direction.

    Example:
        >>> better(Estimate(mean=-5.0, low=-8.0, high=-2.0, clips=40), "lower")
        1
    """
    if direction == "neither" or not difference.excludes_zero:
        return 0
    return 1 if (difference.mean > 0) == (direction == "higher") else -1


def _tail(clips: int, level: float) -> float:
    """Return the share of the samples to leave out on each side."""
    if clips < 2:
        return 0.0
    from scipy.special import ndtr, stdtrit  # only evaluations need it

    # The bootstrap divides the variance by n where Student's interval divides by n - 1, and its quantiles are close
    # to normal ones. The normal tail beyond sqrt(n / (n - 1)) times Student's quantile corrects both.
    return float(ndtr(np.sqrt(clips / (clips - 1)) * stdtrit(clips - 1, (1 - level) / 2)))


def resampling_by(recordings: Sequence[str], count: int, seed: int) -> Values:
    """Return how often each clip occurs in each bootstrap sample, where clips of one recording are drawn together.

    Clips cut from one recording are not independent; drawing them one by one would make intervals too narrow.

    Args:
        recordings: Recording of each clip.
        count: Number of samples.
        seed: Seed of the draws.

    Returns:
        Numbers of draws, shape (count, clips).

    Example:
        >>> resampling_by(["a", "a", "b"], 2, seed=0)[:, 0] == resampling_by(["a", "a", "b"], 2, seed=0)[:, 1]
        array([ True,  True])
    """
    position = {recording: place for place, recording in enumerate(dict.fromkeys(recordings))}
    return resampling(len(position), count, seed)[:, [position[recording] for recording in recordings]]


def exact_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a proportion, which has a width also at 0 and at 1.

    Args:
        successes: Number of successes.
        trials: Number of trials, 1 or more.
        level: Level of the interval; it is never missed more often than that.

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
    low = float(betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, trials - successes, 1 - tail)) if successes < trials else 1.0
    return low, high
