"""AMT, arranged as in its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.classifiers import Classifier
from otoscope.interpreters import Interpreter

from .base import Reference, Values, or_zeros
from .pictures import ReferenceFocalNet, ReferencePicture, ReferenceViT


@dataclass
class AMTOutput:
    """Result of a forward pass, from which the objectives are computed.

    Attributes:
        logits: Logits of the classifier. Shape (batch, classes).
        mask: Mask of zeros and ones. Shape (batch, time, frequency).
    """

    logits: Tensor
    mask: Tensor


class ReferenceAMT(Reference[AMTOutput]):
    """AMT as the reference evaluates and applies it; nothing is trained.

    A fault of the recipe is reproduced: its faithfulness classifies the evidence instead of the remainder. It
    computes the evidence again, with two more runs of the classifier.

    Args:
        classifier: Classifier that is explained.
        classes: Number of classes.
        width: See `backbone_options`; None: as published.
        quantile: Quantile of the map of each clip at which the mask becomes 1.
        device: Device of all networks.
    """

    classifier: ReferencePicture

    def __init__(
        self,
        classifier: Literal["focalnet", "vit"] = "focalnet",
        classes: int = 50,
        width: int | None = None,
        quantile: float = 0.9,
        device: torch.device | str = "cpu",
    ) -> None:
        kind: ReferencePicture
        if classifier == "vit":
            kind = ReferenceViT(classes, width or 768, attention="eager")
        else:
            kind = ReferenceFocalNet(classes, width or 128)
        super().__init__(kind, nn.Module(), 0.0, 0.0, device)
        self.quantile = quantile

    @override
    def load(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        self.classifier.load(classifier)

    def log_magnitude(self, waveforms: Tensor) -> Tensor:
        """Return the log magnitude. Shape (batch, time, frequency)."""
        return torch.log1p(self.analyze(waveforms)[0])

    def look(self, log_magnitude: Tensor) -> AMTOutput:
        """Run the classifier, and make the mask: all maps are resized, and the last one is cut at its quantile."""
        logits, maps = self.classifier.look(log_magnitude)
        last = maps[-1]
        threshold = last.reshape(len(last), -1).quantile(self.quantile, dim=-1)[:, None, None, None]
        # Infinite logits, so that the sigmoid below is exactly 0 or 1.
        last[last < threshold] = -float("inf")
        last[last >= threshold] = float("inf")
        return AMTOutput(logits, last.squeeze(1).sigmoid())

    @override
    def forward(self, waveforms: Tensor) -> AMTOutput:
        return self.look(self.log_magnitude(waveforms))

    @override
    def interpretation(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        magnitude, transform = self.analyze(waveforms)
        log_magnitude = torch.log1p(magnitude)
        phase: Tensor = self.modules.spectral_phase(transform)
        mask = self.look(log_magnitude).mask
        return mask * log_magnitude, mask, phase

    @override
    def objectives(
        self, waveforms: Tensor, labels: Tensor | None, result: AMTOutput, training: bool
    ) -> tuple[Values, Values]:
        # Two more runs of the classifier for `evidence` and one for `again`, each with the maps, as in the recipe.
        evidence = self.look(result.mask * self.log_magnitude(waveforms)).logits.softmax(1)
        again = self.look(self.interpretation(waveforms)[0]).logits.softmax(1)
        whole = result.logits.softmax(1)
        explained = whole.argmax(1, keepdim=True)
        labels = or_zeros(labels, waveforms).to(result.logits.device)
        values = {
            "accuracy": (result.logits.argmax(1) == labels).float(),
            "Fid-In": (evidence.argmax(1, keepdim=True) == explained).float().squeeze(1),
            "faithfulness_published": (whole.gather(1, explained) - again.gather(1, explained)).squeeze(1),
        }
        return {}, values
