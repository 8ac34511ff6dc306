"""Transposed convolutions equal PyTorch's own, in value and in every gradient."""

import itertools

import pytest
import torch
from torch import nn

from otoscope.nn import products
from otoscope.nn.transposed import (
    SingleOutputTransposed,
    Transposed2d,
    cost,
    forward,
    geometry,
    layers,
    scratch,
)
from otoscope.nn.transposed.functions import FoldedTransposed, TiledTransposed, TorchTransposed

FORMATS = [torch.channels_last, torch.contiguous_format]
SETTINGS = [
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 4, "stride": 2, "padding": 1},
    {"kernel_size": 6, "stride": 2, "padding": 2},
    {"kernel_size": 3, "stride": 1, "padding": 0},
    {"kernel_size": 1, "stride": 1, "padding": 0},
    {"kernel_size": 2, "stride": 3, "padding": 0},
    {"kernel_size": 3, "stride": (2, 4), "padding": 1},
    {"kernel_size": (7, 4), "stride": (2, 4), "padding": 1},
    {"kernel_size": (3, 5), "stride": (2, 2), "padding": 1},
    {"kernel_size": (4, 3), "stride": (2, 2), "padding": (0, 5)},
    {"kernel_size": (7, 5), "stride": (1, 4), "padding": 0},
    {"kernel_size": (3, 4), "stride": (2, 2), "padding": (0, 2), "output_padding": (1, 0)},
]
WAYS = ["torch", "fold", (1, 1), (4, 4), (2, 4), (4, 1)]


@pytest.fixture
def force(monkeypatch):
    """Make every layer compute in the same way, whatever it costs."""

    def force(way):
        def choose(layer, hidden, extra):
            if way == "torch":
                settings = (layer.stride, layer.padding, layer.dilation, True, extra, layer.groups)
                return cost.Choice(TorchTransposed, settings)
            if way == "fold":
                return cost.Choice(FoldedTransposed, (layer.stride, layer.padding, extra))
            axes = []
            sizes = (layer.kernel_size, layer.stride, layer.padding, hidden.shape[2:], extra, way)
            for kernel, stride, padding, inputs, more, tile in zip(*sizes, strict=True):
                outputs = (inputs - 1) * stride - 2 * padding + kernel + more
                axes.append(geometry.Axis(kernel, stride, padding, inputs, outputs, tile))
            return cost.Choice(TiledTransposed, (geometry.Grid(*axes), False))

        monkeypatch.setattr(layers, "choose", choose)

    return force


