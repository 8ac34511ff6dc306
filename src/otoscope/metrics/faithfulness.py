"""Scores that compare probabilities before and after masking: does the decision rest on what the mask keeps?

Below, p, o and u are the probabilities of the explained class c from the whole input, from the evidence
(mask-in) and from the remainder (mask-out). Every function takes either these, shape (batch,), or full
distributions, shape (batch, classes); then c is `target` or by default the most probable class of the whole
input. A NaN probability gives NaN, never a score.
"""

import torch
from torch import Tensor

from otoscope.errors import ShapeError
from otoscope.metrics.bins import require_same_shape, result_dtype

PRESENT = 0.5
"""Probability from which on a class that is decided independently of the others counts as present."""


def average_increase(probability: Tensor, evidence_probability: Tensor, target: Tensor | None = None) -> Tensor:
    r"""Return whether the evidence alone makes the classifier more confident.

    .. math:: \mathrm{AI} = 100 \cdot \mathbb{1}[o > p]

    Args:
        probability: Probability from the whole input, in [0, 1]. Shape (batch,) or (batch, classes).
        evidence_probability: Probability from the evidence. Shape as `probability`.
        target: Explained class; only with full distributions. Shape (batch,), int64.

    Returns:
        100 or 0, in percent once averaged. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Chattopadhyay et al. 2018, Grad-CAM++. Departures: none.

    Example:
        >>> average_increase(torch.tensor([0.5, 0.5]), torch.tensor([0.6, 0.5]))
        tensor([100.,   0.])
    """
    p, o = _of_explained_class(probability, evidence_probability, target)
    # A comparison with NaN is False and would give 0; the difference is NaN if either probability is.
    return (100.0 * (o > p).to(p.dtype)).masked_fill(torch.isnan(o - p), torch.nan)


def average_drop(
    probability: Tensor,
    evidence_probability: Tensor,
    target: Tensor | None = None,
    *,
    published: bool = False,
) -> Tensor:
    r"""Return the drop in class probability once only the evidence is kept.

    .. math:: \mathrm{AD} = 100\,\max(0, p - o) / p

    A probability of 0 cannot drop, so AD is 0 there.

    Args:
        probability: Probability from the whole input, in [0, 1]. Shape (batch,) or (batch, classes).
        evidence_probability: Probability from the evidence. Shape as `probability`.
        target: Explained class; only with full distributions. Shape (batch,), int64.
        published: Apply a second softmax to the probabilities, as the published code does. This is a fault that
            makes the values too small; use it only for comparison with papers that have it.

    Returns:
        Drop in percent, in [0, 100]. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together, or `published` without full distributions.

    Reference:
        Chattopadhyay et al. 2018, Grad-CAM++. Departures: none, unless `published`.

    Example:
        >>> average_drop(torch.tensor([0.9]), torch.tensor([0.3]))
        tensor([66.6667])
    """
    if published:
        require_same_shape(probability=probability, evidence_probability=evidence_probability)
        _require_distributions(probability, "the published average drop applies a softmax, so it")
        # The class is chosen before the second softmax, which can make different probabilities equal by rounding.
        if target is None:
            target = probability.argmax(dim=1)
        probability, evidence_probability = probability.softmax(dim=1), evidence_probability.softmax(dim=1)
    p, o = _of_explained_class(probability, evidence_probability, target)
    drop = 100.0 * ((p - o).clamp(min=0.0) / p)
    # The quotient above is 0 / 0 where the probability is already 0.
    return torch.where(p == 0, _zero_unless_nan(o), drop)


def average_gain(probability: Tensor, evidence_probability: Tensor, target: Tensor | None = None) -> Tensor:
    r"""Return the gain in class probability, as a share of the largest gain possible.

    .. math:: \mathrm{AG} = 100\,\max(0, o - p) / (1 - p)

    A probability of 1 cannot gain, so AG is 0 there, and always 0 for a softmax of one class.

    Args:
        probability: Probability from the whole input, in [0, 1]. Shape (batch,) or (batch, classes).
        evidence_probability: Probability from the evidence. Shape as `probability`.
        target: Explained class; only with full distributions. Shape (batch,), int64.

    Returns:
        Gain in percent, in [0, 100]. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Zhang et al. 2023, Opti-CAM. Departures: none.

    Example:
        >>> average_gain(torch.tensor([0.5]), torch.tensor([0.75]))
        tensor([50.])
    """
    p, o = _of_explained_class(probability, evidence_probability, target)
    gain = 100.0 * ((o - p).clamp(min=0.0) / (1.0 - p))
    # Rounding can carry a softmax past 1, where the denominator would change its sign; at 1 it is 0.
    return torch.where(p >= 1, _zero_unless_nan(o), gain)


