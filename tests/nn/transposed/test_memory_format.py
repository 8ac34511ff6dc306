"""Memory format of a network's weights."""

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
