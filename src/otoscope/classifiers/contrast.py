"""Two classes of a classifier against each other: why this one rather than that one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers.base import Classifier, Prediction, require_classifier
from otoscope.classifiers.local import LocalLayers, is_as_shipped
from otoscope.classifiers.precision import Precision
from otoscope.errors import ConfigurationError


class ContrastClassifier(Classifier):
    """The decision of a classifier between two of its classes, as a classifier of these two.

    The logits are half the difference of the logits of the two classes, and its negative. So the probability of a
    class is that of the two alone, and what is attributed to a logit is what speaks for the one class *rather than*
    the other: sounds that speak for both equally do not count. Every method that needs no training explains it; a
    trained one was trained on the decisions among all classes.

    Args:
        classifier: Classifier whose decision is asked about.
        target: Class that is explained.
        against: Class that it is compared with.

    Raises:
        ConfigurationError: The classifier does not know a class, or both are the same.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> animals = Conv2dClassifier(["dog", "cat", "cow"], width=4).freeze()
        >>> contrast = ContrastClassifier(animals, "cat", "dog")
        >>> spectrogram = Spectrogram(torch.rand(1, 513, 40))
        >>> logits, pair = animals.logits(spectrogram)[0], contrast.logits(spectrogram)[0]
        >>> contrast.labels, bool(torch.isclose(pair[0] - pair[1], logits[1] - logits[0]))
        (['cat', 'dog'], True)
    """

    def __init__(self, classifier: Classifier, target: str, against: str) -> None:
        first = require_classifier(classifier).index_of(target)
        second = classifier.index_of(against, "against")
        if first == second:
            raise ConfigurationError(f"against: {against!r} is the target itself; name another class")
        super().__init__([classifier.labels[first], classifier.labels[second]], classifier.frontend)
        self.classifier = classifier
        self.pair = (first, second)
        self.needs_phase = classifier.needs_phase
        self.stretched = classifier.stretched
        self.differentiable = classifier.differentiable
        self.survives_fork = classifier.survives_fork
        self.normalize = classifier.normalize
        self.remark = f"{self.labels[0]} against {self.labels[1]}: the probabilities are those of these two alone"
        self.eval()

    @property
    def config(self) -> dict[str, Any]:
        """Class and arguments of the classifier; the labels of the contrast name the pair."""
        kind = type(self.classifier)
        return {"of": f"{kind.__module__}.{kind.__qualname__}", "options": self.classifier.config}

    @override
    def write_model(self, folder: Path, **details: Any) -> None:
        raise ConfigurationError("a contrast cannot be saved; save its classifier and name the two classes again")

    @property
    def representation_channels(self) -> tuple[int, ...]:
        """Those of the classifier."""
        return self.classifier.representation_channels

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Those of the classifier."""
        return self.classifier.representation_names

    @override
    def largest_activation(self, frames: int) -> int | None:
        return self.classifier.largest_activation(frames)

    @override
    def heard_samples(self, samples: int) -> int:
        return self.classifier.heard_samples(samples)

    @override
    def row_frequencies(self, index: int, rows: int) -> Tensor | None:
        return self.classifier.row_frequencies(index, rows)

    @override
    def layers(self) -> list[nn.Module]:
        return self.classifier.layers()

    @override
    def local_layers(self) -> Sequence[LocalLayers]:
        if not is_as_shipped(self, ContrastClassifier):
            return ()
        return [replace(layers, rest=self._rest_of(layers)) for layers in self.classifier.local_layers()]

    def _rest_of(self, layers: LocalLayers) -> Callable[[Tensor], Tensor]:
        return lambda maps: self._pair_logits(layers.rest(maps))

    @override
    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        return self._between(self.classifier(log_magnitude, frames))

    @override
    @contextlib.contextmanager
    def in_precision(self, precision: Precision) -> Iterator[None]:
        with self.classifier.in_precision(precision):
            yield

    @override
    def run(self, spectrogram: Spectrogram) -> Prediction:
        return self._between(self.classifier.predict(spectrogram))

    def _between(self, prediction: Prediction) -> Prediction:
        # the softmax of the two logits is the sigmoid of the difference, also where classes are independent
        return replace(prediction, logits=self._pair_logits(prediction.logits), target=None, multi_label=False)

    def _pair_logits(self, logits: Tensor) -> Tensor:
        first, second = self.pair
        half = (logits[..., first] - logits[..., second]) / 2
        return torch.stack([half, -half], -1)
