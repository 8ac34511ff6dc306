"""Audio classifiers of the package `transformers`, their feature extractors re-expressed in torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from otoscope.audio import Frontend
from otoscope.classifiers.external.base import ExternalClassifier, NetworkOutput, frontend_at
from otoscope.classifiers.external.features import FilterBank, make_features
from otoscope.classifiers.external.layers import LayerAxes, as_map, check_layer, record_layers
from otoscope.classifiers.external.torch_module import take_logits
from otoscope.classifiers.image import transformers_package
from otoscope.classifiers.rows import divide_rows
from otoscope.errors import ConfigurationError, DownloadError

_AST = "audio-spectrogram-transformer"
_CLAP_AUDIO = "clap_audio_model"
_CLAP_SCALE = 1 / 0.07  # with which CLAP's training starts


class TransformersClassifier(ExternalClassifier):
    """An audio classifier of `transformers`: AST, wav2vec2 and its kin, Whisper, or CLAP with words as classes.

    The mask lies over the front-end's spectrogram; the model hears the waveform that the spectrogram makes, through
    a differentiable counterpart of its feature extractor.

    Args:
        model: Hub id, local folder, the model itself, or its configuration (random weights). CLAP as ``ClapModel``
            or ``ClapAudioModelWithProjection``.
        labels: Names of the classes. By default ``config.id2label``; CLAP needs them.
        frontend: Makes the spectrograms that are masked, at the rate of the feature extractor (by default so).
        feature_extractor: A feature extractor, or what its ``preprocessor_config.json`` holds. By default the one
            beside the model, or else the usual one of its kind.
        representation: Names of layers whose output interpreters read. ``auto``: the last hidden state (none for
            CLAP). None: methods that read representations refuse.
        representation_axes: Order of the axes of that output. By default four axes are ``bcft``, three tokens.
        multi_label: By default what ``config.problem_type`` says.
        duration_s: Length of all clips, which are cut to it, or continued with silence. None: a spectrogram tells
            its length up to one hop, and the model hears that much silence more at the end.
        class_vectors: CLAP: an embedding of each class. Made of the labels by the text model where the model comes
            from a folder or the hub. Shape (classes, dimension).
        prompt: CLAP: sentence in which a label is embedded.

    Raises:
        ConfigurationError: The model is of another kind, or options contradict.
        DownloadError: The model is neither here nor to be had.
        MissingExtraError: transformers is not installed.

    Example:
        >>> import transformers
        >>> config = transformers.Wav2Vec2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        ...     intermediate_size=8, conv_dim=[8] * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        ...     id2label={0: "dog", 1: "rain"})
        >>> classifier = TransformersClassifier(transformers.Wav2Vec2ForSequenceClassification(config))
        >>> spectrogram = classifier.frontend(torch.randn(1, 16000))
        >>> prediction = classifier.predict(spectrogram)
        >>> classifier.labels, prediction.representations[0].shape
        (['dog', 'rain'], torch.Size([1, 8, 1, 43]))
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Mapping[str, Any] | nn.Module,
        labels: Sequence[str] | None = None,
        frontend: Frontend | None = None,
        feature_extractor: Any = None,
        representation: Literal["auto"] | str | Sequence[str] | None = "auto",
        representation_axes: LayerAxes | None = None,
        multi_label: bool | None = None,
        duration_s: float | None = None,
        class_vectors: Any = None,
        prompt: str = "This is a sound of {}.",
    ) -> None:
        opened = _opened(model, labels, class_vectors, prompt)
        made, kind = opened.model, str(opened.model.config.model_type)
        extractor = _extractor_options(feature_extractor or opened.extractor or _usual_extractor(kind, made.config))
        features = make_features(extractor)
        frontend = frontend or frontend_at(features.sample_rate_hz)
        if frontend.sample_rate_hz != features.sample_rate_hz:
            raise ConfigurationError(
                f"frontend: it is at {frontend.sample_rate_hz} Hz, the model hears {features.sample_rate_hz} Hz; "
                "leave it out, or give it that rate"
            )
        if multi_label is None:
            multi_label = getattr(made.config, "problem_type", None) == "multi_label_classification"
        names = _labels_of(made.config) if labels is None else list(labels)
        shortest = _reach(made.config) / features.sample_rate_hz
        super().__init__(names, frontend, True, multi_label, duration_s, shortest)
        self.model: Any = ClapHead(made, opened.vectors, opened.scale) if kind == _CLAP_AUDIO else made
        self.features = features
        layers = _usual_layers(kind, made) if representation == "auto" else representation
        layers = [layers] if isinstance(layers, str) else list(layers or ())
        self._names = tuple(check_layer(self.model, name) for name in layers)
        self._axes = representation_axes
        self._config: dict[str, Any] = {"model": _model_config(made), "feature_extractor": extractor}
        self._config |= {"representation": list(self._names) or None, "representation_axes": representation_axes}
        self._config |= {"multi_label": multi_label, "duration_s": duration_s}
        self.freeze()

    @property
    def representation_names(self) -> tuple[str, ...]:
        """The layers that are read."""
        return self._names

    def row_frequencies(self, index: int, rows: int) -> Tensor | None:
        """See `Classifier.row_frequencies`: known of AST, whose rows of patches overlap on a mel bank."""
        config = self.model.config
        if config.model_type != _AST or rows == 1 or not isinstance(self.features, FilterBank):
            return None
        first = (config.patch_size - config.frequency_stride) // 2
        return divide_rows(self.features.centers_hz[first:], rows, config.frequency_stride)

    @property
    def no_representation(self) -> str:
        """See `ExternalClassifier.no_representation`."""
        return (
            "representation: this method reads what a layer of the model returns; name one when making the "
            "TransformersClassifier, for instance representation='auto' or a name out of model.named_modules()"
        )

    @property
    def config(self) -> dict[str, Any]:
        """See `Classifier.config`."""
        return dict(self._config)

    def run_network(self, inputs: Tensor) -> NetworkOutput:
        """See `ExternalClassifier.run_network`."""
        with record_layers(self.model, self._names) as outputs:
            output = self.model(**{self.features.input_name: self.features(inputs)})
        maps = tuple(self._as_map(outputs[name], name) for name in self._names)
        samples = self.features.span(inputs.shape[-1])
        # None leaves it to the base class, which knows the clip's own length
        span = None if samples == inputs.shape[-1] else samples / self.frontend.hop_length
        return NetworkOutput(take_logits(output), maps, span, tuple(outputs[name] for name in self._names))

    def _as_map(self, output: Tensor, name: str) -> Tensor:
        axes = self._axes or {4: "bcft", 3: "btc"}.get(output.ndim, "bc")
        rows, special = 1, 0
        if self.model.config.model_type == _AST and axes == "btc":
            config = self.model.config
            rows, special = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1, 2
        return as_map(output, axes, name, rows, special)


