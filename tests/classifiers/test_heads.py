"""The cosine head of Conv2d."""

import math

import pytest
import torch

from otoscope.classifiers import CosineHead


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_logits_are_scaled_cosines(experienced, scale):
    head = experienced(CosineHead(6, 3, hidden=5, scale=scale)).eval()
    embedding = torch.randn(4, 6)
    norm = head.norm
    deviation = (norm.running_var + norm.eps).sqrt()
    normalized = (embedding - norm.running_mean) / deviation * norm.weight + norm.bias
    direction = normalized @ head.linear.weight.t() + head.linear.bias
    logits = head(embedding)
    for clip in range(4):
        for label in range(3):
            vector = head.weight[label]
            cosine = direction[clip] @ vector / (direction[clip].norm() * vector.norm())
            assert logits[clip, label].item() == pytest.approx(scale * cosine.item(), rel=1e-4, abs=1e-5)


def test_published_scale_leaves_probabilities_flat():
    embedding = torch.randn(8, 16)
    flat, sharp = CosineHead(16, 50, scale=1).eval(), CosineHead(16, 50, scale=30).eval()
    sharp.load_state_dict({**flat.state_dict(), "log_scale": sharp.log_scale})
    torch.testing.assert_close(sharp(embedding), 30 * flat(embedding))
    assert flat(embedding).softmax(1).max() < math.e**2 / 50
    assert sharp(embedding).softmax(1).amax(1).min() > flat(embedding).softmax(1).amax(1).max()


def test_scale_is_trained_only_if_requested():
    for train_scale in (False, True):
        head = CosineHead(6, 3, train_scale=train_scale)
        torch.nn.functional.cross_entropy(head(torch.randn(4, 6)), torch.tensor([0, 1, 2, 0])).backward()
        assert ("log_scale" in dict(head.named_parameters())) == train_scale
        assert "log_scale" in head.state_dict()
        assert (head.log_scale.grad is not None) == train_scale
    assert head.log_scale.grad.abs() > 0
    assert head.log_scale.exp().item() == pytest.approx(30)
