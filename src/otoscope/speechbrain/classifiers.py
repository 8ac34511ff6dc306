"""Conversion of SpeechBrain's classifiers to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from otoscope.audio import Frontend
from otoscope.classifiers import (
    Classifier,
    Cnn14Classifier,
    Conv2dClassifier,
    FocalNetClassifier,
    ViTClassifier,
)
from otoscope.classifiers.image import ImageClassifier, transformers_package
from otoscope.classifiers.network_options import checked_options
from otoscope.errors import CheckpointError, ConfigurationError, DownloadError, MismatchError
from otoscope.speechbrain import names
from otoscope.speechbrain.faults import one_error
from otoscope.speechbrain.hyperparameters import Call, Hyperparameters
from otoscope.speechbrain.labels import assumed_labels, read_labels
from otoscope.speechbrain.networks import focalnet_options, recognise, vit_options
from otoscope.speechbrain.source import Source
from otoscope.speechbrain.weights import Part, load_parts, memory_limit, read_weights
from otoscope.store.schema import RANGES, shown

_BACKBONES = {
    "transformers.FocalNetBackbone.from_pretrained": "FocalNetBackbone",
    "transformers.ViTModel.from_pretrained": "ViTModel",
}
_IMAGE_CLASSES: dict[str, tuple[type[ImageClassifier], str, Callable[[Mapping[str, Tensor]], dict[str, Any]]]] = {
    "FocalNetBackbone": (FocalNetClassifier, "FocalNetConfig", focalnet_options),
    "ViTModel": (ViTClassifier, "ViTConfig", vit_options),
}
"""For each backbone: our class, its configuration in transformers, and how to read options off its weights."""
_WIDTHS = {"Conv2dEncoder_v2": "conv1.weight", "Cnn14": "conv_block1.conv1.weight"}
"""Parameter whose first dimension is the width of the network, by network."""
_SUPPORTED = ("Conv2dEncoder_v2", "Cnn14", *_IMAGE_CLASSES)
_BASE = ("microsoft/focalnet-base", "google/vit-base-patch16-224")
"""Backbones with the sizes that our classes have by default."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w")
_MOST_RATE_HZ = 1_000_000

_DEFAULT_STFT: Mapping[str, Any] = {"win_length": 25, "hop_length": 10, "n_fft": 400}
"""Defaults of SpeechBrain's STFT, for options that a file does not state."""
_PUBLISHED_STFT = {"sample_rate": 16_000, "n_fft": 1024, "win_length": 23.2199, "hop_length": 11.6099}
"""Options of SpeechBrain's recipes, for files without an STFT."""


@one_error
def read_classifier(source: Source) -> Classifier:
    """Build the classifier of a SpeechBrain source, frozen.

    Args:
        source: Source with the networks ``embedding_model`` and ``classifier``.

    Raises:
        CheckpointError: A file is missing or does not fit, or the network is not supported.
    """
    content = source.hyperparameters
    call = content.call("embedding_model")
    if call is None and source.described:
        raise CheckpointError(f"{content.path}: has no embedding_model, so there is no classifier to open")
    frontend = read_frontend(content)
    network = _recognised(_encoder_file(source)) if call is None else _stated(content, call)
    if network == "Conv2dEncoder_v2":
        return _conv2d(source, frontend)
    if network == "Cnn14":
        return _cnn14(source, call or Call("new", network), frontend)
    return _image(source, network, call, frontend)


@one_error
def load_encoder(classifier: Classifier, source: Source) -> None:
    """Load the weights of a published ``embedding_model`` into a classifier, and leave its head as it is.

    Args:
        classifier: Conv2d, CNN14, FocalNet or ViT, of the same sizes.
        source: Source with the network ``embedding_model``.

    Raises:
        CheckpointError: The file is missing or damaged.
        MismatchError: It holds another network, or one of other sizes.
    """
    path = _encoder_file(source)
    network = _recognised(path)
    kinds: dict[str, tuple[type[Classifier], Mapping[str, str]]] = {
        "Conv2dEncoder_v2": (Conv2dClassifier, names.CONV2D_ENCODER),
        "Cnn14": (Cnn14Classifier, names.CNN14_ENCODER),
        **{name: (kind, names.BACKBONE) for name, (kind, *_) in _IMAGE_CLASSES.items()},
    }
    kind, table = kinds[network]
    if not isinstance(classifier, kind):
        raise MismatchError(path, f"it holds {network}, which is no part of {type(classifier).__name__}")
    encoder = _backbone_part(path, classifier) if isinstance(classifier, ImageClassifier) else Part(path, table)
    # Most parameters of a network of another width have other shapes; one number says why.
    if network in _WIDTHS and classifier.width != (width := encoder.shape(_WIDTHS[network])[0]):
        raise MismatchError(path, f"width {classifier.width}, published {width}")
    load_parts(
        classifier, [encoder], unstored=[name for name in classifier.state_dict() if name.startswith("head.")]
    )


