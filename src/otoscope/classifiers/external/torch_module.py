"""Any `torch.nn.Module` as a classifier, on spectrograms or on waveforms."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.audio import Frontend, MelBank, mel_centers_hz
from otoscope.classifiers.external.base import (
    ExternalClassifier,
    NetworkOutput,
    check_probabilities,
    logits_of,
)
from otoscope.classifiers.external.class_paths import is_named, make_named, name_of
from otoscope.classifiers.external.failures import is_dtype_error
from otoscope.classifiers.external.layers import LayerAxes, as_map, check_layer, record_layers
from otoscope.classifiers.external.module_weights import load_module_weights
from otoscope.classifiers.rows import divide_rows
from otoscope.errors import CheckpointError, ConfigurationError, ShapeError

InputName = Literal["log_magnitude", "magnitude", "mel", "waveform"]
InputAxes = Literal["bft", "btf", "bcft", "bctf", "bt", "bct"]
OutputKind = Literal["logits", "probabilities"]


class TorchClassifier(ExternalClassifier):
    """Adapter around any ``nn.Module``.

    The network gets the kind of input that ``input`` states, with its axes in the order of ``axes``: ``b`` batch,
    ``c`` one channel, ``f`` frequency, ``t`` time. It may return a tensor (batch, classes), an object or mapping
    that holds one, or a tuple that begins with one. It is frozen: evaluation mode, no gradients to its weights.
    A network in half, bfloat16 or double precision keeps it: its input is converted, and its output is converted
    to float32. The front-end moves to the device of the network.

    Args:
        module: Network, or its class and arguments, ``{"class_path": "package.Net", "init_args": {...}}``. A model
            folder can build the network again only from its class and arguments.
        labels: Names of the classes in the order of the logits.
        frontend: Front-end that computes the spectrograms, at the sample rate of the network.
        input: Kind of the input: ``log_magnitude`` (log1p of the STFT's magnitude), ``magnitude``, ``mel`` (log1p
            of the mel magnitude; see `otoscope.audio.MelBank`), ``waveform`` (inverse STFT of magnitude and phase,
            differentiable), or a function from the log magnitude (batch, frequency, time) to the input.
        mel_bins: Number of filters of the mel bank.
        axes: Order of the input's axes (default: ``bcft`` for spectrograms, ``bt`` for waveforms). The result of a
            function is passed to the network unchanged.
        duration_s: Length of all inputs, for networks that take only one; clips are cut, or padded with silence.
            None: any length.
        minimum_s: Shortest input of the network; shorter clips are padded with silence.
        output: Kind of the output, ``logits`` or ``probabilities``.
        output_key: Name of the output in an object or mapping (default: ``logits``).
        multi_label: Whether each class is decided independently, so that probabilities are sigmoids.
        representation: Names of the layers in ``module.named_modules()`` whose outputs interpreters read, the
            deepest last. None: methods that read representations raise an error.
        representation_axes: Order of the axes of these outputs; ``btc`` is also that of tokens (default: with four
            axes, frequency and time as in the input; with three, ``bct``, or ``btc`` if the input is ``btf``; with
            two, ``bc``).
        token_rows: Number of rows of frequency that the tokens form, one row after the other.
        special_tokens: Number of tokens before those of the rows, such as a class token.
        rows_hz: Frequencies of the rows of the network's features, such as the centres of its mel bank, rising. The
            rows of ``representation`` divide them evenly, and Grad-CAM places its rows at these frequencies
            (default: the centres of the bank for ``mel``, else evenly spaced up to half the sample rate).
        weights: File with the ``state_dict`` of the network, ``.safetensors`` or ``.pt``.
        differentiable: Whether gradients flow through the network; if not, methods that need them raise an error.

    Raises:
        ConfigurationError: The network has no such layer (the message lists similar names), or options contradict
            each other.
        CheckpointError: The weights do not fit.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ...                     nn.Linear(4, 2))
        >>> classifier = TorchClassifier(net, ["dog", "rain"], representation="1")
        >>> spectrogram = classifier.frontend(torch.randn(1, 16000))
        >>> prediction = classifier(spectrogram.log_magnitude)
        >>> prediction.logits.shape, prediction.representations[0].shape
        (torch.Size([1, 2]), torch.Size([1, 4, 513, 87]))
    """

    unsaved_arguments = ("weights",)
    takes_bfloat16 = True

    def __init__(
        self,
        module: Mapping[str, Any] | nn.Module | None,
        labels: Sequence[str],
        frontend: Frontend | None = None,
        input: InputName | Callable[[Tensor], Tensor] | Mapping[str, Any] = "log_magnitude",
        mel_bins: int = 80,
        axes: InputAxes | None = None,
        duration_s: float | None = None,
        minimum_s: float = 0.0,
        output: OutputKind = "logits",
        output_key: str | None = None,
        multi_label: bool = False,
        representation: str | Sequence[str] | None = None,
        representation_axes: LayerAxes | None = None,
        token_rows: int = 1,
        special_tokens: int = 0,
        rows_hz: Sequence[float] | None = None,
        weights: str | os.PathLike[str] | None = None,
        differentiable: bool = True,
    ) -> None:
        super().__init__(labels, frontend, input == "waveform", multi_label, duration_s, minimum_s)
        if module is None:
            raise CheckpointError(
                "module: it was given as an object, so that the model folder does not describe it; load it with "
                "load_classifier(folder, module=...), or train with module as class_path and init_args"
            )
        network = make_named(module, "module")
        if not isinstance(network, nn.Module):
            raise ConfigurationError(
                f"module: expected a torch.nn.Module, got {type(network).__name__}; a pipeline of transformers "
                "becomes a classifier by otoscope.from_pipeline(pipe)"
            )
        self._config: dict[str, Any] = {"module": _plain(module) if is_named(module) else None}
        self._config |= {"input": _input_config(input), "mel_bins": mel_bins, "axes": axes}
        self._config |= {"duration_s": duration_s, "minimum_s": minimum_s}
        self._config |= {"output": output, "output_key": output_key}
        self._config |= {"multi_label": multi_label, "representation": representation}
        self._config |= {"representation_axes": representation_axes, "token_rows": token_rows}
        self._config |= {"special_tokens": special_tokens, "differentiable": differentiable}
        self._config |= {"rows_hz": None if rows_hz is None else [float(frequency) for frequency in rows_hz]}
        self.module = network
        self.differentiable = differentiable
        self.input, self.axes = self._checked_input(make_named(input, "input"), axes)
        self.mel = MelBank(mel_bins, self.frontend.bins, self.frontend.sample_rate_hz) if input == "mel" else None
        names = [representation] if isinstance(representation, str) else list(representation or ())
        self._names = tuple(check_layer(network, name) for name in names)
        self._rows_hz = self._checked_rows(self._config["rows_hz"])
        if output not in get_args(OutputKind):
            raise ConfigurationError(f"output: {output!r} is neither logits nor probabilities")
        if weights is not None:
            load_module_weights(network, weights)
        self.follow(network)
        self.freeze()

    @classmethod
    @override
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """Build the classifier that a model folder describes; see `ExternalClassifier.from_folder`."""
        classifier = super().from_folder(config, folder, **given)
        if "module" not in given:
            # Layers without weights may have any size: the network runs once while memory is limited.
            classifier.run_on_silence()
        return classifier

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Names of the layers whose outputs are the representations."""
        return self._names

    @override
    def row_frequencies(self, index: int, rows: int) -> Tensor | None:
        return None if self._rows_hz is None else divide_rows(self._rows_hz, rows)

    @property
    @override
    def no_representation(self) -> str:
        layers = [name for name, part in self.module.named_modules() if name and not list(part.children())]
        return (
            "representation: this method reads the output of a layer of the network; name one when creating the "
            f"TorchClassifier, the last before time is lost. The last layers: {', '.join(layers[-8:]) or 'none'}"
        )

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this classifier again (JSON values); no ``module`` if it was given as an object."""
        layers = self._config["representation"]
        layers = layers if layers is None or isinstance(layers, str) else list(layers)
        return {**self._config, "representation": layers}

    @override
    def run_network(self, inputs: Tensor) -> NetworkOutput:
        values = self._arrange(inputs)
        try:
            output, layers = self._run_module(values)
        except RuntimeError as error:
            dtype = next((weights.dtype for weights in self.module.parameters()), torch.float32)
            if not (dtype.is_floating_point and values.is_floating_point() and is_dtype_error(error)):
                raise
            # Not converted at first: a network may compute its features in float32 and convert them itself.
            output, layers = self._run_module(values.to(dtype))
        logits = take_logits(output, self._config["output_key"])
        # a network with a single output may return (batch,)
        if logits.ndim == 1 and self.single_output:
            logits = logits[:, None]
        if self._config["output"] == "probabilities":
            logits = logits_of(check_probabilities(logits, self.multi_label, "output"), self.multi_label)
        # masks and scores are computed in float32, whatever the precision of the network
        maps = tuple(self._as_map(layers[name], name).float() for name in self._names)
        return NetworkOutput(logits, maps, sources=tuple(layers[name] for name in self._names))

    def _run_module(self, values: Tensor) -> tuple[Any, dict[str, Tensor]]:
        """Return the output of the network, and those of the layers that are the representations."""
        with self.autocast(values), record_layers(self.module, self._names) as layers:
            return self.module(values), layers

    def _arrange(self, inputs: Tensor) -> Tensor:
        """Bring log magnitudes or waveforms into the form and order of axes that the network takes."""
        if callable(self.input):
            converted: Tensor = self.input(inputs)
            return converted
        # log1p|X| -> |X| -> mel |X| -> log1p of it
        if self.input in ("magnitude", "mel"):
            inputs = inputs.expm1()
        if self.mel is not None:
            inputs = self.mel(inputs).log1p()
        if "t" in self.axes and "f" in self.axes and self.axes.index("t") < self.axes.index("f"):
            inputs = inputs.transpose(1, 2)
        return inputs[:, None] if "c" in self.axes else inputs

    def _checked_input(self, input: Any, axes: str | None) -> tuple[Any, str]:
        """Return kind and axes of the input after checking that they fit."""
        if isinstance(input, str):
            if input not in get_args(InputName):
                raise ConfigurationError(f"input: {input!r} is none of {', '.join(get_args(InputName))}")
            allowed = ("bt", "bct") if input == "waveform" else ("bcft", "bctf", "bft", "btf")
            if axes is not None and axes not in allowed:
                raise ConfigurationError(
                    f"axes: with input={input} they are one of {', '.join(allowed)}, not {axes!r}"
                )
            return input, axes or allowed[0]
        if not callable(input):
            raise ConfigurationError(f"input: expected a name or a function, got {type(input).__name__}")
        return input, axes or "bcft"

    def _checked_rows(self, rows_hz: list[float] | None) -> Tensor | None:
        if rows_hz is None:
            bank = self.mel
            return None if bank is None else mel_centers_hz(len(bank.filters), self.frontend.sample_rate_hz)
        rows = torch.tensor(rows_hz)
        if len(rows) == 0 or not bool(rows.isfinite().all()) or bool((rows.diff() <= 0).any()):
            raise ConfigurationError(f"rows_hz: expected frequencies in rising order, got {rows_hz}")
        return rows

    def _as_map(self, output: Tensor, name: str) -> Tensor:
        """Return the output of a layer as a map, shape (batch, channels, frequency', time')."""
        return as_map(
            output,
            self._config["representation_axes"] or _guessed_axes(output, self.axes),
            name,
            self._config["token_rows"],
            self._config["special_tokens"],
        )


def take_logits(output: Any, key: str | None = None) -> Tensor:
    """Return the logits in the output of a network.

    Args:
        output: Tensor, object or mapping that holds it, or tuple that begins with it.
        key: Name of the tensor in an object or mapping (default: ``logits``).

    Raises:
        ShapeError: There is no such tensor.
    """
    logits = output
    if not isinstance(output, Tensor):
        name = key or "logits"
        if isinstance(output, Mapping):
            logits = output.get(name)
        elif hasattr(output, name):
            logits = getattr(output, name)
        elif isinstance(output, tuple | list) and output:
            logits = output[0]
    if isinstance(logits, Tensor) and logits.is_floating_point():
        return logits.float()
    inside = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    raise ShapeError(
        f"output: the network returned {type(output).__name__}{inside}, in which no tensor of logits was found; "
        "set output_key, or wrap the network so that it returns them"
    )


def _guessed_axes(output: Tensor, input_axes: str) -> str:
    """Return the usual order of the axes of a layer's output: time and frequency as in the input."""
    time_first = "f" in input_axes and input_axes.index("t") < input_axes.index("f")
    if output.ndim == 4:
        return "bctf" if time_first else "bcft"
    if output.ndim == 3:
        return "btc" if time_first else "bct"
    return "bc"


def _input_config(value: Any) -> Any:
    return value if isinstance(value, str) else _plain(value) if is_named(value) else name_of(value)


def _plain(value: Any) -> Any:
    """Convert mappings and sequences of other types, such as jsonargparse's, to dictionaries and lists."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
