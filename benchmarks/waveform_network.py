"""A network on waveforms for the comparisons: a learnt filter bank, then convolutions over its energies."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from otoscope.audio import Frontend, mel_centers_hz
from otoscope.classifiers import TorchClassifier
from otoscope.data import SoundData


class FilterbankNetwork(nn.Module):
    """Classify waveforms by the energies of learnt filters.

    The filters start as windowed cosines and sines at mel frequencies, and are trained like all other weights. The
    rest is four convolutions with pooling between them, and a linear layer over the mean of the last one.

    Args:
        classes: Number of classes.
        width: Channels of the first convolution.
        filters: Number of filters of the bank.
        kernel: Length of the filters in samples.
        sample_rate_hz: Sample rate of the waveforms.
    """

    def __init__(
        self, classes: int, width: int = 16, filters: int = 64, kernel: int = 512, sample_rate_hz: int = 16_000
    ) -> None:
        super().__init__()
        centers_hz = mel_centers_hz(filters, sample_rate_hz)
        angles = 2 * math.pi * centers_hz[:, None] * torch.arange(kernel) / sample_rate_hz
        window = torch.hann_window(kernel) / kernel**0.5
        # a cosine and a sine for each filter: the energy of the pair does not depend on the phase of the sound
        self.bank = nn.Conv1d(1, 2 * filters, kernel, stride=160, padding=kernel // 2, bias=False)
        self.bank.weight.data = (torch.stack([angles.cos(), angles.sin()], 1).flatten(0, 1) * window)[:, None]
        channels = [1, width, 2 * width, 4 * width, 4 * width]
        blocks = [
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in itertools.pairwise(channels)
        ]
        self.norm = nn.BatchNorm2d(1)
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return logits.

        Args:
            waveform: Waveforms, shape (batch, samples).

        Returns:
            Logits, shape (batch, classes).
        """
        filtered = self.bank(waveform[:, None]).unflatten(1, (-1, 2))
        hidden = self.norm((filtered.square().sum(2) + 1e-4).log()[:, None])
        for block in self.blocks:
            hidden = nn.functional.avg_pool2d(block(hidden), 2)
        logits: Tensor = self.head(hidden.mean((2, 3)))
        return logits


def waveform_classifier(labels: Sequence[str], width: int = 16) -> TorchClassifier:
    """Return a classifier with a `FilterbankNetwork` of random weights."""
    module = {
        "class_path": "benchmarks.waveform_network.FilterbankNetwork",
        "init_args": {"classes": len(labels), "width": width},
    }
    return TorchClassifier(module, labels, Frontend(), input="waveform", representation="blocks.3")


def train_waveform_classifier(
    data: SoundData,
    epochs: int,
    seed: int = 1234,
    *,
    width: int = 16,
    shift: bool = True,
    learning_rate: float = 3e-3,
) -> TorchClassifier:
    """Train a `FilterbankNetwork` on waveforms with the cross-entropy; the training of Otoscope takes spectrograms.

    Args:
        data: Data whose training set is used.
        epochs: Number of epochs, with AdamW and the one-cycle schedule.
        seed: Seed of the weights and of the order of the clips.
        width: Channels of the first convolution.
        shift: Whether clips are rotated in time by a random number of samples.
        learning_rate: Largest learning rate.
    """
    torch.manual_seed(seed)
    data.prepare_data()
    data.setup("fit")
    classifier = waveform_classifier(data.labels, width)
    network = classifier.module.train().requires_grad_()
    loader = data.train_dataloader()
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * len(loader))
    for epoch in range(epochs):
        for batch in loader:
            waveform = batch.waveform
            if shift:
                waveform = waveform.roll(int(torch.randint(waveform.shape[1], ())), 1)
            loss = nn.functional.cross_entropy(network(waveform), batch.target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        print(f"waveform network: epoch {epoch + 1}/{epochs}, loss {loss.item():.3f}", file=sys.stderr, flush=True)
    network.eval()
    classifier.normalize = True  # the data gives every clip at a peak of 1
    return classifier
