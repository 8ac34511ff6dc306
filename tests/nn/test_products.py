"""Products as convolutions: equal to PyTorch's, with gradients, and rows alone where they do not gain."""

import pytest
import torch
from torch import nn

from otoscope.nn import products
from otoscope.nn.products import Linear, PointwiseConvolution2d, product, use_fast_products


@pytest.fixture(autouse=True, params=[True, False], ids=["convolution", "matmul"])
def way(request, monkeypatch):
    monkeypatch.setattr(products, "convolutions_are_faster", lambda: request.param)
    return request.param


def operations(function, *arguments):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function(*arguments)
    return {event.key for event in profile.key_averages()}


@pytest.mark.parametrize(("m", "k", "n"), [(400, 64, 48), (17, 1300, 100), (3, 8000, 5), (0, 8, 4), (20, 8, 4)])
def test_product(m, k, n):
    first, second = torch.randn(m, k), torch.randn(k, n)
    expected = first.double() @ second.double()
    for rows in (first, first.t().contiguous().t()):
        for columns in (second, second.t().contiguous().t(), torch.cat([second, second], 1)[:, :n]):
            result = product(rows, columns)
            torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(product(first.double(), second.double()), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("plain", "shape"),
    [
        (nn.Linear(64, 48), (3, 200, 64)),
        (nn.Linear(64, 48, bias=False), (500, 64)),
        (nn.Linear(64, 48), (64,)),
        (nn.Conv2d(64, 48, 1), (2, 64, 20, 15)),
        (nn.Conv2d(64, 48, 3), (2, 64, 20, 15)),
        (nn.Conv2d(64, 48, 1, stride=2), (2, 64, 20, 15)),
    ],
)
def test_layers_equal_those_of_pytorch_with_gradients(plain, shape, monkeypatch):
    monkeypatch.setattr(products, "_LEAST_WEIGHTS", 1)
    fast = nn.Sequential(type(plain)(*arguments(plain)))
    fast[0].load_state_dict(plain.state_dict())
    use_fast_products(fast)
    assert type(fast[0]) in (Linear, PointwiseConvolution2d)
    inputs = [torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2)]
    outputs = [plain(inputs[0]), fast(inputs[1])]
    weights = torch.randn(outputs[0].shape)
    values = [(output * weights).sum() for output in outputs]
    gradients = [
        torch.autograd.grad(value, [given, *layer.parameters()])
        for value, given, layer in zip(values, inputs, (plain, fast), strict=True)
    ]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


def arguments(layer):
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features, layer.bias is not None
    return layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride


def test_convolutions_are_used_only_where_they_are_faster(way):
    rows = torch.randn(400, 256)
    layer = Linear(256, 257)
    assert ("aten::convolution" in operations(layer, rows)) == way
    assert "aten::convolution" not in operations(layer, rows[:8])
    assert "aten::convolution" not in operations(layer.to(torch.float64), rows.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert "aten::convolution" not in operations(layer.float(), rows)


def test_small_layers_are_left_to_pytorch(way):
    assert "aten::convolution" not in operations(Linear(64, 48), torch.randn(400, 64))


def test_subclasses_are_left_alone():
    class Other(nn.Linear):
        pass

    network = nn.Sequential(Other(2, 2))
    use_fast_products(network)
    assert type(network[0]) is Other
