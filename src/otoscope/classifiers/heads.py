"""Heads that turn an embedding into logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class CosineHead(nn.Module):
    """Batch norm, a linear layer, then the cosine to one vector per class, times a scale.

    Args:
        dim: Dimension of the embedding.
        classes: Number of classes.
        hidden: Dimension of the vectors whose cosine the head takes.
        scale: Factor on the cosines. 1 is the published head, whose probabilities are almost flat.
        train_scale: Whether to learn the factor, starting from ``scale``.

    Reference:
        Parameters match the one-block ``Classifier`` of SpeechBrain's ECAPA-TDNN.
    """

    log_scale: Tensor

    def __init__(
        self, dim: int, classes: int, hidden: int = 192, scale: float = 30.0, train_scale: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.linear = nn.Linear(dim, hidden)
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, hidden)))
        # the logarithm is learnt, so that the factor stays positive
        log_scale = torch.tensor(math.log(scale))
        if train_scale:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def forward(self, embedding: Tensor) -> Tensor:
        """Map embeddings (batch, dim) to logits (batch, classes) in [-scale, scale]."""
        # Both factors have unit length, so their products are cosines. Without a scale, no probability could exceed
        # 1 / (1 + (C - 1) / e^2) for C classes: 0.13 for 50 classes.
        direction = nn.functional.normalize(self.linear(self.norm(embedding)))
        return self.log_scale.exp() * direction @ nn.functional.normalize(self.weight).t()
