"""Content of a player: sounds of one length, a spectrogram and a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Track:
    """Sound that a player can switch to.

    Attributes:
        kind: ``recording``, ``evidence``, ``remainder`` or ``component``.
        title: Name that its button shows.
        waveform: Samples, at the level that they have in the recording. Shape (samples,).
    """

    kind: str
    title: str
    waveform: np.ndarray


@dataclass(frozen=True)
class Clip:
    """Content of a player.

    Attributes:
        name: Name of the recording. Any text.
        sample_rate_hz: Sample rate of the tracks.
        tracks: Sounds of one length; the first is the reference of loudness.
        log_magnitude: Log magnitude of the recording, from 0 Hz to half the sample rate. Shape (frequency, time).
        mask: Mask in [0, 1], shape (frequency', time'); None: there is none.
        mask_title: Name of the mask.
        start_s: Time of the first sample in the whole recording.
        mask_meaning: What the mask keeps, in words.
    """

    name: str
    sample_rate_hz: int
    tracks: Sequence[Track]
    log_magnitude: np.ndarray
    mask: np.ndarray | None = None
    mask_title: str = "mask"
    start_s: float = 0.0
    mask_meaning: str = "the evidence"

    @property
    def duration_s(self) -> float:
        """Length of the tracks."""
        return len(self.tracks[0].waveform) / self.sample_rate_hz
