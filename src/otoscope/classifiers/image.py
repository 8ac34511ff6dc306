"""Base class of classifiers that take the spectrogram as a picture, with backbones of `transformers`."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers.base import Classifier, Prediction
from otoscope.classifiers.heads import CosineHead
from otoscope.classifiers.network_options import checked_options
from otoscope.errors import ConfigurationError, DownloadError, MissingExtraError, choices
from otoscope.nn.precision import in_float32
from otoscope.nn.products import use_fast_products
from otoscope.signatures import constructor_arguments


def transformers_package() -> Any:
    """Import the package `transformers`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise MissingExtraError(
            "this classifier needs the package transformers: pip install 'otoscope[transformers]'"
        ) from error


def resize_spectrogram(log_magnitude: Tensor, size: tuple[int, int], frames: Tensor | None = None) -> Tensor:
    """Resize spectrograms to pictures, antialiased, as torchvision's ``resize`` does with tensors.

    Args:
        log_magnitude: Log magnitude, shape (batch, frequency, time).
        size: Rows (time) and columns (frequency) of the picture.
        frames: Valid frames of each clip, where clips were padded: each is resized as it would be alone.
            Shape (batch,).

    Returns:
        Shape (batch, rows, columns).

    Example:
        >>> resize_spectrogram(torch.rand(2, 513, 431), (224, 224)).shape
        torch.Size([2, 224, 224])
    """
    # The published networks have time before frequency. With padding, each clip is cut to its valid frames first:
    # it must fill the picture, and the filter of the antialiased resize, which is wider than a pixel, would mix
    # padding into its last rows.
    pictures = log_magnitude.transpose(1, 2)[:, None]
    if frames is not None:
        clips = zip(pictures, frames.tolist(), strict=True)
        return torch.cat([_resized(clip[None, :, :count], size) for clip, count in clips])[:, 0]
    return _resized(pictures, size)[:, 0]


def resize_map(activation_map: Tensor, bins: int, time: int, frames: Tensor | None = None) -> Tensor:
    """Resize activation maps to the resolution of the spectrogram, antialiased.

    Args:
        activation_map: Map, shape (batch, frequency', time').
        bins: Frequency bins of the spectrogram.
        time: Frames of the spectrogram.
        frames: Valid frames of each clip, over which its map is spread; the padding gets 0. Shape (batch,).

    Returns:
        Shape (batch, bins, time).
    """
    if frames is None:
        return _resized(activation_map[:, None], (bins, time))[:, 0]
    # the whole map belongs to the valid frames, because the network took the clip without its padding
    resized = activation_map.new_zeros(len(activation_map), bins, time)
    for clip, source, count in zip(resized, activation_map, frames.tolist(), strict=True):
        clip[:, :count] = _resized(source[None, None], (bins, count))[0, 0]
    return resized


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    # PyTorch cannot antialias the half-precision values of autocast on a CPU
    if pictures.dtype in (torch.bfloat16, torch.float16):
        pictures = pictures.float()
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)


