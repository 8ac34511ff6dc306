"""Fingerprints of classifiers and sounds, so that records of another evaluation are recognised."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from otoscope.classifiers import Classifier

_PIECES = 16
_RELATIVE, _ABSOLUTE = 1e-2, 1e-5


@torch.no_grad()
def noise_probabilities(classifier: Classifier) -> list[float] | None:
    """Return the class probabilities of one second of fixed noise, rounded.

    They identify classifiers without accessible weights, such as functions and ONNX files.

    Returns:
        Probabilities, shape (classes,); None if the classifier fails, or its output differs from call to call.
    """
    noise = 0.1 * torch.randn(1, classifier.frontend.sample_rate_hz, generator=torch.Generator().manual_seed(0))
    # Two calls show whether the classifier is random, for example because its dropout is still active.
    answers = []
    for _ in range(2):
        try:
            spectrogram = classifier.frontend(noise.to(classifier.frontend.window.device))
            probabilities = classifier.probabilities(spectrogram)
        except Exception:  # user code may raise anything; the evaluation reports it for a real clip
            return None
        answers.append([float(f"{value:.4g}") for value in probabilities[0].tolist()])
    return answers[0] if alike(*answers) else None


def sound_fingerprint(waveform: Tensor) -> list[float]:
    """Return a fingerprint of a sound: its number of samples, and the root mean square of each of 16 pieces.

    Example:
        >>> fingerprint = sound_fingerprint(torch.ones(32))
        >>> fingerprint[:2], len(fingerprint)
        ([32.0, 1.0], 17)
    """
    pieces = torch.tensor_split(waveform.double(), _PIECES)
    levels = [float(piece.square().mean().sqrt()) if len(piece) else 0.0 for piece in pieces]
    return [float(len(waveform)), *(float(f"{level:.4g}") for level in levels)]


def alike(first: Any, second: Any) -> bool:
    """Return whether two JSON values are equal; lists of floats may differ by rounding.

    Example:
        >>> alike([0.1, 0.9], [0.1000001, 0.9]), alike([0.1, 0.9], [0.2, 0.8]), alike("a", "b")
        (True, False, False)
    """
    if not (_are_floats(first) and _are_floats(second)):
        return bool(first == second)
    # Other processors and library versions round differently, and records may move between machines.
    return len(first) == len(second) and all(
        abs(a - b) <= _ABSOLUTE + _RELATIVE * max(abs(a), abs(b)) for a, b in zip(first, second, strict=True)
    )


def _are_floats(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, float) for item in value)
