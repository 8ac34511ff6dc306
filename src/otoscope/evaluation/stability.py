"""Stability of explanations under changes of the sound that nobody hears."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from otoscope.classifiers import Classifier
from otoscope.errors import ShapeError, choices
from otoscope.evaluation.sanity import rank_correlation
from otoscope.metrics.map_change import best_share_overlap
from otoscope.seeding import generator_for

NOISE_DB = -50.0
SHIFT_S = 0.001
LEVEL_DB = -1.0
CHANGES = ("noise", "shift", "level")


def inaudible_change(waveform: Tensor, change: str, sample_rate_hz: int, name: str, seed: int) -> Tensor:
    """Return a sound that nobody distinguishes from another by listening to one after the other.

    Args:
        waveform: Sound, shape (samples,).
        change: ``noise`` (white, 50 dB below the sound), ``shift`` (1 ms later) or ``level`` (1 dB lower).
        sample_rate_hz: Sample rate.
        name: Name of the clip, for the noise.
        seed: Seed of the noise.

    Raises:
        ShapeError: It is not one sound.
    """
    if waveform.ndim != 1:
        raise ShapeError(f"expected one waveform (samples,), got shape {tuple(waveform.shape)}")
    if change == "noise":
        noise = torch.randn(waveform.shape, generator=generator_for(seed, "inaudible noise", name)).to(waveform)
        gain = float(10 ** (NOISE_DB / 20) * waveform.norm() / noise.norm())
        return waveform + gain * noise
    if change == "shift":
        samples = round(SHIFT_S * sample_rate_hz)
        return torch.nn.functional.pad(waveform, (samples, 0))[: len(waveform)]
    if change == "level":
        return 10 ** (LEVEL_DB / 20) * waveform
    raise ValueError(f"change: there is no {change!r}; {choices(change, CHANGES)}")


@torch.no_grad()
def score_stability(
    interpreter: Any, classifier: Classifier, waveform: Tensor, name: str, seed: int = 1234
) -> dict[str, dict[str, float]]:
    """Return how similar the maps of a sound and of inaudibly changed versions are.

    The class that is explained is the one that the classifier predicts for the unchanged sound. The sounds are not
    normalised again, so that a change of the level reaches the classifier.

    Args:
        interpreter: Method.
        classifier: Classifier that it explains.
        waveform: Sound, shape (samples,), scaled as the classifier takes it.
        name: Name of the clip.
        seed: Seed of the noise.

    Returns:
        For each of `CHANGES`, ``rank_correlation`` and ``overlap`` (of the best fifth) with the map of the
        unchanged sound, 1 for equal maps, and ``same_decision``, 1 if the predicted class stays.
    """
    whole = classifier.frontend(waveform[None])
    prediction = classifier.predict(whole)
    target = prediction.predicted
    original = interpreter.output(interpreter.decode(whole, prediction.towards(target)), whole)[0]
    results = {}
    for change in CHANGES:
        changed = inaudible_change(waveform, change, classifier.frontend.sample_rate_hz, name, seed)
        spectrogram = classifier.frontend(changed[None])
        other = classifier.predict(spectrogram)
        importance = interpreter.output(interpreter.decode(spectrogram, other.towards(target)), spectrogram)[0]
        results[change] = {
            "rank_correlation": rank_correlation(original, importance),
            "overlap": best_share_overlap(original, importance),
            "same_decision": float(other.predicted == target),
        }
    return results
