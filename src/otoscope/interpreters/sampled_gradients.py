"""Base class of attributions that average gradients at random points between baselines and a clip."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.interpreters.attribution import (
    SeededAttributionInterpreter,
    each_clip,
    require_count,
)
from otoscope.interpreters.runs import gradients_at, inputs_per_run
from otoscope.interpreters.stability import Halves, require_stability


@dataclass(frozen=True)
class Lines:
    """Straight lines from baselines to versions of a clip, and a point on each.

    Attributes:
        starts: Log magnitude of the baselines, shape (points, frequency, time) or (1, frequency, time).
        ends: Log magnitude of the versions of the clip, same shapes.
        positions: Place of each point on its line, from 0 at the start to 1 at the end. Shape (points,).
    """

    starts: Tensor
    ends: Tensor
    positions: Tensor


class SampledGradientsInterpreter(SeededAttributionInterpreter):
    """Base class of attributions that average gradients at random points between baselines and a clip.

    Args:
        classifier: Classifier to explain.
        samples: Number of random points.
        rank_stability: Reliability of the order of the bins at which the draws end early, between 0 and 1,
            estimated from two halves of the draws after each portion of ``batch``; see
            `otoscope.interpreters.stability` (default: all ``samples``).
        **options: Options of `SeededAttributionInterpreter`.
    """

    needs_gradient = True

    def __init__(
        self, classifier: Classifier, samples: int, rank_stability: float | None = None, **options: Any
    ) -> None:
        super().__init__(classifier, **options)
        require_count(samples=samples)
        require_stability(rank_stability)
        self.samples = samples
        self.rank_stability = rank_stability

    @abstractmethod
    def lines(self, clip: Spectrogram, first: int, count: int) -> Lines:
        """Return some of the points at which gradients are taken.

        Args:
            clip: Spectrogram of one clip.
            first: Number of points that came before.
            count: Number of points.
        """

    @override
    def runs_per_clip(self) -> int | None:
        return self.samples

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        return torch.cat([self._average(clip, label) for clip, label in each_clip(spectrogram, target)])

    def _average(self, clip: Spectrogram, target: Tensor) -> Tensor:
        # the mean of (x - b) times the gradient at b + t (x - b), for baselines b, versions x of the clip and t in
        # [0, 1]
        mean = Halves(clip.log_magnitude, self.rank_stability, self.sign == "absolute")
        size = inputs_per_run(self.classifier, clip, self.batch)
        for first in range(0, self.samples, self.batch):
            lines = self.lines(clip, first, min(self.batch, self.samples - first))
            difference = lines.ends - lines.starts
            # noise that would take a bin below silence leaves silence, with the gradient there
            points = (lines.starts + lines.positions[:, None, None] * difference).clamp(min=0)
            mean.add(difference * gradients_at(self.scores, clip, points, target, size))
            if mean.is_stable():
                break
        return mean.mean()