class ImageClassifier(Classifier):
    """Base class: spectrogram as a picture of three equal channels, a backbone, a cosine head.

    Args:
        labels: Names of the classes.
        frontend: Front-end that computes the spectrograms.
        backbone: Options of the backbone's configuration in `transformers` that differ from the base size.
        weights: Pretrained weights of the backbone: a hub id or a local folder. None: random.
        gradient_checkpointing: Whether training recomputes activations, which takes less memory and more time.
        head_width: Dimension of the vectors whose cosine the head takes.
        scale: Factor on the cosines.
        train_scale: Whether to learn the factor.
        input_mean: Value that is subtracted from the log magnitude; 0 as published. Training from random weights
            needs about the mean and deviation of the data, 0.23 and 0.4 on ESC-50.
        input_std: Value that the result is divided by; 1 as published.

    Raises:
        ConfigurationError: The backbone has no such option, or ``input_std`` is not positive.
        DownloadError: The weights are not there and cannot be downloaded.
        MissingExtraError: transformers is not installed.
    """

    stretched = True
    takes_bfloat16 = True
    unsaved_arguments = ("weights", "gradient_checkpointing")

    def __init__(
        self,
        labels: Sequence[str],
        frontend: Frontend | None = None,
        backbone: Mapping[str, Any] | None = None,
        weights: str | None = None,
        gradient_checkpointing: bool = False,
        head_width: int = 192,
        scale: float = 30.0,
        train_scale: bool = False,
        input_mean: float = 0.0,
        input_std: float = 1.0,
    ) -> None:
        super().__init__(labels, frontend)
        if input_std <= 0:
            raise ConfigurationError(f"input_std: {input_std} must be positive")
        self.input_mean, self.input_std = input_mean, input_std
        self.backbone: Any = self._backbone(dict(backbone or {}), weights)
        if gradient_checkpointing:
            self.backbone.gradient_checkpointing_enable()
        self.head_width, self.scale, self.train_scale = head_width, scale, train_scale
        self.head = CosineHead(self.embedding_size, len(self.labels), head_width, scale, train_scale)

    @classmethod
    @override
    def from_folder(cls, config: Mapping[str, Any], folder: Path, **given: Any) -> Self:
        options = checked_options(config["init"].get("backbone") or {}, cls.backbone_config(), "init.backbone")
        return super().from_folder({**config, "init": {**config["init"], "backbone": options}}, folder, **given)

    @classmethod
    @abstractmethod
    def backbone_config(cls) -> Any:
        """Return the class of `transformers` that the options of the backbone belong to."""

    @abstractmethod
    def _backbone(self, options: dict[str, Any], weights: str | None) -> Any:
        """Build the backbone."""

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """Dimension of the embedding."""

    @property
    @override
    def cosine_logits(self) -> bool:
        return self.scale == 1 and not self.train_scale

    @property
    def representation_channels(self) -> tuple[int, ...]:
        """One representation."""
        return (self.embedding_size,)

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows (time) and columns (frequency) of the picture that the backbone takes."""
        size = self.backbone.config.image_size
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this classifier again (JSON values); the backbone by its options, without weights."""
        skip = ("labels", "frontend", "backbone", "weights", "gradient_checkpointing")
        options = self.backbone.config.to_diff_dict()
        backbone = {name: value for name, value in options.items() if name not in _NOT_OPTIONS}
        return {"backbone": backbone, **constructor_arguments(self, skip)}

    def picture(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Tensor:
        """Return the input of the backbone, shape (batch, 3, rows, columns)."""
        resized = resize_spectrogram(log_magnitude, self.image_size, frames)
        resized = (resized - self.input_mean) / self.input_std
        # the backbones are made for pictures in colour; the three channels are views of the same memory
        return resized[:, None].expand(-1, 3, -1, -1)

    @override
    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        embedding, representation, maps, source = self.see(self.picture(log_magnitude, frames))
        representations, sources = (representation.transpose(-1, -2),), (source,)
        return Prediction(
            in_float32(self.head, embedding), representations, None, maps, stretched=True, sources=sources
        )

    @override
    def logits(self, spectrogram: Spectrogram) -> Tensor:
        # without the representation and the activation maps, which cost time and memory
        with self.autocast(spectrogram.log_magnitude):
            picture = self.picture(spectrogram.log_magnitude, spectrogram.frames)
            return in_float32(self.head, self.embed(picture))

    @abstractmethod
    def embed(self, picture: Tensor) -> Tensor:
        """Run the backbone for the embedding alone, (batch, 3, rows, columns) to (batch, channels)."""

    @abstractmethod
    def see(self, picture: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
        """Run the backbone.

        Args:
            picture: Input of the backbone, shape (batch, 3, rows, columns).

        Returns:
            Embedding (batch, channels); representation (batch, channels, time', frequency'); activation maps by
            name, the one that the method was published with last, (batch, frequency', time') each; the tensor that
            the representation was made of, see `Prediction.sources`.
        """


_NOT_OPTIONS = ("model_type", "transformers_version", "architectures", "torch_dtype", "dtype", "_name_or_path")


def make_backbone(kind: str, options: Mapping[str, Any], weights: str | None, **arguments: Any) -> Any:
    """Build a backbone of `transformers`, random or with weights.

    Args:
        kind: Name of its class.
        options: Options of its configuration.
        weights: Hub id or local folder; None for random weights.
        **arguments: Further arguments of the class.

    Raises:
        ConfigurationError: There is no such option.
        DownloadError: The weights are not there and cannot be downloaded.
    """
    transformers = transformers_package()
    model = getattr(transformers, kind)
    defaults = model.config_class().to_dict()
    if unknown := sorted(set(options) - set(defaults) - {"out_features", "out_indices"}):
        raise ConfigurationError(f"backbone: {kind} has no option {unknown[0]!r}; {choices(unknown[0], defaults)}")
    if weights is None:
        return _fast(model(model.config_class(**options), **arguments))
    try:
        return _fast(model.from_pretrained(weights, trust_remote_code=False, **options, **arguments))
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"weights: {weights} cannot be opened ({str(error).splitlines()[0]}); without a network connection, "
            "download the repository elsewhere and give its folder, or set weights to null for random ones"
        ) from error


def _fast(backbone: Any) -> Any:
    use_fast_products(backbone)
    return backbone
