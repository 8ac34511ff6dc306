"""torchmetrics classes over the functions: means over the clips of a data set.

NaN stands for an undefined value: such clips are left out of the mean and counted in `undefined`. A metric without
a single defined clip is NaN, without a warning.
"""

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from otoscope.errors import choices
from otoscope.metrics.scores import SCORES


class ClipMean(Metric):
    """Mean of a score over the clips for which it is defined; base class of all metrics here.

    A subclass names its entry of `SCORES`, ``class AverageDrop(ClipMean, name="AD")``, or sets `score` itself.

    Args:
        shape: Shape of the values of one clip.
        kwargs: Options of the function, such as `published`, and options of `torchmetrics.Metric`.

    Attributes:
        score: Function that returns one value per clip.
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
    score: ClassVar[Callable[..., Tensor]]
    total: Tensor
    count: Tensor
    undefined: Tensor

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None:
            entry = SCORES[name]
            cls.score = staticmethod(entry.function)  # type: ignore[arg-type]
            cls.higher_is_better = {"higher": True, "lower": False, "neither": None}[entry.better]

    def __init__(self, shape: tuple[int, ...] = (), **kwargs: Any) -> None:
        # The signature of the function separates its options from those of torchmetrics.
        arguments = inspect.signature(self.score).parameters
        options = {key: kwargs.pop(key) for key in arguments if key in kwargs}
        # Without the cache: torchmetrics would return the cached mean even after `merge_state`.
        super().__init__(**{"compute_with_cache": False, **kwargs})
        self._options = options
        # Sums and counts instead of means, so that the states of several processes can be added.
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("undefined", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, *inputs: Any, **named: Any) -> None:
        """Add a batch of clips; the arguments are those of `score`."""
        values = self.score(*inputs, **named, **self._options).detach().to(self.total)
        # NaN marks an undefined value: it adds nothing to the sum and is counted separately.
        missing = values.isnan()
        self.total = self.total + values.masked_fill(missing, 0.0).sum(dim=0)
        self.count = self.count + (~missing).sum(dim=0)
        self.undefined = self.undefined + missing.sum(dim=0)

    def compute(self) -> Any:
        """Return the mean, float32; NaN if no clip was defined."""
        # Without a defined clip this is 0 / 0, which is NaN.
        return (self.total / self.count).float()

    def _filter_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        # `MetricCollection` filters keyword arguments by the signature of `update`; here the function has it.
        return {key: value for key, value in kwargs.items() if key in inspect.signature(self.score).parameters}

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = super()._wrap_compute(compute)

        @functools.wraps(wrapped)
        def quiet(*args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                # torchmetrics warns of a mean without updates, which here the NaN reports.
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
                return wrapped(*args, **kwargs)

        return quiet


def _stack_scores(scores: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Return the values of the named scores side by side. Shape (batch, names), float64."""
    if missing := [name for name in names if name not in scores]:
        raise KeyError(f"no score named {', '.join(missing)}; {choices(missing[0], scores)}")
    return torch.stack([scores[name].double() for name in names], dim=1)


class MeanScores(ClipMean):
    """Means of dictionaries of per-clip values, as `score_mask` returns them; `compute` returns a dictionary.

    Args:
        names: Names of the scores to average. Other entries of a dictionary are ignored; a missing one raises a
            KeyError.
        kwargs: Options of `torchmetrics.Metric`.

    Example:
        >>> metric = MeanScores(["AD", "MM"])
        >>> metric.update({"AD": torch.tensor([10.0, 20.0]), "MM": torch.tensor([0.5, 0.5])})
        >>> metric.compute()
        {'AD': tensor(15.), 'MM': tensor(0.5000)}
    """

    score = staticmethod(_stack_scores)

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(shape=(len(names),), names=tuple(names), **kwargs)
        self.names = tuple(names)

    def compute(self) -> dict[str, Tensor]:
        """Return the mean of each score; NaN where no clip was defined."""
        return dict(zip(self.names, super().compute().unbind(), strict=True))


class AverageIncrease(ClipMean, name="AI"):
    """Mean of `average_increase`, in percent."""


class AverageDrop(ClipMean, name="AD"):
    """Mean of `average_drop`, in percent; with ``published=True`` of its faulty form."""


class AverageGain(ClipMean, name="AG"):
    """Mean of `average_gain`, in percent."""


class Faithfulness(ClipMean, name="FF"):
    """Mean of `faithfulness`."""


class InputFidelity(ClipMean, name="Fid-In"):
    """Mean of `input_fidelity`: the share of clips whose evidence leads to the explained class."""


class MeanMask(ClipMean, name="MM"):
    """Mean of `mean_mask`: each clip has the same weight, whatever its length."""


class Sparseness(ClipMean, name="SPS"):
    """Mean of `sparseness`."""


class Complexity(ClipMean, name="COMP"):
    """Mean of `complexity`, in nats."""


class IntersectionOverUnion(ClipMean, name="IoU"):
    """Mean of `intersection_over_union`; ``threshold`` makes the masks binary first."""


class MaskAUROC(ClipMean, name="AUROC"):
    """Mean of `mask_auroc` over the clips for which it is defined."""


class SISDRImprovement(ClipMean, name="SI-SDRi"):
    """Mean of `si_sdr_improvement` in dB, over the clips whose event is not silent."""
