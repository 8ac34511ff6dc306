"""Heard agreement: agreement and segment regression, changed until the sound of the best bins decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.interpreters.agreement import AgreementInterpreter
from otoscope.interpreters.attribution import each_clip, require_count, require_not_negative, require_positive
from otoscope.interpreters.descent import (
    explained_log_probabilities,
    refine_ranking,
    require_areas,
    require_cell,
)
from otoscope.interpreters.masked_sounds import MaskedSounds
from otoscope.interpreters.segment_regression import SegmentRegressionInterpreter
from otoscope.metrics.ranking import ranks, top_share

_GROWTH = 1.5
"""Factor of the length of a step after one that helped."""
_LIMIT = 10.0
"""Largest step of a bin, as a multiple of the root mean square. Without it, the few bins with by far the largest
gradients pass those that the start is sure of."""
_TIE = 1e-6
"""Largest difference between bins of equal value that the descent ranks one above another."""
_SHARPNESS = 0.5
"""Width, in logarithms of the area, of the sigmoid that replaces a cut in the gradient."""


class HeardAgreementInterpreter(AgreementInterpreter):
    r"""Agreement and segment regression together, with offsets that make evidence and remainder, as sounds, decide.

    The start is the sum of the maps of `AgreementInterpreter` and `SegmentRegressionInterpreter`, each divided by
    the mean of its absolute values. The first one reads gradients, the second one answers to changed
    sounds, so that they err in different places. The ranks of the bins in this sum get offsets.

    With :math:`E_a` the sound of the bins that a map ranks among the best share a, :math:`R_a` the sound of all
    others, X the clip, CE the cross-entropy to the explained class c and p its probability, a descent lowers

    .. math:: \frac{1}{|A|} \sum_{a \in A} \max(0, CE(E_a) - keep \cdot CE(X))
        + weight \cdot \max(0, p(R_a) - lose \cdot p(X))

    The sounds are computed as they are saved: by the inverse transform, scaled as the clip was, and analysed again.
    So the descent cannot exploit spectrograms that no sound has. It ends as soon as both goals are reached, so that
    the map changes no more than needed. Per clip: ``steps`` forward and backward passes, ``passes`` forward passes,
    and for each of the ``refinements`` at most a forward pass of evidence and remainder for each area, and a
    backward pass through those that miss their goal.

    Args:
        classifier: Classifier to explain.
        steps: Number of points of the integrated gradients.
        passes: Number of versions of the clip for the segment regression. 0: the start is agreement alone.
        areas: Areas at which the sounds are asked about.
        keep: Cross-entropy of the evidence to reach, as a share of that of the whole clip.
        lose: Probability of the remainder to reach, as a share of that of the whole clip.
        weight: Weight of the remainder.
        refinements: Largest number of steps of the descent. 0: the start is the result.
        rate: Length of the first step, in logarithms of the area.
        cell: Size of the cells that share an offset: bins of frequency, frames.
        seed: Seed of the versions, the same for each clip.
        **options: Options of `AgreementInterpreter`.

    Raises:
        ConfigurationError: An option is out of its range.
        GradientError: The classifier is a black box.

    Reference:
        This project; see docs/methods/agreement.md.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = classifier.hear(torch.randn(1, 8000))
        >>> interpreter = HeardAgreementInterpreter(classifier, area=0.1, steps=4, passes=20, refinements=2)
        >>> round(float(interpreter(spectrogram, classifier.predict(spectrogram)).mean()), 3)
        0.1
    """

    def __init__(
        self,
        classifier: Classifier,
        steps: int = 16,
        passes: int = 150,
        areas: Sequence[float] = (0.1, 0.2, 0.3),
        keep: float = 0.5,
        lose: float = 0.1,
        weight: float = 3.0,
        refinements: int = 8,
        rate: float = 0.02,
        cell: Sequence[int] = (1, 1),
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(classifier, steps, **options)
        require_positive(rate=rate)
        require_not_negative(passes=passes, keep=keep, lose=lose, weight=weight, refinements=refinements)
        if passes:
            require_count(passes=passes)
        require_areas(areas)
        require_cell(cell)
        self.passes, self.seed = passes, seed
        self.areas, self.keep, self.lose, self.weight = list(areas), keep, lose, weight
        self.refinements, self.rate, self.cell = refinements, rate, list(cell)

    @override
    def runs_per_clip(self) -> int | None:
        return None  # the descent ends as soon as it can

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        """Return the values of the start, in the order that the descent found."""
        # clip by clip: rounding differs with the batch, and a step that is accepted or not would depend on it
        return torch.cat([self._refined(clip, label) for clip, label in each_clip(spectrogram, target)])

    def _refined(self, clip: Spectrogram, target: Tensor) -> Tensor:
        importance = self.start(clip, target)
        if not bool(importance.any()):
            return importance
        whole = -explained_log_probabilities(self.classifier, clip, target).detach()
        sounds = MaskedSounds(self.classifier, clip)
        ranking = refine_ranking(
            lambda ranking: self.objective(ranking, sounds, target, whole),
            _log_ranks(importance),
            self.cell,
            self.refinements,
            self.rate,
            _GROWTH,
            _LIMIT,
        )
        return _in_order_of(ranking, importance)

    def start(self, clip: Spectrogram, target: Tensor) -> Tensor:
        """Return the map that the descent starts from, shape (1, frequency, time).

        Args:
            clip: Spectrogram of one clip, with its phase.
            target: Explained class, shape (1,).
        """
        agreement = _scaled(super().attribute(clip, target))
        if self.passes == 0:
            return agreement
        regression = SegmentRegressionInterpreter(self.classifier, self.passes, seed=self.seed, batch=self.batch)
        with torch.no_grad():
            of_segments = regression.attribute(clip, target)
        return agreement + _scaled(of_segments)

    def objective(self, ranking: Tensor, sounds: MaskedSounds, target: Tensor, whole: Tensor) -> Tensor:
        """Return by how much the goals are missed. Its gradient is that of soft cuts.

        A goal that is reached at an area counts as reached at larger ones, whose evidence contains more.

        Args:
            ranking: Ranking of the bins, shape (1, frequency, time).
            sounds: Sounds of the masks of one clip.
            target: Explained class, shape (1,).
            whole: Cross-entropy of the whole clip, shape (1,).

        Returns:
            Objective, not negative. Shape (1,).
        """

        def log_probability(mask: Tensor) -> Tensor:
            return explained_log_probabilities(self.classifier, sounds.heard(mask), target)

        # A goal that is reached adds nothing. It is left out, so that the gradient does not pass through its sound.
        terms = []
        convinced = lost = False
        for area in sorted(self.areas):
            mask = top_share(ranking, area, _SHARPNESS)
            if not convinced:
                missed = -log_probability(mask) - self.keep * whole
                convinced = bool(missed <= 0)
                terms += [] if convinced else [missed]
            if not lost:
                missed = log_probability(1 - mask).exp() - self.lose * (-whole).exp()
                lost = bool(missed <= 0)
                terms += [] if lost else [self.weight * missed]
        # 0 times the ranking: an objective that can be differentiated where all goals are reached
        total = torch.stack(terms).sum(0) if terms else 0 * ranking.sum()[None]
        return total / len(self.areas)


def _in_order_of(ranking: Tensor, importance: Tensor) -> Tensor:
    """Return the values of a map of one clip, rearranged so that larger values stand where the ranking is larger.

    Example:
        >>> _in_order_of(torch.tensor([[[2.0, 9.0, 5.0]]]), torch.tensor([[[0.5, 0.25, 0.0]]]))
        tensor([[[0.0000, 0.5000, 0.2500]]])
    """
    ordered = importance.flatten().sort().values
    share = ranks(ranking)
    # Values that occur more than once, such as 0, would lose the order of the ranking without the second term.
    return ordered[(share * (len(ordered) - 1)).round().long()] + _TIE * share


def _scaled(attribution: Tensor) -> Tensor:
    """Return a map of one clip, divided by the mean of its absolute values."""
    return attribution / attribution.abs().nanmean().clamp(min=torch.finfo(attribution.dtype).tiny)


def _log_ranks(values: Tensor) -> Tensor:
    """Return minus the logarithm of the share of bins at or above each bin, from 0 to log(bins)."""
    # An offset then moves a bin by a factor of the area: among the best bins by little, in the middle by much. So
    # the descent cannot push the few bins that the start is sure of behind many others.
    bins = values[0].numel()
    return -(1 - ranks(values) + 1 / bins).clamp(max=1).log()
