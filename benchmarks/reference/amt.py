"""AMT as its recipe arranges it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from otoscope.classifiers import Classifier
from otoscope.interpreters import Interpreter

from .base import Reference, Values, or_zeros
from .pictures import ReferenceFocalNet, ReferencePicture, ReferenceViT


@dataclass
class AMTOutput:
    """What one forward pass of the recipe leaves for the objectives.

    Attributes:
        logits: Of the classifier. Shape (batch, classes).
        mask: 0 or 1. Shape (batch, time, frequency).
    """

    logits: Tensor
    mask: Tensor


class ReferenceAMT(Reference[AMTOutput]):
    """AMT as the reference evaluates and applies it; nothing is trained.

    A fault of the recipe that is kept: what it calls faithfulness classifies the evidence, not the remainder. It
    makes it from scratch, with two more runs of the classifier.

    Args:
        classifier: What is interpreted.
        classes: Classes.
        width: See `backbone_options`; None: as published.
        quantile: Of the map of each clip, above which the mask is 1.
        device: Where to compute.
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

    def load(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        """See `Reference.load`."""
        self.classifier.load(classifier)

    def log_magnitude(self, waveforms: Tensor) -> Tensor:
        """Shape (batch, time, frequency)."""
        return torch.log1p(self.analyze(waveforms)[0])

    def look(self, log_magnitude: Tensor) -> AMTOutput:
        """One run of the classifier, and the mask: all maps are resized, the last one is cut at its quantile."""
        logits, maps = self.classifier.look(log_magnitude)
        last = maps[-1]
        threshold = last.reshape(len(last), -1).quantile(self.quantile, dim=-1)[:, None, None, None]
        last[last < threshold] = -float("inf")
        last[last >= threshold] = float("inf")
        return AMTOutput(logits, last.squeeze(1).sigmoid())

    def forward(self, waveforms: Tensor) -> AMTOutput:
        """See `Reference.forward`."""
        return self.look(self.log_magnitude(waveforms))

    def interpretation(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Reference.interpretation`."""
        magnitude, transform = self.analyze(waveforms)
        log_magnitude = torch.log1p(magnitude)
        phase: Tensor = self.modules.spectral_phase(transform)
        mask = self.look(log_magnitude).mask
        return mask * log_magnitude, mask, phase

    def objectives(
        self, waveforms: Tensor, labels: Tensor | None, result: AMTOutput, training: bool
    ) -> tuple[Values, Values]:
        """See `Reference.objectives`. The classifier runs three times, each time with all that belongs to it."""
        kept = self.look(result.mask * self.log_magnitude(waveforms)).logits.softmax(1)
        again = self.look(self.interpretation(waveforms)[0]).logits.softmax(1)
        whole = result.logits.softmax(1)
        explained = whole.argmax(1, keepdim=True)
        labels = or_zeros(labels, waveforms).to(result.logits.device)
        values = {
            "accuracy": (result.logits.argmax(1) == labels).float(),
            "Fid-In": (kept.argmax(1, keepdim=True) == explained).float().squeeze(1),
            "faithfulness_published": (whole.gather(1, explained) - again.gather(1, explained)).squeeze(1),
        }
        return {}, values
