"""Networks in ONNX files as classifiers, run by onnxruntime."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Frontend
from otoscope.classifiers.external.base import NetworkOutput
from otoscope.classifiers.external.function import BlackBoxClassifier
from otoscope.errors import ConfigurationError, MissingExtraError

OnnxInput = Literal["waveform", "log_magnitude"]
_ONNX_NAME = "network.onnx"


class OnnxClassifier(BlackBoxClassifier):
    """Black box around a network in an ONNX file, run by onnxruntime on the CPU.

    Args:
        path: ONNX file.
        labels: Names of the classes in the order of the output (default: ``labels`` in the file's metadata, a JSON
            list, or else numbers).
        frontend: Front-end that computes the spectrograms, at the sample rate of the network.
        input: Kind of the network's only input, float32: the ``waveform`` or the ``log_magnitude``.
        axes: Order of the input's axes; see `TorchClassifier` (default: chosen by their number, ``bt``, ``bct``,
            ``bft`` or ``bcft``).
        output: Kind of the output, ``logits`` or ``probabilities``.
        output_name: Name of the output (default: the first one).
        multi_label: Whether each class is decided independently.
        duration_s: Length of all inputs, for networks that take only one; clips are cut, or padded with silence
            (default: the length that the file fixes, or else any length).
        minimum_s: Shortest input of the network; shorter clips are padded with silence.
        threads: Number of threads of onnxruntime (default: that of torch).

    Raises:
        ConfigurationError: The file does not exist, is no ONNX network, or has other inputs or outputs.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        labels: Sequence[str] | None = None,
        frontend: Frontend | None = None,
        input: OnnxInput = "waveform",
        axes: str | None = None,
        output: Literal["logits", "probabilities"] = "logits",
        output_name: str | None = None,
        multi_label: bool = False,
        duration_s: float | None = None,
        minimum_s: float = 0.0,
        threads: int | None = None,
    ) -> None:
        self.path = Path(path)
        runtime = onnx_package()
        if not self.path.is_file():
            raise ConfigurationError(f"path: {self.path}: no such file; check the name and the current folder")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        try:
            session = runtime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base class
            raise ConfigurationError(
                f"path: {self.path} is no network that onnxruntime reads ({str(error)[:200]})"
            ) from error
        entries, outputs = session.get_inputs(), {node.name: node for node in session.get_outputs()}
        if len(entries) != 1 or entries[0].type != "tensor(float)":
            listed = ", ".join(f"{entry.name} {entry.type}" for entry in entries)
            raise ConfigurationError(
                f"path: {self.path} takes {listed}; one float input is expected: wrap the network in a function "
                "and use CallableClassifier"
            )
        if output_name is not None and output_name not in outputs:
            raise ConfigurationError(
                f"output_name: {self.path} has no {output_name!r}; it has {', '.join(outputs)}"
            )
        self._output = output_name or next(iter(outputs))
        labels = _onnx_labels(session, outputs[self._output]) if labels is None else labels
        super().__init__(labels, frontend, input == "waveform", multi_label, duration_s, minimum_s)
        self._session = (session,)  # in a tuple: it is no part of the module
        self._entry = entries[0].name
        self._axes = _onnx_axes(axes, input, len(entries[0].shape), self.path)
        sizes = dict(zip(self._axes, entries[0].shape, strict=True))
        self._at_once = 1 if sizes["b"] == 1 else None
        if duration_s is None and isinstance(sizes["t"], int) and sizes["t"] > 1:
            samples = sizes["t"] if input == "waveform" else (sizes["t"] - 1) * self.frontend.hop_length
            self.duration_s = samples / self.frontend.sample_rate_hz
        self._config: dict[str, Any] = {"path": _ONNX_NAME, "input": input, "axes": axes, "output": output}
        self._config |= {"output_name": output_name, "multi_label": multi_label, "duration_s": duration_s}
        self._config |= {"minimum_s": minimum_s, "threads": threads}

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this classifier again (JSON values); ``path`` is relative to the model folder."""
        return dict(self._config)

    @override
    def write_files(self, folder: Path) -> None:
        (folder / _ONNX_NAME).write_bytes(self.path.read_bytes())

    @classmethod
    @override
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        return super().from_folder(config, folder, **{"path": folder / _ONNX_NAME, **given})

    @override
    @torch.no_grad()
    def run_network(self, inputs: Tensor) -> NetworkOutput:
        values = inputs.detach().float()
        if "f" in self._axes and self._axes.index("t") < self._axes.index("f"):
            values = values.transpose(1, 2)
        values = values[:, None] if "c" in self._axes else values
        # a network may have been exported for one clip at a time
        pieces = torch.split(values, self._at_once or len(values))
        try:
            answers = [
                self._session[0].run([self._output], {self._entry: piece.cpu().contiguous().numpy()})[0]
                for piece in pieces
            ]
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ConfigurationError(
                f"{self.path}: cannot run on shape {tuple(values.shape)} ({reason}); set axes, duration_s or "
                "minimum_s, or export the network with dynamic axes"
            ) from error
        answer = self.check_answer(np.concatenate(answers), len(inputs), str(self.path))
        return NetworkOutput(self.logits_of_answer(answer, self._config["output"], str(self.path)))


def onnx_package() -> Any:
    """Import the package `onnxruntime`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtraError(
            "this classifier needs the package onnxruntime: pip install 'otoscope[onnx]'"
        ) from error


def _onnx_labels(session: Any, output: Any) -> list[str]:
    """Return the labels in the file's metadata, or else numbers."""
    metadata = session.get_modelmeta().custom_metadata_map.get("labels")
    if metadata is not None:
        try:
            labels = json.loads(metadata)
        except ValueError:
            labels = None
        if isinstance(labels, list):
            return [str(label) for label in labels]
    count = output.shape[-1] if output.shape else None
    if not isinstance(count, int):
        raise ConfigurationError("labels: the file does not state its number of classes; give their names")
    return [str(i) for i in range(count)]


def _onnx_axes(axes: str | None, input: str, count: int, path: Path) -> str:
    """Return the order of the input's ``count`` axes after checking it."""
    if input not in get_args(OnnxInput):
        raise ConfigurationError(f"input: {input!r} is none of {', '.join(get_args(OnnxInput))}")
    usual = {"waveform": {2: "bt", 3: "bct"}, "log_magnitude": {3: "bft", 4: "bcft"}}[input]
    order = axes or usual.get(count, "")
    allowed = {"waveform": ("bt", "bct"), "log_magnitude": ("bft", "btf", "bcft", "bctf")}[input]
    if order not in allowed or len(order) != count:
        raise ConfigurationError(
            f"axes: {axes or 'the default order'} does not fit the {count} axes that {path} takes; with "
            f"input={input} they are one of {', '.join(allowed)}"
        )
    return order
