"""What every test shares: a fixed seed, and clips of different lengths."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

PadSounds = Callable[[Sequence[int]], tuple[list[Tensor], Tensor, Tensor]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def pad_sounds() -> PadSounds:
    """Noise clips of so many samples, the same padded with zeros to one batch, and their lengths."""

    def pad(lengths: Sequence[int]) -> tuple[list[Tensor], Tensor, Tensor]:
        clips = [torch.randn(length) * (0.1 + 0.2 * position) for position, length in enumerate(lengths)]
        return clips, nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor(lengths)

    return pad


@pytest.fixture
def experienced() -> Callable[[nn.Module], nn.Module]:
    """Gives batch norms statistics and biases as training would; fresh ones map silence to silence."""

    def age(module: nn.Module) -> nn.Module:
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(part.running_mean, std=0.3)
                nn.init.uniform_(part.running_var, 0.5, 1.5)
                nn.init.uniform_(part.weight.data, 0.5, 1.5)
                nn.init.normal_(part.bias.data, std=0.3)
        return module

    return age
