"""AMT: activation-map thresholding (Della Libera et al. 2024, arXiv 2402.02754)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.classifiers.image import resize_map
from otoscope.errors import ConfigurationError
from otoscope.interpreters.base import Interpreter
from otoscope.metrics.ranking import upper_quantile


@dataclass
class AMTDecoded:
    """Result of `AMTInterpreter.decode`.

    Attributes:
        saliency: Activation map at the resolution of the spectrogram. Shape (batch, frequency, time).
    """

    saliency: Tensor


class AMTInterpreter(Interpreter[AMTDecoded]):
    """Keeps the bins where the classifier's own activation map is largest. Nothing is trained.

    Args:
        classifier: Classifier to explain, with activation maps (FocalNet, ViT).
        quantile: The mask keeps bins at or above this quantile of the clip's map.
        activation_map: Stage or layer (default: the last, as published). ViT also has ``rollout``.

    Raises:
        ActivationMapError: The classifier has no such map.
        ConfigurationError: The quantile is not in (0, 1).

    Reference:
        arXiv 2402.02754. Departures: none.
    """

    class_specific = False
    threshold_name = "quantile"

    def __init__(self, classifier: Classifier, quantile: float = 0.9, activation_map: str | None = None) -> None:
        super().__init__()
        # runs the network once, so that a classifier without this map is refused here and not at the first clip
        classifier.activation_map(classifier.frontend.silence(), name=activation_map)
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

    @override
    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> AMTDecoded:
        activation_map = prediction.activation_map(self.activation_map)
        # the map is coarser than the spectrogram; each is spread over the valid frames of its clip
        bins, time = spectrogram.log_magnitude.shape[-2:]
        return AMTDecoded(resize_map(activation_map, bins, time, spectrogram.frames))

    @override
    def mask(self, decoded: AMTDecoded, spectrogram: Spectrogram) -> Tensor:
        saliency = decoded.saliency
        # padding has no part in a clip's quantile
        edges = [
            upper_quantile(clip[:, :count], self.quantile)
            for clip, count in zip(saliency, spectrogram.frame_counts, strict=True)
        ]
        mask = (saliency >= torch.stack(edges)[:, None, None]).to(saliency.dtype)
        return spectrogram.zero_padding(mask)

    @override
    def output(self, decoded: AMTDecoded, spectrogram: Spectrogram) -> Tensor:
        return decoded.saliency

    @override
    def maps(self, prediction: Prediction) -> dict[str, Tensor]:
        return prediction.activation_maps

    def loss(self, decoded: AMTDecoded, spectrogram: Spectrogram, prediction: Prediction) -> Mapping[str, Tensor]:
        """Return no term: there is nothing to train."""
        return {}