class ClapHead(nn.Module):
    """CLAP's audio model with an embedding of each class: logits are scaled cosines.

    Args:
        model: ``ClapAudioModelWithProjection``.
        class_vectors: Shape (classes, dimension).
        scale: Factor on the cosines.
    """

    class_vectors: Tensor
    scale: Tensor

    def __init__(self, model: Any, class_vectors: Tensor, scale: float = _CLAP_SCALE) -> None:
        super().__init__()
        self.audio = model
        self.config = model.config
        self.register_buffer("class_vectors", class_vectors)
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, input_features: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of mel spectrograms (batch, views, frames, mel bins)."""
        longer = torch.zeros(len(input_features), 1, dtype=torch.bool, device=input_features.device)
        embedding = self.audio(input_features=input_features, is_longer=longer).audio_embeds
        cosines = F.normalize(embedding, dim=-1) @ F.normalize(self.class_vectors, dim=-1).T
        return cosines * self.scale


@dataclass
class _Opened:
    """A model, the feature extractor beside it, and what makes classes of CLAP's embeddings."""

    model: Any
    extractor: Any
    vectors: Tensor
    scale: float = _CLAP_SCALE


def _opened(model: Any, labels: Sequence[str] | None, class_vectors: Any, prompt: str) -> _Opened:
    transformers = transformers_package()
    vectors = torch.empty(0) if class_vectors is None else torch.as_tensor(class_vectors).detach().float()
    if isinstance(model, Mapping):
        made = _from_config(transformers, model)
        if class_vectors is None:
            vectors = torch.zeros(len(labels or ()), int(getattr(made.config, "projection_dim", 0)))
        opened = _Opened(made, None, vectors)
    elif isinstance(model, nn.Module):
        opened = _Opened(model, None, vectors)
    else:
        opened = _from_pretrained(transformers, model, labels, vectors, prompt)
    if type(opened.model).__name__ == "ClapModel":
        opened.scale = float(opened.model.logit_scale_a.detach().exp())
        opened.model = _audio_half(transformers, opened.model)
    if not hasattr(opened.model, "config"):
        name = type(opened.model).__name__
        raise ConfigurationError(f"model: {name} is no model of transformers; use TorchClassifier")
    if opened.model.config.model_type == _CLAP_AUDIO and (not labels or len(opened.vectors) != len(labels)):
        raise ConfigurationError(
            f"class_vectors: CLAP needs labels and one vector for each, got {len(labels or ())} labels and "
            f"{len(opened.vectors)} vectors; ClapModel.get_text_features makes them"
        )
    return opened


