"""All scores of a mask at once, and what their names mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import torch
from torch import Tensor

from otoscope.metrics.bins import require_same_shape, valid_bins
from otoscope.metrics.faithfulness import (
    average_drop,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
)
from otoscope.metrics.localisation import intersection_over_union, mask_auroc
from otoscope.metrics.sparsity import complexity, is_empty, mean_mask, sparseness

Classify = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Score:
    """What a column of a table means.

    Attributes:
        title: The name in words.
        unit: The unit of the mean over clips; empty for a plain number.
        better: Whether a higher or a lower mean speaks for a method, or neither by itself.
    """

    title: str
    unit: str
    better: Literal["higher", "lower", "neither"]


SCORES: Final[Mapping[str, Score]] = MappingProxyType(
    {
        "AI": Score("average increase", "%", "higher"),
        "AD": Score("average drop", "%", "lower"),
        "AD_published": Score("average drop, faulty as published", "%", "lower"),
        "AG": Score("average gain", "%", "higher"),
        "FF": Score("faithfulness", "", "higher"),
        "Fid-In": Score("input fidelity", "", "higher"),
        "MM": Score("mean mask", "", "neither"),
        "SPS": Score("sparseness", "", "higher"),
        "COMP": Score("complexity", "nats", "lower"),
        "empty": Score("share of empty masks", "", "lower"),
        "p_evidence": Score("probability from the evidence alone", "", "neither"),
        "p_remainder": Score("probability without the evidence", "", "neither"),
        "IoU": Score("intersection over union", "", "higher"),
        "AUROC": Score("area under the ROC curve", "", "higher"),
        "SI-SDRi": Score("SI-SDR improvement", "dB", "higher"),
    }
)


def score_mask(
    classify: Classify,
    log_magnitude: Tensor,
    mask: Tensor,
    probabilities: Tensor,
    frames: Tensor | None = None,
    target: Tensor | None = None,
    ideal: Tensor | None = None,
    remainder: bool = True,
) -> dict[str, Tensor]:
    r"""Scores a mask with two more runs of the classifier: on the evidence and on the remainder.

    .. math:: o = f(M \odot X), \quad u = f((1 - M) \odot X)

    Args:
        classify: Maps (log_magnitude, frames) to class probabilities (batch, classes).
        log_magnitude: log1p of the magnitude, X. Shape (batch, frequency, time).
        mask: Mask M in [0, 1]. Shape (batch, frequency, time).
        probabilities: What `classify` gave for the whole input. Shape (batch, classes).
        frames: Valid frames of each clip; None: all. Shape (batch,).
        target: The explained class; None: the most probable one of the whole input. Shape (batch,), int64.
        ideal: The true mask, where it is known. Shape (batch, frequency, time).
        remainder: False: run the classifier on the evidence alone, in half the time; FF and p_remainder are
            left out.

    Returns:
        One value a clip, shape (batch,), under names of `SCORES`: all but SI-SDRi, which needs waveforms;
        IoU and AUROC only with `ideal`. "empty" is 1 or 0.

    Raises:
        ShapeError: The shapes do not fit together.

    Example:
        >>> def classify(log_magnitude, frames):
        ...     return log_magnitude.mean(dim=2).softmax(dim=1)
        >>> spectrogram = torch.tensor([[[2.0, 2.0], [0.0, 1.0]]])
        >>> mask = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
        >>> scores = score_mask(classify, spectrogram, mask, classify(spectrogram, None))
        >>> scores["AI"], scores["MM"]
        (tensor([100.]), tensor([0.5000]))
    """
    require_same_shape(log_magnitude=log_magnitude, mask=mask)
    with torch.no_grad():
        padding = ~valid_bins(mask, frames)
        kept = classify((mask * log_magnitude).masked_fill(padding, 0.0), frames)
        left = None
        if remainder:
            rest = (1 - mask.to(log_magnitude.dtype)) * log_magnitude
            left = classify(rest.masked_fill(padding, 0.0), frames)
        return score_answers(mask, probabilities, kept, left, frames, target, ideal)


def score_answers(
    mask: Tensor,
    whole: Tensor,
    kept: Tensor,
    left: Tensor | None = None,
    frames: Tensor | None = None,
    target: Tensor | None = None,
    ideal: Tensor | None = None,
) -> dict[str, Tensor]:
    """`score_mask` where the classifier has been asked already.

    Args:
        mask: Shape (batch, frequency, time).
        whole: Class probabilities of the whole input. Shape (batch, classes).
        kept: Those of the evidence. Same shape.
        left: Those of the remainder; None: FF and p_remainder are left out. Same shape.
        frames: See `score_mask`.
        target: See `score_mask`.
        ideal: See `score_mask`.
    """
    scores = score_evidence(whole, kept, target) | score_area(mask, frames)
    if left is not None:
        scores |= score_remainder(whole, left, target)
    if ideal is not None:
        scores["IoU"] = intersection_over_union(mask, ideal, frames)
        scores["AUROC"] = mask_auroc(mask, ideal, frames)
    return {name: scores[name] for name in SCORES if name in scores}


def score_evidence(whole: Tensor, kept: Tensor, target: Tensor | None) -> dict[str, Tensor]:
    """The part of `score_mask` that compares the evidence with the whole; class probabilities (batch, classes)."""
    return {
        "AI": average_increase(whole, kept, target),
        "AD": average_drop(whole, kept, target),
        "AD_published": average_drop(whole, kept, target, published=True),
        "AG": average_gain(whole, kept, target),
        "Fid-In": input_fidelity(whole, kept, target),
        "p_evidence": _of_class(kept, whole, target),
    }


def score_remainder(whole: Tensor, left: Tensor, target: Tensor | None) -> dict[str, Tensor]:
    """The part of `score_mask` that compares the remainder with the whole; class probabilities (batch, classes)."""
    return {"FF": faithfulness(whole, left, target), "p_remainder": _of_class(left, whole, target)}


def _of_class(probabilities: Tensor, whole: Tensor, target: Tensor | None) -> Tensor:
    label = whole.argmax(-1) if target is None else target
    return probabilities.gather(-1, label[:, None])[:, 0]


def score_area(mask: Tensor, frames: Tensor | None) -> dict[str, Tensor]:
    """The part of `score_mask` that looks at the mask alone."""
    return {
        "MM": mean_mask(mask, frames),
        "SPS": sparseness(mask, frames),
        "COMP": complexity(mask, frames),
        "empty": is_empty(mask, frames).to(torch.float32),
    }
