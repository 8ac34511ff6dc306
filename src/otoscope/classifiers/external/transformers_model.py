"""Audio classifiers of the package `transformers`, with their feature extractors rewritten in torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn
from typing_extensions import override

from otoscope.audio import Frontend
from otoscope.audio.frontend import require_frontend
from otoscope.classifiers.external.base import ExternalClassifier, NetworkOutput, frontend_at
from otoscope.classifiers.external.clap import CLAP_AUDIO, ClapHead, text_vectors
from otoscope.classifiers.external.features import FilterBank, make_features
from otoscope.classifiers.external.layers import LayerAxes, as_map, check_layer, record_layers
from otoscope.classifiers.external.torch_module import take_logits
from otoscope.classifiers.external.transformers_networks import (
    checked_network,
    dtype_of,
    network_config,
    open_network,
)
from otoscope.classifiers.image import transformers_package
from otoscope.classifiers.network_options import check_extractor
from otoscope.classifiers.rows import divide_rows
from otoscope.errors import ConfigurationError

__all__ = ["ClapHead", "TransformersClassifier", "text_vectors"]

_AST = "audio-spectrogram-transformer"


class TransformersClassifier(ExternalClassifier):
    """Adapter around an audio classifier of `transformers`: AST, wav2vec2 and related models, Whisper, or CLAP.

    Masks multiply the spectrogram of the front-end. The spectrogram is inverted to a waveform, which goes to the
    model through a differentiable counterpart of its feature extractor. CLAP classifies by the words in ``labels``.

    Args:
        model: Hub id, local folder, model object, or its configuration (random weights). CLAP as ``ClapModel`` or
            ``ClapAudioModelWithProjection``.
        labels: Names of the classes (default: ``config.id2label``; required for CLAP).
        frontend: Front-end that computes the spectrograms (default: the usual one at the sample rate of the feature
            extractor).
        feature_extractor: Feature extractor, or the contents of its ``preprocessor_config.json`` (default: the one
            beside the model, or else the usual one for such models).
        representation: Names of the layers whose outputs interpreters read. ``auto``: the last hidden state (none
            for CLAP). None: methods that read representations raise an error.
        representation_axes: Order of the axes of these outputs (default: ``bcft`` for four axes, tokens for three).
        multi_label: Whether each class is decided independently (default: as in ``config.problem_type``).
        duration_s: Length of all inputs; clips are cut, or padded with silence. None: the length of the clip, which
            its spectrogram determines only up to one hop, so that the input may end with that much more silence.
        class_vectors: Embedding of each class, for CLAP, shape (classes, dimension) (default: the text model's
            embeddings of the labels, for models from a folder or the hub).
        prompt: Sentence that the text model of CLAP embeds, with ``{}`` in the place of the label.

    Raises:
        ConfigurationError: The model is of another kind, or options contradict each other.
        DownloadError: The model is not there and cannot be fetched.
        MissingExtraError: transformers is not installed.

    Example:
        >>> import torch, transformers
        >>> config = transformers.Wav2Vec2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        ...     intermediate_size=8, conv_dim=[8] * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        ...     id2label={0: "dog", 1: "rain"})
        >>> classifier = TransformersClassifier(transformers.Wav2Vec2ForSequenceClassification(config))
        >>> spectrogram = classifier.frontend(torch.randn(1, 16000))
        >>> prediction = classifier.predict(spectrogram)
        >>> classifier.labels, prediction.representations[0].shape
        (['dog', 'rain'], torch.Size([1, 8, 1, 43]))
    """

    unsaved_arguments = ("labels", "class_vectors", "prompt")
    takes_bfloat16 = True
    saved_types: ClassVar[Mapping[str, Any]] = {
        "model": dict[str, Any],
        "feature_extractor": dict[str, Any],
        "representation": list[str] | None,
    }

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
        opened = open_network(model, labels, class_vectors, prompt)
        network, kind = opened.model, str(opened.model.config.model_type)
        extractor = feature_extractor or opened.extractor or _usual_extractor(kind, network.config)
        extractor = _extractor_options(extractor)
        features = make_features(extractor)
        frontend = require_frontend(frontend) or frontend_at(features.sample_rate_hz)
        if frontend.sample_rate_hz != features.sample_rate_hz:
            raise ConfigurationError(
                f"frontend: it is at {frontend.sample_rate_hz} Hz, the model expects {features.sample_rate_hz} Hz; "
                "leave it out, or give it that rate"
            )
        if multi_label is None:
            multi_label = getattr(network.config, "problem_type", None) == "multi_label_classification"
        names = _labels_of(network.config) if labels is None else list(labels)
        shortest = _receptive_field(network.config) / features.sample_rate_hz
        super().__init__(names, frontend, True, multi_label, duration_s, shortest)
        self.model: Any = ClapHead(network, opened.vectors, opened.scale) if kind == CLAP_AUDIO else network
        self.features = features
        self._dtype = dtype_of(network)
        layers = _usual_layers(kind, network) if representation == "auto" else representation
        layers = [layers] if isinstance(layers, str) else list(layers or ())
        self._names = tuple(check_layer(self.model, name) for name in layers)
        self._axes = representation_axes
        self._config: dict[str, Any] = {"model": network_config(network), "feature_extractor": extractor}
        self._config |= {"representation": list(self._names) or None, "representation_axes": representation_axes}
        self._config |= {"multi_label": multi_label, "duration_s": duration_s}
        self.follow(self.model)
        self.freeze()

    @classmethod
    @override
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        init = dict(config["init"])
        if "model" not in given:
            init["model"] = checked_network(transformers_package(), init.get("model"))
        if "feature_extractor" not in given:
            check_extractor(init.get("feature_extractor"), "init.feature_extractor")
        return super().from_folder({**config, "init": init}, folder, **given)

    @property
    def representation_names(self) -> tuple[str, ...]:
        """Names of the layers whose outputs are the representations."""
        return self._names

    def row_frequencies(self, index: int, rows: int) -> Tensor | None:
        """Return the frequencies of the rows of AST's patches, which overlap on a mel bank; None for other models.

        Args:
            index: Index of the representation.
            rows: Number of its rows, frequency'.
        """
        config = self.model.config
        if config.model_type != _AST or rows == 1 or not isinstance(self.features, FilterBank):
            return None
        # Patch k covers the mel bins from k * stride to k * stride + patch_size. Rows of `stride` bins have the
        # same middles if the bank begins (patch_size - stride) / 2 bins later.
        first = (config.patch_size - config.frequency_stride) // 2
        return divide_rows(self.features.centers_hz[first:], rows, config.frequency_stride)

    @property
    @override
    def no_representation(self) -> str:
        return (
            "representation: this method reads the output of a layer of the model; name one when creating the "
            "TransformersClassifier, such as representation='auto' or a name from model.named_modules()"
        )

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this classifier again, except labels and front-end (JSON values)."""
        return dict(self._config)

    @override
    def heard_samples(self, samples: int) -> int:
        return self.features.heard_samples(super().heard_samples(samples))

    @override
    def run_network(self, inputs: Tensor) -> NetworkOutput:
        features = self.features(inputs).to(self._dtype)
        with self.autocast(features), record_layers(self.model, self._names) as outputs:
            output = self.model(**{self.features.input_name: features})
        # masks and scores are computed in float32, whatever the precision of the model
        maps = tuple(self._as_map(outputs[name], name).float() for name in self._names)
        samples = self.features.span(inputs.shape[-1])
        # None: the base class computes it from the number of frames of the clip
        span = None if samples == inputs.shape[-1] else samples / self.frontend.hop_length
        return NetworkOutput(take_logits(output).float(), maps, span, tuple(outputs[name] for name in self._names))

    def _as_map(self, output: Tensor, name: str) -> Tensor:
        axes = self._axes or {4: "bcft", 3: "btc"}.get(output.ndim, "bc")
        rows, special = 1, 0
        if self.model.config.model_type == _AST and axes == "btc":
            config = self.model.config
            # overlapping patches; the class token and the distillation token come first
            rows, special = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1, 2
        return as_map(output, axes, name, rows, special)


