"""The published network, and its handling of padding."""

import pytest
import torch
from torch.nn import functional as F

from otoscope.errors import ConfigurationError
from otoscope.nn import AmortizedNMF


def test_activations_equal_those_of_the_published_layers():
    network, log_magnitude = AmortizedNMF(11, 4), torch.rand(2, 11, 30)
    hidden = log_magnitude
    for layer in network.encoder:
        hidden = F.relu(F.conv1d(F.pad(hidden, (3, 4)), layer.weight, layer.bias))
    activations = network(log_magnitude)
    torch.testing.assert_close(activations, hidden)
    assert activations.shape == (2, 4, 30)
    assert (activations >= 0).all()
    expected = torch.stack([network.dictionary.clamp(min=0) @ clip for clip in activations])
    torch.testing.assert_close(network.reconstruct(activations), expected)


def test_components_are_never_negative():
    network = AmortizedNMF(11, 4)
    assert (network.dictionary >= 0).all()
    torch.nn.init.normal_(network.dictionary)
    assert torch.equal(network.components, network.dictionary.clamp(min=0))
    assert (network.components == 0).any()


@pytest.mark.parametrize("frames", [1, 3, 8, 40])
def test_padding_does_not_change_the_activations_of_a_clip(frames):
    network = AmortizedNMF(11, 4)
    for layer in network.encoder:
        torch.nn.init.normal_(layer.bias)
    clip = torch.rand(1, 11, frames)
    batch = torch.cat([F.pad(clip, (0, 40 - frames), value=9.0), torch.rand(1, 11, 40)])
    activations = network(batch, torch.tensor([frames, 40]))
    torch.testing.assert_close(activations[:1, :, :frames], network(clip), rtol=1e-5, atol=1e-5)
    assert activations[0, :, frames:].count_nonzero() == 0
    torch.testing.assert_close(activations[1:], network(batch[1:]), rtol=1e-5, atol=1e-5)


def test_training_lowers_the_loss():
    network, log_magnitude = AmortizedNMF(20, 5), torch.rand(4, 5, 40)
    log_magnitude = torch.rand(20, 5) @ log_magnitude**3
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(network.reconstruct(network(log_magnitude)), log_magnitude)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(value.grad is not None for value in network.parameters())


@pytest.mark.parametrize("option", [{"bins": 0}, {"components": -1}])
def test_impossible_sizes_are_refused(option):
    with pytest.raises(ConfigurationError, match=r"nmf: bins .* components .* must be positive"):
        AmortizedNMF(**option)
