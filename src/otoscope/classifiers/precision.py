"""Precision in which a classifier runs its network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from otoscope.audio import Spectrogram
from otoscope.classifiers.prediction import Prediction
from otoscope.errors import ConfigurationError

Precision = Literal["float32", "bfloat16"]

_RUNS = ("run", "predict", "logits")
"""Methods that run the network."""


def check_precision(value: Any) -> None:
    """Raise a `ConfigurationError` if a value is not one of `Precision`."""
    names = get_args(Precision)
    if value not in names:
        raise ConfigurationError(f"precision: expected {' or '.join(names)}, got {value!r}")


class NetworkRunner(nn.Module):
    """Part of a classifier that runs its network, in float32 or, for a while, in bfloat16.

    In bfloat16, `torch.autocast` computes the convolutions and matrix products of the network. Its weights, inputs
    and outputs stay in float32, and so does everything outside of it: transforms, masks, scores. Gradients flow.
    The precision is not part of the model and is not saved with it.
    """

    network_precision: Precision = "float32"
    """Precision of the products in the network; see `in_precision`."""
    takes_bfloat16: bool = True
    """Whether the network can run in bfloat16. A class with its own `run`, `predict` or `logits` must state that it
    uses `autocast` there; otherwise it counts as unable."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "takes_bfloat16" not in vars(cls) and any(name in vars(cls) for name in _RUNS):
            cls.takes_bfloat16 = False

    @contextlib.contextmanager
    def in_precision(self, precision: Precision) -> Iterator[None]:
        """Run the network in a precision inside a ``with`` block.

        Args:
            precision: ``float32`` or ``bfloat16``.

        Raises:
            ConfigurationError: There is no such precision, or this classifier cannot run in it.
        """
        self._check_precision(precision)
        former, self.network_precision = self.network_precision, precision
        try:
            yield
        finally:
            self.network_precision = former

    def autocast(self, inputs: Tensor) -> AbstractContextManager[Any]:
        """Return the context in which the network runs, which computes in `network_precision`.

        Args:
            inputs: Input of the network, on its device.
        """
        # Not an autocast that is switched off: a trainer may have switched one on around this.
        if self.network_precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(inputs.device.type, torch.bfloat16)

    def run(self, spectrogram: Spectrogram) -> Prediction:
        """Classify spectrograms without checking the result; see `Classifier.predict`.

        Args:
            spectrogram: Spectrogram of the clips.
        """
        with self.autocast(spectrogram.log_magnitude):
            prediction: Prediction = self(spectrogram.log_magnitude, spectrogram.frames)
        return prediction if self.network_precision == "float32" else _outputs_in_float32(prediction)

    def _check_precision(self, precision: Precision) -> None:
        """Raise an error if this classifier cannot run in a precision."""
        check_precision(precision)
        if precision == "float32":
            return
        name = type(self).__name__
        if not self.takes_bfloat16:
            raise ConfigurationError(f"precision: {name} cannot run in {precision}; leave the option out")
        types = {str(weights.dtype).removeprefix("torch.") for weights in self.parameters()} - {"float32"}
        if types:
            raise ConfigurationError(
                f"precision: the network of {name} has weights in {', '.join(sorted(types))} and keeps their "
                f"precision; {precision} is for networks in float32, leave the option out"
            )


def _outputs_in_float32(prediction: Prediction) -> Prediction:
    """Return a prediction with logits, representations and activation maps in float32; gradients flow through.

    Sources stay as the network made them: the logits are computed from them, not from copies.
    """
    return replace(
        prediction,
        logits=prediction.logits.float(),
        representations=tuple(value.float() for value in prediction.representations),
        activation_maps={name: value.float() for name, value in prediction.activation_maps.items()},
        sources=prediction.sources or prediction.representations,
    )
