"""L-MAC, arranged as in its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.classifiers import Classifier
from otoscope.interpreters import Interpreter

from .base import Reference, Values, decision_scores, or_zeros
from .classifiers import ReferenceCnn14
from .modules import speechbrain_modules
from .names import MASK_NAMES, renamed

GUIDED = 0.6
"""Normalised product of masked and clean spectrogram at or above which fine-tuning guides a clip."""


@dataclass
class LMACOutput:
    """Result of a forward pass, from which the objectives are computed.

    Attributes:
        logits: Logits of the classifier. Shape (batch, classes).
        mask: Mask in [0, 1]. Shape (batch, time, frequency).
    """

    logits: Tensor
    mask: Tensor


class ReferenceLMAC(Reference[LMACOutput]):
    """L-MAC on CNN14 as the reference trains, evaluates and applies it.

    As in the recipe, the weight of the regularisers grows with the batch, and spectrograms are computed again for
    the objectives (that of the clean clip too), and again for each of SPS and COMP.

    Args:
        classes: Number of classes.
        width: Number of channels of CNN14's first block; the interpreter has 32 times as many. None: as published.
        guidance: Weight of the guidance; above 0 for the recipe of fine-tuning.
        device: Device of all networks.
    """

    def __init__(
        self,
        classes: int = 50,
        width: int | None = None,
        guidance: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        width = width or 64
        psi = speechbrain_modules().Cnn14Mask(dim=32 * width)
        super().__init__(ReferenceCnn14(classes, width).requires_grad_(False), psi, 2e-4, 2e-6, device)
        self.guidance = guidance

    @override
    def load(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        self.classifier.load(classifier)
        self.network.load_state_dict(renamed(interpreter.state_dict(), MASK_NAMES))

    def preprocess(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log magnitude, the classifier's input, and the transform. Shape (batch, time, ...) each."""
        magnitude, transform = self.analyze(waveforms)
        log_magnitude = torch.log1p(magnitude)
        return log_magnitude, self.classifier.network_input(magnitude, log_magnitude), transform

    @override
    def forward(self, waveforms: Tensor) -> LMACOutput:
        _, network_input, _ = self.preprocess(waveforms)
        representations, logits = self.classifier(network_input)
        return LMACOutput(logits, torch.sigmoid(self.network(representations).squeeze(1)))

    @override
    def interpretation(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_magnitude, network_input, transform = self.preprocess(waveforms)
        phase: Tensor = self.modules.spectral_phase(transform)
        representations, _ = self.classifier(network_input)
        mask = torch.sigmoid(self.network(representations).squeeze(1))
        return mask * log_magnitude[:, : mask.shape[1]], mask, phase

    @override
    def objectives(
        self, waveforms: Tensor, labels: Tensor | None, result: LMACOutput, training: bool
    ) -> tuple[Values, Values]:
        labels = or_zeros(labels, waveforms)
        frames = result.mask.shape[1]
        clean = self.preprocess(waveforms)[0][:, :frames]
        log_magnitude = self.preprocess(waveforms)[0]
        masked = result.mask * log_magnitude[:, :frames]
        rest = (1 - result.mask) * log_magnitude[:, :frames]
        evidence, remainder = self._classify(masked), self._classify(rest)
        terms = self._terms(result, clean, masked, evidence, remainder)
        values = {"accuracy": (result.logits.argmax(1) == labels.to(result.logits.device)).float()}
        if not training:
            values |= decision_scores(result.logits.softmax(1), evidence.softmax(1), remainder.softmax(1))
            values |= self.quantus_scores(waveforms, log_magnitude[:, :frames], labels)
        return terms, values

    def _classify(self, log_magnitude: Tensor) -> Tensor:
        """Return the logits of a masked spectrogram."""
        logits: Tensor = self.classifier(self.classifier.network_input(torch.expm1(log_magnitude), log_magnitude))[
            1
        ]
        return logits

    def _terms(
        self, result: LMACOutput, clean: Tensor, masked: Tensor, evidence: Tensor, remainder: Tensor
    ) -> Values:
        mask, explained = result.mask, result.logits.argmax(1)
        guided = torch.zeros(len(mask), device=mask.device)
        terms: Values = {}
        if self.guidance > 0:
            sizes = masked.pow(2).mean((-1, -2)).sqrt() * clean.pow(2).mean((-1, -2)).sqrt()
            guided = ((masked * clean).mean((-1, -2)) / sizes >= GUIDED).float()
            loudest = clean.flatten(1).max(1).values[:, None, None]
            each = F.binary_cross_entropy(mask, (clean >= 0.35 * loudest).to(mask.dtype), reduction="none")
            terms["guidance"] = (each.mean((-1, -2)) * self.guidance * guided).mean()
        return {
            "evidence": 4 * F.nll_loss(evidence.log_softmax(1), explained),
            "remainder": -0.2 * F.nll_loss(remainder.log_softmax(1), explained),
            **terms,
            "area": (0.4 * mask.abs().mean((-1, -2, -3)) * torch.logical_not(guided)).sum(),
        }
