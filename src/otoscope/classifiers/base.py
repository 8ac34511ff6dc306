"""What every classifier is to the rest of the house, and what it returns."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from otoscope.audio import Frontend
from otoscope.errors import ActivationMapError, CheckpointError, ConfigurationError
from otoscope.store.folder import StoredModel, open_model, write_folder, write_model
from otoscope.store.sharing import Shareable


@dataclass
class Prediction:
    """What a classifier says of a batch, and what it saw on the way.

    Attributes:
        logits: Shape (batch, classes).
        representations: Inner maps for interpreters, the deepest last. Shape each (batch, channels,
            frequency', time').
        target: Class to explain instead of the predicted one. Shape (batch,), int64.
        activation_maps: What the network itself attends to, by name, where it has such maps; the one used unless
            another is named comes last. Shape each (batch, frequency', time').
        multi_label: Each class is decided for itself: probabilities are sigmoids and need not sum to 1.
        stretched: Representations span each clip whole, whatever its length: in a padded batch they have no
            padding.
        phase: With which the classifier heard the spectrogram, where it hears waveforms; interpreters that ask the
            classifier again need it. Shape (batch, frequency, time).
        sources: For each representation the tensor inside the network that it was made of, in the network's own
            layout: what the logits were computed from, so that gradients reach it (Grad-CAM). May be left out
            where the representations themselves lie on that way.
    """

    logits: Tensor
    representations: tuple[Tensor, ...]
    target: Tensor | None = None
    activation_maps: dict[str, Tensor] = field(default_factory=dict)
    multi_label: bool = False
    stretched: bool = False
    phase: Tensor | None = None
    sources: tuple[Tensor, ...] = ()

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, or their sigmoid with several labels a clip. Shape (batch, classes)."""
        return self.logits.sigmoid() if self.multi_label else self.logits.softmax(-1)

    @property
    def predicted(self) -> Tensor:
        """Most probable class, shape (batch,)."""
        return self.logits.argmax(-1)

    @property
    def explained(self) -> Tensor:
        """The class that an interpretation is about: the target where given, else the predicted one."""
        return self.predicted if self.target is None else self.target

    def activation_map(self, name: str | None = None) -> Tensor:
        """The network's own map of where it looked.

        Args:
            name: Stage or layer; by default the one that the method was published with.

        Returns:
            Not negative. Shape (batch, frequency', time').

        Raises:
            ActivationMapError: The classifier has no such map.
        """
        if not self.activation_maps:
            raise ActivationMapError(
                "this classifier has no activation map; use FocalNet or ViT, or another method of explanation"
            )
        name = name or list(self.activation_maps)[-1]
        if name not in self.activation_maps:
            raise ActivationMapError(
                f"activation map: this classifier has no {name!r}; it has {', '.join(self.activation_maps)}"
            )
        return self.activation_maps[name]

    def towards(self, target: Tensor) -> Prediction:
        """The same prediction, to be explained for another class."""
        return replace(self, target=target)


