"""Any `torch.nn.Module` as a classifier, on spectrograms or on waveforms."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from otoscope.audio import Frontend, MelBank, mel_centers_hz
from otoscope.classifiers.external.base import ExternalClassifier, NetworkOutput, check_probabilities, logits_of
from otoscope.classifiers.external.class_paths import is_named, make_named, name_of
from otoscope.classifiers.external.layers import LayerAxes, as_map, check_layer, record_layers
from otoscope.classifiers.rows import divide_rows
from otoscope.errors import CheckpointError, ConfigurationError, ShapeError

InputName = Literal["log_magnitude", "magnitude", "mel", "waveform"]
InputAxes = Literal["bft", "btf", "bcft", "bctf", "bt", "bct"]
OutputKind = Literal["logits", "probabilities"]


class TorchClassifier(ExternalClassifier):
    """Explains a network of yours: any ``nn.Module``.

    The network gets what ``input`` says, in the order that ``axes`` says: ``b`` batch, ``c`` one channel, ``f``
    frequency, ``t`` time. It may return a tensor (batch, classes), an object or mapping that holds one, or a
    tuple that begins with one. It is frozen: evaluation mode, no gradient to its weights.

    Args:
        module: The network; or its class and arguments, ``{"class_path": "package.Net", "init_args": {...}}``,
            which also lets a model folder say how to make it again.
        labels: Names of the classes in the order of its output.
        frontend: Makes the spectrograms that are masked. Give it the sample rate of the network.
        input: ``log_magnitude`` (log1p of the STFT's magnitude), ``magnitude``, ``mel`` (log1p of the mel
            magnitude, by `otoscope.audio.MelBank`), ``waveform`` (the spectrogram goes back through the inverse
            STFT with its phase, differentiably), or a function from the log magnitude (batch, frequency, time) to
            what the network takes.
        mel_bins: Filters of the mel bank.
        axes: Order of the input's axes. By default ``bcft`` for spectrograms, ``bt`` for waveforms; what a function
            of yours makes is handed on as it is.
        duration_s: The only length that the network takes; clips are cut, or continued with silence. None: any.
        minimum_s: Shorter clips are continued with silence.
        output: Whether it returns ``logits`` or ``probabilities``.
        output_key: Where in an object or mapping they are. By default ``logits``.
        multi_label: Each class is decided for itself: probabilities are sigmoids.
        representation: Names of layers, as ``module.named_modules()`` has them, whose output interpreters read, the
            deepest last. None: methods that read representations refuse.
        representation_axes: Order of the axes of that output. By default four axes are ordered as the input's
            frequency and time, three are ``bct`` (``btc`` if the input is ``btf``), two ``bc``. ``btc`` also stands
            for tokens.
        token_rows: Rows of frequency that tokens are made of, one row after the other.
        special_tokens: Tokens in front of those, such as a class token.
        rows_hz: Frequencies of the rows that the network itself makes, such as the centres of its mel bank, rising;
            the rows of ``representation`` divide them evenly. Without it ``mel`` has those of its bank, and any
            other input counts as spread evenly up to half the sample rate. Grad-CAM puts its rows there.
        weights: A file with the network's ``state_dict``, ``.safetensors`` or ``.pt``.
        differentiable: False where no gradient comes through the network: methods that need one then refuse.

    Raises:
        ConfigurationError: The network has no such layer (close names are listed), or options contradict.
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
                "module: it was given as an object, so the model folder does not say how to make it; load it with "
                "load_classifier(folder, module=...), or train with module as class_path and init_args"
            )
        made = make_named(module, "module")
        if not isinstance(made, nn.Module):
            raise ConfigurationError(f"module: expected a torch.nn.Module, got {type(made).__name__}")
        self._config: dict[str, Any] = {"module": _plain(module) if is_named(module) else None}
        self._config |= {"input": _input_config(input), "mel_bins": mel_bins, "axes": axes}
        self._config |= {
            "duration_s": duration_s,
            "minimum_s": minimum_s,
            "output": output,
            "output_key": output_key,
        }
        self._config |= {"multi_label": multi_label, "representation": representation}
        self._config |= {"representation_axes": representation_axes, "token_rows": token_rows}
        self._config |= {"special_tokens": special_tokens, "differentiable": differentiable}
        self._config |= {"rows_hz": None if rows_hz is None else [float(one) for one in rows_hz]}
        self.module = made
        self.differentiable = differentiable
        self.input, self.axes = self._checked_input(make_named(input, "input"), axes)
        self.mel = MelBank(mel_bins, self.frontend.bins, self.frontend.sample_rate_hz) if input == "mel" else None
        names = [representation] if isinstance(representation, str) else list(representation or ())
        self._names = tuple(check_layer(made, name) for name in names)
        self._rows_hz = self._checked_rows(self._config["rows_hz"])
        if output not in get_args(OutputKind):
            raise ConfigurationError(f"output: {output!r} is neither logits nor probabilities")
        if weights is not None:
            load_module_weights(made, weights)
        self.freeze()

    @property
    def representation_names(self) -> tuple[str, ...]:
        """The layers named as ``representation``."""
        return self._names

    def row_frequencies(self, index: int, rows: int) -> Tensor | None:
        """See `Classifier.row_frequencies`."""
        return None if self._rows_hz is None else divide_rows(self._rows_hz, rows)

    @property
    def no_representation(self) -> str:
        """See `ExternalClassifier.no_representation`."""
        some = [name for name, part in self.module.named_modules() if name and not list(part.children())][-8:]
        return (
            "representation: this method reads what a layer of the network returns; name one when making the "
            f"TorchClassifier, the last before time is lost. The last ones: {', '.join(some) or 'none'}"
        )

    @property
    def config(self) -> dict[str, Any]:
        """See `Classifier.config`. ``module`` is null if it was given as an object."""
        representation = self._config["representation"]
        kept = representation if representation is None or isinstance(representation, str) else list(representation)
        return {**self._config, "representation": kept}

    def run_network(self, inputs: Tensor) -> NetworkOutput:
        """See `ExternalClassifier.run_network`."""
        with record_layers(self.module, self._names) as outputs:
            output = self.module(self._arrange(inputs))
        logits = take_logits(output, self._config["output_key"])
        if logits.ndim == 1 and len(self.labels) == 1:
            logits = logits[:, None]
        if self._config["output"] == "probabilities":
            logits = logits_of(check_probabilities(logits, self.multi_label, "output"), self.multi_label)
        maps = tuple(self._as_map(outputs[name], name) for name in self._names)
        return NetworkOutput(logits, maps, sources=tuple(outputs[name] for name in self._names))

    def _arrange(self, inputs: Tensor) -> Tensor:
        """Bring log magnitudes or waveforms into the form and order of axes that the network takes."""
        if callable(self.input):
            converted: Tensor = self.input(inputs)
            return converted
        if self.input in ("magnitude", "mel"):
            inputs = inputs.expm1()
        if self.mel is not None:
            inputs = self.mel(inputs).log1p()
        if "t" in self.axes and "f" in self.axes and self.axes.index("t") < self.axes.index("f"):
            inputs = inputs.transpose(1, 2)
        return inputs[:, None] if "c" in self.axes else inputs

    def _checked_input(self, input: Any, axes: str | None) -> tuple[Any, str]:
        if isinstance(input, str):
            if input not in get_args(InputName):
                raise ConfigurationError(f"input: {input!r} is none of {', '.join(get_args(InputName))}")
            allowed = ("bt", "bct") if input == "waveform" else ("bcft", "bctf", "bft", "btf")
            if axes is not None and axes not in allowed:
                raise ConfigurationError(
                    f"axes: {input} is handed over as one of {', '.join(allowed)}, not {axes!r}"
                )
            return input, axes or allowed[0]
        if not callable(input):
            raise ConfigurationError(f"input: expected a name or a function, got {type(input).__name__}")
        return input, axes or "bcft"

    def _checked_rows(self, rows_hz: list[float] | None) -> Tensor | None:
        if rows_hz is None:
            bands = self.mel
            return None if bands is None else mel_centers_hz(len(bands.filters), self.frontend.sample_rate_hz)
        found = torch.tensor(rows_hz)
        if len(found) == 0 or not bool(found.isfinite().all()) or bool((found.diff() <= 0).any()):
            raise ConfigurationError(f"rows_hz: expected frequencies in rising order, got {rows_hz}")
        return found

    def _as_map(self, output: Tensor, name: str) -> Tensor:
        """What a layer returned as (batch, channels, frequency', time')."""
        return as_map(
            output,
            self._config["representation_axes"] or _guessed_axes(output, self.axes),
            name,
            self._config["token_rows"],
            self._config["special_tokens"],
        )


