"""The classifiers that take the spectrogram as a picture: backbones of `transformers`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
import transformers
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from otoscope.classifiers import Classifier

from .classifiers import ReferenceClassifier
from .modules import speechbrain_modules
from .names import HEAD_NAMES, renamed

_FOCALNET_WIDTH = 128
_VIT_WIDTH = 768


def backbone_options(name: Literal["focalnet", "vit"], width: int) -> dict[str, Any]:
    """Return the options of a backbone of the base depth with another width, for both sides.

    Args:
        name: Backbone.
        width: Number of channels of FocalNet's embedding, published 128, or dimension of ViT's tokens, published
            768, divisible by its 12 heads.
    """
    if name == "vit":
        return {"hidden_size": width, "intermediate_size": 4 * width}
    return {
        "embed_dim": width,
        "depths": [2, 2, 18, 2],
        "hidden_sizes": [2 * width, 4 * width, 8 * width, 8 * width],
    }


def resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize tensors (..., rows, columns) as torchvision's ``resize`` does."""
    whole = pictures.flatten(0, -3)[:, None]
    result = F.interpolate(whole, size, mode="bilinear", align_corners=False, antialias=True)
    return result.reshape(*pictures.shape[:-2], *size)


class ReferencePicture(ReferenceClassifier):
    """Backbone with the cosine head.

    The log magnitude, time by frequency, becomes a square picture of three equal channels, not normalised.

    Args:
        encoder: Backbone.
        width: Dimension of its embedding.
        classes: Number of classes.
    """

    encoder: Any

    def __init__(self, encoder: Any, width: int, classes: int) -> None:
        head = speechbrain_modules().CosineClassifier(input_size=width, lin_blocks=1, out_neurons=classes)
        super().__init__(encoder, head)

    @override
    def load(self, classifier: Classifier) -> None:
        # The scale of our head has no counterpart, so it must be 1.
        state = classifier.state_dict()
        prefix = "backbone."
        backbone = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        self.encoder.load_state_dict(backbone)
        self.head.load_state_dict(renamed(state, HEAD_NAMES))

    def picture(self, log_magnitude: Tensor) -> Tensor:
        """Convert log magnitudes (batch, time, frequency) to pictures (batch, 3, rows, columns)."""
        side = self.encoder.config.image_size
        return resized(log_magnitude, (side, side))[:, None].expand(-1, 3, -1, -1)

    def logits(self, embedding: Tensor) -> Tensor:
        """Return the logits (batch, classes) of embeddings (batch, width)."""
        logits: Tensor = self.head(embedding).squeeze(1)
        return logits

    @abstractmethod
    def look(self, log_magnitude: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits, and the activation maps of all stages or layers at the spectrogram's resolution.

        Args:
            log_magnitude: Log magnitude. Shape (batch, time, frequency).

        Returns:
            Logits, shape (batch, classes), and maps, shape (batch, 1, time, frequency) each.
        """


class ReferenceFocalNet(ReferencePicture):
    """FocalNet of the base depth; the representation is its last feature map, at twice its size.

    Args:
        classes: Number of classes.
        width: Number of channels of its embedding; the last stage has eight times as many.
    """

    def __init__(self, classes: int, width: int = _FOCALNET_WIDTH) -> None:
        config = transformers.FocalNetConfig(**backbone_options("focalnet", width))
        super().__init__(transformers.FocalNetBackbone(config), 8 * width, classes)

    @torch.no_grad()
    def forward(self, network_input: Tensor) -> tuple[Tensor, Tensor]:
        """Return the representation and the logits."""
        features = self.encoder(self.picture(network_input)).feature_maps[-1]
        rows, columns = features.shape[-2:]
        return resized(features, (2 * rows, 2 * columns)), self.logits(features.mean((-1, -2)))

    @override
    @torch.no_grad()
    def look(self, log_magnitude: Tensor) -> tuple[Tensor, list[Tensor]]:
        # Maps: norms of the modulators in the last layer of each stage.
        modulators: list[Tensor] = []
        stages = self.encoder.focalnet.encoder.stages
        layers = [stage.layers[-1].modulation.projection_context for stage in stages]
        handles = [layer.register_forward_hook(lambda *call: modulators.append(call[-1])) for layer in layers]
        features = self.encoder(self.picture(log_magnitude)).feature_maps[-1]
        for handle in handles:
            handle.remove()
        size = (log_magnitude.shape[-2], log_magnitude.shape[-1])
        maps = [resized(modulator.norm(dim=1, keepdim=True), size) for modulator in modulators]
        return self.logits(features.mean((-1, -2))), maps


class ReferenceViT(ReferencePicture):
    """ViT of the base depth; the representation is the last hidden state of its patches.

    Args:
        classes: Number of classes.
        width: Dimension of its tokens.
        attention: Implementation of the attention in `transformers`: ``eager`` for maps, as in the recipe of AMT;
            the recipe of PIQ uses the default.
    """

    def __init__(self, classes: int, width: int = _VIT_WIDTH, attention: str = "sdpa") -> None:
        config = transformers.ViTConfig(**backbone_options("vit", width))
        encoder = transformers.ViTModel(config, add_pooling_layer=False)
        encoder.set_attn_implementation(attention)
        super().__init__(encoder, width, classes)

    @torch.no_grad()
    def forward(self, network_input: Tensor) -> tuple[Tensor, Tensor]:
        """Return the representation and the logits."""
        tokens = self.encoder(self.picture(network_input)).last_hidden_state.movedim(-1, -2)
        side = self._patches
        return tokens[..., 1:].reshape(len(tokens), -1, side, side), self.logits(tokens.mean(-1))

    @override
    @torch.no_grad()
    def look(self, log_magnitude: Tensor) -> tuple[Tensor, list[Tensor]]:
        # Maps: attention of the class token, averaged over heads.
        output = self.encoder(self.picture(log_magnitude), output_attentions=True)
        tokens = output.last_hidden_state.movedim(-1, -2)
        size = (log_magnitude.shape[-2], log_magnitude.shape[-1])
        rows = (attention[:, :, 0, 1:].unflatten(-1, (self._patches, -1)) for attention in output.attentions)
        maps = [resized(row.mean(1, keepdim=True), size) for row in rows]
        return self.logits(tokens.mean(-1)), maps

    @property
    def _patches(self) -> int:
        config = self.encoder.config
        return int(config.image_size // config.patch_size)
