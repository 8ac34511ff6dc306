"""From a mask to sound, at the level of the recording."""

from __future__ import annotations

from torch import Tensor

from otoscope.audio import Frontend, Spectrogram, peak_normalize


def spectrogram_of(original: Tensor, frontend: Frontend, normalized: bool) -> Spectrogram:
    """Return the spectrogram of a recording at the level at which the networks were run.

    Args:
        original: Recording at its own level. Shape (samples,).
        frontend: Front-end.
        normalized: Whether the networks were given the recording at a peak of 1.
    """
    batch = original[None]
    spectrogram: Spectrogram = frontend(peak_normalize(batch) if normalized else batch)
    return spectrogram


def masked_sound(original: Tensor, mask: Tensor, frontend: Frontend, normalized: bool) -> Tensor:
    """Return what a mask keeps of a recording, as sound at the level of the recording. Shape (samples,).

    Args:
        original: Recording at its own level. Shape (samples,).
        mask: Mask in [0, 1], shape (frequency, time).
        frontend: Front-end.
        normalized: Whether the networks were given the recording at a peak of 1.
    """
    # Masks belong to the recording at the level at which the networks were run. The logarithm of the spectrogram
    # is not linear in the level, so the level is restored only after masking.
    gain = original.abs().max() if normalized else 1.0
    return gain * frontend.inverse(spectrogram_of(original, frontend, normalized).masked(mask[None]))[0]
