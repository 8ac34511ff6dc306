"""Black-box classifiers: only their answers are available; any function can be one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Frontend
from otoscope.audio.frontend import require_frontend
from otoscope.classifiers.external.base import (
    ExternalClassifier,
    NetworkOutput,
    check_probabilities,
    frontend_at,
    logits_of,
)
from otoscope.classifiers.external.class_paths import is_named, make_named, name_of
from otoscope.errors import CheckpointError, ConfigurationError, RepresentationError

ArrayKind = Literal["numpy", "torch"]


class BlackBoxClassifier(ExternalClassifier):
    """Base class of black boxes: no gradient, no representation, and answers that are checked."""

    differentiable = False
    survives_fork = False

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Empty: a black box has no representations."""
        return ()

    @property
    def representation_channels(self) -> tuple[int, ...]:
        """Channels of each representation, which a black box does not have.

        Raises:
            RepresentationError: A method reads representations.
        """
        raise RepresentationError(
            f"{type(self).__name__} is a black box without representations, which this method reads; "
            "segment_regression, rise, slime and occlusion ask for probabilities alone (all such methods: "
            "otoscope.methods.GRADIENT_FREE)"
        )

    def check_answer(self, answer: Any, batch: int, source: str) -> Tensor:
        """Return an answer as a tensor after checking it, shape (batch, classes).

        Args:
            answer: Array or tensor that the black box returned.
            batch: Number of clips.
            source: Name of the black box, for messages.

        Raises:
            ConfigurationError: The answer is no array of finite numbers with that shape.
        """
        try:
            values = answer if isinstance(answer, Tensor) else torch.as_tensor(np.asarray(answer))
            values = values.detach().float()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigurationError(
                f"{source}: its answer, {type(answer).__name__}, is no array of numbers"
            ) from error
        if self.single_output and values.shape in ((batch,), (batch, 1)):
            values = values.reshape(batch, 1)
        elif values.shape != (batch, len(self.labels)):
            raise ConfigurationError(
                f"{source}: expected an answer of shape ({batch}, {len(self.labels)}), clips by labels, got "
                f"{tuple(values.shape)}"
            )
        if not values.isfinite().all():
            raise ConfigurationError(f"{source}: its answer holds NaN or infinite values")
        return values.to(self.frontend.window.device)

    def logits_of_answer(self, values: Tensor, kind: str, source: str) -> Tensor:
        """Return the logits of an answer, shape (batch, classes).

        Args:
            values: Checked answer, shape (batch, classes).
            kind: Kind of the values, ``logits`` or ``probabilities``.
            source: Name of the black box, for messages.

        Raises:
            ConfigurationError: The values are no probabilities.
        """
        if kind == "logits":
            return values
        return logits_of(check_probabilities(values, self.multi_label, source), self.multi_label)


class CallableClassifier(BlackBoxClassifier):
    """Black box around any function from waveforms to class probabilities.

    It is explained by the methods that need no gradient. The function may call a server, a device, or another
    program.

    Args:
        function: Function from waveforms (batch, samples) in [-1, 1] to probabilities (batch, classes). Clips of
            equal length are passed together, others separately.
        labels: Names of the classes in the order of the probabilities.
        sample_rate_hz: Sample rate of the waveforms that the function expects (default: that of the front-end, or
            16000). A front-end in its place, as other classifiers take it, is accepted.
        multi_label: Whether each class is decided independently; otherwise the probabilities of a clip sum to 1.
        frontend: Front-end that computes the spectrograms (default: the usual one at that sample rate).
        array: Type of the waveforms that the function takes: ``numpy`` array or ``torch`` tensor, float32.
        duration_s: Length of all inputs, for functions that take only one; clips are cut, or padded with silence.
            None: any length.
        minimum_s: Shortest input of the function; shorter clips are padded with silence.

    Raises:
        ConfigurationError: Options contradict each other. When classifying: the answer has another shape, holds
            NaN, or is no distribution.

    Example:
        >>> def loudness(waveforms):
        ...     loud = np.clip(np.abs(waveforms).max(axis=1), 0, 1)
        ...     return np.stack([loud, 1 - loud], axis=1)
        >>> classifier = CallableClassifier(loudness, ["loud", "soft"])
        >>> spectrogram = classifier.frontend(torch.full((1, 8000), 0.5))
        >>> classifier.predict(spectrogram).probabilities.round(decimals=2)
        tensor([[0.5000, 0.5000]])
    """

    def __init__(
        self,
        function: Callable[[Any], Any] | Mapping[str, Any] | None,
        labels: Sequence[str],
        sample_rate_hz: int | Frontend | None = None,
        multi_label: bool = False,
        frontend: Frontend | None = None,
        array: ArrayKind = "numpy",
        duration_s: float | None = None,
        minimum_s: float = 0.0,
    ) -> None:
        if array not in get_args(ArrayKind):
            raise ConfigurationError(f"array: {array!r} is neither numpy nor torch")
        frontend = require_frontend(frontend)
        if isinstance(sample_rate_hz, Frontend):
            frontend, sample_rate_hz = frontend or sample_rate_hz, sample_rate_hz.sample_rate_hz
        if sample_rate_hz is None:
            sample_rate_hz = 16_000 if frontend is None else frontend.sample_rate_hz
        if frontend is not None and frontend.sample_rate_hz != sample_rate_hz:
            raise ConfigurationError(
                f"frontend: it is at {frontend.sample_rate_hz} Hz, the function expects {sample_rate_hz} Hz; leave "
                "out one of them"
            )
        super().__init__(labels, frontend or frontend_at(sample_rate_hz), True, multi_label, duration_s, minimum_s)
        if function is None:
            raise CheckpointError(
                "function: it cannot be imported by name, so that the model folder does not hold it; load it with "
                "load_classifier(folder, function=...)"
            )
        # in a tuple, so that a function that is an nn.Module is not registered as a part of this one
        self._function = (make_named(function, "function"),)
        if not callable(self._function[0]):
            raise ConfigurationError(f"function: expected a function, got {type(self._function[0]).__name__}")
        self._config: dict[str, Any] = {
            "function": dict(function) if is_named(function) else name_of(self._function[0]),
            "sample_rate_hz": sample_rate_hz,
            "multi_label": multi_label,
            "array": array,
            "duration_s": duration_s,
            "minimum_s": minimum_s,
        }

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this classifier again (JSON values); no ``function`` if it cannot be imported."""
        return dict(self._config)

    @override
    @torch.no_grad()
    def run_network(self, inputs: Tensor) -> NetworkOutput:
        waveforms = inputs.detach().float()
        array: Any = waveforms.cpu().numpy() if self._config["array"] == "numpy" else waveforms
        answer = self._function[0](array)
        values = self.check_answer(answer, len(waveforms), "function")
        return NetworkOutput(self.logits_of_answer(values, "probabilities", "function"))
