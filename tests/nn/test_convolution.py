"""Convolutions as matrix products have the values and gradients of PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from otoscope.nn import convolution
from otoscope.nn.convolution import Convolution2d


def layer_of(kernel: int | tuple[int, int], padding: int, bias: bool = True) -> Convolution2d:
    torch.manual_seed(0)
    return Convolution2d(5, 7, kernel, padding=padding, bias=bias).to(memory_format=torch.channels_last)


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use products for small layers too."""
    monkeypatch.setattr(convolution, "_LEAST_WEIGHTS", 1)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record the decision of each call."""
    decisions: list[bool] = []
    decide: Callable[[Convolution2d, Tensor], bool] = Convolution2d._is_product

    def record(layer: Convolution2d, hidden: Tensor) -> bool:
        decisions.append(decide(layer, hidden))
        return decisions[-1]

    monkeypatch.setattr(Convolution2d, "_is_product", record)
    return decisions


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(
    ("kernel", "padding", "bias"), [(3, 1, False), (3, 0, True), ((5, 1), 2, True), (1, 0, False)]
)
def test_values_and_gradients_equal_those_of_pytorch(
    kernel: int | tuple[int, int], padding: int, bias: bool, products: list[bool]
) -> None:
    layer = layer_of(kernel, padding, bias).double()
    hidden = torch.randn(3, 5, 6, 4, dtype=torch.double, requires_grad=True)
    variables = [hidden, *layer.parameters()]
    expected = nn.functional.conv2d(hidden, layer.weight, layer.bias, padding=layer.padding)
    actual = layer(hidden)
    assert products == [True]
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((value * weights).sum(), variables) for value in (actual, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("case", ["many positions", "usual memory", "stride", "autocast", "empty"])
def test_other_cases_are_left_to_pytorch(case: str, products: list[bool]) -> None:
    layer = layer_of(3, 1)
    hidden = torch.randn(2, 5, *((40, 20) if case == "many positions" else (6, 4)))
    if case == "usual memory":
        layer.weight.data = layer.weight.data.contiguous()
    if case == "stride":
        layer.stride = (2, 2)
    if case == "empty":
        hidden = hidden[:0]
    expected = nn.functional.conv2d(hidden, layer.weight, layer.bias, layer.stride, layer.padding)
    with torch.autocast("cpu", enabled=case == "autocast"):
        actual = layer(hidden)
    assert products == [False]
    torch.testing.assert_close(actual.float(), expected, rtol=0.02 if case == "autocast" else 1e-5, atol=0.02)


def test_a_small_layer_is_left_to_pytorch(products: list[bool]) -> None:
    layer_of(3, 1)(torch.randn(1, 5, 6, 4))
    assert products == [False]
