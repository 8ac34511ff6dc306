"""Effects of interventions on decisions: shares, intervals by recording, exact tests, false-discovery rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from otoscope.audit.result import Effect
from otoscope.evaluation.proportions import estimate_proportion
from otoscope.evaluation.statistics import FEWEST_CLIPS, Sampling

FEWEST_RECORDINGS = FEWEST_CLIPS
"""Least number of recordings of a class for a verdict."""
HIGHEST_RATE = 0.05
"""False-discovery rate of what is called a shortcut."""

_PLAUSIBLE = 0.1
"""P value of the decisions up to which that of the margins counts: a few decisions could be chance all the same."""

Decisions = NDArray[np.bool_]


def effect(
    names: Sequence[str],
    recordings: Mapping[str, str],
    before: Decisions,
    after: Decisions,
    control: Decisions | None,
    rises: bool,
    seed: int,
    samples: int = 2000,
    gain: NDArray[np.float64] | None = None,
) -> Effect:
    """Return the effect of an intervention on whether clips are taken for a class.

    Args:
        names: Names of the clips.
        recordings: Recording of each clip by name.
        before: Whether each is taken for the class without the intervention, shape (clips,).
        after: The same with it.
        control: The same with the control (default: none).
        rises: Whether the share is expected to rise (transplant) and not to fall (removal).
        seed: Seed of the bootstrap.
        samples: Number of its samples.
        gain: How much further the intervention moves each clip in the expected direction than the control does,
            shape (clips,). It gives the p value where the decisions alone have one of at most 0.1 (default: the p
            value is that of the decisions).

    Example:
        >>> yes, no = np.ones(8, dtype=bool), np.zeros(8, dtype=bool)
        >>> names = [f"clip{index}" for index in range(8)]
        >>> found = effect(names, {}, yes, no, yes, rises=False, seed=0)
        >>> found.before, found.after, round(found.p_value, 4), found.high < -0.5
        (1.0, 0.0, 0.0039, True)
    """
    change = after.astype(float) - before.astype(float)
    sampling = Sampling(samples, seed, recordings)
    of_clips = sampling.recordings_of(names)
    [estimated] = sampling.estimates(names, change[:, None])
    low, high = estimated.low, estimated.high
    # Where no clip changes in the other direction, the change is a proportion and has an exact interval.
    for sign in (1.0, -1.0):
        if not (sign * change < 0).any():
            exact = estimate_proportion(sign * change, estimated, 1.0, of_clips)
            low, high = (exact.low, exact.high) if sign > 0 else (-exact.high, -exact.low)
            break
    against = before if control is None else control
    p_value = sign_test((after.astype(float) - against.astype(float)) * (1 if rises else -1), of_clips)
    if gain is not None and p_value <= _PLAUSIBLE:
        p_value = sign_test(gain, of_clips)
    return Effect(
        before=float(before.mean()),
        after=float(after.mean()),
        low=float(low),
        high=float(high),
        control=None if control is None else float(control.mean()),
        clips=len(names),
        recordings=len(set(of_clips)),
        p_value=p_value,
    )


def sign_test(values: NDArray[np.float64], recordings: Sequence[str]) -> float:
    """Return the probability of at least this number of positive recordings if either sign were equally likely.

    Args:
        values: Value of each clip, shape (clips,). Clips of one recording are averaged; zeros do not count.
        recordings: Recording of each clip.

    Returns:
        One-sided p value; 1 if all values are zero.

    Reference:
        The sign test; for decisions it is McNemar's exact test, here by recording.

    Example:
        >>> sign_test(np.array([1.0, 1.0, 0.0, 1.0]), ["a", "b", "c", "d"])
        0.125
    """
    from scipy.stats import binom

    places = np.unique(list(recordings), return_inverse=True)[1]
    means = np.bincount(places, weights=values) if len(values) else np.zeros(0)
    positive, negative = int((means > 1e-9).sum()), int((means < -1e-9).sum())
    # at least `positive` of all that are not zero
    return float(binom.sf(positive - 1, positive + negative, 0.5)) if positive + negative else 1.0


def false_discovery(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the q value of each test: the false-discovery rate at which it would be called a discovery.

    Args:
        p_values: P values; None for what could not be tested, which does not count as a test.

    Reference:
        Benjamini & Hochberg 1995, Controlling the False Discovery Rate, JRSS B 57; see
        `scipy.stats.false_discovery_control`.

    Example:
        >>> false_discovery([0.01, None, 0.04])
        [0.02, None, 0.04]
    """
    from scipy.stats import false_discovery_control

    tested = [value for value in p_values if value is not None]
    corrected = iter(false_discovery_control(tested).tolist() if tested else [])
    return [None if value is None else float(next(corrected)) for value in p_values]
