"""Networks in ONNX files as classifiers, run by onnxruntime."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from typing_extensions import override

from otoscope.classifiers.external.file_classifier import FileClassifier
from otoscope.classifiers.external.network_file import NetworkFile, Port, Quantization, require_one_input
from otoscope.errors import ConfigurationError, MissingExtraError

_TYPES = {"float": "float32", "double": "float64"}
"""Types whose names in ONNX are not those of NumPy."""


class OnnxClassifier(FileClassifier):
    """Black box around a network in an ONNX file, run by onnxruntime on the CPU.

    Its options are those of `FileClassifier`. An ONNX file does not state what the integers of a quantised input or
    output stand for: give ``input_quantization`` and ``output_quantization``. By default, labels are those under
    ``labels`` in the file's metadata, a JSON list.

    Raises:
        ConfigurationError: The file does not exist, is no ONNX network, or has other inputs or outputs.
        MissingExtraError: onnxruntime is not installed.
    """

    file_name = "network.onnx"
    saved_types: ClassVar[Mapping[str, Any]] = {"path": Literal["network.onnx"]}

    @override
    def open_network(
        self,
        threads: int,
        output_name: str | None,
        input_quantization: Quantization | None,
        output_quantization: Quantization | None,
    ) -> NetworkFile:
        return OnnxFile(self.path, threads, output_name, input_quantization, output_quantization)

    @override
    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        # Exporters write large weights into a second file, which the first refers to by its name; so it keeps that
        # name in model folders, where the first is renamed.
        data = self.path.with_name(f"{self.path.name}.data")
        in_model_folder = self.path.name == self.file_name
        for path in self.path.parent.glob("*.onnx.data") if in_model_folder else [data] * data.is_file():
            (folder / path.name).write_bytes(path.read_bytes())


class OnnxFile(NetworkFile):
    """Network in an ONNX file; see `FileClassifier.open_network`."""

    def __init__(
        self,
        path: Path,
        threads: int,
        output_name: str | None = None,
        input_quantization: Quantization | None = None,
        output_quantization: Quantization | None = None,
    ) -> None:
        super().__init__(path, threads, output_name, input_quantization, output_quantization)
        runtime = onnx_package()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base class
            raise ConfigurationError(
                f"path: {path} is no network that onnxruntime reads ({str(error)[:200]})"
            ) from error
        entries, outputs = session.get_inputs(), {node.name: node for node in session.get_outputs()}
        require_one_input([_port(entry, path, None) for entry in entries], path)
        if output_name is not None and output_name not in outputs:
            raise ConfigurationError(f"output_name: {path} has no {output_name!r}; it has {', '.join(outputs)}")
        self._session = session
        self.entry = _port(entries[0], path, input_quantization)
        self.outlet = _port(outputs[output_name or next(iter(outputs))], path, output_quantization)

    @override
    def run(self, values: np.ndarray) -> np.ndarray:
        output: np.ndarray = self._session.run([self.outlet.name], {self.entry.name: values})[0]
        return output

    @override
    def labels(self) -> list[str] | None:
        metadata = self._session.get_modelmeta().custom_metadata_map.get("labels")
        try:
            labels = None if metadata is None else json.loads(metadata)
        except ValueError:
            return None
        return [str(label) for label in labels] if isinstance(labels, list) else None


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


def _port(node: Any, path: Path, quantization: Quantization | None) -> Port:
    """Return name, shape and type of an input or output, whose type reads like ``tensor(float)``."""
    name = "".join(re.findall(r"tensor\((\w+)\)", node.type))
    try:
        dtype = np.dtype(_TYPES.get(name, name or "object"))
    except TypeError as error:
        raise ConfigurationError(f"path: {path}: {node.name} is a {node.type}, which no array can hold") from error
    # free axes have a name or None
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return Port(node.name, shape, dtype, quantization)
