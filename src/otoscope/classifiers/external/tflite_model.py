"""Networks in TFLite files as classifiers, run by LiteRT."""

from __future__ import annotations

import importlib
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from typing_extensions import override

from otoscope.classifiers.external.file_classifier import FileClassifier
from otoscope.classifiers.external.network_file import NetworkFile, Port, Quantization, require_one_input
from otoscope.errors import ConfigurationError, MissingExtraError


class TfliteClassifier(FileClassifier):
    """Black box around a network in a TFLite file, run by LiteRT (``ai-edge-litert``) on the CPU.

    Its options are those of `FileClassifier`. What the integers of a quantised input or output stand for is read
    from the file. By default, labels are those of a text file in the file's metadata.

    Raises:
        ConfigurationError: The file does not exist, is no TFLite network, or has other inputs or outputs.
        MissingExtraError: ai-edge-litert is not installed.

    Example:
        >>> birds = TfliteClassifier(
        ...     "BirdNET_V2.4.tflite", "labels.txt", sample_rate_hz=48_000, multi_label=True
        ... )  # doctest: +SKIP
    """

    file_name = "network.tflite"
    saved_types: ClassVar[Mapping[str, Any]] = {"path": Literal["network.tflite"]}

    @override
    def open_network(
        self,
        threads: int,
        output_name: str | None,
        input_quantization: Quantization | None,
        output_quantization: Quantization | None,
    ) -> NetworkFile:
        return TfliteFile(self.path, threads, output_name, input_quantization, output_quantization)


class TfliteFile(NetworkFile):
    """Network in a TFLite file; see `FileClassifier.open_network`."""

    def __init__(
        self,
        path: Path,
        threads: int,
        output_name: str | None = None,
        input_quantization: Quantization | None = None,
        output_quantization: Quantization | None = None,
    ) -> None:
        super().__init__(path, threads, output_name, input_quantization, output_quantization)
        package = tflite_package()
        try:
            interpreter = package.Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ConfigurationError(
                f"path: {path} is no network that LiteRT reads ({' '.join(str(error).split())[:200]})"
            ) from error
        entries = interpreter.get_input_details()
        outputs = {details["name"]: details for details in interpreter.get_output_details()}
        require_one_input([_port(entry, None) for entry in entries], path)
        if output_name is not None and output_name not in outputs:
            raise ConfigurationError(f"output_name: {path} has no {output_name!r}; it has {', '.join(outputs)}")
        outlet = outputs[output_name or next(iter(outputs))]
        self._interpreter = interpreter
        self._input_index, self._output_index = int(entries[0]["index"]), int(outlet["index"])
        self.entry = _port(entries[0], input_quantization)
        self.outlet = _port(outlet, output_quantization)
        # an interpreter holds its tensors between the calls of one run
        self._lock = threading.Lock()

    @override
    def run(self, values: np.ndarray) -> np.ndarray:
        interpreter = self._interpreter
        with self._lock:
            # files leave axes free, or state 1 and run on other sizes: networks without free axes raise an error
            if tuple(interpreter.get_input_details()[0]["shape"]) != values.shape:
                interpreter.resize_tensor_input(self._input_index, values.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(self._input_index, values)
            interpreter.invoke()
            output: np.ndarray = interpreter.get_tensor(self._output_index)
        return output

    @override
    def labels(self) -> list[str] | None:
        # metadata is appended to the file as a zip archive, which may also hold other texts
        if not zipfile.is_zipfile(self.path):
            return None
        with zipfile.ZipFile(self.path) as archive:
            texts = [archive.read(name) for name in archive.namelist() if name.endswith(".txt")]
        for text in texts:
            lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
            if len(lines) == self.outlet.shape[-1]:
                return lines
        return None


def tflite_package() -> Any:
    """Import the interpreter of the package `ai-edge-litert`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise MissingExtraError(
            "this classifier needs the package ai-edge-litert: pip install 'otoscope[tflite]'"
        ) from error


def _port(details: Mapping[str, Any], quantization: Quantization | None) -> Port:
    # the signature holds -1 for free axes; files without one state the present sizes only
    sizes = details["shape_signature"] if len(details["shape_signature"]) else details["shape"]
    shape = tuple(int(size) if size > 0 else None for size in sizes)
    scale, zero_point = details["quantization"]
    if quantization is None and scale > 0:
        quantization = Quantization(float(scale), int(zero_point))
    return Port(details["name"], shape, np.dtype(details["dtype"]), quantization)