def take_logits(output: Any, key: str | None = None) -> Tensor:
    """The logits in what a network returned.

    Args:
        output: A tensor, an object or mapping that holds one, or a tuple that begins with one.
        key: Its name in an object or mapping; by default ``logits``.

    Raises:
        ShapeError: There is none.
    """
    found = output
    if not isinstance(output, Tensor):
        name = key or "logits"
        if isinstance(output, Mapping):
            found = output.get(name)
        elif hasattr(output, name):
            found = getattr(output, name)
        elif isinstance(output, tuple | list) and output:
            found = output[0]
    if isinstance(found, Tensor) and found.is_floating_point():
        return found.float()
    inside = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    raise ShapeError(
        f"output: the network returned {type(output).__name__}{inside}, in which no tensor of logits was found; "
        "set output_key, or wrap the network so that it returns them"
    )


def load_module_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Loads a ``state_dict`` into a network; every key must fit.

    Args:
        module: The network.
        path: ``.safetensors``, or what ``torch.save`` wrote, also under ``state_dict`` or ``model`` of a
            checkpoint. Pickles are read as weights only.

    Raises:
        CheckpointError: The file cannot be read, or does not fit.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            for key in ("state_dict", "model"):
                state = state[key] if isinstance(state.get(key), Mapping) else state
        module.load_state_dict(state)
    except (OSError, RuntimeError, SafetensorError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"weights: {path} does not fit ({' '.join(str(error).split())[:300]})") from error


def _guessed_axes(output: Tensor, input_axes: str) -> str:
    time_first = "f" in input_axes and input_axes.index("t") < input_axes.index("f")
    if output.ndim == 4:
        return "bctf" if time_first else "bcft"
    if output.ndim == 3:
        return "btc" if time_first else "bct"
    return "bc"


def _input_config(value: Any) -> Any:
    return value if isinstance(value, str) else _plain(value) if is_named(value) else name_of(value)


def _plain(value: Any) -> Any:
    """A copy without foreign kinds of mappings."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
