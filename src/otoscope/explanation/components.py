"""Sounds of the components of an explanation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class ComponentSound:
    """A component of an explanation with its sound.

    Attributes:
        index: Index in the dictionary.
        relevance: Relevance for the explained class, relative to the largest, in (threshold, 1].
        centroid_hz: Spectral centroid in Hz.
        waveform: What a mask of this component alone keeps of the recording. Shape (samples,).
    """

    index: int
    relevance: float
    centroid_hz: float
    waveform: Tensor
