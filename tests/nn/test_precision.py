"""Layers in single precision inside a network in a lower one."""

import torch
from torch import nn

from otoscope.nn.precision import in_float32


def test_a_layer_computes_in_float32_under_autocast():
    layer, values = nn.Linear(30, 4), torch.randn(2, 30)
    expected = layer(values)
    assert torch.equal(in_float32(layer, values), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(values).dtype == torch.bfloat16
        assert torch.equal(in_float32(layer, values), expected)
        assert torch.equal(in_float32(layer, values.bfloat16()), in_float32(layer, values.bfloat16().float()))
        assert layer(values).dtype == torch.bfloat16
