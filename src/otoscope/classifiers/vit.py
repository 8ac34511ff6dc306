"""ViT, the vision transformer, on the spectrogram as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from otoscope.classifiers.image import ImageClassifier, make_backbone, transformers_package


class ViTClassifier(ImageClassifier):
    """Vision transformer, mean over its tokens, cosine head.

    The default is the base size with patches of 16 x 16. The representation is the last hidden state of the
    patches, 768 x 14 x 14. The activation maps are the attention of the class token to the patches in each layer,
    averaged over heads, and the attention rollout over all layers.

    Args:
        labels: Names of the classes.
        frontend: Front-end that computes the spectrograms.
        backbone: Options of ``ViTConfig`` that differ from the base size.
        weights: Pretrained weights of the backbone: a hub id or a local folder. None: random.
        gradient_checkpointing: Whether training recomputes activations, which takes less memory and more time.
        head_width: Dimension of the vectors whose cosine the head takes.
        scale: Factor on the cosines.
        train_scale: Whether to learn the factor.
        input_mean: Value that is subtracted from the log magnitude.
        input_std: Value that the result is divided by.

    Reference:
        Dosovitskiy et al. 2020, arXiv 2010.11929.
    """

    @classmethod
    @override
    def backbone_config(cls) -> Any:
        return transformers_package().ViTConfig

    def _backbone(self, options: dict[str, Any], weights: str | None) -> Any:
        backbone = make_backbone("ViTModel", options, weights, add_pooling_layer=False)
        backbone.set_attn_implementation("eager")  # the only one that returns the attention
        return backbone

    @property
    def embedding_size(self) -> int:
        """Width of the tokens."""
        return int(self.backbone.config.hidden_size)

    @override
    def layers(self) -> list[nn.Module]:
        return [self.backbone.embeddings, *self._blocks, self.head]

    @property
    def _blocks(self) -> list[nn.Module]:
        inner = getattr(self.backbone, "encoder", self.backbone)  # moved between versions of transformers
        return list(getattr(inner, "layer", None) or inner.layers)

    @override
    def embed(self, picture: Tensor) -> Tensor:
        embedding: Tensor = self.backbone(picture).last_hidden_state.mean(1)
        return embedding

    @override
    def see(self, picture: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
        output = self.backbone(picture, output_attentions=True)
        tokens: Tensor = output.last_hidden_state
        rows, columns = (side // self.backbone.config.patch_size for side in self.image_size)
        # token 0 is the class token; the patches follow row by row (rows are time, columns are frequency)
        patches = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)
        attentions = [layer.mean(1, dtype=torch.float32) for layer in output.attentions]
        named = {"rollout": attention_rollout(attentions)}
        named |= {f"layer{i}": attention for i, attention in enumerate(attentions, start=1)}
        # attention from the class token (row 0) to the patches (columns 1 and following), as a map
        maps = {name: each[:, 0, 1:].reshape(-1, rows, columns).transpose(-1, -2) for name, each in named.items()}
        return tokens.mean(1), patches, maps, tokens


def attention_rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Return how much every token attends to every token through all layers, including residual connections.

    Args:
        attentions: Attention of each layer, averaged over heads; rows sum to 1. Shape of each (batch, tokens,
            tokens).

    Returns:
        Attention through all layers; rows sum to 1. Shape (batch, tokens, tokens).

    Reference:
        Abnar and Zuidema 2020, arXiv 2005.00928.

    Example:
        >>> attention_rollout([torch.full((1, 2, 2), 0.5)])
        tensor([[[0.7500, 0.2500],
                 [0.2500, 0.7500]]])
    """
    identity = torch.eye(attentions[0].shape[-1], device=attentions[0].device, dtype=attentions[0].dtype)
    rolled = identity.expand_as(attentions[0])
    # half of each layer's output is its attention, half the residual connection
    for attention in attentions:
        rolled = (attention + identity) / 2 @ rolled
    return rolled
