"""RISE: random masks, weighted by the score of the masked clip (Petsiuk et al. 2018, arXiv 1806.07421)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import (
    Score,
    SeededAttributionInterpreter,
    each_clip,
    require_count,
    require_positive,
)
from otoscope.interpreters.occlusion import cell_size
from otoscope.interpreters.runs import inputs_per_run, scores_of
from otoscope.interpreters.stability import GROWTH, reliability, require_stability

_ROUNDING = 1e-6
"""Relative difference up to which answers of the classifier count as equal."""


class RISEInterpreter(SeededAttributionInterpreter):
    r"""Scores the clip through random coarse masks; a bin matters if the score is high whenever the mask keeps it.

    With N random masks M of mean p and scores s(M X) of mean s̄, the attribution is

    .. math:: \frac{1}{N p} \sum_i (s(M_i X) - \bar s) M_i

    Masks are zeros and ones on a grid, interpolated bilinearly and shifted at random by less than a cell. Needs no
    gradient. ``masks`` forward passes per clip: 5 s for 5 s on a narrow CNN14 and one core.

    Args:
        classifier: Classifier to explain.
        masks: Number of masks.
        cell_hz: Height of a cell of the grid.
        cell_s: Width of a cell of the grid.
        probability: Probability p that a cell is kept.
        score: Score of the masked clips; see `AttributionInterpreter`.
        rank_stability: Reliability of the order of the bins at which the masks end early, between 0 and 1,
            estimated from two halves of the masks; see `otoscope.interpreters.stability` (default: all ``masks``).
        **options: Options of `SeededAttributionInterpreter`.

    Raises:
        ConfigurationError: An option is out of its range.

    Reference:
        Petsiuk et al. 2018, arXiv 1806.07421. Departures: the mean score is subtracted, which lowers the variance
        and does not change the order of the bins in expectation; cells have a size in Hz and seconds instead of
        7 x 7 cells for a picture.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 40))
        >>> RISEInterpreter(classifier, masks=20)(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    def __init__(
        self,
        classifier: Classifier,
        masks: int = 500,
        cell_hz: float = 1000.0,
        cell_s: float = 0.5,
        probability: float = 0.5,
        score: Score = "probability",
        rank_stability: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(classifier, score=score, **options)
        require_count(masks=masks)
        require_positive(cell_hz=cell_hz, cell_s=cell_s)
        if not 0 < probability < 1:
            raise ConfigurationError(f"probability: {probability} must lie between 0 and 1")
        self.masks = masks
        self.cell_hz = cell_hz
        self.cell_s = cell_s
        require_stability(rank_stability)
        self.probability = probability
        self.rank_stability = rank_stability

    @override
    def runs_per_clip(self) -> int | None:
        return self.masks

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        log_magnitude = spectrogram.log_magnitude
        clips = list(each_clip(spectrogram, target))
        size = inputs_per_run(self.classifier, clips[0][0], self.batch)
        answers = [_Answers(log_magnitude[:1]) for _ in clips]
        results: dict[int, Tensor] = {}
        total, drawn, asked = torch.zeros_like(answers[0].weighted), [0, 0], 0
        # the same masks serve all clips of the batch, so that their sum is needed only once
        for masks in self._random_masks(log_magnitude):
            halves = masks.tensor_split(2)
            for half, some in enumerate(halves):
                total[half] += some.transpose(1, 2).sum(0).T
                drawn[half] += len(some)
            for i, (clip, label) in enumerate(clips):
                if i not in results:
                    scores = scores_of(self.scores, clip, masks * clip.log_magnitude, label, size)
                    answers[i].add(scores.tensor_split(2), halves)
            if self.rank_stability is None or sum(drawn) < asked or min(drawn) == 0:
                continue
            asked = math.ceil(GROWTH * sum(drawn))
            for i in set(range(len(clips))) - set(results):
                if self._is_stable(answers[i], total, drawn):
                    results[i] = answers[i].attribution(total, drawn, self.probability)
            if len(results) == len(clips):
                break
        for i in set(range(len(clips))) - set(results):
            results[i] = answers[i].attribution(total, drawn, self.probability)
        return torch.stack([results[i] for i in range(len(clips))])

    def _is_stable(self, answers: _Answers, total: Tensor, drawn: list[int]) -> bool:
        """Return whether the maps of both halves of the masks rank the bins alike."""
        maps = [self._importance(answers.of_half(half, total, drawn)) for half in (0, 1)]
        return self.rank_stability is not None and reliability(*maps) >= self.rank_stability

    def _random_masks(self, like: Tensor) -> Iterator[Tensor]:
        """Yield the masks, at most ``batch`` at a time; all clips of one length get the same masks."""
        generator = torch.Generator().manual_seed(self.seed)
        cell = cell_size(self.classifier, like, self.cell_hz, self.cell_s)
        for start in range(0, self.masks, self.batch):
            count = min(self.batch, self.masks - start)
            shape = (like.shape[-2], like.shape[-1])
            masks = [random_mask(shape, cell, self.probability, generator).T for _ in range(count)]
            yield torch.stack(masks).to(like).transpose(1, 2)


class _Answers:
    """Scores of one clip through random masks, summed over two halves of the masks.

    Args:
        log_magnitude: Log magnitude of the clip, shape (1, frequency, time).
    """

    def __init__(self, log_magnitude: Tensor) -> None:
        self.weighted = torch.zeros_like(log_magnitude).repeat(2, 1, 1)
        self.sums = log_magnitude.new_zeros(2)
        self.lowest, self.highest = math.inf, -math.inf

    def add(self, scores: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
        """Add the scores through some masks.

        Args:
            scores: Scores of each half, shape (masks,).
            masks: Masks of each half, shape (masks, frequency, time).
        """
        for half, (values, some) in enumerate(zip(scores, masks, strict=True)):
            if len(values):
                self.weighted[half] += torch.einsum("n,ntf->tf", values, some.transpose(1, 2)).T
                self.sums[half] += values.sum()
                self.lowest = min(self.lowest, float(values.min()))
                self.highest = max(self.highest, float(values.max()))

    def of_half(self, half: int, total: Tensor, drawn: Sequence[int]) -> Tensor:
        """Return the attribution by one half of the masks, up to a positive factor. Shape (frequency, time)."""
        return self.weighted[half] - (self.sums[half] / drawn[half]) * total[half]

    def attribution(self, total: Tensor, drawn: Sequence[int], probability: float) -> Tensor:
        """Return the attribution by all masks, shape (frequency, time).

        Args:
            total: Sum of the masks of each half, shape (2, frequency, time).
            drawn: Number of masks of each half.
            probability: Mean of a mask.
        """
        # what is left where all answers are equal is rounding
        if self.highest - self.lowest <= _ROUNDING * max(abs(self.highest), abs(self.lowest)):
            return torch.zeros_like(total[0])
        # sum_i (s_i - mean s) M_i, summed in one pass: the mean score is known only at the end. The divisor N p is
        # the expected sum of the masks in each bin.
        count = sum(drawn)
        return (self.weighted.sum(0) - (self.sums.sum() / count) * total.sum(0)) / (count * probability)


def random_mask(
    shape: tuple[int, int], cell: tuple[int, int], probability: float, generator: torch.Generator
) -> Tensor:
    """Draw a coarse random mask: a grid of zeros and ones, interpolated bilinearly, shifted by less than a cell.

    Args:
        shape: Shape of the mask in bins and frames.
        cell: Size of a cell in bins and frames.
        probability: Probability that a cell is one.
        generator: Source of randomness, on the CPU.

    Returns:
        Mask in [0, 1] of that shape.

    Example:
        >>> random_mask((6, 9), (2, 3), 0.5, torch.Generator().manual_seed(0)).shape
        torch.Size([6, 9])
    """
    # one cell more than the mask needs in each direction, from which the shift cuts at a random place
    cells = [math.ceil(side / step) + 1 for side, step in zip(shape, cell, strict=True)]
    grid = (torch.rand(cells, generator=generator) < probability).float()
    # without the random shift, the borders of the cells would show in the average
    row, column = (int(torch.randint(step, (), generator=generator)) for step in cell)
    # Bilinear interpolation is a matrix product in each direction; only the rows of the mask are computed.
    tall, wide = (_interpolation(count, step) for count, step in zip(cells, cell, strict=True))
    # with time first in memory, as spectrograms have it: products with them then copy nothing
    return (wide[column : column + shape[1]] @ (tall[row : row + shape[0]] @ grid).T).T


@lru_cache(maxsize=16)
def _interpolation(cells: int, step: int) -> Tensor:
    """Return the matrix that interpolates cells linearly to ``step`` values each, shape (cells * step, cells)."""
    # on the CPU and outside of inference mode, as it is kept
    with torch.inference_mode(False), torch.no_grad():
        eye = torch.eye(cells)[:, None]
        return F.interpolate(eye, cells * step, mode="linear", align_corners=False)[:, 0].T.contiguous()
