"""Common parts of all recipes: front-end, training step, evaluation step, sound and scores."""

from __future__ import annotations

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.classifiers import Classifier
from otoscope.interpreters import Interpreter

from .classifiers import ReferenceClassifier
from .modules import quantus, speechbrain_modules

EPSILON = 1e-10
Output = TypeVar("Output")
Values = dict[str, Tensor]


class Reference(ABC, Generic[Output]):
    """A method as the reference trains, evaluates and applies it.

    Args:
        classifier: Classifier that is explained.
        network: Network that is trained; without parameters if nothing is trained.
        learning_rate: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        device: Device of all networks.
    """

    def __init__(
        self,
        classifier: ReferenceClassifier,
        network: nn.Module,
        learning_rate: float,
        weight_decay: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.modules = speechbrain_modules()
        frame: dict[str, Any] = {"sample_rate": 16_000, "hop_length": 11.6099, "win_length": 23.2199}
        self.stft = self.modules.STFT(n_fft=1024, **frame)
        self.istft = self.modules.ISTFT(**frame)
        self.classifier = classifier.to(device)
        self.network = network.to(device)
        trained = list(network.parameters())
        self.optimizer = torch.optim.Adam(trained, lr=learning_rate, weight_decay=weight_decay) if trained else None
        self._sparseness: Any = None
        self._complexity: Any = None

    @abstractmethod
    def load(self, classifier: Classifier, interpreter: Interpreter[Any]) -> None:
        """Copy our weights, so that both sides compute the same.

        Args:
            classifier: Classifier of the same width and classes. The scale of a cosine head has no counterpart in
                the reference, so it must be 1 where probabilities matter.
            interpreter: Interpreter with ``decoder="published"``.
        """

    @abstractmethod
    def forward(self, waveforms: Tensor) -> Output:
        """Run the forward pass of a step."""

    @abstractmethod
    def objectives(
        self, waveforms: Tensor, labels: Tensor | None, result: Output, training: bool
    ) -> tuple[Values, Values]:
        """Return the terms of the loss, shape () each, and the scores of each clip."""

    @abstractmethod
    def interpretation(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute masked log magnitude, mask and phase of waveforms. Shape (batch, time, frequency) each.

        Reference:
            ``interpret_computation_steps`` of the recipe.
        """

    def masks(self, waveforms: Tensor) -> Tensor:
        """Return the masks, for the frames that have one. Shape (batch, frequency, frames)."""
        self.network.eval()
        return self.interpretation(waveforms)[1].transpose(1, 2)

    def training_step(self, waveforms: Tensor, labels: Tensor | None = None) -> dict[str, float]:
        """Run a training step: forward, objectives, backward, clipped Adam step.

        Args:
            waveforms: Waveforms. Shape (batch, samples).
            labels: True classes; no loss depends on them. Shape (batch,).

        Returns:
            The terms of the loss and the computed scores, averaged over the batch.
        """
        if self.optimizer is None:
            raise TypeError(f"{type(self).__name__} has nothing to train")
        self.network.train()
        terms, values = self.objectives(waveforms, labels, self.forward(waveforms), training=True)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise FloatingPointError("the reference's loss is not finite")
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return _means(terms | values)

    @torch.no_grad()
    def evaluation_step(self, waveforms: Tensor, labels: Tensor | None = None) -> dict[str, float]:
        """Evaluate a batch of validation or test: forward, objectives and all scores.

        Args:
            waveforms: Waveforms. Shape (batch, samples).
            labels: True classes; no loss depends on them. Shape (batch,).

        Returns:
            The terms of the loss and the scores, averaged over the batch.
        """
        self.network.eval()
        terms, values = self.objectives(waveforms, labels, self.forward(waveforms), training=False)
        return _means(terms | values)

    @torch.no_grad()
    def interpret(self, waveform: Tensor) -> Tensor:
        """Return the sound of the interpretation of one clip.

        Args:
            waveform: Waveform. Shape (samples,).

        Returns:
            Sound, as long as the frames that have a mask. Shape (samples',).
        """
        self.network.eval()
        masked, _, phase = self.interpretation(waveform[None])
        magnitude = torch.expm1(masked)[..., None]
        phase = phase[:, : magnitude.shape[1]]
        parts = torch.cat([phase.cos()[..., None], phase.sin()[..., None]], -1)
        sound: Tensor = self.istft(magnitude * parts)
        return sound[0]

    def analyze(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """Return the magnitude, shape (batch, time, frequency), and the transform as real and imaginary parts."""
        transform: Tensor = self.stft(waveforms)
        magnitude: Tensor = self.modules.spectral_magnitude(transform, power=0.5)
        return magnitude, transform

    def quantus_scores(self, waveforms: Tensor, log_magnitude: Tensor, labels: Tensor) -> Values:
        """Return SPS and COMP; each computes the interpretation again."""
        if self._sparseness is None:
            with contextlib.redirect_stdout(None), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._sparseness = quantus().Sparseness(return_aggregate=True, abs=True)
                self._complexity = quantus().Complexity(return_aggregate=True, abs=True)
        scores = {}
        for name, metric in (("SPS", self._sparseness), ("COMP", self._complexity)):
            mask = self.interpretation(waveforms)[1].unsqueeze(1).cpu().numpy()
            if not mask.sum() > 0:
                continue  # the recipe omits a mask of zeros from the mean
            inputs = log_magnitude.unsqueeze(1).cpu().numpy()
            arguments = {"model": None, "x_batch": inputs, "a_batch": mask, "y_batch": labels.cpu().numpy()}
            score = metric(**arguments, softmax=False, device=str(log_magnitude.device))
            scores[name] = torch.tensor([score[0]])
        return scores


def decision_scores(whole: Tensor, evidence: Tensor, remainder: Tensor) -> Values:
    """Return the published scores of class probabilities, with the faulty average drop."""
    explained = whole.argmax(1, keepdim=True)
    before, after = whole.gather(1, explained).squeeze(1), evidence.gather(1, explained).squeeze(1)
    # A softmax of probabilities: the fault of the published average drop.
    twice_before = whole.softmax(1).gather(1, explained).squeeze(1)
    twice_after = evidence.softmax(1).gather(1, explained).squeeze(1)
    return {
        "AI": 100 * (before < after).float(),
        "AD_published": 100 * F.relu(twice_before - twice_after) / (twice_before + EPSILON),
        "AG": 100 * F.relu(after - before) / (1 - before + EPSILON),
        "FF": before - remainder.gather(1, explained).squeeze(1),
        "Fid-In": (evidence.topk(1, dim=1).indices == explained).float().squeeze(1),
    }


def or_zeros(labels: Tensor | None, waveforms: Tensor) -> Tensor:
    """Return the labels, or zeros if there are none."""
    return torch.zeros(len(waveforms), dtype=torch.int64) if labels is None else labels


def _means(values: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value.detach().mean()) for name, value in values.items()}
