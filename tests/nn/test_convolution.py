"""Convolutions have the values and gradients of PyTorch, on their own and together with batch norm."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from otoscope.nn import convolution
from otoscope.nn.convolution import Convolution2d, ConvolutionLayer, convolve_normalized


def layer_of(kernel: int | tuple[int, int], padding: int, bias: bool = True) -> Convolution2d:
    torch.manual_seed(0)
    return Convolution2d(5, 7, kernel, padding=padding, bias=bias).to(memory_format=torch.channels_last)


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use products for small layers too."""
    monkeypatch.setattr(convolution, "_LEAST_WEIGHTS", 1)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the way of each call."""
    chosen: list[str] = []
    choose: Callable[[Convolution2d, Tensor, Tensor], str] = Convolution2d._way

    def record(layer: Convolution2d, hidden: Tensor, weight: Tensor) -> str:
        chosen.append(choose(layer, hidden, weight))
        return chosen[-1]

    monkeypatch.setattr(Convolution2d, "_way", record)
    return chosen


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(
    ("kernel", "padding", "bias"), [(3, 1, False), (3, 0, True), ((5, 1), 2, True), (1, 0, False)]
)
def test_values_and_gradients_equal_those_of_pytorch(
    kernel: int | tuple[int, int], padding: int, bias: bool, ways: list[str]
) -> None:
    layer = layer_of(kernel, padding, bias).double()
    hidden = torch.randn(3, 5, 6, 4, dtype=torch.double, requires_grad=True)
    variables = [hidden, *layer.parameters()]
    expected = nn.functional.conv2d(hidden, layer.weight, layer.bias, padding=layer.padding)
    actual = layer(hidden)
    assert ways == ["product"]
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((value * weights).sum(), variables) for value in (actual, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("case", ["many positions", "usual memory", "stride", "autocast", "empty"])
def test_other_cases_are_left_to_pytorch(case: str, ways: list[str]) -> None:
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
    assert ways == ["PyTorch"]
    torch.testing.assert_close(actual.float(), expected, rtol=0.02 if case == "autocast" else 1e-5, atol=0.02)


@pytest.mark.parametrize(("clips", "way"), [(1, "oneDNN"), (2, "PyTorch")])
def test_a_small_layer_is_left_to_pytorch_or_its_library(clips: int, way: str, ways: list[str]) -> None:
    layer = layer_of(3, 1)
    hidden = torch.randn(clips, 5, 6, 4, requires_grad=True)
    variables = [hidden, *layer.parameters()]
    expected = nn.functional.conv2d(hidden, layer.weight, layer.bias, padding=layer.padding)
    actual = layer(hidden)
    assert ways == [way]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(value.square().sum(), variables) for value in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [(4, 2, 1, (11, 8)), (3, 1, 1, (6, 5)), ((3, 2), (2, 3), (0, 1), (9, 7)), (1, 1, 0, (3, 3))],
)
def test_gradients_of_a_single_input_channel_equal_those_of_pytorch(
    kernel: Any, stride: Any, padding: Any, size: tuple[int, int], ways: list[str]
) -> None:
    torch.manual_seed(0)
    layer = Convolution2d(1, 6, kernel, stride, padding).to(memory_format=torch.channels_last).double()
    hidden = torch.randn(3, 1, *size, dtype=torch.double, requires_grad=True)
    variables = [hidden, *layer.parameters()]
    expected = nn.functional.conv2d(hidden, layer.weight, layer.bias, layer.stride, layer.padding)
    actual = layer(hidden)
    assert ways == ["single input"]
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((value * weights).sum(), variables) for value in (actual, expected)]
    torch.testing.assert_close(*gradients)
    # the gradient of a gradient, which penalties of gradients need
    assert torch.autograd.gradcheck(layer, hidden)
    assert torch.autograd.gradgradcheck(layer, hidden)


@pytest.mark.parametrize("trained", [False, True])
def test_gradients_of_a_single_input_channel_in_bfloat16(trained: bool, ways: list[str]) -> None:
    torch.manual_seed(0)
    layer = Convolution2d(1, 6, 4, 2, 1).to(memory_format=torch.channels_last).requires_grad_(trained)
    hidden = torch.randn(3, 1, 11, 8, requires_grad=True)
    expected = nn.functional.conv2d(hidden, layer.weight, layer.bias, layer.stride, layer.padding)
    with torch.autocast("cpu", torch.bfloat16):
        actual = layer(hidden)
    assert actual.dtype == torch.bfloat16
    # autocast would keep converted weights without their graph
    assert ways == ["PyTorch" if trained else "single input"]
    weights = torch.randn_like(expected)
    variables = [hidden, *(value for value in layer.parameters() if trained)]
    gradients = [torch.autograd.grad((value * weights).sum(), variables) for value in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=0.02, atol=0.05)
    assert gradients[0][0].dtype == torch.float32


def normalized_layer(bias: bool) -> tuple[Convolution2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    convolution, norm = Convolution2d(4, 6, 3, padding=1, bias=bias).double(), nn.BatchNorm2d(6).double()
    for values in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(values)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.1, 2.0)  # type: ignore[arg-type]
    return convolution, norm


@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_joins_its_convolution_in_evaluation(bias: bool) -> None:
    convolution, norm = normalized_layer(bias)
    norm.eval()
    hidden = torch.randn(2, 4, 9, 8, dtype=torch.double, requires_grad=True)
    variables = [hidden, *convolution.parameters(), *norm.parameters()]
    actual, expected = convolve_normalized(convolution, norm, hidden), norm(convolution(hidden))
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((value * weights).sum(), variables) for value in (actual, expected)]
    torch.testing.assert_close(*gradients)


def test_batch_norm_counts_in_training() -> None:
    convolution, norm = normalized_layer(bias=True)
    other = copy.deepcopy(norm)
    hidden = torch.randn(2, 4, 9, 8, dtype=torch.double)
    torch.testing.assert_close(convolve_normalized(convolution, norm, hidden), other(convolution(hidden)))
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, other.running_mean)
    assert int(norm.num_batches_tracked or 0) == 1


@pytest.mark.parametrize("observed", ["0", "1"])
def test_layers_with_hooks_run_on_their_own(observed: str) -> None:
    layer = ConvolutionLayer(Convolution2d(4, 6, 3, padding=1)).eval()
    seen: list[Tensor] = []
    layer.get_submodule(observed).register_forward_hook(lambda *call: seen.append(call[2].clone()))
    result = layer(torch.randn(1, 4, 40, 30))
    assert len(seen) == 1
    if observed == "1":
        torch.testing.assert_close(result, seen[0].relu())


def test_small_maps_are_normalized_on_their_own(ways: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    convolution, norm = normalized_layer(bias=False)
    calls: list[Tensor] = []
    monkeypatch.setattr(norm, "forward", lambda hidden: calls.append(hidden) or hidden)
    norm.eval()
    for side in (2, 40):  # 24 and 9600 values, beside 216 weights
        convolve_normalized(convolution, norm, torch.randn(1, 4, side, side, dtype=torch.double))
    assert [len(ways), len(calls)] == [2, 1]
