"""Adapters around third-party models: a PyTorch module, a `transformers` model, an ONNX file, a function."""
