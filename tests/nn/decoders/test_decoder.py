"""Decoders of one representation, light and published."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from otoscope.errors import ConfigurationError
from otoscope.nn import LightDecoder, PublishedDecoder, make_decoder
from otoscope.nn.decoders import initialize_convolutions

NAMES = ["light", "published"]
# channels, frequency', time', bins, frames
SIZES = [
    (1, 1, 1, 1, 1),
    (2, 1, 1, 2, 40),
    (2, 32, 1, 513, 3),
    (2, 32, 1, 513, 16),
    (3, 32, 1, 513, 17),
    (2, 32, 2, 513, 47),
    (2, 8, 26, 129, 431),
    (2, 9, 27, 149, 447),
    (4, 2, 3, 33, 63),
    (2, 5, 7, 65, 100),  # a representation that is not 1/16
    (2, 14, 14, 129, 31),
    (1, 3, 50, 17, 90),
]


@pytest.fixture
def make(experienced):
    def make(name, channels):
        decoder = make_decoder(name, channels)
        for part in decoder.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(part.bias, std=0.1)
        return experienced(decoder).eval()

    return make


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "height", "width", "bins", "frames"), [*SIZES, (1, 32, 26, 513, 431)])
def test_every_bin_of_every_frame_gets_a_value(make, name, channels, height, width, bins, frames):
    hidden = torch.randn(2, channels, height, width)
    decoded = make(name, channels)(hidden, bins, frames)
    assert decoded.shape == (2, bins, frames)
    assert decoded.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "height", "width", "bins", "frames"), SIZES)
def test_padding_does_not_change_the_logits_of_a_clip(make, name, channels, height, width, bins, frames):
    decoder = make(name, channels)
    hidden = torch.randn(1, channels, max(bins // 16, 1), max(frames // 16, 1))
    alone = decoder(hidden, bins, frames)
    for padding in (0, 5, 40):
        longest = frames + padding
        grown = F.pad(hidden, (0, max(longest // 16, 1) - hidden.shape[-1]))
        batch = torch.cat([grown, torch.randn_like(grown)])
        decoded = decoder(batch, bins, longest, torch.tensor([frames, longest]))
        torch.testing.assert_close(decoded[:1, :, :frames], alone, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(decoded[1:], decoder(batch[1:], bins, longest), rtol=1e-5, atol=1e-5)


def test_published_decoder_is_the_published_network(make):
    decoder, hidden = make("published", 2), torch.randn(1, 2, 32, 26)
    values = hidden.transpose(2, 3)
    for position in range(0, 12, 3):
        up, norm = decoder.layers[position], decoder.layers[position + 2]
        values = F.conv_transpose2d(values, up.weight, up.bias, stride=2, padding=1).relu()
        values = F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    last = decoder.layers[12]
    values = F.conv_transpose2d(values, last.weight, last.bias, padding=1)
    assert values.shape == (1, 1, 417, 513)
    decoded = decoder(hidden, 513, 431)
    torch.testing.assert_close(decoded[..., :417], values[:, 0].transpose(1, 2))
    assert torch.equal(decoded[..., 417:], decoded[..., 416:417].expand(-1, -1, 14))


def test_published_parameters():
    shapes = [tuple(value.shape) for value in PublishedDecoder(4).parameters() if value.ndim == 4]
    assert shapes == [(4, 4, 3, 3), (4, 4, 4, 4), (4, 4, 4, 4), (4, 4, 4, 4), (4, 1, 12, 12)]


def test_the_light_decoder_makes_every_frame(make):
    decoded = make("light", 4)(torch.randn(1, 4, 32, 26), 513, 431)
    assert (decoded.diff(dim=-1).abs().amax((0, 1)) > 0).all()


def test_the_light_decoder_narrows():
    widths = [stage.up.out_channels for stage in LightDecoder(256).layers[:3]]
    assert widths == [128, 64, 32]
    assert [stage.up.out_channels for stage in LightDecoder(20, narrowest=8).layers[:3]] == [10, 8, 8]


def test_the_light_decoder_needs_a_fraction_of_the_multiply_adds():
    counts = {}
    for name in NAMES:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            make_decoder(name, 256).eval()(torch.empty(1, 256, 32, 26), 513, 431)
        counts[name] = counter.get_total_flops()
    assert counts["light"] > 0
    assert counts["published"] / counts["light"] == pytest.approx(57, rel=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_column_affects_only_the_frames_around_it(make, name):
    decoder, hidden = make(name, 2), torch.zeros(1, 2, 8, 40)
    changed = hidden.clone()
    changed[..., 20] = 1
    moved = (decoder(changed, 129, 640) - decoder(hidden, 129, 640)).abs().amax((0, 1)).nonzero()[:, 0]
    assert 320 - 70 <= moved.min() < 320
    assert 335 < moved.max() <= 335 + 70


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter_and_the_input(name):
    decoder, hidden = make_decoder(name, 4), torch.randn(2, 4, 4, 3, requires_grad=True)
    decoder(hidden, 65, 50).square().sum().backward()
    gradients = [hidden.grad, *(value.grad for value in decoder.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert hidden.grad.abs().max() > 0


def test_the_input_stays_unchanged():
    hidden = torch.randn(1, 2, 4, 3)
    before = hidden.clone()
    for name in NAMES:
        make_decoder(name, 2)(hidden, 65, 50, torch.tensor([40]))
    assert torch.equal(hidden, before)


def test_unknown_decoder_is_refused():
    with pytest.raises(ConfigurationError, match="'heavy' is unknown; choose one of light, published"):
        make_decoder("heavy", 4)


def test_initialization_is_xavier_with_zero_biases():
    convolution = nn.Conv2d(30, 40, 3)
    initialize_convolutions(convolution)
    bound = (6 / (30 * 9 + 40 * 9)) ** 0.5
    assert convolution.bias.abs().max() == 0
    assert 0.95 * bound < convolution.weight.abs().max() <= bound
    without_bias = nn.ConvTranspose2d(2, 2, 3, bias=False)
    initialize_convolutions(without_bias)
    assert without_bias.bias is None


def test_published_decoder_of_pictures_is_the_published_network(experienced):
    decoder = experienced(make_decoder("published", 3, stretched=True)).eval()
    hidden = torch.randn(2, 3, 14, 14)
    values = hidden.transpose(2, 3)
    for position, stride in zip(range(0, 12, 3), ((4, 5), (2, 2), (2, 2), (2, 2)), strict=True):
        up, norm = decoder.layers[position], decoder.layers[position + 2]
        values = F.conv_transpose2d(values, up.weight, up.bias, stride=stride, padding=1).relu()
        values = F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    last = decoder.layers[12]
    values = F.conv_transpose2d(values, last.weight, last.bias, padding=1)
    assert values.shape == (2, 1, 431, 513)  # the frames of 5 s, all of them
    decoded = decoder(hidden, 513, 431)
    torch.testing.assert_close(decoded, values[:, 0].transpose(1, 2))
    stretched = F.interpolate(decoded[:, None], (257, 100), mode="bilinear")[:, 0]
    torch.testing.assert_close(decoder(hidden, 257, 100), stretched)
    padded = decoder(hidden, 257, 100, torch.tensor([100, 31]))
    torch.testing.assert_close(padded[:1], stretched[:1])
    torch.testing.assert_close(padded[1:, :, :31], decoder(hidden[1:], 257, 31))
    assert padded[1:, :, 31:].count_nonzero() == 0
