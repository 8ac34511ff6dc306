"""Networks in ONNX files as classifiers, over onnxruntime."""

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

from otoscope.audio import Frontend
from otoscope.classifiers.external.base import NetworkOutput
from otoscope.classifiers.external.function import BlackBoxClassifier
from otoscope.errors import ConfigurationError, MissingExtraError

OnnxInput = Literal["waveform", "log_magnitude"]
_ONNX_NAME = "network.onnx"


class OnnxClassifier(BlackBoxClassifier):
    """A black box: a network in an ONNX file, run by onnxruntime on the CPU.

    Args:
        path: The file.
        labels: Names of the classes in the order of its output. By default the file's metadata ``labels`` (a JSON
            list), else numbers.
        frontend: Makes the spectrograms. Give it the sample rate of the network.
        input: What the network takes: the ``waveform`` or the ``log_magnitude``. It has one input, float32.
        axes: Order of the input's axes, see `TorchClassifier`. By default guessed from its number of axes: ``bt``,
            ``bct``, ``bft`` or ``bcft``.
        output: Whether it returns ``logits`` or ``probabilities``.
        output_name: Of the output; by default the first.
        multi_label: Each class is decided for itself.
        duration_s: The only length that the network takes; clips are cut, or continued with silence. None: the one
            that the file fixes, else any.
        minimum_s: Shorter clips are continued with silence.
        threads: That onnxruntime may use. By default as many as torch.

    Raises:
        ConfigurationError: The file is no ONNX network, or it has other inputs or outputs.
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
        except Exception as error:  # its errors derive from nothing in particular
            raise ConfigurationError(
                f"path: {self.path} is no network that onnxruntime reads ({str(error)[:200]})"
            ) from error
        entries, outputs = session.get_inputs(), {one.name: one for one in session.get_outputs()}
        if len(entries) != 1 or entries[0].type != "tensor(float)":
            told = ", ".join(f"{one.name} {one.type}" for one in entries)
            raise ConfigurationError(
                f"path: {self.path} takes {told}; one float input is expected: wrap it in a function for "
                "CallableClassifier"
            )
        if output_name is not None and output_name not in outputs:
            raise ConfigurationError(
                f"output_name: {self.path} has no {output_name!r}; it has {', '.join(outputs)}"
            )
        self._output = output_name or next(iter(outputs))
        labels = _onnx_labels(session, outputs[self._output]) if labels is None else labels
        super().__init__(labels, frontend, input == "waveform", multi_label, duration_s, minimum_s)
        self._session = (session,)
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
        """See `Classifier.config`. ``path`` is that in the model folder, into which the file is copied."""
        return dict(self._config)

    def write_files(self, folder: Path) -> None:
        """See `Classifier.write_files`."""
        (folder / _ONNX_NAME).write_bytes(self.path.read_bytes())

    @classmethod
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        """See `Classifier.from_folder`."""
        return super().from_folder(config, folder, **{"path": folder / _ONNX_NAME, **given})

    @torch.no_grad()
    def run_network(self, inputs: Tensor) -> NetworkOutput:
        """See `ExternalClassifier.run_network`."""
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
                f"{self.path}: cannot run on shape {tuple(values.shape)} ({reason}); set "
                "axes, duration_s or minimum_s, or export it with dynamic axes"
            ) from error
        answer = self.check_answer(np.concatenate(answers), len(inputs), str(self.path))
        return NetworkOutput(self.logits_of_answer(answer, self._config["output"], str(self.path)))


def onnx_package() -> Any:
    """The package `onnxruntime`.

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
    kept = session.get_modelmeta().custom_metadata_map.get("labels")
    if kept is not None:
        try:
            labels = json.loads(kept)
        except ValueError:
            labels = None
        if isinstance(labels, list):
            return [str(label) for label in labels]
    count = output.shape[-1] if output.shape else None
    if not isinstance(count, int):
        raise ConfigurationError("labels: the file does not tell how many classes it has; name them")
    return [str(i) for i in range(count)]


def _onnx_axes(axes: str | None, input: str, count: int, path: Path) -> str:
    if input not in get_args(OnnxInput):
        raise ConfigurationError(f"input: {input!r} is none of {', '.join(get_args(OnnxInput))}")
    usual = {"waveform": {2: "bt", 3: "bct"}, "log_magnitude": {3: "bft", 4: "bcft"}}[input]
    found = axes or usual.get(count, "")
    allowed = {"waveform": ("bt", "bct"), "log_magnitude": ("bft", "btf", "bcft", "bctf")}[input]
    if found not in allowed or len(found) != count:
        raise ConfigurationError(
            f"axes: {path} takes {count} axes, which {axes or 'none'} does not fit; with input={input} they are "
            f"one of {', '.join(allowed)}"
        )
    return found
