"""Base class of all classifiers."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.audio import Frontend, Spectrogram, peak_normalize
from otoscope.audio.frontend import require_frontend
from otoscope.classifiers.local import LocalLayers
from otoscope.classifiers.precision import NetworkRunner
from otoscope.classifiers.prediction import Prediction, class_probabilities
from otoscope.errors import CheckpointError, ClassifierError, ConfigurationError, choices
from otoscope.signatures import constructor_arguments
from otoscope.store.folder import StoredModel, open_model, write_folder, write_model
from otoscope.store.sharing import Shareable

__all__ = ["NORMALIZE", "Classifier", "Prediction", "require_classifier", "save_classifier"]

NORMALIZE = "normalize"
"""Key of a model folder's configuration: see `Classifier.normalize`."""

CLIP_S = "clip_s"
"""Key of a model folder's configuration: see `Classifier.clip_s`."""


class Classifier(NetworkRunner, Shareable, StoredModel, ABC):
    """Base class of sound classifiers: `Spectrogram` in, `Prediction` out.

    To write your own, derive from it: state how many channels each representation has, and turn the log-magnitude
    STFT into logits in ``forward``. Whatever the network needs as input (mel bank, resizing) is computed inside
    ``forward``, so that masks and metrics never depend on it. Everything else asks `predict`, which takes the
    spectrogram as a whole.

    ``config`` is read off the constructor: keep every argument as an attribute of the same name.

    Args:
        labels: Names of the classes in the order of the logits, or a mapping from their numbers. At least one, all
            different.
        frontend: Front-end that computes the spectrograms; its parameters travel with the checkpoint.

    Raises:
        ConfigurationError: There is no label, or a label occurs twice.
    """

    role = "classifier"
    takes_bfloat16 = True
    needs_phase: bool = False
    """Whether the network takes waveforms, so that `predict` needs the phase of the spectrogram."""
    multi_label: bool = False
    """Whether each class is decided independently; see `Prediction.multi_label`."""
    remark: str | None = None
    """Note that every explanation of this classifier carries."""
    stretched: bool = False
    """Whether representations span the whole clip, whatever its length; see `Prediction.stretched`."""
    normalized_by_default: bool = True
    """Whether the networks take recordings at a peak of 1 unless `normalize` states it: so do our trainings."""
    differentiable: bool = True
    """Whether gradients flow from the logits to the spectrogram; False for black boxes."""
    survives_fork: bool = True
    """Whether a process forked from this one can run the network: PyTorch with one thread can. Another runtime with
    threads of its own, and a function of the user, count as unable."""

    def __init__(self, labels: Sequence[str] | Mapping[Any, str], frontend: Frontend | None = None) -> None:
        super().__init__()
        if isinstance(labels, str):
            raise ConfigurationError(f"labels: expected a list of names, got the text {labels!r}")
        if isinstance(labels, Mapping):  # such as id2label of transformers
            # the keys are the positions of the logits; JSON makes them text, whose order would be 1, 10, 2
            labels = [labels[key] for key in sorted(labels, key=int)]
        labels = [str(label) for label in labels]
        if not labels or len(set(labels)) < len(labels):
            raise ConfigurationError(f"labels: expected one or more different names, got {labels}")
        self.labels = labels
        self.frontend = require_frontend(frontend) or Frontend()
        self.details: dict[str, Any] = {}

    @property
    def normalize(self) -> bool:
        """Whether recordings are scaled to a peak of 1 for the network; saved with the model.

        Our trainings give the networks every clip at a peak of 1. A network of other origin takes a recording at
        its own level, unless it was trained otherwise.
        """
        stated = self.details.get(NORMALIZE)
        return stated if isinstance(stated, bool) else self.normalized_by_default

    @normalize.setter
    def normalize(self, value: bool) -> None:
        self.details = {**self.details, NORMALIZE: value}

    @property
    def clip_s(self) -> float | None:
        """Length of the clips that the network was trained on, in seconds; None if the model does not state it."""
        stated = self.details.get(CLIP_S)
        return float(stated) if isinstance(stated, int | float) and stated > 0 else None

    @property
    def cosine_logits(self) -> bool:
        """Whether the logits are cosines without a scale, as in published heads: their softmax is almost flat."""
        return False

    @property
    @abstractmethod
    def representation_channels(self) -> tuple[int, ...]:
        """Channels of each representation, the deepest last."""

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Name of each representation, the deepest last."""
        return tuple(f"representation{i + 1}" for i in range(len(self.representation_channels)))

    def row_frequencies(self, index: int, rows: int) -> Tensor | None:
        """Return the frequencies of the rows of a representation, where its maps are drawn on a spectrogram.

        Args:
            index: Index of the representation.
            rows: Number of its rows, frequency'.

        Returns:
            Frequency at the centre of each row in Hz, rising, shape (rows,), on the CPU. None: the rows divide the
            frequencies from 0 Hz to half the sample rate evenly.
        """
        return None

    def largest_activation(self, frames: int) -> int | None:
        """Return the number of values of the largest feature map that one clip leads to; None: not known.

        Methods that run the classifier many times divide their inputs by it, see
        `otoscope.interpreters.runs.inputs_per_run`.

        Args:
            frames: Number of frames of the clip.
        """
        return None

    def local_layers(self) -> Sequence[LocalLayers]:
        """Return the first layers of the network whose outputs each see a small window, the most layers first.

        Occlusion and SLIME run them on few versions of a clip instead of on each. By default there are none, and
        the whole network is run.
        """
        return ()

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this classifier again, except labels and front-end (JSON values)."""
        return constructor_arguments(self, skip=("labels", "frontend"))

    @abstractmethod
    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        """Classify log-magnitude spectrograms.

        Args:
            log_magnitude: Log magnitude, shape (batch, frequency, time).
            frames: Valid frames of each clip, where clips were padded. Shape (batch,). A padded clip gets the
                logits that it would get alone.
        """

    def layers(self) -> list[nn.Module]:
        """Return the parts of the network from the input to the head, for learning rates and the sanity check."""
        return [self]

    @torch.no_grad()
    def representation_shapes(self, frames: int = 512) -> list[tuple[int, ...]]:
        """Return the shape of each representation, for interpreters that are built to fit; runs the network once.

        Args:
            frames: Number of frames of the silence that the network is run on.

        Returns:
            Shape of each, (channels, frequency', time').
        """
        # each module gets back its own mode: parts of the network may have been frozen in evaluation mode
        modes = {module: module.training for module in self.modules()}
        try:
            # Not checked, because a sound network may return NaN for silence. Classes with a `predict` of their own
            # may need more of the spectrogram than `run` gives to `forward`.
            run = self.run if type(self).predict is Classifier.predict else self.predict
            self.eval()
            prediction = run(self.frontend.silence(frames))
        finally:
            for module, training in modes.items():
                module.training = training
        return [tuple(value.shape[1:]) for value in prediction.representations]

    def predict(self, spectrogram: Spectrogram) -> Prediction:
        """Classify spectrograms: the same call for every classifier.

        Args:
            spectrogram: Spectrogram of the clips, with its phase if `needs_phase`.

        Raises:
            ClassifierError: The network returns NaN.
        """
        prediction = self.run(spectrogram)
        # Here, so that no method and no score is blamed for what the classifier returned.
        self.reject_nan(prediction.logits, spectrogram.log_magnitude)
        return prediction

    def reject_nan(self, logits: Tensor, inputs: Tensor) -> None:
        """Raise a `ClassifierError` if logits hold NaN though the inputs do not.

        Args:
            logits: Logits that this classifier returned, shape (batch, classes).
            inputs: Log magnitude or waveforms that it was given.
        """
        # While a classifier is trained, its training reports a loss that is not finite. On the device `meta`, where
        # shapes are tried out, there are no values.
        if self.training or logits.is_meta or not bool(logits.detach().isnan().any()):
            return
        # A mask that is not finite is the fault of its method.
        if not bool(inputs.detach().isnan().any()):
            raise ClassifierError(
                f"{type(self).__name__}: the classifier returns NaN for this recording; silence, a logarithm of 0 "
                "or damaged weights may be the cause"
            )

    def logits(self, spectrogram: Spectrogram) -> Tensor:
        """Return the logits alone, shape (batch, classes); see `predict`."""
        return self.predict(spectrogram).logits

    def probabilities(self, spectrogram: Spectrogram) -> Tensor:
        """Return the class probabilities alone, shape (batch, classes); see `predict`."""
        return class_probabilities(self.logits(spectrogram), self.multi_label)

    def hear(
        self,
        waveform: Tensor,
        lengths: Tensor | None = None,
        normalize: bool | None = None,
        with_phase: bool = True,
    ) -> Spectrogram:
        """Return the spectrogram of recordings at the level at which the networks take them.

        Every sound takes this way: a recording, and a part of it that was saved as a file.

        Args:
            waveform: Waveforms, shape (batch, samples).
            lengths: Number of samples of each clip, where a batch was padded with zeros. Shape (batch,).
            normalize: Whether to scale each clip to a peak of 1 (default: `normalize`).
            with_phase: Whether to compute the phase too; False saves time where nothing is turned back into sound.
        """
        normalize = self.resolve_normalize(normalize)
        scaled = peak_normalize(waveform) if normalize else waveform
        spectrogram: Spectrogram = self.frontend(scaled, lengths, with_phase)
        return replace(spectrogram, normalized=normalize)

    def heard_samples(self, samples: int) -> int:
        """Return how many samples of a recording the network hears, from its beginning: by default all.

        Args:
            samples: Number of samples of the recording.
        """
        return samples

    def resolve_normalize(self, normalize: bool | None) -> bool:
        """Return whether to scale recordings to a peak of 1: as asked for, or by default as `normalize` states."""
        return self.normalize if normalize is None else normalize

    def hear_masked(self, spectrogram: Spectrogram, mask: Tensor, normalize: bool | None = None) -> Tensor:
        """Return the class probabilities of the sound that a mask keeps, shape (batch, classes).

        In general no sound has the masked spectrogram, so that the classifier may answer differently to it than to
        its sound, which is what can be saved and listened to.

        Args:
            spectrogram: Spectrogram of the clips, with its phase.
            mask: Mask in [0, 1], shape (batch, frequency, time).
            normalize: Whether to scale each sound to a peak of 1; see `heard`.
        """
        return self.probabilities(self.heard(spectrogram, mask, normalize))

    def heard(self, spectrogram: Spectrogram, mask: Tensor, normalize: bool | None = None) -> Spectrogram:
        """Return the spectrogram of the sound that a mask keeps; gradients flow to the mask.

        Args:
            spectrogram: Spectrogram of the clips, with its phase.
            mask: Mask in [0, 1], shape (batch, frequency, time).
            normalize: Whether to scale each sound to a peak of 1 (default: as the clips were, see `hear`).
        """
        if normalize is None:
            normalize = spectrogram.normalized
        sound = self.frontend.inverse(spectrogram.masked(mask))
        return self.hear(sound, spectrogram.lengths, normalize, with_phase=self.needs_phase)

    def activation_map(self, spectrogram: Spectrogram, name: str | None = None) -> Tensor:
        """Return one of the network's activation maps; see `Prediction.activation_map`.

        Args:
            spectrogram: Spectrogram of the clips.
            name: Stage or layer.
        """
        return self.predict(spectrogram).activation_map(name)

    def freeze(self) -> Self:
        """Switch to evaluation mode without gradients to the weights: how interpreters use a classifier."""
        return self.eval().requires_grad_(False)

    def index_of(self, label: str, option: str = "target") -> int:
        """Return the position of a label among the logits.

        Args:
            label: Label.
            option: Option that names it, for the message.

        Raises:
            ConfigurationError: The classifier does not know the label; the message names close ones.
        """
        if label not in self.labels:
            raise ConfigurationError(
                f"{option}: this classifier does not know {label!r}; {choices(label, self.labels)}"
            )
        return self.labels.index(label)

    def write_files(self, folder: Path) -> None:
        """Copy the files that `config` needs, besides weights, into a model folder."""

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """Build the classifier that a model folder describes; see `StoredModel.from_folder`."""
        init = {**config["init"], "labels": config["labels"], "frontend": Frontend(**config["frontend"]), **given}
        return cls(**init)

    @override
    def write_model(self, folder: Path, **details: Any) -> None:
        config: dict[str, Any] = {"init": self.config, "labels": self.labels, "frontend": self.frontend.config}
        config |= {NORMALIZE: self.normalize, **details}
        write_model(self, folder, config)
        self.write_files(folder)

    @classmethod
    @override
    def from_pretrained(cls, source: str | os.PathLike[str], revision: str | None = None) -> Self:
        classifier = open_model(source, revision, role="classifier")
        if not isinstance(classifier, cls):
            raise CheckpointError(f"{source}: holds a {type(classifier).__name__}, not a {cls.__name__}")
        return classifier