def assert_same(ours, theirs, shape, memory_format, call=None, **options):
    """Compare value and gradients of two layers, which get the same parameters and inputs, in float64."""
    theirs.load_state_dict(ours.state_dict())
    inputs = [
        torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        .contiguous(memory_format=memory_format)
        .requires_grad_()
        for _ in range(2)
    ]
    call = call or [ours, theirs]
    values = [layer(hidden, **options) for layer, hidden in zip(call, inputs, strict=True)]
    torch.testing.assert_close(*values)
    weights = torch.randn_like(values[0])
    for value in values:
        (value * weights).sum().backward()
    for actual, expected in ((inputs[0], inputs[1]), (ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        torch.testing.assert_close(actual.grad, expected.grad)


def pair(channels, outputs, **options):
    return Transposed2d(channels, outputs, **options).double(), nn.ConvTranspose2d(
        channels, outputs, **options
    ).double()


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("way", [None, *WAYS], ids=str)
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_equals_torch(options, way, memory_format, force):
    if way is not None:
        force(way)
    for batch, size in ((1, (13, 9)), (3, (7, 8)), (2, (4, 6))):
        assert_same(*pair(6, 5, **options), (batch, 6, *size), memory_format)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("options", SETTINGS[-2:], ids=str)
def test_rectified_mean_equals_torch(options, way, force):
    force(way)
    ours, theirs = pair(6, 5, **options)
    call = [ours.rectified_mean, lambda hidden: theirs(hidden).relu().mean(-1)]
    assert_same(ours, theirs, (2, 6, 7, 9), torch.channels_last, call)


def test_blocks_groups_and_chunks(force, monkeypatch):
    """Output channels in blocks, clips in groups, tiles in chunks."""
    force((2, 4))
    monkeypatch.setattr(geometry, "CHUNK_TILES", 3)
    monkeypatch.setattr(geometry, "SHARED_TILES", 12)
    monkeypatch.setattr(geometry, "WEIGHT_BLOCK_BYTES", 1)
    for batch, options in itertools.product((1, 2, 5), SETTINGS[-5:]):
        ours, theirs = pair(6, 37, **options)
        assert_same(ours, theirs, (batch, 6, 7, 9), torch.channels_last)
        call = [ours.rectified_mean, lambda hidden, layer=theirs: layer(hidden).relu().mean(-1)]
        ours.zero_grad()
        theirs.zero_grad()
        assert_same(ours, theirs, (batch, 6, 7, 9), torch.channels_last, call)


@pytest.mark.parametrize(
    ("shape", "way"),
    [
        ((1, 256, 2, 3), "FoldedTransposed"),
        ((1, 256, 40, 40), "TiledTransposed"),
        ((1, 16, 40, 40), "TorchTransposed"),
    ],
)
def test_choice_and_its_rounding_error(shape, way):
    ours, theirs = pair(shape[1], shape[1], kernel_size=(7, 4), stride=(1, 2), padding=1)
    theirs.load_state_dict(ours.state_dict())
    ours.float()
    assert cost.choose(ours, torch.zeros(shape), [0, 0])[0].__name__ == way
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    inputs = [inputs.requires_grad_(), inputs.detach().double().requires_grad_()]
    values = [layer(hidden) for layer, hidden in zip((ours, theirs), inputs, strict=True)]
    weights = torch.randn_like(values[0])
    for value in values:
        (value * weights).sum().backward()
    actual = [values[0], inputs[0].grad, ours.weight.grad, ours.bias.grad]
    exact = [values[1], inputs[1].grad, theirs.weight.grad, theirs.bias.grad]
    for rounded, reference in zip(actual, exact, strict=True):
        assert (rounded - reference).abs().max() < 3e-5 * reference.abs().max()


def test_output_size():
    ours, theirs = pair(6, 5, **SETTINGS[1])
    assert_same(ours, theirs, (2, 6, 7, 9), torch.channels_last, output_size=[15, 18])
    with pytest.raises(ValueError, match="output size"):
        ours(torch.zeros(1, 6, 7, 9, dtype=torch.double), output_size=[20, 18])


def test_output_that_is_too_small_is_refused():
    layer = Transposed2d(6, 5, 3, stride=1, padding=4)
    with pytest.raises(RuntimeError, match="output"):
        layer(torch.zeros(1, 6, 4, 4))


@pytest.mark.parametrize("options", [{"groups": 2}, {"dilation": 2}, {"bias": False}], ids=str)
def test_other_options_are_left_to_torch(options):
    ours, theirs = pair(64, 64, kernel_size=4, stride=2, **options)
    theirs.load_state_dict(ours.state_dict())
    hidden = torch.randn(1, 64, 20, 20, dtype=torch.double)
    torch.testing.assert_close(ours(hidden), theirs(hidden))


def test_other_shapes_are_left_to_torch():
    ours, theirs = pair(6, 5, kernel_size=4, stride=2)
    theirs.load_state_dict(ours.state_dict())
    for shape in ((6, 7, 9), (0, 6, 7, 9)):
        hidden = torch.randn(shape, dtype=torch.double)
        torch.testing.assert_close(ours(hidden), theirs(hidden))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_result_can_be_changed_in_place(way, force):
    force(way)
    layer = Transposed2d(6, 5, 4, stride=2, padding=1)
    hidden = torch.randn(1, 6, 7, 9, requires_grad=True)
    torch.relu_(layer(hidden)).sum().backward()
    assert hidden.grad is not None


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize(
    ("channels", "kernel", "padding", "size"),
    [
        (1, 1, 0, (1, 1)),
        (3, 12, 1, (7, 5)),
        (2, 3, 1, (1, 4)),
        (5, 4, 0, (6, 6)),
        (4, 5, 2, (3, 9)),
        (6, (5, 3), 1, (7, 9)),
    ],
)
def test_single_output_equals_torch(channels, kernel, padding, size, memory_format):
    ours = SingleOutputTransposed(channels, kernel, padding).double()
    theirs = nn.ConvTranspose2d(channels, 1, kernel, padding=padding).double()
    assert_same(ours, theirs, (3, channels, *size), memory_format)


@pytest.mark.parametrize(
    "layer", [Transposed2d(64, 64, 4, stride=2, padding=1), SingleOutputTransposed(64, 5, 1)], ids=repr
)
def test_autocast_is_left_to_torch(layer):
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 64, 30, 30)).dtype == torch.bfloat16
        if isinstance(layer, Transposed2d):
            assert layer.rectified_mean(torch.randn(1, 64, 30, 30)).dtype == torch.bfloat16


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_frozen_parts_get_no_gradient(frozen, way, force):
    force(way)
    layer = Transposed2d(6, 5, 4, stride=2, padding=1)
    parts = {"hidden": torch.randn(1, 6, 7, 9, requires_grad=True), "weight": layer.weight, "bias": layer.bias}
    parts[frozen].requires_grad_(False)
    layer(parts["hidden"]).sum().backward()
    assert {name for name, part in parts.items() if part.grad is None} == {frozen}


