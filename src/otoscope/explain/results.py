"""Results of an explainer that are sounds alone."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class FileInterpretation(NamedTuple):
    """Result of `Explainer.interpret_file`; it can be unpacked in this order.

    Attributes:
        evidence: Sound that the decision rests on, mono. Shape (samples,).
        label: Explained class.
        sample_rate_hz: Sample rate of the sound.
    """

    evidence: Tensor
    label: str
    sample_rate_hz: int


class BatchInterpretation(NamedTuple):
    """Result of `Explainer.interpret_batch`; it can be unpacked in this order.

    Attributes:
        evidence: Sounds that the decisions rest on, with silence behind shorter clips. Shape (batch, samples).
        labels: Explained class of each clip.
        sample_rate_hz: Sample rate of the sounds.
    """

    evidence: Tensor
    labels: list[str]
    sample_rate_hz: int
