"""The network of the `TorchClassifier` and `OnnxClassifier` model folders."""

import torch
from torch import Tensor, nn


class GoldenNet(nn.Module):
    """A small convolutional network over waveforms, shape (batch, samples)."""

    def __init__(self, width: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.early = nn.Conv1d(1, width, 32, stride=16)
        self.norm = nn.BatchNorm1d(width)
        self.late = nn.Conv1d(width, width, 16, stride=8)
        self.head = nn.Linear(width, classes)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return logits of shape (batch, classes)."""
        hidden = torch.relu(self.norm(self.early(waveform[:, None])))
        return self.head(torch.relu(self.late(hidden)).mean(-1))