def _from_config(transformers: Any, config: Mapping[str, Any]) -> Any:
    name = str((config.get("architectures") or [""])[0])
    kind = getattr(transformers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise ConfigurationError(f"model: its configuration names {name or 'nothing'} as architectures, no model")
    return kind(kind.config_class.from_dict(dict(config)))  # type: ignore[attr-defined]


def _from_pretrained(
    transformers: Any, source: str | os.PathLike[str], labels: Sequence[str] | None, vectors: Tensor, prompt: str
) -> _Opened:
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        has_extractor = not Path(source).is_dir() or (Path(source) / "preprocessor_config.json").is_file()
        extractor = transformers.AutoFeatureExtractor.from_pretrained(source) if has_extractor else None
        if config.model_type != "clap":
            model = transformers.AutoModelForAudioClassification.from_pretrained(source)
            return _Opened(model, extractor, vectors)
        model = transformers.ClapModel.from_pretrained(source)
        if len(vectors) == 0 and labels:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source)
            tokens = tokenizer([prompt.format(label) for label in labels], padding=True, return_tensors="pt")
            with torch.no_grad():
                found = model.eval().get_text_features(**tokens)
            vectors = found if isinstance(found, Tensor) else found.pooler_output
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"model: {source} cannot be opened ({str(error).splitlines()[0]}); without network, fetch the "
            "repository elsewhere and give its folder"
        ) from error
    return _Opened(model, extractor, vectors)


def _audio_half(transformers: Any, model: Any) -> Any:
    half = transformers.ClapAudioModelWithProjection(model.config.audio_config)
    half.audio_model.load_state_dict(model.audio_model.state_dict())
    half.audio_projection.load_state_dict(model.audio_projection.state_dict())
    return half


def _model_config(model: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=True))
    return {**config, "model_type": model.config.model_type, "architectures": [type(model).__name__]}


def _labels_of(config: Any) -> list[str]:
    return [str(config.id2label[i]) for i in range(len(config.id2label))]


def _extractor_options(extractor: Any) -> dict[str, Any]:
    """A feature extractor as JSON values."""
    if isinstance(extractor, Mapping):
        return dict(extractor)
    numbers = {k: v for k, v in extractor.to_dict().items() if isinstance(v, str | int | float | bool)}
    return {**numbers, "feature_extractor_type": type(extractor).__name__}


def _usual_extractor(kind: str, config: Any) -> dict[str, Any]:
    """The feature extractor that models of a kind are used with."""
    if kind == _AST:
        options = {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}
        return {"feature_extractor_type": "ASTFeatureExtractor", **options}
    if kind == "whisper":
        seconds = config.max_source_positions * 2 * 160 // 16_000
        options = {"feature_size": config.num_mel_bins, "chunk_length": seconds}
        return {"feature_extractor_type": "WhisperFeatureExtractor", **options}
    if kind == _CLAP_AUDIO:
        truncation = "fusion" if config.enable_fusion else "rand_trunc"
        bank = {"feature_size": config.num_mel_bins, "truncation": truncation, "sampling_rate": 48_000}
        return {"feature_extractor_type": "ClapFeatureExtractor", **bank}
    if hasattr(config, "conv_kernel") and hasattr(config, "conv_stride"):
        return {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    raise ConfigurationError(
        f"feature_extractor: none is known for models of kind {kind}; give one, or wrap features and model in one "
        'nn.Module and give it to TorchClassifier with input="waveform"'
    )


def _usual_layers(kind: str, model: Any) -> str | None:
    if kind == _CLAP_AUDIO:
        return None
    return "encoder" if kind == "whisper" else str(model.base_model_prefix)


def _reach(config: Any) -> int:
    """Samples that the convolutions of wav2vec2 and its kin need."""
    reach = 1
    for kernel, stride in reversed(
        list(zip(getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ()), strict=True))
    ):
        reach = (reach - 1) * stride + kernel
    return reach