class Classifier(Shareable, StoredModel, ABC):
    """Sound classifier: log-magnitude spectrogram in, `Prediction` out.

    Write your own by deriving from it: say how many channels each representation has, and turn the
    log-magnitude STFT into logits. Whatever network input you need (mel bank, resize, a waveform) is
    made inside ``forward``, so that masks and metrics never depend on it. One that hears waveforms also takes the
    phase, see `needs_phase`.

    Args:
        labels: Names of the classes in the order of the logits, or by their number. At least one, all different.
        frontend: Makes the spectrograms; its parameters travel with the checkpoint.

    Raises:
        ConfigurationError: No label, or one twice.
    """

    role = "classifier"
    needs_phase: bool = False
    """Whether ``forward`` takes the phase as its third argument, to go back to a waveform."""
    multi_label: bool = False
    """See `Prediction.multi_label`."""
    stretched: bool = False
    """See `Prediction.stretched`."""
    differentiable: bool = True
    """Whether gradients flow from the logits to the spectrogram; False for black boxes."""

    def __init__(self, labels: Sequence[str] | Mapping[Any, str], frontend: Frontend | None = None) -> None:
        super().__init__()
        if isinstance(labels, str):
            raise ConfigurationError(f"labels: expected a list of names, got the text {labels!r}")
        if isinstance(labels, Mapping):  # such as id2label
            labels = [labels[key] for key in sorted(labels, key=int)]
        labels = list(map(str, labels))
        if not labels or len(set(labels)) < len(labels):
            raise ConfigurationError(f"labels: expected one or more different names, got {labels}")
        self.labels = labels
        self.frontend = frontend or Frontend()
        self.details: dict[str, Any] = {}

    @property
    @abstractmethod
    def representation_channels(self) -> tuple[int, ...]:
        """Channels of each representation, the deepest last."""

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Name of each representation, the deepest last."""
        return tuple(f"representation{i + 1}" for i in range(len(self.representation_channels)))

    def row_frequencies(self, index: int, rows: int) -> Tensor | None:
        """Where the rows of a representation lie, for maps over frequency that are made of it.

        Args:
            index: Of the representation.
            rows: Its frequency'.

        Returns:
            Frequency at the centre of each row in Hz, rising, shape (rows,), on the CPU. None: the rows divide the
            frequencies from 0 Hz to half the sample rate evenly.
        """
        return None

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Arguments, except labels and front-end, that make this classifier again (JSON values)."""

    @abstractmethod
    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        """Classifies.

        Args:
            log_magnitude: Shape (batch, frequency, time).
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,). A padded
                clip gets the logits that it would get alone.
        """

    def layers(self) -> list[nn.Module]:
        """Parts from the input to the head, by which a training can set rates; by default the whole."""
        return [self]

    @torch.no_grad()
    def representation_shapes(self, frames: int = 512) -> list[tuple[int, ...]]:
        """Shape of each representation of so many frames of silence, (channels, frequency', time').

        What an interpreter builds itself by; costs one run of the network.
        """
        silence = torch.zeros(1, self.frontend.bins, frames, device=self.frontend.window.device)
        modes = {module: module.training for module in self.modules()}
        try:
            prediction = self.eval().predict(silence, phase=silence)
        finally:
            for module, training in modes.items():
                module.training = training
        return [tuple(value.shape[1:]) for value in prediction.representations]

    def predict(
        self, log_magnitude: Tensor, frames: Tensor | None = None, phase: Tensor | None = None
    ) -> Prediction:
        """Calls ``forward``, with the phase if this classifier needs it: the same for every classifier.

        Args:
            log_magnitude: Shape (batch, frequency, time).
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,).
            phase: In radians. Shape as ``log_magnitude``.
        """
        prediction: Prediction
        prediction = self(log_magnitude, frames, phase) if self.needs_phase else self(log_magnitude, frames)
        return prediction

    def logits(self, log_magnitude: Tensor, frames: Tensor | None = None, phase: Tensor | None = None) -> Tensor:
        """Logits alone, shape (batch, classes); see `predict`."""
        return self.predict(log_magnitude, frames, phase).logits

    def probabilities(
        self, log_magnitude: Tensor, frames: Tensor | None = None, phase: Tensor | None = None
    ) -> Tensor:
        """Class probabilities alone, shape (batch, classes); see `predict`."""
        logits = self.logits(log_magnitude, frames, phase)
        return logits.sigmoid() if self.multi_label else logits.softmax(-1)

    def activation_map(
        self, log_magnitude: Tensor, frames: Tensor | None = None, name: str | None = None
    ) -> Tensor:
        """The network's own map of where it looked; see `Prediction.activation_map`.

        Args:
            log_magnitude: Shape (batch, frequency, time).
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,).
            name: Stage or layer.
        """
        return self.predict(log_magnitude, frames, torch.zeros_like(log_magnitude)).activation_map(name)

    def freeze(self) -> Self:
        """Evaluation mode, no gradient to the weights: how interpreters use a classifier."""
        return self.eval().requires_grad_(False)

    def index_of(self, label: str) -> int:
        """Position of a label among the logits.

        Raises:
            ConfigurationError: The classifier does not know the label; the message lists what it knows.
        """
        if label not in self.labels:
            raise ConfigurationError(
                f"target: this classifier does not know {label!r}; it knows {', '.join(self.labels)}"
            )
        return self.labels.index(label)

    def write_files(self, folder: Path) -> None:
        """Copies what `config` needs, besides weights, into a model folder."""

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """Build the classifier that a model folder describes; see `StoredModel.from_folder`."""
        init = {**config["init"], "labels": config["labels"], "frontend": Frontend(**config["frontend"]), **given}
        return cls(**init)

    def write_model(self, folder: Path, **details: Any) -> None:
        """See `Shareable.write_model`."""
        config = {"init": self.config, "labels": self.labels, "frontend": self.frontend.config, **details}
        write_model(self, folder, config)
        self.write_files(folder)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], revision: str | None = None) -> Self:
        """See `Shareable.from_pretrained`."""
        classifier = open_model(source, revision, role="classifier")
        if not isinstance(classifier, cls):
            raise CheckpointError(f"{source}: holds a {type(classifier).__name__}, not a {cls.__name__}")
        return classifier


def save_classifier(classifier: Classifier, folder: str | os.PathLike[str], **details: Any) -> Path:
    """Save a classifier with its labels and front-end as a model folder, without a card.

    Args:
        classifier: The classifier.
        folder: Target folder. A former model in it is replaced as a whole.
        **details: JSON values to keep beside the model, such as ``metrics``.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    return write_folder(folder, lambda temporary: classifier.write_model(temporary, **details))