def require_classifier(value: Any) -> Classifier:
    """Return a classifier unchanged, and a pipeline of `transformers` as a classifier.

    Args:
        value: Classifier, pipeline (see `from_pipeline`), or a value of the user that is neither.

    Raises:
        ConfigurationError: It is no classifier; the message names the class that makes it a classifier.
    """
    if isinstance(value, Classifier):
        return value
    if isinstance(getattr(value, "task", None), str) and hasattr(value, "model"):
        # adapters are derived from the classes here; transformers is imported when it is needed
        pipelines = importlib.import_module("otoscope.classifiers.external.pipelines")
        converted: Classifier = pipelines.from_pipeline(value)
        return converted
    if isinstance(value, str | os.PathLike):
        advice = "open it with otoscope.load_classifier"
    elif isinstance(value, nn.Module):
        advice = "use TorchClassifier(module, labels), or TransformersClassifier(model) for a model of transformers"
    else:
        advice = "use CallableClassifier(function, labels) for a function from waveforms to probabilities"
    raise ConfigurationError(f"classifier: expected a classifier, got {type(value).__name__}; {advice}")


def save_classifier(classifier: Classifier, folder: str | os.PathLike[str], **details: Any) -> Path:
    """Save a classifier with its labels and front-end as a model folder, without a card.

    Args:
        classifier: Classifier to save.
        folder: Target folder. A former model in it is replaced as a whole.
        **details: JSON values to keep beside the model, such as ``metrics``.

    Raises:
        CheckpointError: The folder cannot be written.
        ConfigurationError: It is no classifier.
    """
    classifier = require_classifier(classifier)
    return write_folder(folder, lambda temporary: classifier.write_model(temporary, **details))
