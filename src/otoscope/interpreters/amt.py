"""AMT: activation-map thresholding (Della Libera et al. 2024, arXiv 2402.02754)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from otoscope.audio import valid_frames
from otoscope.classifiers import Classifier, Prediction
from otoscope.classifiers.image import resize_map
from otoscope.errors import ConfigurationError
from otoscope.interpreters.base import Interpreter
from otoscope.metrics.ranking import upper_quantile


@dataclass
class AMTDecoded:
    """What AMT reads off the classifier.

    Attributes:
        saliency: The activation map at the resolution of the spectrogram. Shape (batch, frequency, time).
    """

    saliency: Tensor


class AMTInterpreter(Interpreter[AMTDecoded]):
    """Keeps the bins where the classifier's own activation map is among its largest values. Nothing is trained.

    Args:
        classifier: What it will explain: one with activation maps (FocalNet, ViT).
        quantile: Bins at or above this quantile of the clip's map make the mask.
        activation_map: Stage or layer; by default the last, as published. ViT also has ``rollout``.

    Raises:
        ActivationMapError: The classifier has no such map.
        ConfigurationError: The quantile is not in (0, 1).

    Reference:
        arXiv 2402.02754; METHODS, "AMT". Departures: none.
    """

    class_specific = False
    threshold_name = "quantile"

    def __init__(self, classifier: Classifier, quantile: float = 0.9, activation_map: str | None = None) -> None:
        super().__init__()
        silence = torch.zeros(1, classifier.frontend.bins, 64, device=classifier.frontend.window.device)
        classifier.activation_map(silence, name=activation_map)
        self.quantile = quantile
        self.activation_map = activation_map

    @property
    def quantile(self) -> float:
        """Share of a clip's bins that the mask leaves out."""
        return self._quantile

    @quantile.setter
    def quantile(self, value: float) -> None:
        if not 0 < value < 1:
            raise ConfigurationError(f"quantile: {value} must lie between 0 and 1")
        self._quantile = value

    def decode(self, log_magnitude: Tensor, prediction: Prediction, frames: Tensor | None = None) -> AMTDecoded:
        """See `Interpreter.decode`."""
        found = prediction.activation_map(self.activation_map)
        bins, time = log_magnitude.shape[-2:]
        return AMTDecoded(resize_map(found, bins, time, frames))

    def mask(self, decoded: AMTDecoded, frames: Tensor | None = None) -> Tensor:
        """See `Interpreter.mask`."""
        saliency = decoded.saliency
        counts = [saliency.shape[-1]] * len(saliency) if frames is None else frames.tolist()
        edges = [
            upper_quantile(clip[:, :count], self.quantile) for clip, count in zip(saliency, counts, strict=True)
        ]
        mask = (saliency >= torch.stack(edges)[:, None, None]).to(saliency.dtype)
        keep = valid_frames(frames, mask)
        return mask if keep is None else mask * keep

    def output(self, decoded: AMTDecoded) -> Tensor:
        """The activation map."""
        return decoded.saliency

    def maps(self, prediction: Prediction) -> dict[str, Tensor]:
        """All of the classifier's activation maps."""
        return prediction.activation_maps

    def loss(
        self,
        decoded: AMTDecoded,
        log_magnitude: Tensor,
        prediction: Prediction,
        frames: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """Nothing to train."""
        return {}