@pytest.mark.parametrize(("padding", "kernel", "size"), [(1, 12, (7, 5)), (1, (10, 8), (20, 30)), (0, 3, (4, 4))])
def test_single_output_after_a_norm_equals_both_layers(padding, kernel, size):
    layer, norm = SingleOutputTransposed(6, kernel, padding).double(), nn.BatchNorm2d(6).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    hidden = torch.randn(2, 6, *size, dtype=torch.double) + 1
    torch.testing.assert_close(layer.after_norm(hidden, norm), layer(norm(hidden)))  # in training
    norm.eval()
    parameters = [*layer.parameters(), *norm.parameters()]
    values = [layer.after_norm(hidden, norm), layer(norm(hidden))]
    torch.testing.assert_close(*values)
    weights = torch.randn_like(values[0])
    torch.testing.assert_close(*[torch.autograd.grad((value * weights).sum(), parameters) for value in values])


@pytest.mark.parametrize("step", [1, 8, 10_000])
def test_single_output_in_parts(step, monkeypatch):
    monkeypatch.setattr(forward, "_SINGLE_POSITIONS", step)
    ours, theirs = SingleOutputTransposed(3, 4, 1).double(), nn.ConvTranspose2d(3, 1, 4, padding=1).double()
    assert_same(ours, theirs, (2, 3, 7, 5), torch.channels_last)


@pytest.mark.parametrize("way", ["fold", (2, 4)], ids=str)
def test_products_as_convolutions(way, force, monkeypatch):
    for module in (products, scratch):
        monkeypatch.setattr(module, "convolutions_are_faster", lambda: True)
    monkeypatch.setattr(products, "_SMALLEST_INPUT", 0)
    force(way)
    ours, theirs = pair(32, 16, **SETTINGS[-4])
    ours.float()
    theirs.load_state_dict(ours.state_dict())
    hidden = torch.randn(2, 32, 9, 8)
    values = [ours(hidden).double(), theirs(hidden.double())]
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-5)
    weights = torch.randn_like(values[0])
    gradients = [
        torch.autograd.grad((value * weights).sum(), list(layer.parameters()))
        for value, layer in zip(values, (ours, theirs), strict=True)
    ]
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-3)
