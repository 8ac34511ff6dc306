"""Transposed convolutions equal PyTorch's own, in value and in every gradient."""

import pytest
import torch
from torch import nn

from otoscope.nn.transposed import SingleOutputTransposed, Transposed2d

FORMATS = [torch.channels_last, torch.contiguous_format]
SETTINGS = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 6, "stride": 2, "padding": 2},
    {"kernel_size": 3, "stride": 1, "padding": 0},
]


def assert_same(ours, theirs, shape, memory_format, **call):
    theirs.load_state_dict(ours.state_dict())
    inputs = [
        torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        .contiguous(memory_format=memory_format)
        .requires_grad_()
        for _ in range(2)
    ]
    values = [layer(hidden, **call) for layer, hidden in zip((ours, theirs), inputs, strict=True)]
    torch.testing.assert_close(*values)
    weights = torch.randn_like(values[0])
    for value in values:
        (value * weights).sum().backward()
    for one, other in ((inputs[0], inputs[1]), (ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_equals_torch(options, memory_format):
    ours, theirs = Transposed2d(6, 5, **options).double(), nn.ConvTranspose2d(6, 5, **options).double()
    assert_same(ours, theirs, (3, 6, 7, 9), memory_format)


def test_output_size():
    options = SETTINGS[1]
    ours, theirs = Transposed2d(6, 5, **options).double(), nn.ConvTranspose2d(6, 5, **options).double()
    assert_same(ours, theirs, (2, 6, 7, 9), torch.channels_last, output_size=[15, 18])
    with pytest.raises(ValueError, match="output size"):
        ours(torch.zeros(1, 6, 7, 9, dtype=torch.double), output_size=[20, 18])


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_single_output_equals_torch(memory_format):
    ours, theirs = SingleOutputTransposed(6, 5, padding=1).double(), nn.ConvTranspose2d(6, 1, 5, padding=1).double()
    assert_same(ours, theirs, (3, 6, 7, 9), memory_format)


@pytest.mark.parametrize(
    "layer", [Transposed2d(6, 5, 4, stride=2, padding=1), SingleOutputTransposed(6, 5, 1)], ids=repr
)
def test_autocast_is_left_to_torch(layer):
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 6, 7, 9)).dtype == torch.bfloat16


def test_frozen_parts_get_no_gradient():
    layer = Transposed2d(6, 5, 4, stride=2, padding=1)
    layer.weight.requires_grad_(False)
    hidden = torch.randn(1, 6, 7, 9, requires_grad=True)
    layer(hidden).sum().backward()
    assert layer.weight.grad is None
    assert hidden.grad is not None
    assert layer.bias.grad is not None
