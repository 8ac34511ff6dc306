"""Base class of all interpreters."""

from __future__ import annotations

import contextlib
import copy
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError, GradientError
from otoscope.interpreters.sufficiency import Share
from otoscope.methods import GRADIENT_FREE, title_of
from otoscope.signatures import constructor_arguments
from otoscope.store.folder import (
    CLASSIFIER_NAME,
    StoredModel,
    write_folder,
    write_model,
)

Decoded = TypeVar("Decoded")

_threshold_lock = threading.RLock()


@dataclass
class Components:
    """Components that the model of one clip is a sum of, and how much each contributes to the decision.

    Attributes:
        dictionary: Spectrum of each component, shape (frequency, components).
        activations: Activation of each component over time, not negative. Shape (components, time).
        relevance: Relevance for the explained class, relative to the largest, in [-1, 1]. Shape (components,).
        threshold: Relevance above which a component belongs to the mask.
    """

    dictionary: Tensor
    activations: Tensor
    relevance: Tensor
    threshold: float

    @property
    def relevant(self) -> list[int]:
        """Components that make the mask, the most relevant first."""
        order = self.relevance.argsort(descending=True).tolist()
        return [k for k in order if self.relevance[k] > self.threshold]

    def mask(self, chosen: Sequence[int] | None = None) -> Tensor:
        """Return the share of the model that some components have in each bin.

        Args:
            chosen: Indices of the components (default: the relevant ones).

        Returns:
            Mask in [0, 1], 0 where the model is silent. Shape (frequency, time).
        """
        index = torch.tensor(self.relevant if chosen is None else list(chosen), dtype=torch.int64)
        index = index.to(self.activations.device)
        # share of the chosen components S in the model: W_S H_S / (W H)
        part = self.dictionary[:, index] @ self.activations[index]
        return (part / (self.dictionary @ self.activations + 1e-10)).clamp(max=1)

    def cpu(self) -> Components:
        """Copy the components to the CPU."""
        return replace(
            self,
            dictionary=self.dictionary.cpu(),
            activations=self.activations.cpu(),
            relevance=self.relevance.cpu(),
        )