def _encoder_file(source: Source) -> Path:
    return source.file("embedding_model", "embedding_modelft.ckpt")


def _recognised(path: Path) -> str:
    """Return the network of an embedding model whose parameters a file holds."""
    weights = read_weights(path)
    network = recognise(weights)
    if network not in _SUPPORTED:
        raise CheckpointError(
            f"{path}: holds {network or 'an unknown network'} ({', '.join(list(weights)[:3])} ...), but a "
            f"classifier needs one of {', '.join(_SUPPORTED)}"
        )
    return network


def _stated(content: Hyperparameters, call: Call) -> str:
    """Return the network that a hyperparameter file states."""
    network = _BACKBONES.get(call.target, call.name)
    if network not in _SUPPORTED or (network in _IMAGE_CLASSES and call.target not in _BACKBONES):
        raise CheckpointError(
            f"{content.path}: its embedding_model is {call.target}, which is not supported; supported are "
            "Conv2dEncoder_v2, Cnn14, FocalNetBackbone and ViTModel"
        )
    return network


def _labels(source: Source, classes: int) -> list[str]:
    """Return the labels of the label encoder, and where there is none, those that must be assumed."""
    path = source.find("label_encoder", "label_encoder.txt")
    if path is not None:
        return read_labels(path)
    if source.names_file("label_encoder"):
        return read_labels(source.file("label_encoder", "label_encoder.txt"))  # raises the error about it
    labels = assumed_labels(classes)
    which = "those of ESC-50 in the order of SpeechBrain's recipes" if labels[0] != "class 0" else "numbered"
    source.remarks.append(f"labels: {which}, because there is no label_encoder.txt")
    return labels


def read_frontend(content: Hyperparameters) -> Frontend:
    """Build the front-end that a hyperparameter file describes.

    Args:
        content: Hyperparameter file.

    Raises:
        CheckpointError: It has options that `Frontend` does not have.
    """
    stft = content.call("compute_stft")
    if stft is None:
        stated = {name: content.get(name, value) for name, value in _PUBLISHED_STFT.items()}
    else:
        stated = {**_DEFAULT_STFT, **stft.arguments}
    _require(content, stated, {"center": True, "normalized_stft": False, "onesided": True, "pad_mode": "constant"})
    window = stated.get("window_fn")
    if isinstance(window, Call) and window.name != "hamming_window":
        raise CheckpointError(f"{content.path}: window_fn {window.target} is not supported, hamming_window is")
    if (power := content.get("spec_mag_power", 0.5)) != 0.5:
        raise CheckpointError(f"{content.path}: spec_mag_power {power} is not supported, 0.5 is")
    try:
        lengths = (float(stated["win_length"]), float(stated["hop_length"]))
        sample_rate_hz, n_fft = int(stated["sample_rate"]), int(stated["n_fft"])
        if not (0 < sample_rate_hz <= _MOST_RATE_HZ and 0 < n_fft <= RANGES["n_fft"][1]):
            raise ValueError(f"sample_rate {sample_rate_hz}, n_fft {n_fft}"[:100])
        return Frontend(sample_rate_hz, n_fft, *lengths)
    except (KeyError, TypeError, ValueError, OverflowError, ConfigurationError) as error:
        raise CheckpointError(f"{content.path}: compute_stft does not describe a front-end ({error})") from error


def _conv2d(source: Source, frontend: Frontend) -> Classifier:
    content = source.hyperparameters
    if content.get("use_melspectra", False) or content.get("use_melspectra_log1p", False):
        raise CheckpointError(f"{content.path}: a Conv2d classifier on mel spectra is not supported")
    encoder = Part(_encoder_file(source), names.CONV2D_ENCODER)
    head, labels = _cosine_head(source)
    width, neurons = encoder.shape(_WIDTHS["Conv2dEncoder_v2"])[0], head.shape("weight")[1]
    with memory_limit([encoder, head], source.name):
        classifier = Conv2dClassifier(labels, frontend, width=width, head_width=neurons, scale=1)
    # SpeechBrain's head has no scale on the cosines: ours keeps the 1 that it was built with
    load_parts(classifier, [encoder, head], unstored=["head.log_scale"])
    return classifier.freeze()


def _cnn14(source: Source, call: Call, frontend: Frontend) -> Classifier:
    content = source.hyperparameters
    _require(content, call.arguments, {"norm_type": "bn"})
    encoder = Part(_encoder_file(source), names.CNN14_ENCODER)
    mel_bins = _mel_bins(content, call, frontend) if source.described else encoder.shape("norm0.weight")[0]
    head = Part(source.file("classifier"), names.LINEAR_HEAD)
    labels = _checked_labels(source, head, "Linear")
    width = encoder.shape(_WIDTHS["Cnn14"])[0]
    with memory_limit([encoder, head], source.name):
        classifier = Cnn14Classifier(labels, frontend, width=width, mel_bins=mel_bins)
    load_parts(classifier, [encoder, head])
    return classifier.freeze()


