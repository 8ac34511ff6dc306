"""L2I as its recipe arranges it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.classifiers import Classifier
from otoscope.interpreters import Interpreter

from .base import EPSILON, Reference, Values, decision_scores, or_zeros
from .classifiers import ReferenceClassifier, ReferenceCnn14, ReferenceConv2d
from .modules import speechbrain_modules
from .names import ACTIVATION_NAMES, DICTIONARY_NAMES, THETA_NAMES, renamed

ClassifierName = Literal["conv2d", "cnn14"]

FRAMES = {"conv2d": 417, "cnn14": 431}
"""Frames of activations that the network makes of a clip of 5 s."""

TEMPERATURES = {"conv2d": 0.01, "cnn14": 1.0}
"""What the logits are divided by before they are imitated."""

_RATES = {"conv2d": (2e-5, 1e-4), "cnn14": (1e-4, 2e-6)}
"""Learning rate and weight decay."""


@dataclass
class L2IOutput:
    """What one forward pass of the recipe leaves for the objectives.

    Attributes:
        logits: Of the classifier. Shape (batch, classes).
        reconstruction: Model of the spectrogram. Shape (batch, time, frequency).
        activations: Of the dictionary. Shape (batch, components, time).
        imitation: Probabilities of the interpreter's own classifier. Shape (batch, classes).
    """

    logits: Tensor
    reconstruction: Tensor
    activations: Tensor
    imitation: Tensor


class ReferenceL2I(Reference[L2IOutput]):
    """L2I as the reference trains, evaluates and applies it.

    Faults of the recipe that are kept: for Conv2d it classifies the magnitude of the evidence where the
    classifier expects its logarithm, and subtracts it from the log magnitude to get the remainder; for CNN14
    it subtracts log mel spectra. The input fidelity compares with the class at index 0, whatever the input.
    And each interpretation of a training step takes statistics of single clips into Conv2d's batch norms.

    Args:
        classifier: ``conv2d`` or ``cnn14``.
        classes: Classes.
        width: Channels of classifier and interpreter (``conv2d``), or of CNN14's first block, whose last one
            and the interpreter have 32 times as many. None: as published.
        components: Of the dictionary.
        frames: Frames of activations that the network makes of the clips. None: those of 5 s.
        relevance_threshold: Components above it make the mask.
        device: Where to compute.
    """

    def __init__(
        self,
        classifier: ClassifierName = "conv2d",
        classes: int = 50,
        width: int | None = None,
        components: int = 100,
        frames: int | None = None,
        relevance_threshold: float = 0.2,
        device: torch.device | str = "cpu",
    ) -> None:
        modules = speechbrain_modules()
        kind: ReferenceClassifier
        if classifier == "conv2d":
            width = width or 256
            kind = ReferenceConv2d(classes, width)
            psi = modules.PsiOptimized(dim=width, K=components, use_adapter=False, adapter_reduce_dim=False)
        else:
            width = width or 64
            kind = ReferenceCnn14(classes, width)
            psi = modules.Cnn14Psi(dim=32 * width, K=components)
        self.frames = frames or FRAMES[classifier]
        theta = modules.Theta(n_comp=components, T=self.frames, num_classes=classes)
        super().__init__(kind, nn.ModuleDict({"psi": psi, "theta": theta}), *_RATES[classifier], device)
        self.name = classifier
        self.psi, self.theta = psi, theta
        self.dictionary = modules.NMFDecoder(n_comp=components, n_freq=513, device="cpu").to(device)
        self.relevance_threshold = relevance_threshold

    def load(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        """See `Reference.load`."""
        self.classifier.load(classifier)
        state = interpreter.state_dict()
        self.psi.load_state_dict(renamed(state, ACTIVATION_NAMES[self.name]))
        self.theta.load_state_dict(renamed(state, THETA_NAMES))
        self.dictionary.load_state_dict(renamed(state, DICTIONARY_NAMES))

    def masks(self, waveforms: Tensor) -> Tensor:
        """See `Reference.masks`."""
        return super().masks(waveforms)[..., : self.frames]

    def preprocess(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log magnitude, the classifier's input, and the transform; shape (batch, time, ...) each."""
        magnitude, transform = self.analyze(waveforms)
        log_magnitude = torch.log1p(magnitude)
        return log_magnitude, self.classifier.network_input(magnitude, log_magnitude), transform

    def activations(self, representations: Any, frames: int) -> Tensor:
        """What the network makes of representations, at most so many frames. Shape (batch, components, time)."""
        result = self.psi(representations)
        if isinstance(result, tuple):
            result = result[0].squeeze(1).transpose(1, 2)
        activations: Tensor = result[..., :frames]
        return activations

    def forward(self, waveforms: Tensor) -> L2IOutput:
        """See `Reference.forward`."""
        _, network_input, _ = self.preprocess(waveforms)
        representations, logits = self.classifier(network_input)
        activations = self.activations(representations, network_input.shape[1])
        reconstruction = self.dictionary(activations).transpose(1, 2)
        return L2IOutput(logits, reconstruction, activations, self.theta(activations))

    def interpretation(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Reference.interpretation`. One clip after the other; frames without activations get zeros."""
        shape = self.stft(waveforms[:1]).shape[1:3]  # a transform for its size alone
        phases = waveforms.new_empty(len(waveforms), *shape)
        masked, masks = (waveforms.new_empty(len(waveforms), *reversed(shape)) for _ in range(2))
        for index in range(len(waveforms)):
            masked[index], masks[index], phases[index] = self._of_one(waveforms[index : index + 1])
        return masked.transpose(1, 2), masks.transpose(1, 2), phases

    def _of_one(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Masked log magnitude and mask, shape (frequency, time) each, and phase, of a batch of one."""
        log_magnitude, network_input, transform = self.preprocess(waveform)
        phase: Tensor = self.modules.spectral_phase(transform)
        representations, logits = self.classifier(network_input)
        activations = self.activations(representations, network_input.shape[1])[0]
        explained = int(logits.argmax(1)[0])
        contributions = self.theta.classifier[0].weight[explained] * self.theta.hard_att(activations).squeeze()
        relevance = contributions / contributions.abs().max()
        relevant = (relevance > self.relevance_threshold).nonzero().flatten().tolist()
        spectra: Tensor = self.dictionary.return_W()
        kept, whole = spectra[:, relevant] @ activations[relevant], spectra @ activations
        mask = kept / (whole + EPSILON)
        log_magnitude = log_magnitude[0].T
        missing = (0, log_magnitude.shape[1] - mask.shape[1])
        masked = mask * log_magnitude[:, : mask.shape[1]]
        return F.pad(masked, missing), F.pad(mask, missing), phase[0]

    def objectives(
        self, waveforms: Tensor, labels: Tensor | None, result: L2IOutput, training: bool
    ) -> tuple[Values, Values]:
        """See `Reference.objectives`; the interpretation and its scores are computed while training too."""
        labels = or_zeros(labels, waveforms)
        magnitude, _ = self.analyze(waveforms)  # once more
        log_magnitude = torch.log1p(magnitude)
        with torch.no_grad():
            values = self._scores(waveforms, labels.to(waveforms.device), result, magnitude, log_magnitude)
        if not training:
            values |= self.quantus_scores(waveforms, log_magnitude, labels)
        return self._loss(result, log_magnitude[:, : result.reconstruction.shape[1]]), values

    def _scores(
        self, waveforms: Tensor, labels: Tensor, result: L2IOutput, magnitude: Tensor, log_magnitude: Tensor
    ) -> Values:
        evidence = torch.expm1(self.interpretation(waveforms)[0])
        whole_input = log_magnitude
        if self.classifier.mel is not None:
            evidence = torch.log1p(self.classifier.mel(evidence))
            whole_input = torch.log1p(self.classifier.mel(magnitude))
        _, kept = self.classifier(evidence)
        _, left = self.classifier(whole_input - evidence)
        scores = decision_scores(result.logits.softmax(1), kept.softmax(1), left.softmax(1))
        del scores["Fid-In"]
        return {
            "accuracy": (result.logits.argmax(1) == labels).float(),
            "accuracy_imitation": (result.imitation.argmax(1) == labels).float(),
            **scores,
            # the labels, a column, where logits belong: their argmax is 0
            "Fid-In_published": (kept.argmax(1) == labels[:, None].argmax(1)).float(),
        }

    def _loss(self, result: L2IOutput, log_magnitude: Tensor) -> Values:
        target = (result.logits / TEMPERATURES[self.name]).softmax(1)
        return {
            "reconstruction": 10 * (result.reconstruction - log_magnitude).pow(2).mean(),
            "sparsity": 0.8 * result.activations.abs().mean(),
            "fidelity": (target * -torch.log(result.imitation)).mean(),
        }
