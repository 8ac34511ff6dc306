"""Pooling over time against slow references, and its handling of padding."""

import pytest
import torch

from otoscope.errors import ConfigurationError, ShapeError
from otoscope.nn import AttentionPooling, FixedLengthPooling

FRAMES = (9, 4, 1)


def slow_attention(pooling, clip):
    """Pool one clip (components, frames) with the weights of Ilse et al., frame by frame."""
    inner, outer = pooling.inner, pooling.outer.weight[0]
    scores = [float(outer @ (inner.weight @ frame + inner.bias).tanh()) for frame in clip.T]
    weights = torch.tensor(scores).exp()
    return sum(weight * frame for weight, frame in zip(weights / weights.sum(), clip.T, strict=True))


@pytest.fixture
def attention():
    """Attention that strongly prefers some frames."""
    pooling = AttentionPooling(5, hidden=7)
    pooling.outer.weight.data *= 20
    return pooling.requires_grad_(False)


def test_attention_is_the_published_weighted_mean(attention):
    activations = 3 * torch.rand(3, 5, 9)
    expected = torch.stack([slow_attention(attention, clip) for clip in activations])
    torch.testing.assert_close(attention(activations), expected)
    assert (attention(activations) - activations.mean(-1)).abs().max() > 0.1


def test_attention_ignores_padding(attention):
    activations = 3 * torch.rand(3, 5, 9)
    expected = [slow_attention(attention, clip[:, :n]) for clip, n in zip(activations, FRAMES, strict=True)]
    pooled = attention(activations, torch.tensor(FRAMES))
    torch.testing.assert_close(pooled, torch.stack(expected))
    for clip, n in zip(activations, FRAMES, strict=True):
        clip[:, n:] = 1e3
    torch.testing.assert_close(attention(activations, torch.tensor(FRAMES)), pooled)


def test_attention_gives_padding_no_gradient():
    activations = torch.rand(3, 5, 9, requires_grad=True)
    pooling = AttentionPooling(5)
    pooling(activations, torch.tensor(FRAMES)).square().sum().backward()
    for gradient, n in zip(activations.grad, FRAMES, strict=True):
        assert gradient[:, n:].count_nonzero() == 0
        assert (gradient[:, :n] != 0).any(0).all()
    assert all(value.grad.isfinite().all() for value in pooling.parameters())


def test_attention_pools_constant_activations_to_themselves(attention):
    steady = torch.rand(3, 5, 1)
    for frames in (1, 2, 30):
        torch.testing.assert_close(attention(steady.expand(-1, -1, frames)), steady[..., 0])


def test_attention_does_not_depend_on_the_order(attention):
    activations = 3 * torch.rand(3, 5, 9)
    torch.testing.assert_close(attention(activations[..., torch.randperm(9)]), attention(activations))
    shuffled = activations[[2, 0, 1]]
    torch.testing.assert_close(attention(shuffled), attention(activations)[[2, 0, 1]])


def test_attention_stays_within_the_values_of_the_clip(attention):
    activations = torch.rand(3, 5, 9)
    pooled = attention(activations)
    assert (pooled <= activations.amax(-1)).all()
    assert (pooled >= activations.amin(-1)).all()


@pytest.mark.parametrize("frames", [None, (9, 8, 7)])
def test_fixed_length_is_a_weighted_sum(frames):
    pooling, activations = FixedLengthPooling(6), torch.rand(3, 5, 9)
    weights = pooling.linear.weight[0].tolist()
    expected = [
        [sum(w * value for w, value in zip(weights, row[:6], strict=True)) for row in clip]
        for clip in activations.tolist()
    ]
    pooled = pooling(activations, None if frames is None else torch.tensor(frames))
    torch.testing.assert_close(pooled, torch.tensor(expected))


@pytest.mark.parametrize(("given", "frames"), [(5, None), (9, (9, 5, 8))])
def test_fixed_length_refuses_shorter_clips(given, frames):
    frames = None if frames is None else torch.tensor(frames)
    with pytest.raises(
        ShapeError, match=r"a clip of 5 frames: .* made for 6 frames or more; pad the clip, or train"
    ):
        FixedLengthPooling(6)(torch.rand(3, 5, given), frames)


@pytest.mark.parametrize("frames", [0, -3])
def test_impossible_lengths_are_refused(frames):
    with pytest.raises(ConfigurationError, match=f"pooling_frames: {frames} must be positive"):
        FixedLengthPooling(frames)
