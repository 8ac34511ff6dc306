"""torchmetrics classes over the functions: means over the clips of a data set.

Each takes in `update` what its function takes. NaN stands for an undefined value: such clips are left out of
the mean and counted in `undefined`. A metric that has seen no defined clip gives NaN, without a warning.
"""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from otoscope.metrics.faithfulness import (
    average_drop,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
)
from otoscope.metrics.localisation import intersection_over_union, mask_auroc, si_sdr_improvement
from otoscope.metrics.sparsity import complexity, mean_mask, sparseness


class ClipMean(Metric):
    """Mean over the clips whose value is defined; the base of all metrics here.

    A metric derived from it computes one value a clip in `update` and hands them to `accumulate`.

    Args:
        shape: Shape of the values of one clip.
        kwargs: Options of `torchmetrics.Metric`.

    Attributes:
        total: Sum of the defined values. Shape as given, float64.
        count: Number of clips with a defined value. Shape as given, int64.
        undefined: Number of clips whose value is NaN. Shape as given, int64.

    Example:
        >>> metric = MaskAUROC()
        >>> metric.update(torch.tensor([[[0.1, 0.9]], [[0.1, 0.9]]]), torch.tensor([[[0, 1]], [[1, 1]]]))
        >>> metric.compute(), metric.undefined
        (tensor(1.), tensor(1))
    """

    full_state_update = False
    is_differentiable = False
    total: Tensor
    count: Tensor
    undefined: Tensor

    def __init__(self, shape: tuple[int, ...] = (), **kwargs: Any) -> None:
        # torchmetrics would give the cached mean even after `merge_state`.
        super().__init__(**{"compute_with_cache": False, **kwargs})
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("undefined", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def accumulate(self, values: Tensor) -> None:
        """Takes in the values of some clips, shape (batch, ...)."""
        values = values.detach().to(self.total)
        missing = values.isnan()
        self.total = self.total + values.masked_fill(missing, 0.0).sum(dim=0)
        self.count = self.count + (~missing).sum(dim=0)
        self.undefined = self.undefined + missing.sum(dim=0)

    def compute(self) -> Any:
        """Returns the mean, float32; NaN if no clip was defined."""
        return (self.total / self.count).float()

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = super()._wrap_compute(compute)

        @functools.wraps(wrapped)
        def quiet(*args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
                return wrapped(*args, **kwargs)

        return quiet


class MeanScores(ClipMean):
    """Means of dictionaries of per-clip values, as `score_mask` returns them.

    Args:
        names: The scores to average; others in a dictionary are ignored.
        kwargs: Options of `torchmetrics.Metric`.

    Example:
        >>> metric = MeanScores(["AD", "MM"])
        >>> metric.update({"AD": torch.tensor([10.0, 20.0]), "MM": torch.tensor([0.5, 0.5])})
        >>> metric.compute()
        {'AD': tensor(15.), 'MM': tensor(0.5000)}
    """

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(shape=(len(names),), **kwargs)
        self.names = tuple(names)

    def update(self, scores: Mapping[str, Tensor]) -> None:
        """Takes in the scores of some clips, each of shape (batch,); KeyError if one is missing."""
        missing = [name for name in self.names if name not in scores]
        if missing:
            raise KeyError(f"no score named {', '.join(missing)}; there are {', '.join(scores)}")
        self.accumulate(torch.stack([scores[name].to(self.total) for name in self.names], dim=1))

    def compute(self) -> dict[str, Tensor]:
        """Returns the mean of each score; NaN where no clip was defined."""
        return dict(zip(self.names, super().compute().unbind(), strict=True))


class AverageIncrease(ClipMean):
    """Mean of `average_increase`, in percent."""

    higher_is_better = True

    def update(self, probability: Tensor, evidence_probability: Tensor, target: Tensor | None = None) -> None:
        """Takes in some clips; see `average_increase`."""
        self.accumulate(average_increase(probability, evidence_probability, target))


class AverageDrop(ClipMean):
    """Mean of `average_drop`, in percent.

    Args:
        published: Use the faulty formula of the published code; see `average_drop`.
        kwargs: Options of `torchmetrics.Metric`.
    """

    higher_is_better = False

    def __init__(self, published: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.published = published

    def update(self, probability: Tensor, evidence_probability: Tensor, target: Tensor | None = None) -> None:
        """Takes in some clips; see `average_drop`."""
        self.accumulate(average_drop(probability, evidence_probability, target, published=self.published))


class AverageGain(ClipMean):
    """Mean of `average_gain`, in percent."""

    higher_is_better = True

    def update(self, probability: Tensor, evidence_probability: Tensor, target: Tensor | None = None) -> None:
        """Takes in some clips; see `average_gain`."""
        self.accumulate(average_gain(probability, evidence_probability, target))


class Faithfulness(ClipMean):
    """Mean of `faithfulness`."""

    higher_is_better = True

    def update(self, probability: Tensor, remainder_probability: Tensor, target: Tensor | None = None) -> None:
        """Takes in some clips; see `faithfulness`."""
        self.accumulate(faithfulness(probability, remainder_probability, target))


class InputFidelity(ClipMean):
    """Mean of `input_fidelity`: the share of clips whose evidence leads to the explained class."""

    higher_is_better = True

    def update(self, probability: Tensor, evidence_probability: Tensor, target: Tensor | None = None) -> None:
        """Takes in some clips; see `input_fidelity`."""
        self.accumulate(input_fidelity(probability, evidence_probability, target))


class MeanMask(ClipMean):
    """Mean of `mean_mask`: each clip counts the same, however long."""

    def update(self, mask: Tensor, frames: Tensor | None = None) -> None:
        """Takes in some clips; see `mean_mask`."""
        self.accumulate(mean_mask(mask, frames))


class Sparseness(ClipMean):
    """Mean of `sparseness`."""

    higher_is_better = True

    def update(self, mask: Tensor, frames: Tensor | None = None) -> None:
        """Takes in some clips; see `sparseness`."""
        self.accumulate(sparseness(mask, frames))


class Complexity(ClipMean):
    """Mean of `complexity`, in nats."""

    higher_is_better = False

    def update(self, mask: Tensor, frames: Tensor | None = None) -> None:
        """Takes in some clips; see `complexity`."""
        self.accumulate(complexity(mask, frames))


class IntersectionOverUnion(ClipMean):
    """Mean of `intersection_over_union`.

    Args:
        threshold: Make masks binary first; None: compare them as they are.
        kwargs: Options of `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, threshold: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def update(self, mask: Tensor, ideal: Tensor, frames: Tensor | None = None) -> None:
        """Takes in some clips; see `intersection_over_union`."""
        self.accumulate(intersection_over_union(mask, ideal, frames, self.threshold))


class MaskAUROC(ClipMean):
    """Mean of `mask_auroc` over the clips where it is defined."""

    higher_is_better = True

    def update(self, mask: Tensor, ideal: Tensor, frames: Tensor | None = None) -> None:
        """Takes in some clips; see `mask_auroc`."""
        self.accumulate(mask_auroc(mask, ideal, frames))


class SISDRImprovement(ClipMean):
    """Mean of `si_sdr_improvement` in dB, over the clips whose event is not silent."""

    higher_is_better = True

    def update(self, evidence: Tensor, mixture: Tensor, event: Tensor, lengths: Tensor | None = None) -> None:
        """Takes in some clips; see `si_sdr_improvement`."""
        self.accumulate(si_sdr_improvement(evidence, mixture, event, lengths))
