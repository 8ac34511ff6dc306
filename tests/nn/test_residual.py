"""The residual block against its layers."""

import torch
from torch.nn import functional as F

from otoscope.nn import ResidualBlock


def test_adds_convolutions_to_its_input(experienced):
    block = experienced(ResidualBlock(5)).eval()
    hidden = torch.randn(2, 5, 4, 3)
    first, norm, _, second, last = block.block

    def normalized(values, layer):
        return F.batch_norm(values, layer.running_mean, layer.running_var, layer.weight, layer.bias)

    inner = F.relu(normalized(F.conv2d(hidden, first.weight, first.bias, padding=1), norm))
    expected = hidden + normalized(F.conv2d(inner, second.weight, second.bias), last)
    assert first.weight.shape == (5, 5, 3, 3)
    assert second.weight.shape == (5, 5, 1, 1)
    torch.testing.assert_close(block(hidden), expected)


def test_the_input_stays_unchanged():
    hidden = torch.randn(2, 3, 4, 4)
    before = hidden.clone()
    ResidualBlock(3)(hidden)
    assert torch.equal(hidden, before)
