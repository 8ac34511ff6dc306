"""Memory format of a network's weights."""

import pytest
import torch
from torch import nn

from otoscope.classifiers import Cnn14Classifier
from otoscope.interpreters import LMACInterpreter
from otoscope.nn import use_channels_last


def test_convolutions_are_channels_last_and_transposed_ones_contiguous() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.Linear(3, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    use_channels_last(network)
    weights = [layer.weight for layer in network]
    assert weights[0].is_contiguous(memory_format=torch.channels_last)
    assert not weights[0].is_contiguous()
    assert weights[1].is_contiguous()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_loading_keeps_the_memory_format() -> None:
    classifier = Cnn14Classifier(["dog", "rain"], width=2).freeze()
    interpreter = LMACInterpreter(classifier, decoder="published")
    other = LMACInterpreter(classifier, decoder="published")
    other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    interpreter.load_state_dict(other.state_dict())
    layers = [layer for layer in interpreter.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert layers
    assert all(layer.weight.is_contiguous() for layer in layers)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "shape",
    [
        (2, 64, 107, 40),  # blocks of CNN14
        (1, 2048, 13, 2),
        (1, 32, 3, 1),  # the end of a narrow mel bank
        (2, 16, 1, 1),
        (2, 1, 9, 8),
        (1, 48, 51, 63),  # stages of the published decoders
        (3, 256, 26, 32),  # the residual block of Conv2d
    ],
)
def test_batch_norm_is_exact_in_channels_last_memory(shape: tuple[int, ...], training: bool) -> None:
    """For (batch, mel, time, 1) PyTorch 2.13 returns a wrong gradient; no network here normalises that."""
    exact = nn.BatchNorm2d(shape[1]).double().train(training)
    nn.init.normal_(exact.weight)
    nn.init.normal_(exact.bias)
    layer = nn.BatchNorm2d(shape[1]).train(training)
    layer.load_state_dict(exact.state_dict())
    hidden = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 1
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    results = []
    for norm in (exact, layer):
        inputs = hidden.to(norm.weight.dtype, memory_format=torch.channels_last).requires_grad_()
        if norm is exact:
            inputs = inputs.detach().contiguous().requires_grad_()
        result = norm(inputs)
        gradients = torch.autograd.grad((result * weights).sum(), [inputs, *norm.parameters()])
        results.append([value.detach().double() for value in (result, *gradients, *norm.buffers())])
    for actual, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3 * float(expected.abs().max()))
