"""Base class of all interpreters."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError, GradientError
from otoscope.methods import GRADIENT_FREE, title_of
from otoscope.store.folder import (
    CLASSIFIER_NAME,
    StoredModel,
    write_folder,
    write_model,
)

Decoded = TypeVar("Decoded")


@dataclass
class Components:
    """The parts that the model of one clip is a sum of, and what each contributes to the decision.

    Attributes:
        dictionary: Spectrum of each component. Shape (frequency, components).
        activations: Of each over time, not negative. Shape (components, time).
        relevance: For the explained class, relative to the largest. In [-1, 1]. Shape (components,).
        threshold: Components whose relevance is above it make the mask.
    """

    dictionary: Tensor
    activations: Tensor
    relevance: Tensor
    threshold: float

    @property
    def relevant(self) -> list[int]:
        """Those that make the mask, the most relevant first."""
        order = self.relevance.argsort(descending=True).tolist()
        return [k for k in order if self.relevance[k] > self.threshold]

    def mask(self, chosen: Sequence[int] | None = None) -> Tensor:
        """Share of the model that some components have.

        Args:
            chosen: Which; by default the relevant ones.

        Returns:
            In [0, 1], 0 where the model is silent. Shape (frequency, time).
        """
        index = torch.tensor(self.relevant if chosen is None else list(chosen), dtype=torch.int64)
        index = index.to(self.activations.device)
        part = self.dictionary[:, index] @ self.activations[index]
        return (part / (self.dictionary @ self.activations + 1e-10)).clamp(max=1)

    def cpu(self) -> Components:
        """The same on the CPU."""
        return replace(
            self,
            dictionary=self.dictionary.cpu(),
            activations=self.activations.cpu(),
            relevance=self.relevance.cpu(),
        )


class Interpreter(StoredModel, ABC, Generic[Decoded]):
    """Makes a mask over the spectrogram that says what a prediction rests on.

    Write your own by deriving from it: ``decode`` runs the network once, ``mask`` and ``loss`` are read
    off what it returns, so that training never computes anything twice. Its constructor takes the
    classifier first, for the sizes of its representations. One that asks the classifier again, for gradients or
    with masked inputs, hands it on to ``super().__init__``; it stays no part of the module.

    Args:
        classifier: To be kept as `classifier`, by methods that ask it again.

    Raises:
        GradientError: The method needs gradients and the classifier gives none.
    """

    role = "interpreter"
    needs_gradient: bool = False
    """Whether it needs gradients through the classifier."""
    class_specific: bool = True
    """Whether explaining another class gives another mask."""
    threshold_name: str | None = None
    """Attribute that can be changed after training, for another mask of the same decoding; see `at_threshold`."""
    own_score_names: tuple[str, ...] = ()
    """Names of what `own_scores` returns."""

    def __init__(self, classifier: Classifier | None = None) -> None:
        super().__init__()
        self.details: dict[str, Any] = {}
        self._kept = (classifier,)  # in a tuple: neither a submodule nor in the state_dict
        if classifier is not None and self.needs_gradient and not classifier.differentiable:
            raise GradientError(
                f"{title_of(type(self))} needs gradients, and {type(classifier).__name__} is a black box that "
                f"gives none; methods that need none: {', '.join(GRADIENT_FREE)}"
            )

    @property
    def classifier(self) -> Classifier:
        """The classifier that it asks again, where it does."""
        (classifier,) = self._kept
        if classifier is None:
            raise AttributeError(f"{type(self).__name__} does not keep its classifier")
        return classifier

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Arguments, except the classifier, that make this interpreter again (JSON values)."""

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """Build the interpreter that a model folder describes; see `StoredModel.from_folder`.

        Args:
            config: Configuration of the folder.
            folder: The folder.
            **given: The ``classifier``.
        """
        return cls(given["classifier"], **config["init"])

    @abstractmethod
    def decode(self, log_magnitude: Tensor, prediction: Prediction, frames: Tensor | None = None) -> Decoded:
        """Runs the network.

        Args:
            log_magnitude: Shape (batch, frequency, time).
            prediction: The classifier's, for the same batch.
            frames: Frames that belong to each clip, where clips were padded. Shape (batch,).
        """

    @abstractmethod
    def mask(self, decoded: Decoded, frames: Tensor | None = None) -> Tensor:
        """The mask, in [0, 1], 0 on padding. Shape (batch, frequency, time)."""

    @abstractmethod
    def loss(
        self,
        decoded: Decoded,
        log_magnitude: Tensor,
        prediction: Prediction,
        frames: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """The terms of the training loss by name, to be summed. Shape () each."""

    def output(self, decoded: Decoded) -> Tensor:
        """The network's output before it becomes the mask, where a method has one of its own."""
        return self.mask(decoded)

    @contextlib.contextmanager
    def at_threshold(self, value: float | None) -> Iterator[None]:
        """Within it masks are made with another threshold.

        Args:
            value: None: with its own.

        Raises:
            ConfigurationError: The method has no threshold to change, or the value is out of its range.
        """
        if value is None:
            yield
            return
        if self.threshold_name is None:
            raise ConfigurationError("threshold: this interpreter has none that can be changed after training")
        former = getattr(self, self.threshold_name)
        setattr(self, self.threshold_name, value)
        try:
            yield
        finally:
            setattr(self, self.threshold_name, former)

    def components(self, decoded: Decoded, frames: Tensor | None = None) -> list[Components] | None:
        """What the mask of each clip is made of, where a method knows components; else None."""
        return None

    def maps(self, prediction: Prediction) -> dict[str, Tensor]:
        """The classifier's own maps that a method goes by, to be shown. Shape (batch, frequency', time') each."""
        return {}

    def own_scores(self, decoded: Decoded, prediction: Prediction) -> dict[str, Tensor]:
        """Scores by name that only this method has, beside those of `otoscope.metrics`. Shape (batch,) each."""
        return {}

    def forward(self, log_magnitude: Tensor, prediction: Prediction, frames: Tensor | None = None) -> Tensor:
        """The mask in one call; see `decode` and `mask`."""
        return self.mask(self.decode(log_magnitude, prediction, frames), frames)


def save_interpreter(
    interpreter: Interpreter[Any], classifier: Classifier, folder: str | os.PathLike[str], **details: Any
) -> Path:
    """Save an interpreter and the classifier that it explains as a model folder, without a card.

    Args:
        interpreter: The interpreter.
        classifier: The classifier that it explains.
        folder: Target folder. A former model in it is replaced as a whole.
        **details: JSON values to keep beside the model, such as ``metrics``.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    return write_folder(folder, lambda temporary: write_interpreter(interpreter, classifier, temporary, **details))


def write_interpreter(interpreter: Interpreter[Any], classifier: Classifier, folder: Path, **details: Any) -> None:
    """Write the files of an interpreter and of its classifier into an existing folder."""
    write_model(interpreter, folder, {"init": interpreter.config, **details})
    (folder / CLASSIFIER_NAME).mkdir()
    classifier.write_model(folder / CLASSIFIER_NAME, **classifier.details)
