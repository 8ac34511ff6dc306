"""Bootstrap intervals of means over clips, and of differences between methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FEWEST_CLIPS = 6
"""Least number of recordings for a significant difference: a two-sided sign test of 5 cannot reach 5 %."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over clips with its interval.

    Attributes:
        mean: Mean; NaN if it is defined for no clip.
        low: Lower end of the interval.
        high: Upper end of the interval.
        clips: Number of clips whose value is defined.
        recordings: Number of recordings that these clips were cut from (default: as many as clips).
    """

    mean: float
    low: float
    high: float
    clips: int
    recordings: int | None = field(default=None, repr=False, compare=False)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0, with `FEWEST_CLIPS` recordings or more."""
        independent = self.clips if self.recordings is None else self.recordings
        return independent >= FEWEST_CLIPS and bool(self.low > 0 or self.high < 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as a JSON object."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.clips}


@dataclass(frozen=True)
class Sampling:
    """Draws of the bootstrap for means over clips.

    Attributes:
        count: Number of samples.
        seed: Seed of the draws.
        recordings: Recording of each clip that was cut from one; clips of one recording are drawn together.
    """

    count: int
    seed: int
    recordings: Mapping[str, str] = field(default_factory=dict)

    def recordings_of(self, clips: Sequence[str]) -> list[str]:
        """Return the recording of each clip; a clip without one is its own."""
        return [self.recordings.get(clip, clip) for clip in clips]

    def estimates(self, clips: Sequence[str], values: Values) -> list[Estimate]:
        """Return the mean of each column with its interval; see `estimate`.

        Args:
            clips: Names of the clips.
            values: Value of each clip, shape (clips, columns).
        """
        recordings = self.recordings_of(clips)
        return estimate(values, resampling_by(recordings, self.count, self.seed), recordings=recordings)


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


def estimate(
    values: Values, table: Values, level: float = 0.95, recordings: Sequence[str] | None = None
) -> list[Estimate]:
    r"""Return means over clips with bootstrap intervals; undefined values (NaN) are left out, also of each sample.

    The ends are percentiles of the sample means, expanded until the interval of normal values is as wide as
    Student's, because plain percentiles are too narrow with few clips. The interval of strongly skewed values still
    misses the mean more often than its level states.

    Args:
        values: Values of each clip, shape (clips, columns).
        table: Bootstrap samples of `resampling` or `resampling_by`, shape (count, clips).
        level: Level of the interval.
        recordings: Recording of each clip, as in `resampling_by` (default: the clips are independent). Student's
            degrees of freedom are those of the recordings.

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
    independent = clips if recordings is None else _count_recordings(defined, recordings)
    # Every sample mean is a weighted mean of the clips, so one matrix product computes all of them. Undefined
    # values have weight 0; a sample that drew no defined clip is 0 / 0, which is NaN.
    with np.errstate(invalid="ignore"):
        means = filled.sum(0) / clips
        samples = (table @ filled) / (table @ defined)
    ends = np.full((2, values.shape[1]), np.nan)
    # nanquantile leaves out samples that are NaN, but is slow: it serves only the columns that need it.
    complete = np.isfinite(samples).all(0)
    # The percentiles depend on the number of recordings, so columns of equal number are taken together.
    for count in np.unique(independent[independent > 0]):
        tail = _tail(int(count), level)
        for quantile, columns in ((np.quantile, complete), (np.nanquantile, ~complete)):
            chosen = columns & (independent == count)
            ends[:, chosen] = quantile(samples[:, chosen], (tail, 1 - tail), axis=0)
    columns_of = zip(means, *ends, clips, independent, strict=True)
    return [Estimate(float(m), float(a), float(b), int(n), int(r)) for m, a, b, n, r in columns_of]


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


def _count_recordings(defined: NDArray[np.bool_], recordings: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of recordings with a defined clip, shape (columns,)."""
    place = np.unique(list(recordings), return_inverse=True)[1]
    present = np.zeros((place.max(initial=-1) + 1, defined.shape[1]), dtype=bool)
    np.logical_or.at(present, place, defined)
    counts: NDArray[np.int64] = present.sum(0)
    return counts
