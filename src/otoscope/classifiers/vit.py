"""Vision transformer on the spectrogram as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from otoscope.classifiers.image import ImageClassifier, make_backbone


class ViTClassifier(ImageClassifier):
    """Vision transformer, mean over its tokens, cosine head.

    The defaults are the base size with patches of 16. The representation is the last hidden state of the
    patches, 768 x 14 x 14. The activation maps are the attention of the class token to the patches, averaged over
    heads, in each layer, and the attention rollout over all layers.

    Args:
        labels: Names of the classes.
        frontend: Makes the spectrograms.
        backbone: Options of ``ViTConfig`` that differ from the base size.
        weights: Pretrained weights of the backbone: a hub id or a local folder. None: random.
        gradient_checkpointing: Trade time for memory while training.
        head_width: Dimension in which the head takes cosines.
        scale: Factor on the cosines.
        train_scale: Learn that factor.
        input_mean: Subtracted from the log magnitude before it becomes a picture.
        input_std: Divides it then.

    Reference:
        Dosovitskiy et al. 2020, arXiv 2010.11929; METHODS, "Classifiers" and "AMT".
    """

    def _backbone(self, options: dict[str, Any], weights: str | None) -> Any:
        backbone = make_backbone("ViTModel", options, weights, add_pooling_layer=False)
        backbone.set_attn_implementation("eager")  # the only one that tells the attention
        return backbone

    @property
    def embedding_size(self) -> int:
        """Width of the tokens."""
        return int(self.backbone.config.hidden_size)

    def layers(self) -> list[nn.Module]:
        """Embedding, layers, head."""
        return [self.backbone.embeddings, *self._blocks, self.head]

    @property
    def _blocks(self) -> list[nn.Module]:
        inner = getattr(self.backbone, "encoder", self.backbone)  # transformers has moved them
        return list(getattr(inner, "layer", None) or inner.layers)

    def embed(self, picture: Tensor) -> Tensor:
        """See `ImageClassifier.embed`."""
        embedding: Tensor = self.backbone(picture).last_hidden_state.mean(1)
        return embedding

    def see(self, picture: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
        """See `ImageClassifier.see`."""
        output = self.backbone(picture, output_attentions=True)
        tokens: Tensor = output.last_hidden_state
        rows, columns = (side // self.backbone.config.patch_size for side in self.image_size)
        patches = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)
        attentions = [one.mean(1, dtype=torch.float32) for one in output.attentions]
        found = {"rollout": attention_rollout(attentions)}
        found |= {f"layer{i}": one for i, one in enumerate(attentions, start=1)}
        # from the class token to the patches
        maps = {name: one[:, 0, 1:].reshape(-1, rows, columns).transpose(-1, -2) for name, one in found.items()}
        return tokens.mean(1), patches, maps, tokens


def attention_rollout(attentions: Sequence[Tensor]) -> Tensor:
    """How much of each token reaches each token through all layers, residual connections included.

    Args:
        attentions: Of each layer, averaged over heads; rows sum to 1. Shape each (batch, tokens, tokens).

    Returns:
        Rows sum to 1. Shape (batch, tokens, tokens).

    Reference:
        Abnar and Zuidema 2020, arXiv 2005.00928.

    Example:
        >>> attention_rollout([torch.full((1, 2, 2), 0.5)])
        tensor([[[0.7500, 0.2500],
                 [0.2500, 0.7500]]])
    """
    identity = torch.eye(attentions[0].shape[-1], device=attentions[0].device, dtype=attentions[0].dtype)
    rolled = identity.expand_as(attentions[0])
    for attention in attentions:
        rolled = (attention + identity) / 2 @ rolled
    return rolled
