"""Search for the share of a clip whose sound keeps the decision, and whose removal loses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.interpreters.masked_sounds import answers_to_hard_masks
from otoscope.metrics.faithfulness import PRESENT

Share = Literal["decisive", "sufficient"]
"""Share of a clip's bins that is found by asking the classifier."""
KEEPS = 0.9
"""Share of the probability of the whole recording that sufficient evidence reaches by itself."""
_LOSES = 0.5
"""Share below which the decision counts as lost where the explained class is not the predicted one."""
_LARGEST_DECISIVE = 0.5
"""Largest area of decisive evidence: more than half of a sound explains nothing."""
_SMALLEST_SHARE = 1e-3
_STEPS = 7
"""With halvings on a logarithmic scale, a share is found to within 1000 ** (1 / 2 ** 7), 6 %."""
_SILENCE = 1e-6
"""Log magnitude of digital silence: the front-end's floor is 1e-7."""


class CurvePoint(NamedTuple):
    """Answer of the classifier to a part of a recording.

    Attributes:
        area: Share of the bins that the evidence keeps.
        probability: Probability of the explained class.
    """

    area: float
    probability: float


@dataclass(frozen=True)
class Sufficiency:
    """How much of one clip is enough for its decision, and how much of it is indispensable.

    Attributes:
        mask: Evidence of the smallest sufficient share; if no tested share suffices, of the one with the highest
            probability of the explained class. Shape (frequency, time).
        sufficient: Smallest share of the bins whose sound alone keeps the decision; None if there is none.
        necessary: Smallest share of the bins whose removal loses the decision; None if there is none.
        evidence: Answers to the evidence alone, by rising area.
        remainder: Answers to the recording without the evidence, by rising area of the evidence.
        decisive: Share that is both: it keeps the decision by itself, and without it the decision is lost. It is
            the larger one of the two, if the classifier confirms it and it is at most half of the bins; else None.
        decisive_mask: Its evidence, if there is a decisive share. Shape (frequency, time).
    """

    mask: Tensor
    sufficient: float | None
    necessary: float | None
    evidence: list[CurvePoint] = field(default_factory=list)
    remainder: list[CurvePoint] = field(default_factory=list)
    decisive: float | None = None
    decisive_mask: Tensor | None = None

    def mask_of(self, share: Share) -> Tensor:
        """Return the evidence of a share; without a decisive share, that of the smallest sufficient one."""
        if share == "decisive" and self.decisive_mask is not None:
            return self.decisive_mask
        return self.mask

    def cut(self, frames: int) -> Sufficiency:
        """Return the same for the first frames, without the padding of a batch, on the CPU."""
        decisive = None if self.decisive_mask is None else self.decisive_mask[:, :frames].cpu()
        return replace(self, mask=self.mask[:, :frames].cpu(), decisive_mask=decisive)


