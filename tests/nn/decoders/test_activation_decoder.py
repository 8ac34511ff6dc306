"""Decoders to the activations of a dictionary, on classifiers of all kinds."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from otoscope.audio import Frontend
from otoscope.classifiers import Classifier, Cnn14Classifier, Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError, ShapeError
from otoscope.nn import make_activation_decoder
from otoscope.nn.decoders import LightActivations, PublishedActivations, PyramidActivations, valid_columns

LABELS = ["dog", "rain"]
FRONTEND = {"n_fft": 256, "window_ms": 16.0, "hop_ms": 8.0}
BINS, COMPONENTS = 129, 7
LENGTHS = [3, 17, 67, 100, 431, 500]


class ResizingClassifier(Classifier):
    """A classifier with one map of fixed size, as networks for images have, and one that grows with the clip."""

    def __init__(self, labels, frontend, columns=14):
        super().__init__(labels, frontend)
        self.columns = columns
        self.norm = nn.BatchNorm2d(1)

    @property
    def representation_channels(self):
        return (1, 1)

    @property
    def config(self):
        return {"columns": self.columns}

    def forward(self, log_magnitude, frames=None):
        image = self.norm(log_magnitude[:, None])
        resized = F.interpolate(image, (5, self.columns), mode="bilinear")
        whole = F.adaptive_avg_pool2d(F.pad(image, (0, max(4 - image.shape[-1], 0))), (6, None))
        pooled = F.avg_pool2d(whole, (1, 4))
        return Prediction(image.mean((1, 2, 3))[:, None].expand(-1, len(self.labels)), (pooled, resized))


CLASSIFIERS = {
    "conv2d": lambda frontend: Conv2dClassifier(LABELS, frontend, width=3, head_width=4),
    "conv2d-deep": lambda frontend: Conv2dClassifier(LABELS, frontend, width=3, depth=6, head_width=4),
    "conv2d-deepest": lambda frontend: Conv2dClassifier(LABELS, frontend, width=3, depth=7, head_width=4),
    "cnn14": lambda frontend: Cnn14Classifier(LABELS, frontend, width=2, mel_bins=64),
    "resizing": lambda frontend: ResizingClassifier(LABELS, frontend),
}
NETWORKS = [
    ("light", "conv2d"),
    ("light", "conv2d-deep"),
    ("light", "conv2d-deepest"),
    ("light", "cnn14"),
    ("light", "resizing"),
    ("published", "conv2d"),
    ("published", "conv2d-deep"),
    ("published", "cnn14"),
]
COMPARABLE = [pair for pair in NETWORKS if pair[1] not in ("resizing", "conv2d-deepest")]
"""Pairs in which a clip has the same representations in a padded batch as alone."""


def with_statistics_of(classifier, log_magnitude):
    """Set the statistics of all norms to those of the data; with random ones hardly any signal gets through."""
    for part in classifier.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        classifier.train()(log_magnitude)
    return classifier.freeze()


@pytest.fixture
def make(experienced):
    """Networks and their classifiers, with biases and statistics as after training, which hide no mistake."""

    def make(name, classifier):
        below = with_statistics_of(
            experienced(CLASSIFIERS[classifier](Frontend(**FRONTEND))), torch.rand(4, BINS, 256)
        )
        network = make_activation_decoder(name, below.representation_shapes(), BINS, COMPONENTS)
        for part in network.modules():
            if isinstance(part, nn.Conv1d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(part.bias, std=0.1)
        return experienced(network).eval().requires_grad_(False), below

    return make


@pytest.mark.parametrize("pair", NETWORKS, ids="-on-".join)
@pytest.mark.parametrize("frames", [1, *LENGTHS])
def test_every_frame_gets_activations(make, pair, frames):
    network, classifier = make(*pair)
    activations = network(classifier(torch.rand(2, BINS, frames)).representations, frames)
    assert activations.shape == (2, COMPONENTS, frames)
    assert activations.isfinite().all()
    assert (activations >= 0).all()
    assert (activations.amax(1) > 0).float().mean() > 0.9


@pytest.mark.parametrize("pair", COMPARABLE, ids="-on-".join)
@pytest.mark.parametrize("lengths", [[500, 431, 100, 67, 3], [67, 48, 17, 16, 1], [31, 17, 2]], ids=str)
def test_padding_does_not_change_the_activations_of_a_clip(make, pair, lengths):
    network, classifier = make(*pair)
    log_magnitude, longest = torch.rand(len(lengths), BINS, max(lengths)), max(lengths)
    valid = torch.tensor(lengths)
    together = network(classifier(log_magnitude, valid).representations, longest, valid)
    for row, clip, length in zip(together, log_magnitude, lengths, strict=True):
        alone = network(classifier(clip[None, :, :length]).representations, length)[0]
        torch.testing.assert_close(row[:, :length], alone, rtol=1e-4, atol=1e-5)
        assert row[:, length:].count_nonzero() == 0
    assert together.std() > 1e-2


@pytest.mark.parametrize("pair", NETWORKS, ids="-on-".join)
def test_all_frames_valid_equals_no_frames_given(make, pair):
    network, classifier = make(*pair)
    representations = classifier(torch.rand(2, BINS, 67)).representations
    whole = network(representations, 67, torch.tensor([67, 67]))
    torch.testing.assert_close(whole, network(representations, 67), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pair", NETWORKS, ids="-on-".join)
def test_values_on_the_padding_do_not_matter(make, pair):
    network, classifier = make(*pair)
    valid = torch.tensor([500, 200, 70])
    representations = classifier(torch.rand(3, BINS, 500), valid).representations
    before = network(representations, 500, valid)
    changed = []
    for values in representations:
        columns = valid_columns(values.shape[-1], 500, valid)
        beyond = torch.arange(values.shape[-1]) >= columns[:, None]
        assert beyond.any()
        changed.append(torch.where(beyond[:, None, None], 50, values))
    torch.testing.assert_close(network(changed, 500, valid), before)


@pytest.mark.parametrize("frames", [17, 100, 431])
@pytest.mark.parametrize("columns", [3, 14, 28])
def test_maps_of_one_size_are_stretched_over_each_clip(make, frames, columns):
    """Compare a padded batch with each clip alone, which gets its share of the maps."""
    network, classifier = make("light", "resizing")
    classifier.columns = columns
    lengths = [frames, frames // 2 + 8, 16]
    valid = torch.tensor(lengths)
    representations = classifier(torch.rand(3, BINS, frames)).representations
    together = network(representations, frames, valid)
    for clip, length in enumerate(lengths):
        alone = []
        for values in representations:
            columns = int(valid_columns(values.shape[-1], frames, valid)[clip])
            alone.append(values[clip : clip + 1, ..., :columns])
        expected = network(alone, length)[0]
        torch.testing.assert_close(together[clip, :, :length], expected, rtol=1e-4, atol=1e-4)
        assert together[clip, :, length:].count_nonzero() == 0


def test_published_network_for_conv2d(make):
    """PIQ's decoder, a linear layer over frequency, ReLU after both; 417 frames, and the last one is held."""
    network, classifier = make("published", "conv2d")
    assert isinstance(network, PublishedActivations)
    (hidden,) = classifier(torch.rand(2, BINS, 431)).representations
    values = hidden.transpose(2, 3)
    layers = network.decoder.layers
    for up, _, norm in zip(layers[0:12:3], layers[1:12:3], layers[2:12:3], strict=True):
        values = F.conv_transpose2d(values, up.weight, up.bias, stride=2, padding=1).relu()
        values = F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    values = F.conv_transpose2d(values, layers[12].weight, layers[12].bias, padding=1)[:, 0]
    values = F.pad(values, (0, BINS - values.shape[-1]), mode="replicate").relu()
    expected = F.linear(values, network.linear.weight, network.linear.bias).relu().transpose(1, 2)
    activations = network([hidden], 431)
    assert expected.shape == (2, COMPONENTS, 417)
    torch.testing.assert_close(activations[..., :417], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(activations[..., 417:], activations[..., 416:417].expand(-1, -1, 14))


def test_published_network_for_cnn14(experienced):
    """The sum of four branches of published sizes, without cutting or filling: 5 s and 80 mel bins fit."""
    classifier = with_statistics_of(experienced(Cnn14Classifier(LABELS, width=2)), torch.rand(2, 513, 431))
    network = make_activation_decoder("published", classifier.representation_shapes(), 513, COMPONENTS).eval()
    assert isinstance(network, PyramidActivations)
    third, fourth, fifth, sixth = classifier(torch.rand(1, 513, 431)).representations
    layers = network.pyramid.layers

    def up(layer, values):
        options = {"stride": layer.stride, "padding": layer.padding}
        return F.conv_transpose2d(values, layer.weight, layer.bias, **options).relu()

    def joined(hidden, skip):
        assert skip.shape == hidden.shape
        return hidden + skip

    third, fourth, fifth, sixth = (values.transpose(2, 3) for values in (third, fourth, fifth, sixth))
    hidden = joined(up(layers[0], sixth), up(layers[1], fifth))
    hidden = joined(up(layers[2], hidden), up(layers[3], fourth))
    hidden = joined(up(layers[4], hidden), up(layers[5], third))
    hidden = up(network.last, up(layers[7], up(layers[6], hidden)))
    expected = hidden.mean(3).transpose(0, 1).transpose(0, 1)
    activations = network(classifier(torch.rand(1, 513, 431)).representations, 431)
    assert activations.shape == (1, COMPONENTS, 431)
    given = [values.transpose(2, 3) for values in (third, fourth, fifth, sixth)]
    torch.testing.assert_close(network(given, 431), expected[..., :431], rtol=1e-4, atol=1e-5)


def test_published_sizes():
    with torch.device("meta"):
        conv2d = make_activation_decoder("published", [(256, 32, 32)], 513, 100)
        shapes = [(256, 10, 64), (512, 5, 32), (1024, 2, 16), (2048, 2, 16)]
        cnn14 = make_activation_decoder("published", shapes, 513, 100)
        hidden = [torch.empty(1, 256, 10, 53), torch.empty(1, 512, 5, 26), *[torch.empty(1, 1024, 2, 13)]]
        assert cnn14([*hidden, torch.empty(1, 2048, 2, 13)], 431).shape == (1, 100, 431)
        assert conv2d([torch.empty(1, 256, 32, 26)], 431).shape == (1, 100, 431)
    assert conv2d.linear.weight.shape == (100, 513)
    assert cnn14.last.weight.shape == (256, 100, 7, 5)
    assert sum(layer.weight.numel() for layer in cnn14.pyramid.layers) > 5e7


def test_the_light_network_makes_every_frame(make):
    for name in ("conv2d", "cnn14", "resizing"):
        network, classifier = make("light", name)
        activations = network(classifier(torch.rand(1, BINS, 431)).representations, 431)
        assert (activations.diff(dim=-1).abs().amax((0, 1)) > 0).all()


@pytest.mark.parametrize("name", ["light", "published"])
def test_every_representation_counts(make, name):
    network, classifier = make(name, "cnn14")
    representations = classifier(torch.rand(2, BINS, 100)).representations
    before = network(representations, 100)
    for position in range(4):
        changed = list(representations)
        changed[position] = changed[position] + 30
        assert (network(changed, 100) - before).abs().max() > 1e-3 * before.max()


def test_the_light_network_is_light():
    sizes = {}
    for name in ("light", "published"):
        with torch.device("meta"):
            shapes = [(256, 10, 64), (512, 5, 32), (1024, 2, 16), (2048, 2, 16)]
            network = make_activation_decoder(name, shapes, 513, 100)
        sizes[name] = sum(value.numel() for value in network.parameters())
    assert sizes["light"] < 0.1 * sizes["published"]


@pytest.mark.parametrize(
    ("columns", "halvings"),
    [(512, 0), (256, 1), (64, 3), (32, 4), (16, 5), (8, 6), (4, 4), (1, 4), (14, 4), (600, 4)],
)
def test_the_depth_of_the_light_network_depends_on_the_shape(columns, halvings):
    network = LightActivations([(2, 3, columns)], COMPONENTS, width=4)
    assert network.halvings == [halvings]
    assert len(network.ups) == halvings
    activations = network([torch.rand(1, 2, 3, columns)], 512)
    assert activations.shape == (1, COMPONENTS, 512)


@pytest.mark.parametrize("pair", NETWORKS, ids="-on-".join)
def test_gradient_reaches_every_parameter(make, pair):
    network, classifier = make(*pair)
    network.train().requires_grad_(True)
    representations = [value.requires_grad_() for value in classifier(torch.rand(2, BINS, 67)).representations]
    before = [value.detach().clone() for value in representations]
    network(representations, 67, torch.tensor([67, 40])).square().sum().backward()
    gradients = [value.grad for value in (*representations, *network.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert all(torch.equal(value, former) for value, former in zip(representations, before, strict=True))


def test_unknown_network_is_refused():
    with pytest.raises(ConfigurationError, match="decoder: 'heavy' is unknown; choose one of light, published"):
        make_activation_decoder("heavy", [(4, 8, 32)], BINS, COMPONENTS)


@pytest.mark.parametrize("channels", [(4, 4), (1, 2, 5, 9), (2, 4, 8)])
def test_representations_without_a_published_network_are_refused(channels):
    with pytest.raises(
        ConfigurationError, match=r"decoder: none was published for .*; choose light, which fits any"
    ):
        make_activation_decoder("published", [(count, 8, 32) for count in channels], BINS, COMPONENTS)


def test_too_few_mel_bins_for_the_published_network_are_refused(make):
    classifier = Cnn14Classifier(LABELS, Frontend(**FRONTEND), width=2, mel_bins=63).freeze()
    network = make_activation_decoder("published", classifier.representation_shapes(), BINS, COMPONENTS)
    with pytest.raises(ShapeError, match=r"needs 64 mel bins or more .* choose the light one"):
        network(classifier(torch.rand(1, BINS, 67)).representations, 67)