class Interpreter(StoredModel, ABC, Generic[Decoded]):
    """Base class of interpreters: a mask over the spectrogram that shows what a prediction rests on.

    To write your own, derive from it: ``decode`` runs the network once; ``mask`` and ``loss`` only read its result,
    so that nothing is computed twice in a training step. The constructor takes the classifier first, for the sizes
    of its representations. A method that runs the classifier again, for gradients or with masked inputs, passes it
    to ``super().__init__``; the classifier never becomes part of the module.

    ``config`` is read off the constructor: keep every argument as an attribute of the same name, or name the
    attribute in ``argument_attributes``.

    Args:
        classifier: Classifier to keep as `classifier`, for methods that run it again.

    Raises:
        GradientError: The method needs gradients and the classifier is a black box.
    """

    role = "interpreter"
    needs_gradient: bool = False
    """Whether the method needs gradients through the classifier."""
    needs_phase: bool = False
    """Whether `loss` turns masks into sound, so that it needs the phase of the spectrogram."""
    class_specific: bool = True
    """Whether another explained class gives another mask."""
    threshold_name: str | None = None
    """Attribute that can be changed after training, for another mask of the same decoding; see `at_threshold`."""
    argument_attributes: ClassVar[Mapping[str, str]] = {}
    """Attribute that holds an argument of the constructor, where the argument's own name is taken."""
    unsaved_arguments: ClassVar[tuple[str, ...]] = ("classifier",)
    """Arguments of the constructor that are not part of `config`."""
    share: Share | None = None
    """Share at which explanations cut `output`, see `find_sufficient`; None: they are cut by `mask`."""
    blank_note: str | None = None
    """What a map that is 0 everywhere may mean, for notes; None: nothing in particular."""
    neutral: float | None = 0.0
    """Value of `output` in bins that do not matter; None: the smallest of each clip."""
    own_score_names: tuple[str, ...] = ()
    """Names of the scores that `own_scores` returns."""

    def __init__(self, classifier: Classifier | None = None) -> None:
        super().__init__()
        self.details: dict[str, Any] = {}
        # in a tuple, so that nn.Module does not register it as a submodule
        self._classifier = (classifier,)
        if classifier is not None and self.needs_gradient and not classifier.differentiable:
            raise GradientError(
                f"{title_of(type(self))} needs gradients, and {type(classifier).__name__} is a black box that "
                f"gives none; methods that need none: {', '.join(GRADIENT_FREE)}"
            )

    @property
    def classifier(self) -> Classifier:
        """Classifier that the method runs again.

        Raises:
            ConfigurationError: The method does not keep its classifier.
        """
        (classifier,) = self._classifier
        if classifier is None:
            # no AttributeError: nn.Module would catch it and report only that the attribute is missing
            raise ConfigurationError(
                f"{type(self).__name__} does not keep its classifier; pass it to super().__init__(classifier)"
            )
        return classifier

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this interpreter again, except the classifier (JSON values)."""
        return constructor_arguments(self, self.unsaved_arguments, self.argument_attributes)

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """Build the interpreter that a model folder describes; see `StoredModel.from_folder`.

        Args:
            config: Configuration of the folder.
            folder: Model folder.
            **given: Objects that are not part of the configuration: the ``classifier``.
        """
        return cls(given["classifier"], **config["init"])

    @abstractmethod
    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> Decoded:
        """Run the network.

        Args:
            spectrogram: Spectrogram of the clips.
            prediction: Prediction of the classifier for the same clips.
        """

    @abstractmethod
    def mask(self, decoded: Decoded, spectrogram: Spectrogram) -> Tensor:
        """Return the mask in [0, 1], 0 in the padding. Shape (batch, frequency, time).

        Args:
            decoded: Result of `decode`.
            spectrogram: Spectrogram of the clips.
        """

    @abstractmethod
    def loss(self, decoded: Decoded, spectrogram: Spectrogram, prediction: Prediction) -> Mapping[str, Tensor]:
        """Return the terms of the training loss by name, to be summed; empty if there is nothing to train.

        Args:
            decoded: Result of `decode`.
            spectrogram: Spectrogram of the clips.
            prediction: Prediction of the classifier for the same clips.

        Returns:
            Terms, shape () each.
        """

    def output(self, decoded: Decoded, spectrogram: Spectrogram) -> Tensor:
        """Return the map that the mask is cut from; higher is more important (default: the mask).

        Args:
            decoded: Result of `decode`.
            spectrogram: Spectrogram of the clips.

        Returns:
            Map of any range, shape (batch, frequency, time). Its padding may hold anything.
        """
        return self.mask(decoded, spectrogram)

    def with_threshold(self, value: float | None) -> Self:
        """Return a copy with another threshold, which shares the networks; this interpreter stays as it is.

        Args:
            value: Threshold (default: the one of the interpreter).

        Raises:
            ConfigurationError: The method has no threshold to change, or the value is out of its range.
        """
        if value is None:
            return self
        if self.threshold_name is None:
            raise ConfigurationError("threshold: this interpreter has none that can be changed after training")
        # shallow: another attribute, the same parameters
        changed = copy.copy(self)
        setattr(changed, self.threshold_name, value)
        return changed

    @contextlib.contextmanager
    def at_threshold(self, value: float | None) -> Iterator[None]:
        """Use another threshold for the masks inside a ``with`` block.

        The interpreter itself changes, also for other threads that read it meanwhile: see `with_threshold`. Blocks
        of several threads wait for one another.

        Args:
            value: Threshold (default: the one of the interpreter).

        Raises:
            ConfigurationError: The method has no threshold to change, or the value is out of its range.
        """
        if value is None:
            yield
            return
        self.with_threshold(value)  # a value that is refused has changed nothing
        name = str(self.threshold_name)
        with _threshold_lock:
            former = getattr(self, name)
            setattr(self, name, value)
            try:
                yield
            finally:
                setattr(self, name, former)

    def components(self, decoded: Decoded, spectrogram: Spectrogram) -> list[Components] | None:
        """Return the components of each clip's mask, if the method has components; else None.

        Args:
            decoded: Result of `decode`.
            spectrogram: Spectrogram of the clips.
        """
        return None

    def maps(self, prediction: Prediction) -> dict[str, Tensor]:
        """Return the activation maps to plot by name; shape of each (batch, frequency', time')."""
        return {}

    def own_scores(self, decoded: Decoded, prediction: Prediction) -> dict[str, Tensor]:
        """Return the method-specific scores by name, beside those of `otoscope.metrics`. Shape of each (batch,)."""
        return {}

    def forward(self, spectrogram: Spectrogram, prediction: Prediction) -> Tensor:
        """Return the mask in one call; see `decode` and `mask`."""
        return self.mask(self.decode(spectrogram, prediction), spectrogram)


def save_interpreter(
    interpreter: Interpreter[Any], classifier: Classifier, folder: str | os.PathLike[str], **details: Any
) -> Path:
    """Save an interpreter and the classifier that it explains as a model folder, without a card.

    Args:
        interpreter: Interpreter to save.
        classifier: Classifier that it explains.
        folder: Target folder. A former model in it is replaced as a whole.
        **details: JSON values to keep beside the model, such as ``metrics``.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    return write_folder(folder, lambda temporary: write_interpreter(interpreter, classifier, temporary, **details))


def write_interpreter(interpreter: Interpreter[Any], classifier: Classifier, folder: Path, **details: Any) -> None:
    """Write the files of an interpreter and of its classifier into an existing folder."""
    # the classifier is no part of the interpreter's weights: it is a model of its own, in a folder inside
    write_model(interpreter, folder, {"init": interpreter.config, **details})
    (folder / CLASSIFIER_NAME).mkdir()
    classifier.write_model(folder / CLASSIFIER_NAME, **classifier.details)
