"""Networks of `transformers`: opened by name, as objects, or built from a configuration, which is never trusted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from otoscope.classifiers.external.clap import CLAP_AUDIO, CLAP_SCALE, audio_model, text_vectors
from otoscope.classifiers.image import transformers_package
from otoscope.classifiers.network_options import checked_options
from otoscope.errors import CheckpointError, ConfigurationError, DownloadError

_CLAP_CLASS = "ClapAudioModelWithProjection"


@dataclass
class Opened:
    """Model, the feature extractor beside it, and, for CLAP, the embeddings of the classes and their scale."""

    model: Any
    extractor: Any
    vectors: Tensor
    scale: float = CLAP_SCALE


def open_network(model: Any, labels: Sequence[str] | None, class_vectors: Any, prompt: str) -> Opened:
    """Open a model that is given by name, as an object, or by its configuration.

    Args:
        model: Hub id, local folder, model object, or its configuration (random weights).
        labels: Names of the classes; required for CLAP.
        class_vectors: Embedding of each class, for CLAP, shape (classes, dimension); None: those of the text model.
        prompt: Sentence that the text model of CLAP embeds, with ``{}`` in the place of the label.

    Raises:
        ConfigurationError: The model is of another kind, or CLAP lacks labels or vectors.
        DownloadError: The model is not there and cannot be fetched.
        MissingExtraError: transformers is not installed.
    """
    transformers = transformers_package()
    vectors = torch.empty(0) if class_vectors is None else torch.as_tensor(class_vectors).detach().float()
    if isinstance(model, Mapping):
        network = _from_config(transformers, model)
        if class_vectors is None:  # placeholders that loaded weights fill
            vectors = torch.zeros(len(labels or ()), int(getattr(network.config, "projection_dim", 0)))
        opened = Opened(network, None, vectors)
    elif isinstance(model, nn.Module):
        opened = Opened(model, None, vectors)
    elif not isinstance(model, str | os.PathLike):
        raise ConfigurationError(
            f"model: expected a model, a folder or a hub id, got {type(model).__name__}; a pipeline becomes a "
            "classifier by otoscope.from_pipeline(pipe)"
        )
    else:
        opened = _from_pretrained(transformers, model, labels, vectors, prompt)
    if type(opened.model).__name__ == "ClapModel":
        opened.scale = float(opened.model.logit_scale_a.detach().exp())
        opened.model = audio_model(transformers, opened.model)
    if not hasattr(opened.model, "config"):
        name = type(opened.model).__name__
        raise ConfigurationError(f"model: {name} is no model of transformers; use TorchClassifier")
    if opened.model.config.model_type == CLAP_AUDIO and (not labels or len(opened.vectors) != len(labels)):
        raise ConfigurationError(
            f"class_vectors: CLAP needs labels and one vector for each, got {len(labels or ())} labels and "
            f"{len(opened.vectors)} vectors; ClapModel.get_text_features computes them"
        )
    return opened


def _architecture(transformers: Any, config: Mapping[str, Any]) -> Any:
    """Return the class of `transformers` that a configuration names: an audio classifier, or CLAP's audio model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES

    named = config.get("architectures") or [""]
    name = str(named[0] if isinstance(named, Sequence) else named)[:100]
    allowed: set[str] = {_CLAP_CLASS}
    for names in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES.values():
        allowed |= {names} if isinstance(names, str) else set(names)
    # The name is looked up in the package only if it is one of these: the package loads what is asked for.
    if name not in allowed:
        raise ConfigurationError(
            f"model: its configuration names {name or 'nothing'} as architecture, which is no model of "
            "transformers that classifies sounds"
        )
    return getattr(transformers, name)


def _from_config(transformers: Any, config: Mapping[str, Any]) -> Any:
    """Build a model with random weights; only audio classifiers of `transformers` are accepted."""
    kind = _architecture(transformers, config)
    network = kind(kind.config_class.from_dict(dict(config)))
    # in the precision of the weights that will be loaded
    dtype = _DTYPES.get(str(config.get("dtype")))
    return network if dtype is None else network.to(dtype)


_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


def checked_network(transformers: Any, config: Any) -> dict[str, Any]:
    """Return the configuration of a model in a model folder after checking it; see `checked_options`.

    Raises:
        CheckpointError: It leads to other networks, code or repositories, or an option has a wrong type.
        ConfigurationError: It names no audio classifier.
    """
    if not isinstance(config, Mapping):
        raise CheckpointError(f"init.model: expected an object, got {type(config).__name__}")
    kind = _architecture(transformers, config)
    expected = kind.config_class.model_type
    if config.get("model_type", expected) != expected:
        raise CheckpointError(f"init.model.model_type: {kind.__name__} is of type {expected}")
    options = checked_options(config, kind.config_class, "init.model")
    dtype = config.get("dtype")
    if dtype is not None and (not isinstance(dtype, str) or dtype not in _DTYPES):
        raise CheckpointError(f"init.model.dtype: expected one of {', '.join(_DTYPES)}")
    return {**options, "architectures": [kind.__name__], "dtype": dtype}


def _from_pretrained(
    transformers: Any, source: str | os.PathLike[str], labels: Sequence[str] | None, vectors: Tensor, prompt: str
) -> Opened:
    try:
        config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
        has_extractor = not Path(source).is_dir() or (Path(source) / "preprocessor_config.json").is_file()
        extractor = None
        if has_extractor:
            extractor = transformers.AutoFeatureExtractor.from_pretrained(source, trust_remote_code=False)
        if config.model_type != "clap":
            model = transformers.AutoModelForAudioClassification.from_pretrained(source, trust_remote_code=False)
            return Opened(model, extractor, vectors)
        model = transformers.ClapModel.from_pretrained(source, trust_remote_code=False)
        if len(vectors) == 0 and labels:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            vectors = text_vectors(model, tokenizer, labels, prompt)
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"model: {source} cannot be opened ({str(error).splitlines()[0]}); without a network connection, "
            "download the repository elsewhere and give its folder"
        ) from error
    return Opened(model, extractor, vectors)


def network_config(model: Any) -> dict[str, Any]:
    """Return the configuration that builds a model again, as JSON values."""
    config: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=True))
    # where the model came from, and how its attention is computed, are no part of what it is
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    config.pop("attn_implementation", None)
    config |= {"model_type": model.config.model_type, "architectures": [type(model).__name__]}
    return {**config, "dtype": str(dtype_of(model)).removeprefix("torch.")}


def dtype_of(model: Any) -> torch.dtype:
    """Return the precision of a model's weights.

    Raises:
        ConfigurationError: They are quantised, so that the model is not differentiable.
    """
    dtypes = {parameter.dtype for parameter in model.parameters()}
    if not all(dtype.is_floating_point and dtype.itemsize > 1 for dtype in dtypes):
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise ConfigurationError(
            f"model: its weights are {names}; models in float32, bfloat16 and float16 can be explained: open it "
            "without quantisation, or wrap it in a function and use CallableClassifier"
        )
    dtype: torch.dtype = model.dtype
    return dtype
