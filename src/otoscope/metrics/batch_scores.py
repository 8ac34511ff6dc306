"""Functions that compute all scores of a batch at once, as `SCORES` lists them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from otoscope.metrics.bins import require_same_shape, valid_bins
from otoscope.metrics.faithfulness import input_fidelity
from otoscope.metrics.scores import SCORES, Need, Place

Classify = Callable[[Tensor, Tensor | None], Tensor]


def score_mask(
    classify: Classify,
    log_magnitude: Tensor,
    mask: Tensor,
    probabilities: Tensor,
    frames: Tensor | None = None,
    target: Tensor | None = None,
    ideal: Tensor | None = None,
    remainder: bool = True,
    multi_label: bool = False,
) -> dict[str, Tensor]:
    r"""Score a mask with two more runs of the classifier: on the evidence and on the remainder.

    .. math:: o = f(M \odot X), \quad u = f((1 - M) \odot X)

    Args:
        classify: Function from (log_magnitude, frames) to class probabilities (batch, classes).
        log_magnitude: log1p of the magnitude, X. Shape (batch, frequency, time).
        mask: Mask M in [0, 1]. Shape (batch, frequency, time).
        probabilities: Class probabilities of the whole input. Shape (batch, classes).
        frames: Valid frames of each clip; None: all. Shape (batch,).
        target: Explained class; None: the most probable one of the whole input. Shape (batch,), int64.
        ideal: Ideal mask, if the truth is known. Shape (batch, frequency, time).
        remainder: False: run the classifier on the evidence alone, in half the time, and leave out FF and
            p_remainder.
        multi_label: Whether each class is decided independently; see `input_fidelity`.

    Returns:
        One value per clip, shape (batch,), under names of `SCORES`: all that need neither sounds nor curves;
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
        # Padding is silence to the classifier, whatever it holds here.
        padding = ~valid_bins(mask, frames)
        from_evidence = classify((mask * log_magnitude).masked_fill(padding, 0.0), frames)
        from_remainder = None
        if remainder:
            rest = (1 - mask.to(log_magnitude.dtype)) * log_magnitude
            from_remainder = classify(rest.masked_fill(padding, 0.0), frames)
        return score_answers(mask, probabilities, from_evidence, from_remainder, frames, target, ideal, multi_label)


def score_answers(
    mask: Tensor,
    whole: Tensor,
    evidence: Tensor,
    remainder: Tensor | None = None,
    frames: Tensor | None = None,
    target: Tensor | None = None,
    ideal: Tensor | None = None,
    multi_label: bool = False,
) -> dict[str, Tensor]:
    """Score a mask whose evidence and remainder the classifier has classified already; see `score_mask`.

    Args:
        mask: Mask in [0, 1]. Shape (batch, frequency, time).
        whole: Class probabilities of the whole input. Shape (batch, classes).
        evidence: Class probabilities of the evidence. Shape (batch, classes).
        remainder: Class probabilities of the remainder; None: leave out FF and p_remainder.
            Shape (batch, classes).
        frames: See `score_mask`.
        target: See `score_mask`.
        ideal: See `score_mask`.
        multi_label: See `score_mask`.
    """
    scores = score_evidence(whole, evidence, target, multi_label) | score_area(mask, frames)
    if remainder is not None:
        scores |= score_remainder(whole, remainder, target)
    if ideal is not None:
        scores |= score_localisation(mask, ideal, frames)
    # In the order of the columns of every table.
    return {name: scores[name] for name in SCORES if name in scores}


def score_evidence(
    whole: Tensor, evidence: Tensor, target: Tensor | None = None, multi_label: bool = False
) -> dict[str, Tensor]:
    """Return the scores that compare the evidence with the whole input.

    Args:
        whole: Class probabilities of the whole input. Shape (batch, classes).
        evidence: Class probabilities of the evidence. Shape (batch, classes).
        target: See `score_mask`.
        multi_label: See `score_mask`.
    """
    scores = _scores_from(("evidence",), whole, evidence, target)
    # the only score that asks for a decision, which is made in another way there
    return scores | {"Fid-In": input_fidelity(whole, evidence, target, multi_label=multi_label)}


def score_remainder(whole: Tensor, remainder: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
    """Return the scores that compare the remainder with the whole input.

    Args:
        whole: Class probabilities of the whole input. Shape (batch, classes).
        remainder: Class probabilities of the remainder. Shape (batch, classes).
        target: See `score_mask`.
    """
    return _scores_from(("remainder",), whole, remainder, target)


def score_area(mask: Tensor, frames: Tensor | None = None) -> dict[str, Tensor]:
    """Return the scores of the mask alone.

    Args:
        mask: Mask in [0, 1]. Shape (batch, frequency, time).
        frames: See `score_mask`.
    """
    return _scores_from(("mask",), mask, frames)


def score_localisation(
    mask: Tensor, ideal: Tensor, frames: Tensor | None = None, place: Place | None = None
) -> dict[str, Tensor]:
    """Return the scores that compare the mask with the ideal mask.

    Args:
        mask: Mask in [0, 1]. Shape (batch, frequency, time).
        ideal: Ideal mask. Shape (batch, frequency, time).
        frames: See `score_mask`.
        place: Table whose scores are wanted, see `Score.shown`; None: all. Some of them sort all bins.
    """
    return _scores_from(("mask", "truth"), mask, ideal, frames, place=place)


def score_sound(
    evidence: Tensor, mixture: Tensor, event: Tensor, lengths: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the scores that compare the sound of the evidence with that of the event.

    Args:
        evidence: Sound that the mask keeps. Shape (batch, samples).
        mixture: Whole recording. Shape (batch, samples).
        event: Event alone. Shape (batch, samples).
        lengths: Valid samples of each clip; None: all. Shape (batch,).
    """
    return _scores_from(("sound", "truth"), evidence, mixture, event, lengths)


def _scores_from(needs: tuple[Need, ...], *inputs: Any, place: Place | None = None) -> dict[str, Tensor]:
    """Return all scores that need these inputs and no others, as floating-point numbers."""
    # Equal needs, not a subset, because the needs determine the arguments of the function and their order.
    values = {
        name: score.function(*inputs)
        for name, score in SCORES.items()
        if score.function is not None and score.needs == needs and (place is None or place in score.shown)
    }
    return {name: value.float() if value.dtype == torch.bool else value for name, value in values.items()}
