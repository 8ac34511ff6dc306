"""What an evaluation was made of, so that records are never taken for those of something else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from otoscope.classifiers import Classifier

_PIECES = 16
_RELATIVE, _ABSOLUTE = 1e-2, 1e-5


@torch.no_grad()
def answer_of(classifier: Classifier) -> list[float] | None:
    """Probabilities of a second of fixed noise: tells functions and files apart that have no other name.

    Returns:
        None where it has no answer to that, or another one each time.
    """
    noise = 0.1 * torch.randn(1, classifier.frontend.sample_rate_hz, generator=torch.Generator().manual_seed(0))
    answers = []
    for _ in range(2):
        try:
            spectrogram = classifier.frontend(noise.to(classifier.frontend.window.device))
            found = classifier.probabilities(spectrogram.log_magnitude, None, spectrogram.phase)
        except Exception:  # of the user's own code; what is wrong the evaluation will say, on a real clip
            return None
        answers.append([float(f"{value:.4g}") for value in found[0].tolist()])
    return answers[0] if alike(*answers) else None


def sound_of(waveform: Tensor) -> list[float]:
    """A sound in a few numbers: the root mean square of its sixteenths, and its samples.

    Example:
        >>> sound_of(torch.ones(32))[:2], len(sound_of(torch.ones(32)))
        ([32.0, 1.0], 17)
    """
    pieces = torch.tensor_split(waveform.double(), _PIECES)
    levels = [float(one.square().mean().sqrt()) if len(one) else 0.0 for one in pieces]
    return [float(len(waveform)), *(float(f"{level:.4g}") for level in levels)]


def alike(first: Any, second: Any) -> bool:
    """Whether two JSON values are equal; lists of floats but for what another machine would compute differently.

    Example:
        >>> alike([0.1, 0.9], [0.1000001, 0.9]), alike([0.1, 0.9], [0.2, 0.8]), alike("a", "b")
        (True, False, False)
    """
    if not (_are_floats(first) and _are_floats(second)):
        return bool(first == second)
    return len(first) == len(second) and all(
        abs(a - b) <= _ABSOLUTE + _RELATIVE * max(abs(a), abs(b)) for a, b in zip(first, second, strict=True)
    )


def _are_floats(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, float) for one in value)
