"""Common ground of the classifiers that see the spectrogram as a picture: backbones of `transformers`."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.audio import Frontend
from otoscope.classifiers.base import Classifier, Prediction
from otoscope.classifiers.heads import CosineHead
from otoscope.errors import ConfigurationError, DownloadError, MissingExtraError


def transformers_package() -> Any:
    """The package `transformers`.

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
    """Resizes spectrograms to pictures, antialiased, as torchvision's ``resize`` does with tensors.

    Args:
        log_magnitude: Shape (batch, frequency, time).
        size: Rows (time) and columns (frequency) of the picture.
        frames: Frames that belong to each clip, where clips were padded: each is resized as it would be alone.
            Shape (batch,).

    Returns:
        Shape (batch, rows, columns).

    Example:
        >>> resize_spectrogram(torch.rand(2, 513, 431), (224, 224)).shape
        torch.Size([2, 224, 224])
    """
    pictures = log_magnitude.transpose(1, 2)[:, None]  # published with time before frequency
    if frames is not None:
        counts = frames.tolist()
        return torch.cat([_resized(one[None, :, :n], size) for one, n in zip(pictures, counts, strict=True)])[:, 0]
    return _resized(pictures, size)[:, 0]


def resize_map(activation_map: Tensor, bins: int, frames: int, valid: Tensor | None = None) -> Tensor:
    """Resizes activation maps to the resolution of the spectrogram, antialiased.

    Args:
        activation_map: Shape (batch, frequency', time').
        bins: Frequency bins of the spectrogram.
        frames: Frames of the spectrogram.
        valid: Frames that belong to each clip, over which its map is spread; what lies behind is 0. Shape (batch,).

    Returns:
        Shape (batch, bins, frames).
    """
    if valid is None:
        return _resized(activation_map[:, None], (bins, frames))[:, 0]
    resized = activation_map.new_zeros(len(activation_map), bins, frames)
    for one, own, count in zip(resized, activation_map, valid.tolist(), strict=True):
        one[:, :count] = _resized(own[None, None], (bins, count))[0, 0]
    return resized


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    if pictures.dtype in (torch.bfloat16, torch.float16):  # autocast's, which PyTorch cannot antialias on a CPU
        pictures = pictures.float()
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)


class ImageClassifier(Classifier):
    """Spectrogram as a picture of three equal channels, a backbone, cosine head.

    Args:
        labels: Names of the classes.
        frontend: Makes the spectrograms.
        backbone: Options of the backbone's configuration in `transformers` that differ from the base size.
        weights: Pretrained weights of the backbone: a hub id or a local folder. None: random.
        gradient_checkpointing: Trade time for memory while training.
        head_width: Dimension in which the head takes cosines.
        scale: Factor on the cosines.
        train_scale: Learn that factor.
        input_mean: Subtracted from the log magnitude before it becomes a picture; 0 as published. Training from
            random weights needs about the data's own, 0.23 and 0.4 on ESC-50.
        input_std: Divides it then; 1 as published.

    Raises:
        ConfigurationError: The backbone has no such option, or ``input_std`` is not positive.
        DownloadError: The weights are neither here nor to be had.
        MissingExtraError: transformers is not installed.
    """

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
        kept = self.backbone.config.to_diff_dict()
        self._config: dict[str, Any] = {"backbone": {k: v for k, v in kept.items() if k not in _NOT_OPTIONS}}
        self._config |= {"head_width": head_width, "scale": scale, "train_scale": train_scale}
        self._config |= {"input_mean": input_mean, "input_std": input_std}
        self.head = CosineHead(self.embedding_size, len(self.labels), head_width, scale, train_scale)

    stretched = True

    @abstractmethod
    def _backbone(self, options: dict[str, Any], weights: str | None) -> Any:
        """Makes the backbone."""

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """Dimension of the embedding."""

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
        """See `Classifier.config`."""
        return dict(self._config)

    def picture(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Tensor:
        """What the backbone sees. Shape (batch, 3, rows, columns)."""
        resized = resize_spectrogram(log_magnitude, self.image_size, frames)
        resized = (resized - self.input_mean) / self.input_std
        return resized[:, None].expand(-1, 3, -1, -1)

    def forward(self, log_magnitude: Tensor, frames: Tensor | None = None) -> Prediction:
        """See `Classifier.forward`."""
        embedding, representation, maps, source = self.see(self.picture(log_magnitude, frames))
        representations, sources = (representation.transpose(-1, -2),), (source,)
        return Prediction(self.head(embedding), representations, None, maps, stretched=True, sources=sources)

    def logits(self, log_magnitude: Tensor, frames: Tensor | None = None, phase: Tensor | None = None) -> Tensor:
        """See `Classifier.logits`. Makes neither representation nor activation maps."""
        logits: Tensor = self.head(self.embed(self.picture(log_magnitude, frames)))
        return logits

    @abstractmethod
    def embed(self, picture: Tensor) -> Tensor:
        """Runs the backbone for the embedding alone, (batch, 3, rows, columns) to (batch, channels)."""

    @abstractmethod
    def see(self, picture: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
        """Runs the backbone.

        Args:
            picture: Shape (batch, 3, rows, columns).

        Returns:
            Embedding (batch, channels); representation (batch, channels, time', frequency'); activation maps by
            name, the one that the method was published with last, (batch, frequency', time') each; what the
            representation was made of, see `Prediction.sources`.
        """


_NOT_OPTIONS = ("model_type", "transformers_version", "architectures", "torch_dtype", "dtype", "_name_or_path")


def make_backbone(kind: str, options: Mapping[str, Any], weights: str | None, **arguments: Any) -> Any:
    """Makes a backbone of `transformers`, random or with weights.

    Args:
        kind: Name of its class.
        options: Of its configuration.
        weights: Hub id or local folder; None for random weights.
        **arguments: Of the class.

    Raises:
        ConfigurationError: There is no such option.
        DownloadError: The weights are neither here nor to be had.
    """
    transformers = transformers_package()
    model = getattr(transformers, kind)
    known = model.config_class().to_dict()
    if unknown := sorted(set(options) - set(known) - {"out_features", "out_indices"}):
        raise ConfigurationError(f"backbone: {kind} has no option {', '.join(unknown)}")
    if weights is None:
        return model(model.config_class(**options), **arguments)
    try:
        return model.from_pretrained(weights, **options, **arguments)
    except (OSError, ValueError) as error:
        raise DownloadError(
            f"weights: {weights} cannot be opened ({str(error).splitlines()[0]}); without network, fetch the "
            "repository elsewhere and give its folder, or leave weights null for random ones"
        ) from error
