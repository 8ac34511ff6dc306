"""Tiny TFLite files for tests, written with the schema that comes with LiteRT."""

from pathlib import Path

import numpy as np


def write_dense(
    path: Path, weights: np.ndarray, bias: np.ndarray, shape=None, free_batch=False, scales=None
) -> Path:
    """Write a TFLite file with one dense layer.

    Args:
        path: New file.
        weights: Weights, shape (classes, inputs).
        bias: Bias, shape (classes,).
        shape: Shape of the input (default: (1, inputs)).
        free_batch: Whether the first axis of the input is free.
        scales: For a network of 8 bits, the scales of input, weights and output; zero points are 0, 0 and 5.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    buffers = [schema.BufferT()]

    def tensor(name, sizes, values=None, scale=None, zero_point=0):
        result = schema.TensorT()
        result.name, result.shape, result.buffer = name, list(sizes), 0
        dtype = np.float32 if scales is None else np.int8
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            buffers.append(buffer)
            result.buffer, dtype = len(buffers) - 1, values.dtype
        elif free_batch:
            result.shapeSignature = [-1, *sizes[1:]]
        kinds = {"float32": "FLOAT32", "int8": "INT8", "int32": "INT32"}
        result.type = getattr(schema.TensorType, kinds[np.dtype(dtype).name])
        if scale is not None:
            result.quantization = schema.QuantizationParametersT()
            result.quantization.scale, result.quantization.zeroPoint = [scale], [zero_point]
        return result

    size = (1, weights.shape[1]) if shape is None else shape
    outlet = (*size[:1], len(weights)) if len(size) > 1 else (1, len(weights))
    entry, factor, result = scales or (None, None, None)
    if scales is None:
        constants = weights.astype(np.float32), bias.astype(np.float32)
    else:
        constants = np.round(weights / factor).astype(np.int8), np.round(bias / (entry * factor)).astype(np.int32)
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("sound", size, scale=entry),
        tensor("weights", weights.shape, constants[0], factor),
        tensor("bias", bias.shape, constants[1], scales and entry * factor),
        tensor("scores", outlet, scale=result, zero_point=5),
    ]
    graph.inputs, graph.outputs = [0], [3]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators = [operator]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if scales else 1
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