@torch.no_grad()
def find_sufficient(
    classifier: Classifier,
    spectrogram: Spectrogram,
    prediction: Prediction,
    importance: Tensor,
    neutral: float | None = 0.0,
    normalize: bool | None = None,
) -> list[Sufficiency]:
    """Find the smallest sufficient and the smallest necessary share of each clip by bisection.

    Bins are taken by falling importance, those of equal importance together, so that no bin is chosen at random.
    Bins of neutral importance or less, and digital silence, are never taken. Evidence suffices if its sound alone
    keeps the predicted class and at least 0.9 of the probability; removing it loses the decision if the sound of
    the remainder gets another class. Where the explained class is not the predicted one, the probability alone
    decides: 0.9 of it is kept, or less than half is left. Decisive evidence does both, and leaves less than half
    of the probability in any case.

    The classifier runs at most nine times on the evidence and on the remainder of each clip. The answers need
    not change evenly with the area, so that a smaller share may exist; the share that is returned was tested.

    Args:
        classifier: Classifier that is explained.
        spectrogram: Spectrogram of the clips, with its phase.
        prediction: Prediction of the classifier for the clips.
        importance: Map that ranks the bins; higher is more important. Shape (batch, frequency, time).
        neutral: Importance of a bin that does not matter; None: that of the least important bin of each clip.
        normalize: Whether to scale each sound to a peak of 1; see `Classifier.hear`.

    Returns:
        One result for each clip.
    """
    rankings = [
        _Candidates(importance[i, :, :count], spectrogram.log_magnitude[i, :, :count], neutral)
        for i, count in enumerate(spectrogram.frame_counts)
    ]
    evidence = [_Bisection(ranking.largest_share) for ranking in rankings]
    remainder = [_Bisection(ranking.largest_share) for ranking in rankings]
    answers_to = answers_to_hard_masks(classifier, spectrogram, normalize)
    for _ in range(_STEPS + 1):
        evidence_mask = _stack(rankings, evidence, spectrogram)
        # Padding belongs to neither part.
        rest = spectrogram.zero_padding(1 - _stack(rankings, remainder, spectrogram))
        parts = torch.cat([evidence_mask, rest])
        answers = answers_to(parts).chunk(2)
        keeps, loses = _keeps(prediction, answers[0]), _loses(prediction, answers[1])
        target = prediction.explained[:, None]
        for clip, ranking in enumerate(rankings):
            for search, answer, passed in ((evidence, answers[0], keeps), (remainder, answers[1], loses)):
                probability = float(answer[clip].gather(-1, target[clip]))
                search[clip].record(ranking.area_of(search[clip].share), probability, bool(passed[clip]))
    results = [
        _result(ranking, search, removal, importance[i])
        for i, (ranking, search, removal) in enumerate(zip(rankings, evidence, remainder, strict=True))
    ]
    shares = [_candidate(*searches) for searches in zip(rankings, evidence, remainder, strict=True)]
    return _confirm_decisive(answers_to, spectrogram, prediction, rankings, shares, results)


def _candidate(ranking: _Candidates, evidence: _Bisection, remainder: _Bisection) -> float | None:
    """Return the share that may be decisive: the larger one of the sufficient and the necessary share."""
    if evidence.passed is None or remainder.passed is None:
        return None
    share = max(evidence.passed, remainder.passed)
    return share if ranking.area_of(share) <= _LARGEST_DECISIVE else None


def _confirm_decisive(
    answers_to: Callable[[Tensor], Tensor],
    spectrogram: Spectrogram,
    prediction: Prediction,
    rankings: Sequence[_Candidates],
    shares: Sequence[float | None],
    results: Sequence[Sufficiency],
) -> list[Sufficiency]:
    """Ask the classifier about the shares that may be decisive, and return the results with those that are."""
    if all(share is None for share in shares):
        return list(results)
    mask = torch.zeros_like(spectrogram.log_magnitude)
    for clip, (ranking, share) in enumerate(zip(rankings, shares, strict=True)):
        if share is not None:
            mask[clip, :, : ranking.importance.shape[-1]] = ranking.mask(share)
    parts = torch.cat([mask, spectrogram.zero_padding(1 - mask)])
    answers = answers_to(parts).chunk(2)
    target = prediction.explained[:, None]
    remaining, whole = (values.gather(-1, target)[:, 0] for values in (answers[1], prediction.probabilities))
    confirmed = _keeps(prediction, answers[0]) & _loses(prediction, answers[1]) & (remaining < _LOSES * whole)
    return [
        result
        if share is None or not bool(confirmed[clip])
        else replace(result, decisive=ranking.area_of(share), decisive_mask=mask[clip])
        for clip, (ranking, share, result) in enumerate(zip(rankings, shares, results, strict=True))
    ]


