"""Notes of an explanation: what is to be said about its mask, the recording and the classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from otoscope.classifiers import Classifier
from otoscope.errors import listed
from otoscope.explanation import NO_COMPONENT
from otoscope.interpreters import Components, Interpreter
from otoscope.interpreters.sufficiency import Sufficiency


@dataclass(frozen=True)
class Explained:
    """What the notes about a mask depend on.

    Attributes:
        peak: Largest absolute sample of the recording.
        mask: Mask, shape (frequency, time).
        importance: Map that it was cut from. Same shape.
        search: Result of the search for the decisive and the sufficient share, if there was one.
        components: Components of the explanation, of methods that have them.
    """

    peak: float
    mask: Tensor
    importance: Tensor
    search: Sufficiency | None
    components: Components | None


def mask_notes(interpreter: Interpreter[Any], method: str, explained: Explained, has_target: bool) -> list[str]:
    """Return notes about a mask.

    Args:
        interpreter: Interpreter that made it.
        method: Title of the method.
        explained: Mask, and what it was made from.
        has_target: Whether the class was chosen by the user.
    """
    notes = []
    if has_target and not interpreter.class_specific:
        notes.append("this interpreter explains the representation: its mask is the same for every target")
    if explained.peak == 0:
        notes.append("the recording is silent")
    if explained.components is not None and not explained.components.relevant:
        notes.append(NO_COMPONENT)
    elif explained.peak > 0 and interpreter.blank_note and not bool(explained.importance.any()):
        notes.append(f"the mask is empty: the attribution is zero everywhere ({interpreter.blank_note})")
    elif explained.peak > 0 and not bool(explained.mask.any()):
        notes.append(f"the mask is empty: {method} finds nothing that speaks for the class")
    elif interpreter.share is not None and explained.search is not None and explained.search.sufficient is None:
        notes.append(
            "no tested share of the sound keeps the decision; the evidence is the share that comes closest"
        )
    return notes


def limit_notes(classifier: Classifier, largest_probability: float) -> list[str]:
    """Return a note with the classes and the limits that a classifier states, if it is uncertain.

    Args:
        classifier: Classifier.
        largest_probability: Probability of the predicted class.
    """
    # Both values are optional in the configuration of a model folder.
    details = classifier.details
    threshold = details.get("uncertain_below")
    if not isinstance(threshold, int | float) or largest_probability >= threshold:
        return []
    text = f"the prediction is uncertain (largest probability {largest_probability:.2f}): the classifier knows "
    limits = f"; {details['limits']}" if details.get("limits") else ""
    return [f"{text}only {listed(classifier.labels)}{limits}"]


def unheard_notes(heard: Tensor, recording: Tensor, sample_rate_hz: int) -> list[str]:
    """Return a note if a classifier hears only the beginning of a recording.

    Args:
        heard: The part that it hears. Shape (samples,).
        recording: The whole recording. Shape (samples,).
        sample_rate_hz: Sample rate of both.
    """
    if len(heard) == len(recording):
        return []
    part, whole = (len(sound) / sample_rate_hz for sound in (heard, recording))
    return [
        f"the classifier hears only the first {part:.2f} s of {whole:.2f} s: the rest is left out of the "
        "explanation, its mask, area and scores"
    ]
