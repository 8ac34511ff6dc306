"""L2I, arranged as in its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.classifiers import Classifier
from otoscope.interpreters import Interpreter

from .base import EPSILON, Reference, Values, decision_scores, or_zeros
from .classifiers import ReferenceClassifier, ReferenceCnn14, ReferenceConv2d
from .modules import speechbrain_modules
from .names import ACTIVATION_NAMES, DICTIONARY_NAMES, THETA_NAMES, renamed

ClassifierName = Literal["conv2d", "cnn14"]

FRAMES = {"conv2d": 417, "cnn14": 431}
"""Number of frames of the network's activations for a clip of 5 s."""

TEMPERATURES = {"conv2d": 0.01, "cnn14": 1.0}
"""Divisor of the logits that are imitated."""

_RATES = {"conv2d": (2e-5, 1e-4), "cnn14": (1e-4, 2e-6)}
"""Learning rate and weight decay."""


@dataclass
class L2IOutput:
    """Result of a forward pass, from which the objectives are computed.

    Attributes:
        logits: Logits of the classifier. Shape (batch, classes).
        reconstruction: Model of the spectrogram. Shape (batch, time, frequency).
        activations: Activations of the dictionary. Shape (batch, components, time).
        imitation: Probabilities of the interpreter's own classifier. Shape (batch, classes).
    """

    logits: Tensor
    reconstruction: Tensor
    activations: Tensor
    imitation: Tensor


class ReferenceL2I(Reference[L2IOutput]):
    """L2I as the reference trains, evaluates and applies it.

    Faults of the recipe are reproduced. For Conv2d it classifies the magnitude of the evidence, although the
    classifier expects its logarithm, and subtracts it from the log magnitude to get the remainder; for CNN14 it
    subtracts log mel spectra. The input fidelity always compares with the class at index 0. Each interpretation in
    a training step updates Conv2d's batch norms with the statistics of single clips.

    Args:
        classifier: ``conv2d`` or ``cnn14``.
        classes: Number of classes.
        width: Number of channels of classifier and interpreter (``conv2d``), or of CNN14's first block; its last
            block and the interpreter have 32 times as many. None: as published.
        components: Number of components of the dictionary.
        frames: Number of frames of the network's activations; None: that of a clip of 5 s.
        relevance_threshold: Relevance above which components make the mask.
        device: Device of all networks.
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

    @override
    def load(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        self.classifier.load(classifier)
        state = interpreter.state_dict()
        self.psi.load_state_dict(renamed(state, ACTIVATION_NAMES[self.name]))
        self.theta.load_state_dict(renamed(state, THETA_NAMES))
        self.dictionary.load_state_dict(renamed(state, DICTIONARY_NAMES))

    @override
    def masks(self, waveforms: Tensor) -> Tensor:
        return super().masks(waveforms)[..., : self.frames]

    def preprocess(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log magnitude, the classifier's input, and the transform. Shape (batch, time, ...) each."""
        magnitude, transform = self.analyze(waveforms)
        log_magnitude = torch.log1p(magnitude)
        return log_magnitude, self.classifier.network_input(magnitude, log_magnitude), transform

    def activations(self, representations: Any, frames: int) -> Tensor:
        """Return the network's activations for at most ``frames`` frames. Shape (batch, components, time)."""
        result = self.psi(representations)
        if isinstance(result, tuple):
            result = result[0].squeeze(1).transpose(1, 2)
        activations: Tensor = result[..., :frames]
        return activations

    @override
    def forward(self, waveforms: Tensor) -> L2IOutput:
        _, network_input, _ = self.preprocess(waveforms)
        representations, logits = self.classifier(network_input)
        activations = self.activations(representations, network_input.shape[1])
        reconstruction = self.dictionary(activations).transpose(1, 2)
        return L2IOutput(logits, reconstruction, activations, self.theta(activations))

    @override
    def interpretation(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # One clip after the other, as in the recipe; frames without activations get zeros.
        shape = self.stft(waveforms[:1]).shape[1:3]  # the recipe computes a transform only for its size
        phases = waveforms.new_empty(len(waveforms), *shape)
        masked, masks = (waveforms.new_empty(len(waveforms), *reversed(shape)) for _ in range(2))
        for index in range(len(waveforms)):
            masked[index], masks[index], phases[index] = self._of_one(waveforms[index : index + 1])
        return masked.transpose(1, 2), masks.transpose(1, 2), phases

    def _of_one(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return masked log magnitude and mask, shape (frequency, time) each, and phase of a batch of one clip."""
        log_magnitude, network_input, transform = self.preprocess(waveform)
        phase: Tensor = self.modules.spectral_phase(transform)
        representations, logits = self.classifier(network_input)
        activations = self.activations(representations, network_input.shape[1])[0]
        explained = int(logits.argmax(1)[0])
        contributions = self.theta.classifier[0].weight[explained] * self.theta.hard_att(activations).squeeze()
        relevance = contributions / contributions.abs().max()
        relevant = (relevance > self.relevance_threshold).nonzero().flatten().tolist()
        spectra: Tensor = self.dictionary.return_W()
        evidence, whole = spectra[:, relevant] @ activations[relevant], spectra @ activations
        mask = evidence / (whole + EPSILON)
        log_magnitude = log_magnitude[0].T
        missing = (0, log_magnitude.shape[1] - mask.shape[1])
        masked = mask * log_magnitude[:, : mask.shape[1]]
        return F.pad(masked, missing), F.pad(mask, missing), phase[0]

    @override
    def objectives(
        self, waveforms: Tensor, labels: Tensor | None, result: L2IOutput, training: bool
    ) -> tuple[Values, Values]:
        # The recipe computes the interpretation and its scores in training too, and the spectrogram once more.
        labels = or_zeros(labels, waveforms)
        magnitude, _ = self.analyze(waveforms)
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
        _, from_evidence = self.classifier(evidence)
        _, from_remainder = self.classifier(whole_input - evidence)
        scores = decision_scores(result.logits.softmax(1), from_evidence.softmax(1), from_remainder.softmax(1))
        del scores["Fid-In"]
        return {
            "accuracy": (result.logits.argmax(1) == labels).float(),
            "accuracy_imitation": (result.imitation.argmax(1) == labels).float(),
            **scores,
            # The recipe passes the labels as a column where logits are expected, so their argmax is always 0.
            "Fid-In_published": (from_evidence.argmax(1) == labels[:, None].argmax(1)).float(),
        }

    def _loss(self, result: L2IOutput, log_magnitude: Tensor) -> Values:
        target = (result.logits / TEMPERATURES[self.name]).softmax(1)
        return {
            "reconstruction": 10 * (result.reconstruction - log_magnitude).pow(2).mean(),
            "sparsity": 0.8 * result.activations.abs().mean(),
            "fidelity": (target * -torch.log(result.imitation)).mean(),
        }
