"""A mask optimised for one clip: what must be kept so that the decision stays, and without which it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from captum.attr import IntegratedGradients
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import (
    AttributionInterpreter,
    Clips,
    log_probabilities,
    require_count,
    require_positive,
)
from otoscope.interpreters.occlusion import cell_size
from otoscope.metrics.ranking import ranks, soft_cut

Start = Literal["attribution", "loudness", "flat"]

_DECAY, _SQUARE_DECAY, _TINY = 0.9, 0.999, 1e-8
"""Of Adam, written out: the first use of ``torch.optim`` takes seconds."""
_CERTAIN = 1 - 1e-6
"""Probability of the remainder above which its penalty no longer grows."""
_PATH_STEPS = 16


class OptimisedMaskInterpreter(AttributionInterpreter):
    r"""Looks by gradient for the order of a clip's bins whose first so many per cent decide.

    The order is that of a field over the plane: the ranks that a bin starts with, in [-1, 1], plus a grid of
    numbers, raised bilinearly, which are what is optimised. A step cuts one of the ``areas`` from the field, with M
    the sigmoid of the distance from the cut over ``softness``, and lowers

    .. math:: -\log p(M X) - \mathrm{remainder} \cdot \log(1 - p((1 - M) X)) + \mathrm{smoothness} \cdot TV

    where p is the probability of the explained class and TV the mean absolute difference of neighbouring cells.
    Since the cut holds the area, none has to be traded for. Deterministic. ``2 * steps`` forward and as many
    backward passes per clip, and 16 of each for the start: 2.8 s for 5 s on a narrow CNN14 and one core.

    Args:
        classifier: Classifier to explain.
        steps: Of Adam.
        areas: Shares of the clip that the steps cut in turn: one order is to serve them all.
        smoothness: Weight of the total variation of the grid; cells make the field smooth already.
        remainder: Weight of what is left without the evidence.
        cell_hz: Height of a cell of the grid.
        cell_s: Its width.
        learning_rate: Of Adam, in ranks.
        softness: Of the cut, in ranks.
        start: ``attribution`` ranks bins by the sum of their ranks by loudness and by integrated gradients;
            ``loudness`` by that alone; ``flat`` not at all, so that the mask knows nothing finer than a cell.
        **options: See `AttributionInterpreter`; ``score`` concerns the start alone.

    Raises:
        ConfigurationError: An option is out of its range.
        GradientError: The classifier is a black box.

    Reference:
        Fong and Vedaldi 2017, arXiv 1704.03296; Fong, Patrick and Vedaldi 2019, arXiv 1910.08485. Departures:
        several areas in one map, held by the cut instead of by a loss; evidence and remainder; a start.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 40))
        >>> OptimisedMaskInterpreter(classifier, steps=3)(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    needs_gradient = True

    def __init__(
        self,
        classifier: Classifier,
        steps: int = 60,
        areas: Sequence[float] = (0.1, 0.2, 0.3),
        smoothness: float = 0.0,
        remainder: float = 0.5,
        cell_hz: float = 125.0,
        cell_s: float = 0.1,
        learning_rate: float = 0.1,
        softness: float = 0.2,
        start: Start = "attribution",
        **options: Any,
    ) -> None:
        super().__init__(classifier, **options)
        require_count(steps=steps)
        require_positive(cell_hz=cell_hz, cell_s=cell_s, learning_rate=learning_rate)
        require_positive(softness=softness)
        if not areas or not all(0 < area < 1 for area in areas):
            raise ConfigurationError(f"areas: expected shares between 0 and 1, got {list(areas)}")
        if min(smoothness, remainder) < 0:
            raise ConfigurationError(f"smoothness ({smoothness}) and remainder ({remainder}) must not be negative")
        if start not in get_args(Start):
            raise ConfigurationError(f"start: {start!r} is none of {', '.join(get_args(Start))}")
        self._own: dict[str, Any] = {"steps": steps, "areas": list(areas), "smoothness": smoothness}
        self._own |= {"remainder": remainder, "cell_hz": cell_hz, "cell_s": cell_s}
        self._own |= {"learning_rate": learning_rate, "softness": softness, "start": start}

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        # evidence and remainder of each go through the classifier together
        return torch.cat([self._optimised(part) for part in clips.split(max(1, self.batch // 2))])

    def _optimised(self, clips: Clips) -> Tensor:
        clip = clips.log_magnitude
        base = self._start(clips)
        cell = cell_size(self.classifier, clip, self._own["cell_hz"], self._own["cell_s"])
        cells = [-(-side // step) + 1 for side, step in zip(clip.shape[-2:], cell, strict=True)]
        grid = clip.new_zeros(len(clips), 1, *cells).requires_grad_()
        mean, square = torch.zeros_like(grid), torch.zeros_like(grid)
        for step in range(self._own["steps"]):
            area = self._own["areas"][step % len(self._own["areas"])]
            mask = soft_cut(base + _raised(grid, clip), area, self._own["softness"])
            loss = self._objective(mask, clips) + self._own["smoothness"] * _total_variation(grid)
            (gradient,) = torch.autograd.grad(loss, grid)
            mean, square = mean.lerp(gradient, 1 - _DECAY), square.lerp(gradient**2, 1 - _SQUARE_DECAY)
            move = (mean / (1 - _DECAY ** (step + 1))) / (
                (square / (1 - _SQUARE_DECAY ** (step + 1))).sqrt() + _TINY
            )
            grid = (grid.detach() - self._own["learning_rate"] * move).requires_grad_()
        return base + _raised(grid.detach(), clip)

    def _start(self, clips: Clips) -> Tensor:
        clip = clips.log_magnitude
        if self._own["start"] == "flat":
            return torch.zeros_like(clip)
        if self._own["start"] == "loudness":
            return 2 * ranks(clip) - 1
        method = IntegratedGradients(self.scores)
        found = method.attribute(**captum_inputs(spectrogram, target), n_steps=_PATH_STEPS, internal_batch_size=self.batch)
        return 2 * ranks(ranks(clip) + ranks(found)) - 1

    def _objective(self, mask: Tensor, clips: Clips) -> Tensor:
        clip, weight = clips.log_magnitude, self._own["remainder"]
        inputs = torch.cat([mask * clip, (1 - mask) * clip]) if weight else mask * clip
        times = len(inputs) // len(clips)
        phase = None if clips.phase is None else clips.phase.repeat(times, 1, 1)
        logits = self.classifier.logits(inputs, None, phase)
        every = log_probabilities(logits, self.classifier.multi_label)
        found = every.gather(1, clips.target.repeat(times)[:, None])[:, 0]
        kept, left = found[: len(clips)], found[len(clips) :]
        objective: Tensor = -kept.sum() - weight * torch.log1p(-left.exp().clamp(max=_CERTAIN)).sum()
        return objective


def _raised(grid: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(grid, like.shape[-2:], mode="bilinear", align_corners=True)[:, 0]


def _total_variation(grid: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring cells in frequency and in time, summed over clips."""
    return grid.diff(dim=-2).abs().mean((1, 2, 3)).sum() + grid.diff(dim=-1).abs().mean((1, 2, 3)).sum()
