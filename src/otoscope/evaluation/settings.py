"""Settings of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from otoscope.classifiers.precision import Precision, check_precision
from otoscope.errors import ConfigurationError

_LEAST = {
    "batch_size": 1,
    "bootstrap": 100,
    "sanity_clips": 1,
    "shuffles": 2,
    "noisy_inputs": 0,
    "check_clips": 1,
    "seed": 0,
}
_LEAST_BATCHES = 8
"""Number of batches of each condition, below which some processes would wait for the others at the end."""


@dataclass
class Settings:
    """Settings of an evaluation.

    Args:
        areas: Areas of the masks of equal area, as shares of the bins.
        clips: Number of test clips, spread over the classes (default: all).
        batch_size: Largest number of clips at a time; the results do not depend on it, except by rounding.
            Processes share the clips in batches of this size, or smaller ones where there would be few batches; a
            GPU can take larger ones.
        seed: Seed of everything random.
        bootstrap: Number of bootstrap samples for the intervals.
        curves: Whether to compute insertion and deletion curves, in the first condition.
        road: Whether to compute ROAD scores, which impute removed bins, in the first condition.
        sanity: Whether to check that explanations change when the classifier's weights are shuffled.
        sanity_clips: Number of clips for that check.
        randomisation: Whether to compare the maps with those of the classifier with all weights shuffled.
        shuffles: Number of shuffles of that check.
        noisy_inputs: Number of noisy copies of a clip whose maps are averaged with its own, for sMPRT (0: none).
        stability: Whether to check that maps stay the same under changes of the sound that nobody hears.
        check_clips: Number of clips for each of the two checks.
        workers: Number of processes that score clips, each with one thread (default: the cores that can be used on
            the command line, one process in Python). The results do not depend on it.
        precision: Precision of the products in the classifier's network. ``bfloat16`` saves time on processors that
            compute with it, and changes the scores a little; masks and scores are computed in float32.

    Raises:
        ConfigurationError: A setting is out of its range.
    """

    areas: Sequence[float] = (0.1, 0.2, 0.3)
    clips: int | None = None
    batch_size: int = 4
    seed: int = 1234
    bootstrap: int = 1000
    curves: bool = True
    road: bool = False
    sanity: bool = True
    sanity_clips: int = 16
    randomisation: bool = True
    shuffles: int = 5
    noisy_inputs: int = 4
    stability: bool = True
    check_clips: int = 8
    workers: int | None = None
    precision: Precision = "float32"

    def clips_per_batch(self, clips: int) -> int:
        """Return how many clips are scored at a time, whatever the number of processes.

        Args:
            clips: Number of clips of the evaluation.

        Example:
            >>> [Settings().clips_per_batch(clips) for clips in (2, 12, 80)]
            [1, 2, 4]
        """
        # Rounding differs with the batch, so that the number of processes must not decide it.
        return min(self.batch_size, max(1, math.ceil(clips / _LEAST_BATCHES)))

    def __post_init__(self) -> None:
        check_precision(self.precision)
        self.areas = tuple(float(area) for area in self.areas)
        if not self.areas or not all(0 < area < 1 for area in self.areas) or len(set(self.areas)) < len(self.areas):
            raise ConfigurationError(f"areas: expected different shares between 0 and 1, got {list(self.areas)}")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name}: expected {least} or more, got {getattr(self, name)}")
        for name in ("clips", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name}: expected 1 or more, got {value}")