class _Candidates:
    """The bins of one clip that may be evidence, ranked.

    Args:
        importance: Importance of the valid bins. Shape (frequency, time).
        log_magnitude: Their log magnitude. Same shape.
        neutral: See `find_sufficient`.
    """

    def __init__(self, importance: Tensor, log_magnitude: Tensor, neutral: float | None) -> None:
        self.importance = importance
        floor = importance.min() if neutral is None else neutral
        self.eligible = (importance > floor) & (log_magnitude > _SILENCE)
        self.ranked = importance[self.eligible].sort(descending=True).values
        self.bins = importance.numel()
        self.largest_share = len(self.ranked) / self.bins

    def mask(self, share: float) -> Tensor:
        """Return the mask of a share of all bins, rounded up to whole groups of equal importance."""
        if len(self.ranked) == 0:
            return torch.zeros_like(self.importance)
        count = min(max(1, round(share * self.bins)), len(self.ranked))
        return (self.eligible & (self.importance >= self.ranked[count - 1])).to(self.importance.dtype)

    def area_of(self, share: float) -> float:
        """Return the area that the mask of a share has, which is larger where bins are equal."""
        return float(self.mask(share).mean())


class _Bisection:
    """Bisection for the smallest share that passes a test, on a logarithmic scale.

    Args:
        largest: Largest share that can be asked for; it is tested first.
    """

    def __init__(self, largest: float) -> None:
        self.low, self.high = min(_SMALLEST_SHARE, largest), largest
        self.share = largest
        self.passed: float | None = None
        self.most_probable = largest
        self.points: dict[float, float] = {}
        self._highest = float("-inf")

    def record(self, area: float, probability: float, passed: bool) -> None:
        """Take the answer for `share`, and choose the next one."""
        self.points[area] = probability
        if area > 0 and probability > self._highest:
            self.most_probable, self._highest = self.share, probability
        # nothing is no evidence, even where silence gets the class
        if passed and area > 0:
            self.passed, self.high = self.share, self.share
        elif self.share < self.high:
            self.low = self.share
        # Without a success at the largest share, smaller ones are tested all the same: for the curve, and because
        # answers need not grow with the area.
        else:
            self.low = min(_SMALLEST_SHARE, self.high)
        self.share = (self.low * self.high) ** 0.5


def _stack(rankings: Sequence[_Candidates], searches: Sequence[_Bisection], spectrogram: Spectrogram) -> Tensor:
    mask = torch.zeros_like(spectrogram.log_magnitude)
    for clip, (ranking, search) in enumerate(zip(rankings, searches, strict=True)):
        mask[clip, :, : ranking.importance.shape[-1]] = ranking.mask(search.share)
    return mask


def _keeps(prediction: Prediction, answer: Tensor) -> Tensor:
    """Return for each clip whether evidence with this answer keeps the decision. Shape (batch,), bool."""
    target = prediction.explained[:, None]
    enough = answer.gather(-1, target) >= KEEPS * prediction.probabilities.gather(-1, target)
    return enough[:, 0] & ~(_decides(prediction, prediction.probabilities) & ~_decides(prediction, answer))


def _loses(prediction: Prediction, answer: Tensor) -> Tensor:
    """Return for each clip whether a remainder with this answer loses the decision. Shape (batch,), bool."""
    target = prediction.explained[:, None]
    less = answer.gather(-1, target) < _LOSES * prediction.probabilities.gather(-1, target)
    return torch.where(_decides(prediction, prediction.probabilities), ~_decides(prediction, answer), less[:, 0])


def _decides(prediction: Prediction, answer: Tensor) -> Tensor:
    """Return for each clip whether an answer is for the explained class. Shape (batch,), bool."""
    target = prediction.explained
    if prediction.multi_label:
        return answer.gather(-1, target[:, None])[:, 0] >= PRESENT
    return answer.argmax(-1) == target


def _result(ranking: _Candidates, evidence: _Bisection, remainder: _Bisection, like: Tensor) -> Sufficiency:
    share = evidence.passed if evidence.passed is not None else evidence.most_probable
    mask = torch.zeros_like(like)
    mask[:, : ranking.importance.shape[-1]] = ranking.mask(share)
    curves = [[CurvePoint(*point) for point in sorted(search.points.items())] for search in (evidence, remainder)]
    return Sufficiency(
        mask=mask,
        sufficient=None if evidence.passed is None else ranking.area_of(evidence.passed),
        necessary=None if remainder.passed is None else ranking.area_of(remainder.passed),
        evidence=curves[0],
        remainder=curves[1],
    )