def _labels_of(config: Any) -> list[str]:
    return [str(config.id2label[i]) for i in range(len(config.id2label))]


def _extractor_options(extractor: Any) -> dict[str, Any]:
    """Return the options of a feature extractor as JSON values."""
    if isinstance(extractor, Mapping):
        return dict(extractor)
    numbers = {k: v for k, v in extractor.to_dict().items() if isinstance(v, str | int | float | bool)}
    return {**numbers, "feature_extractor_type": type(extractor).__name__}


def _usual_extractor(kind: str, config: Any) -> dict[str, Any]:
    """Return the options of the feature extractor that models of a kind are used with."""
    if kind == _AST:
        options = {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}
        return {"feature_extractor_type": "ASTFeatureExtractor", **options}
    if kind == "whisper":
        seconds = config.max_source_positions * 2 * 160 // 16_000
        options = {"feature_size": config.num_mel_bins, "chunk_length": seconds}
        return {"feature_extractor_type": "WhisperFeatureExtractor", **options}
    if kind == CLAP_AUDIO:
        truncation = "fusion" if config.enable_fusion else "rand_trunc"
        bank = {"feature_size": config.num_mel_bins, "truncation": truncation, "sampling_rate": 48_000}
        return {"feature_extractor_type": "ClapFeatureExtractor", **bank}
    if hasattr(config, "conv_kernel") and hasattr(config, "conv_stride"):
        return {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    raise ConfigurationError(
        f"feature_extractor: none is known for models of kind {kind}; give one, or wrap features and model in one "
        'nn.Module and pass it to TorchClassifier with input="waveform"'
    )


def _usual_layers(kind: str, model: Any) -> str | None:
    """Return the name of the layer that outputs the last hidden state."""
    if kind == CLAP_AUDIO:
        return None
    return "encoder" if kind == "whisper" else str(model.base_model_prefix)


def _receptive_field(config: Any) -> int:
    """Return the number of samples that the convolutions of wav2vec2 and related models need for one output."""
    layers = zip(getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ()), strict=True)
    samples = 1
    # n outputs of a layer need (n - 1) * stride + kernel inputs; from the last layer back to the waveform
    for kernel, stride in reversed(list(layers)):
        samples = (samples - 1) * stride + kernel
    return samples
