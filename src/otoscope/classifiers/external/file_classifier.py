"""Base class of classifiers whose network is in a file of another program."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Frontend
from otoscope.classifiers.external.base import NetworkOutput, check_probabilities, frontend_at, logits_of
from otoscope.classifiers.external.features import Features
from otoscope.classifiers.external.function import BlackBoxClassifier
from otoscope.classifiers.external.network_file import NetworkFile, Quantization, check_port, shown
from otoscope.classifiers.external.patches import (
    PATCH_FEATURES,
    compute_patches,
    features_config,
    fit_patches,
    make_patch_features,
    split_windows,
    window_count,
)
from otoscope.errors import ConfigurationError

FileInput = Literal["waveform", "log_magnitude"]
_AXES = {
    "waveform": ("t", "bt", "bct", "btc"),
    "log_magnitude": ("bft", "btf", "bcft", "bctf", "bftc", "btfc"),
}


class FileClassifier(BlackBoxClassifier):
    """Base class of black boxes around a network in a file, which another program runs on the CPU.

    The network has one input. It is the waveform, the log magnitude, or ``features`` of the waveform. Its values
    are floats, or integers of 8 or 16 bits that stand for numbers: number = scale * (integer - zero point). A
    network for a fixed number of inputs is run as often as necessary.

    If the file fixes the length of the waveform or log magnitude, a longer clip is divided into windows of that
    length. The last window is padded with silence if the clip covers half of it or more, and left out otherwise. If
    features are several patches for a clip, the network is run on each patch. In both cases the probabilities of
    the clip are the means of those of its windows or patches.

    Args:
        path: File with the network.
        labels: Names of the classes in the order of the output, or a text file with a name on each line (default:
            those in the file, or else numbers).
        frontend: Front-end that computes the spectrograms (default: the usual one at ``sample_rate_hz``).
        input: Kind of the network's input: the ``waveform`` or the ``log_magnitude``.
        axes: Order of the input's axes; see `TorchClassifier` (default: chosen by their number and sizes, such as
            ``bt``, ``bct``, ``bft`` or ``bcft``). Channels may also come last, and ``t`` is a waveform alone.
        output: Kind of the output, ``logits`` or ``probabilities``.
        output_name: Name of the output (default: the first one).
        multi_label: Whether each class is decided independently.
        duration_s: Length of all inputs; clips are cut, or padded with silence (default: any length).
        minimum_s: Shortest input of the network; shorter clips are padded with silence.
        threads: Number of threads of the program that runs the network (default: that of torch).
        features: Input that is computed from the waveform: ``yamnet``, or a function from waveforms (batch,
            samples), float32, to inputs of the network (batch, ...) or to patches (batch, patches, ...). A function
            receives NumPy arrays, a module tensors. Integers of the type that the network takes are passed as they
            are, other values are quantised.
        sample_rate_hz: Sample rate of the network (default: that of the front-end, or 16000).
        input_quantization: Scale and zero point of an input of integers (default: those in the file, if it is a
            TFLite file).
        output_quantization: Scale and zero point of an output of integers (default: likewise).

    Raises:
        ConfigurationError: The file does not exist, is of another kind, or its inputs and outputs do not fit.
        MissingExtraError: The program is not installed.
    """

    file_name: ClassVar[str]
    """Name of the network's file in a model folder."""
    unsaved_arguments = ("labels", "sample_rate_hz")

    def __init__(
        self,
        path: str | os.PathLike[str],
        labels: Sequence[str] | Mapping[Any, str] | str | os.PathLike[str] | None = None,
        frontend: Frontend | None = None,
        input: FileInput = "waveform",
        axes: str | None = None,
        output: Literal["logits", "probabilities"] = "logits",
        output_name: str | None = None,
        multi_label: bool = False,
        duration_s: float | None = None,
        minimum_s: float = 0.0,
        threads: int | None = None,
        features: str | Callable[[Any], Any] | Mapping[str, Any] | None = None,
        sample_rate_hz: int | None = None,
        input_quantization: Sequence[float] | None = None,
        output_quantization: Sequence[float] | None = None,
    ) -> None:
        self.path = Path(path)
        scales = _quantization(input_quantization, "input"), _quantization(output_quantization, "output")
        function = make_patch_features(features)
        network = self._opened(threads, output_name, *scales)
        names = _labels(labels, network)
        takes_waveform = function is not None or input == "waveform"
        rate = function.sample_rate_hz if isinstance(function, Features) else sample_rate_hz
        frontend = frontend or frontend_at(rate or 16_000)
        super().__init__(names, frontend, takes_waveform, multi_label, duration_s, minimum_s)
        for expected, source in ((sample_rate_hz, "sample_rate_hz is"), (rate, f"the {features} features are at")):
            if expected is not None and frontend.sample_rate_hz != expected:
                raise ConfigurationError(
                    f"frontend: it is at {frontend.sample_rate_hz} Hz, {source} {expected} Hz; leave out one "
                    "of them"
                )
        if output not in ("logits", "probabilities"):
            raise ConfigurationError(f"output: {output!r} is neither logits nor probabilities")
        # in tuples: they are no parts of the module
        self._network, self._features = (network,), (function,)
        self._axes = self._checked_axes(axes, input)
        self._config: dict[str, Any] = {"path": self.file_name, "input": input, "axes": axes, "output": output}
        self._config |= {"output_name": output_name, "multi_label": multi_label, "duration_s": duration_s}
        self._config |= {
            "minimum_s": minimum_s,
            "threads": threads,
            "features": features_config(features, function),
        }
        self._config |= {"input_quantization": input_quantization and list(input_quantization)}
        self._config |= {"output_quantization": output_quantization and list(output_quantization)}

    @abstractmethod
    def open_network(
        self,
        threads: int,
        output_name: str | None,
        input_quantization: Quantization | None,
        output_quantization: Quantization | None,
    ) -> NetworkFile:
        """Open the file at `path`.

        Args:
            threads: Number of threads.
            output_name: Name of the output (default: the first one).
            input_quantization: Meaning of the input's integers (default: what the file states).
            output_quantization: Meaning of the output's integers (default: what the file states).
        """

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this classifier again (JSON values); ``path`` is relative to the model folder."""
        return dict(self._config)

    @override
    def write_files(self, folder: Path) -> None:
        (folder / self.file_name).write_bytes(self.path.read_bytes())

    @classmethod
    @override
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        return super().from_folder(config, folder, **{"path": folder / cls.file_name, **given})

    @override
    @torch.no_grad()
    def run_network(self, inputs: Tensor) -> NetworkOutput:
        network, source = self._network[0], str(self.path)
        pieces = self._pieces(inputs.detach().cpu().float())
        output = network.answer(pieces.flatten(0, 1).numpy(), self._has_batch)
        rows = self.check_answer(output, len(output), source)
        if self._config["output"] == "probabilities":
            if network.outlet.dtype.kind in "iu" and not self.multi_label and rows.shape[-1] > 1:
                # rounded to 8 bits, probabilities no longer sum to 1
                rows = rows / rows.sum(-1, keepdim=True).clamp(min=1e-6)
            rows = check_probabilities(rows, self.multi_label, source)
        # several windows or patches of a clip, or several rows that the network returns for it
        return NetworkOutput(self._mean_logits(rows.reshape(len(inputs), -1, rows.shape[-1])))

    def _mean_logits(self, rows: Tensor) -> Tensor:
        """Return the logits of the mean probabilities of each clip; rows have shape (batch, rows, classes)."""
        is_logits = self._config["output"] == "logits"
        if is_logits and rows.shape[1] == 1:
            return rows[:, 0]
        if is_logits:
            rows = rows.sigmoid() if self.multi_label or rows.shape[-1] == 1 else rows.softmax(-1)
        return logits_of(rows.mean(1), self.multi_label)

    def _pieces(self, values: Tensor) -> Tensor:
        """Return the inputs of the network, shape (batch, windows or patches, ...)."""
        features = self._features[0]
        if features is None:
            length = self._size_of("t") if self.duration_s is None else None
            windows = values[:, None] if length is None else split_windows(values, length)
            return self._arrange(windows)
        patches = compute_patches(features, values)
        shape = self._network[0].entry.shape
        if type(features) in PATCH_FEATURES.values():
            return fit_patches(patches, shape, self.path)
        if patches.ndim not in (len(shape), len(shape) + 1):
            raise ConfigurationError(
                f"features: {self.path} takes inputs of shape {shown(shape)}; expected (batch, ...) like it or "
                f"(batch, patches, ...), got {tuple(patches.shape)}"
            )
        return patches[:, None] if patches.ndim == len(shape) else patches

    @override
    def heard_samples(self, samples: int) -> int:
        if self.duration_s is not None or self._features[0] is not None or "f" in self._axes:
            return super().heard_samples(samples)
        length = self._size_of("t")
        # whole windows, and a last one that is at least half covered; see `split_windows`
        return samples if length is None else min(samples, length * window_count(samples, length))

    def _arrange(self, windows: Tensor) -> Tensor:
        """Bring windows, (batch, windows, time) or (batch, windows, frequency, time), into the network's order."""
        if "f" in self._axes and self._axes.index("t") < self._axes.index("f"):
            windows = windows.transpose(-1, -2)
        # the axis of the windows stands before those of the network, whose first is that of the batch
        return windows.unsqueeze(self._axes.index("c") + 1) if "c" in self._axes else windows

    def _size_of(self, axis: str) -> int | None:
        """Return the size of an axis if the file fixes it; 1 often stands for any size."""
        size = self._network[0].entry.shape[self._axes.index(axis)]
        return size if size is not None and size > 1 else None

    @property
    def _has_batch(self) -> bool:
        if self._features[0] is None:
            return "b" in self._axes
        return not isinstance(self._features[0], Features) or len(self._network[0].entry.shape) > 2

    def _opened(self, threads: int | None, *options: Any) -> NetworkFile:
        if not self.path.is_file():
            raise ConfigurationError(f"path: {self.path}: no such file; check the name and the current folder")
        network = self.open_network(threads or torch.get_num_threads(), *options)
        check_port(network.entry, self.path, "input")
        check_port(network.outlet, self.path, "output")
        return network

    def _checked_axes(self, axes: str | None, input: str) -> str:
        """Return the order of the input's axes after checking it; empty if there are features."""
        shape = self._network[0].entry.shape
        if input not in get_args(FileInput):
            raise ConfigurationError(f"input: {input!r} is none of {', '.join(get_args(FileInput))}")
        if self._features[0] is not None:
            if axes is not None or input != "waveform":
                raise ConfigurationError("features: they are computed from the waveform; leave out axes and input")
            return ""
        last = bool(shape) and shape[-1] == 1
        usual = {
            "waveform": {1: "t", 2: "bt", 3: "btc" if last else "bct"},
            "log_magnitude": {3: "bft", 4: "bftc" if last else "bcft"},
        }[input]
        order = axes or usual.get(len(shape), "")
        if order not in _AXES[input] or len(order) != len(shape):
            raise ConfigurationError(
                f"axes: {axes or 'the default order'} does not fit the {len(shape)} axes that {self.path} takes, "
                f"{self._network[0].entry.name} {shown(shape)}; "
                f"with input={input} they are one of {', '.join(_AXES[input])}; if the network takes other "
                "features, give a function as features"
            )
        return order


def _labels(labels: Any, network: NetworkFile) -> Any:
    """Return the labels that are given, in a text file, or in the file of the network; or else numbers."""
    if isinstance(labels, str | os.PathLike):
        try:
            lines = Path(labels).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"labels: {labels} cannot be read as a text file ({error})") from error
        return [line.strip() for line in lines if line.strip()]
    if labels is not None:
        return labels
    names = network.labels()
    if names is not None:
        return names
    count = network.outlet.shape[-1] if network.outlet.shape else None
    if count is None:
        raise ConfigurationError("labels: the file does not state its number of classes; give their names")
    return [str(i) for i in range(count)]


def _quantization(pair: Sequence[float] | None, name: str) -> Quantization | None:
    if pair is None:
        return None
    if len(pair) != 2 or pair[0] <= 0 or pair[1] != int(pair[1]):
        raise ConfigurationError(f"{name}_quantization: expected a positive scale and a zero point, got {pair}")
    return Quantization(float(pair[0]), int(pair[1]))
