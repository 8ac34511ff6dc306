"""PIQ, arranged as in its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.classifiers import Classifier
from otoscope.interpreters import Interpreter

from .base import EPSILON, Reference, Values, decision_scores, or_zeros
from .classifiers import ReferenceClassifier, ReferenceConv2d
from .modules import speechbrain_modules
from .names import INTERPRETER_NAMES, renamed
from .pictures import ReferenceFocalNet, ReferenceViT

ClassifierName = Literal["conv2d", "focalnet", "vit"]


@dataclass
class PIQOutput:
    """Result of a forward pass, from which the objectives are computed.

    Attributes:
        logits: Logits of the classifier. Shape (batch, classes).
        output: Mask, or model of the spectrogram. Shape (batch, frames, frequency); on Conv2d it has 417 of the
            431 frames.
        adapted: Representation before quantisation (without quantisation, the classifier's).
        codes: Chosen codes; None without quantisation.
    """

    logits: Tensor
    output: Tensor
    adapted: Tensor
    codes: Tensor | None


class ReferencePIQ(Reference[PIQOutput]):
    """PIQ as the reference trains, evaluates and applies it.

    Args:
        classes: Number of classes.
        width: Number of channels of classifier and interpreter (``conv2d``) or of FocalNet's embedding, whose last
            stage and interpreter have eight times as many; hidden size of ViT and its interpreter. None: as
            published.
        codes: Size of the codebook.
        use_vq: Quantise before decoding.
        use_mask_output: True: the output is a sigmoid mask; False: a softplus.
        mask_threshold: Share of the maximum above which a bin counts as present.
        device: Device of all networks.
        classifier: Classifier that is explained.
    """

    def __init__(
        self,
        classes: int = 50,
        width: int | None = None,
        codes: int = 1024,
        use_vq: bool = True,
        use_mask_output: bool = True,
        mask_threshold: float = 0.35,
        device: torch.device | str = "cpu",
        classifier: ClassifierName = "conv2d",
    ) -> None:
        modules = speechbrain_modules()
        kind: ReferenceClassifier
        if classifier == "focalnet":
            kind = ReferenceFocalNet(classes, width or 128)
            network = modules.VectorQuantizedPSIFocalNet(dim=8 * (width or 128), K=codes, numclasses=classes)
        elif classifier == "vit":
            kind = ReferenceViT(classes, width or 768)
            network = modules.VectorQuantizedPSIViT(dim=width or 768, K=codes, numclasses=classes)
        else:
            kind = ReferenceConv2d(classes, width or 256)
            network = modules.VectorQuantizedPSI(dim=width or 256, K=codes, numclasses=classes)
        super().__init__(kind, network, 2e-4, 2e-6, device)
        self.use_vq = use_vq
        self.use_mask_output = use_mask_output
        self.mask_threshold = mask_threshold

    @override
    def load(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        self.classifier.load(classifier)
        theirs = renamed(interpreter.state_dict(), INTERPRETER_NAMES)
        self.network.load_state_dict({**self.network.state_dict(), **theirs})

    @override
    def interpretation(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # On Conv2d 417 of the 431 frames have a mask.
        log_magnitude, transform = self.preprocess(waveforms)
        phase: Tensor = self.modules.spectral_phase(transform)
        output = self.decode(*self.classifier(log_magnitude)).output
        mask = output if self.use_mask_output else output > self.mask_threshold * output.max()
        return mask * log_magnitude[:, : output.shape[1]], output, phase

    def preprocess(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """Return log magnitude, shape (batch, time, frequency), and the transform as real and imaginary parts."""
        magnitude, transform = self.analyze(waveforms)
        return torch.log1p(magnitude), transform

    def decode(self, hidden: Tensor, logits: Tensor) -> PIQOutput:
        """Run the interpreter for the predicted class."""
        codes: Tensor | None = None
        if self.use_vq:
            decoded, hidden, codes = self.network(hidden, logits.argmax(1))
        else:
            decoded = self.network.decoder(hidden)  # type: ignore[operator]
        output = decoded.squeeze(1)
        output = output.sigmoid() if self.use_mask_output else F.softplus(output)
        return PIQOutput(logits, output, hidden, codes)

    @override
    def forward(self, waveforms: Tensor) -> PIQOutput:
        log_magnitude, _ = self.preprocess(waveforms)
        return self.decode(*self.classifier(log_magnitude))

    @override
    def objectives(
        self, waveforms: Tensor, labels: Tensor | None, result: PIQOutput, training: bool
    ) -> tuple[Values, Values]:
        # In training, the accuracy is the only score. The spectrogram is computed once more, as in the recipe.
        labels = or_zeros(labels, waveforms)
        log_magnitude, _ = self.preprocess(waveforms)
        log_magnitude = log_magnitude[:, : result.output.shape[1]]
        # The recipe computes both in training too, with their graphs, although no loss depends on them.
        _, evidence = self.classifier(result.output * log_magnitude)
        _, remainder = self.classifier((1 - result.output) * log_magnitude)
        terms = self._loss(result, log_magnitude)
        values = {"accuracy": (result.logits.argmax(1) == labels.to(result.logits.device)).float()}
        if not training:
            logits = (result.logits, evidence, remainder)
            values |= decision_scores(*(scores.softmax(1) for scores in logits))
            values |= self.quantus_scores(waveforms, log_magnitude, labels)
        return terms, values

    def _loss(self, result: PIQOutput, log_magnitude: Tensor) -> Values:
        output = result.output
        if self.use_mask_output:
            highest = log_magnitude.amax((-1, -2), keepdim=True)
            present = (log_magnitude > self.mask_threshold * highest).float()
            hit, miss = torch.log(output + EPSILON), torch.log(1 - output + EPSILON)
            terms = {"reconstruction": -(present * hit + (1 - present) * miss).mean()}
        else:
            terms = {"reconstruction": (log_magnitude - output).pow(2).mean()}
        if result.codes is not None:
            terms["codebook"] = F.mse_loss(result.codes, result.adapted.detach())
            terms["commitment"] = F.mse_loss(result.adapted, result.codes.detach())
        return terms
