"""What every interpreter is to the rest of the house, and the model folders they are kept in."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from otoscope.classifiers import Classifier, Prediction, load_classifier
from otoscope.classifiers.checkpoint import write_classifier
from otoscope.errors import CheckpointError, ConfigurationError, GradientError
from otoscope.hub import fetch_model
from otoscope.interpreters.catalogue import GRADIENT_FREE
from otoscope.model_folder import (
    CLASSIFIER_NAME,
    class_path,
    details_of,
    find_class,
    load_weights,
    read_config,
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


class Interpreter(nn.Module, ABC, Generic[Decoded]):
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
            method = type(self).__name__.removesuffix("Interpreter")
            raise GradientError(
                f"{method} needs gradients, and {type(classifier).__name__} is a black box that gives none; "
                f"methods that need none: {', '.join(GRADIENT_FREE)}"
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
    interpreter: Interpreter[Any], classifier: Classifier, folder: str | os.PathLike[str], **extra: Any
) -> Path:
    """Saves an interpreter together with the classifier that it explains.

    Args:
        interpreter: What to save.
        classifier: What it explains.
        folder: Replaced as a whole if it exists.
        **extra: JSON values to keep beside it, such as ``metrics``.
    """
    return write_folder(folder, lambda temporary: write_interpreter(interpreter, classifier, temporary, **extra))


def write_interpreter(interpreter: Interpreter[Any], classifier: Classifier, folder: Path, **extra: Any) -> None:
    """Writes an interpreter's files and its classifier's into an existing folder."""
    config = {"kind": "interpreter", "class": class_path(interpreter), "init": interpreter.config, **extra}
    write_model(folder, config, interpreter)
    (folder / CLASSIFIER_NAME).mkdir()
    write_classifier(classifier, folder / CLASSIFIER_NAME, **classifier.details)


def load_interpreter(
    folder: str | os.PathLike[str], revision: str | None = None
) -> tuple[Interpreter[Any], Classifier]:
    """Loads an interpreter and its classifier, both in evaluation mode.

    Args:
        folder: What `save_interpreter` or the training wrote, or ``owner/name`` on the hub.
        revision: Branch, tag or commit on the hub.

    Raises:
        CheckpointError: The folder is missing, incomplete, holds only a classifier, or does not fit.
    """
    folder = fetch_model(folder, revision)
    config = read_config(folder)
    if config.get("kind") == "dictionary":
        raise CheckpointError(
            f"{folder}: holds an NMF dictionary, not an interpreter; train L2I with it, for instance "
            f"`otoscope train recipes/ESC50/interpret/hparams/l2i_cnn14.yaml --model.dictionary {folder}`"
        )
    if config.get("kind") != "interpreter":
        raise CheckpointError(
            f"{folder}: holds a classifier without an interpreter; train one on it, for instance "
            f"`otoscope train recipes/ESC50/interpret/hparams/piq.yaml --model.classifier {folder}`"
        )
    classifier = load_classifier(folder)
    kind = find_class(config, folder, Interpreter)
    try:
        interpreter: Interpreter[Any] = kind(classifier, **config["init"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: does not describe an interpreter ({error})") from error
    load_weights(interpreter, folder)
    interpreter.details = details_of(config)
    return interpreter.eval().requires_grad_(False), classifier
