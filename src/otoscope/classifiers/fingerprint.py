"""Fingerprints of classifiers: everything that their predictions depend on, as far as it can be written down."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn

from otoscope.classifiers.base import Classifier


def digest(module: nn.Module) -> str:
    """Return a short fingerprint of the weights of a network, 16 hexadecimal digits."""
    state = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        state.update(name.encode())
        # as raw bytes: every type of number, also bfloat16, which numpy does not have
        state.update(value.detach().cpu().reshape(-1).clone().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def traits_of(classifier: Classifier) -> dict[str, Any]:
    """Return everything that a classifier's predictions depend on, as JSON values by name."""
    content: dict[str, Any] = {"class": f"{type(classifier).__module__}.{type(classifier).__qualname__}"}
    content |= {"labels": classifier.labels, "options": classifier.config, "frontend": classifier.frontend.config}
    content |= {"normalize": classifier.normalize}
    values: dict[str, Any] = json.loads(json.dumps(content, default=repr, sort_keys=True))
    return {**values, "weights": digest(classifier)}


@torch.no_grad()
def answers_to_noise(classifier: Classifier) -> list[float] | None:
    """Return the class probabilities of one second of fixed noise, rounded; None if the classifier fails on it."""
    noise = 0.1 * torch.randn(1, classifier.frontend.sample_rate_hz, generator=torch.Generator().manual_seed(0))
    try:
        spectrogram = classifier.frontend(noise.to(classifier.frontend.window.device))
        probabilities = classifier.probabilities(spectrogram)
    except Exception:  # user code may raise anything; it is reported for a real recording
        return None
    return [float(f"{value:.3g}") for value in probabilities[0].tolist()]