def faithfulness(probability: Tensor, remainder_probability: Tensor, target: Tensor | None = None) -> Tensor:
    r"""Return the probability that is lost once the evidence is taken away.

    .. math:: \mathrm{FF} = p - u

    It can be gamed: an all-pass mask leaves no remainder and scores high. Read it beside the controls and the mean
    mask.

    Args:
        probability: Probability from the whole input, in [0, 1]. Shape (batch,) or (batch, classes).
        remainder_probability: Probability from the remainder. Shape as `probability`.
        target: Explained class; only with full distributions. Shape (batch,), int64.

    Returns:
        Difference of probabilities, in [-1, 1]. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Reference:
        Parekh et al. 2022, Listen to Interpret. Departures: none.

    Example:
        >>> faithfulness(torch.tensor([0.75]), torch.tensor([0.25]))
        tensor([0.5000])
    """
    p, u = _of_explained_class(probability, remainder_probability, target)
    return p - u


def input_fidelity(
    probability: Tensor, evidence_probability: Tensor, target: Tensor | None = None, *, multi_label: bool = False
) -> Tensor:
    r"""Return whether the evidence alone leads to the explained class.

    .. math:: \mathrm{Fid\text{-}In} = \mathbb{1}[\arg\max o = c] \;\text{ or, multi-label, }\;
        \mathbb{1}[o_c \ge 0.5]

    Args:
        probability: Distribution from the whole input. Shape (batch, classes).
        evidence_probability: Distribution from the masked input. Shape (batch, classes).
        target: Explained class c. Shape (batch,), int64.
        multi_label: Whether each class is decided independently: present from a probability of 0.5 on, however
            probable the others are.

    Returns:
        1 or 0; always 1 for a softmax of one class. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together, or they are not full distributions.

    Reference:
        Paissan et al. 2023, Posthoc Interpretation via Quantization. Departures: none.

    Example:
        >>> input_fidelity(torch.tensor([[0.1, 0.9]]), torch.tensor([[0.4, 0.6]]))
        tensor([1.])
        >>> input_fidelity(torch.tensor([[0.9, 0.8]]), torch.tensor([[0.7, 0.8]]), multi_label=True)
        tensor([1.])
    """
    _require_distributions(probability, "input fidelity compares classes, so it")
    p, o = _of_explained_class(probability, evidence_probability, target)
    if multi_label:
        return (o >= PRESENT).to(p.dtype).masked_fill(torch.isnan(p + o), torch.nan)
    explained = probability.argmax(dim=1) if target is None else target.to(p.device)
    # The argmax of a distribution with NaN is the position of the NaN, which is no decision.
    agree = (evidence_probability.argmax(dim=1) == explained).to(p.dtype)
    undefined = torch.isnan(evidence_probability).any(dim=1) | torch.isnan(p)
    return agree.masked_fill(undefined, torch.nan)


def masked_probability(probability: Tensor, masked_probability: Tensor, target: Tensor | None = None) -> Tensor:
    """Return the probability of the explained class from the masked input: o for the evidence, u for the remainder.

    Args:
        probability: Probability from the whole input, in [0, 1]. Shape (batch,) or (batch, classes).
        masked_probability: Probability from evidence or remainder. Shape as `probability`.
        target: Explained class; only with full distributions. Shape (batch,), int64.

    Returns:
        Probability in [0, 1]. Shape (batch,).

    Raises:
        ShapeError: The shapes do not fit together.

    Example:
        >>> masked_probability(torch.tensor([[0.1, 0.9]]), torch.tensor([[0.75, 0.25]]))
        tensor([0.2500])
    """
    return _of_explained_class(probability, masked_probability, target)[1]


def _of_explained_class(whole: Tensor, masked: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
    require_same_shape(probability=whole, masked_probability=masked)
    # At least float32, since a difference of two half-precision probabilities would be coarse.
    whole, masked = whole.to(result_dtype(whole)), masked.to(result_dtype(masked))
    if whole.ndim == 1 and target is None:
        return whole, masked
    _require_distributions(whole, "`target`" if target is not None else "this metric")
    if target is None:
        # The class of the whole input is explained, even if the masked input leads to another one.
        target = whole.argmax(dim=1)
    elif target.shape != whole.shape[:1]:
        raise ShapeError(
            f"`target` must name a class for each of the {len(whole)} clips, got shape {tuple(target.shape)}"
        )
    index = target.to(whole.device)[:, None]
    return whole.gather(1, index).squeeze(1), masked.gather(1, index).squeeze(1)


def _require_distributions(probability: Tensor, reason: str) -> None:
    if probability.ndim != 2:
        raise ShapeError(
            f"{reason} needs distributions of shape (batch, classes), got shape {tuple(probability.shape)}"
        )


def _zero_unless_nan(probability: Tensor) -> Tensor:
    return torch.zeros_like(probability).masked_fill(torch.isnan(probability), torch.nan)