def _mel_bins(content: Hyperparameters, call: Call, frontend: Frontend) -> int:
    """Return the number of mel bins after checking that the input is the one that our classifier computes."""
    if not content.get("use_melspectra_log1p", content.get("use_log1p_mel", True)):
        raise CheckpointError(f"{content.path}: CNN14 on mel spectra without log1p is not supported")
    bank = content.call("compute_fbank")
    stated: dict[str, Any] = {"log_mel": True, "f_max": 8000, **bank.arguments} if bank else {}
    highest_hz = frontend.sample_rate_hz / 2
    _require(content, stated, {"log_mel": False, "filter_shape": "triangular", "f_min": 0, "f_max": highest_hz})
    bins = int(call.arguments.get("mel_bins") or stated.get("n_mels") or 80)
    if not 0 < bins <= RANGES["mel_bins"][1]:
        raise CheckpointError(f"{content.path}: {shown(bins)} mel bins are not possible")
    return bins


def _image(source: Source, network: str, call: Call | None, frontend: Frontend) -> Classifier:
    kind, config, options_of = _IMAGE_CLASSES[network]
    path = _encoder_file(source)
    options = options_of(read_weights(path)) if call is None else _backbone_options(source, call, config)
    options = checked_options(options, getattr(transformers_package(), config), f"{source.name}: backbone")
    head, labels = _cosine_head(source)
    neurons = head.shape("weight")[1]
    with memory_limit([Part(path, names.BACKBONE), head], source.name):
        classifier = kind(labels, frontend, backbone=options, head_width=neurons, scale=1)
    load_parts(classifier, [_backbone_part(path, classifier), head], unstored=["head.log_scale"])
    return classifier.freeze()


def _backbone_part(path: Path, classifier: ImageClassifier) -> Part:
    """Return the parameters of a backbone, in the spelling of the installed version of transformers."""
    part = Part(path, names.BACKBONE, unused=("pooler", "embeddings.mask_token"))
    spelling = names.backbone_spelling(part.weights, classifier.backbone.state_dict())
    part.weights = {spelling[name]: value for name, value in part.weights.items()}
    return part


def _backbone_options(source: Source, call: Call, config: str) -> dict[str, Any]:
    """Return the options of the backbone, from the configuration of the model that the training started from."""
    origin = str(source.hyperparameters.follow(call.positional[0])) if call.positional else ""
    if origin in _BASE:
        return {}
    # Only the numbers of a configuration are read; a file on this machine is none of the source's business.
    if not _REPOSITORY.fullmatch(origin):
        raise CheckpointError(f"{source.name}: its backbone, {shown(origin)}, is no owner/name on the hub")
    try:
        configuration = getattr(transformers_package(), config).from_pretrained(origin, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"{source.name}: the configuration of its backbone, {origin or 'which is not named'}, cannot be opened "
            f"({str(error).splitlines()[0]}); without a network connection, put it into a local folder of that name"
        ) from error
    dropped = ("model_type", "transformers_version", "architectures", "torch_dtype", "dtype", "_name_or_path")
    return {key: value for key, value in configuration.to_diff_dict().items() if key not in dropped}


def _cosine_head(source: Source) -> tuple[Part, list[str]]:
    """Return the parameters of a cosine head and the labels of its classes."""
    content = source.hyperparameters
    call = content.call("classifier")
    if call is not None:
        if call.name != "Classifier":
            raise CheckpointError(f"{content.path}: this network with the head {call.target} is not supported")
        _require(content, {"lin_blocks": 1, **call.arguments}, {"lin_blocks": 1})
    head = Part(source.file("classifier"), names.COSINE_HEAD)
    return head, _checked_labels(source, head, "Classifier")


def _checked_labels(source: Source, head: Part, kind: str) -> list[str]:
    """Return the labels after checking that the head is of a kind, and has as many classes."""
    content = source.hyperparameters
    call = content.call("classifier")
    if call is not None and call.name != kind:
        raise CheckpointError(f"{content.path}: this network with the head {call.target} is not supported")
    classes = head.shape("weight")[0]
    labels = _labels(source, classes)
    if classes != len(labels):
        raise CheckpointError(
            f"{head.path}: weight has {classes} classes, the label encoder {len(labels)}; they belong to "
            "different models"
        )
    return labels


def _require(content: Hyperparameters, stated: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise an error if an option of SpeechBrain's differs from the only value that our classes support."""
    for name, value in expected.items():
        if name in stated and stated[name] != value:
            raise CheckpointError(f"{content.path}: {name} {shown(stated[name])} is not supported, {value} is")
