"""Decoders of all representations to the logits of a mask."""

import pytest
import torch

from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier
from otoscope.errors import ConfigurationError
from otoscope.nn import LightMask, PyramidMask, make_mask_decoder


def shapes_of(kind, **options):
    return kind(["dog", "rain"], **options).freeze().representation_shapes()


def test_the_light_network_fits_any_representations():
    for shapes, halvings in (
        (shapes_of(Conv2dClassifier, width=8), [4]),
        (shapes_of(Conv2dClassifier, width=8, depth=1), [1]),
        (shapes_of(Cnn14Classifier, width=2), [3, 4, 5, 5]),
        ([(6, 7, 7), (12, 3, 99)], [4, 4]),
    ):
        decoder = LightMask(shapes, 513).eval()
        assert decoder.halvings == halvings
        for frames in (3, 100, 431):
            parts = [torch.rand(2, c, f, max(frames * t // 512, 1)) for c, f, t in shapes]
            logits = decoder(parts, frames)
            assert logits.shape == (2, 513, frames)
            assert logits.std() > 0


def test_every_representation_counts():
    shapes = shapes_of(Cnn14Classifier, width=2)
    for decoder in (LightMask(shapes, 513), PyramidMask(shapes[-1][0], 513)):
        for part in decoder.modules():
            if isinstance(part, torch.nn.ConvTranspose2d):
                torch.nn.init.normal_(part.weight, std=0.3)
        parts = [torch.rand(1, *shape) for shape in shapes]
        before = decoder.eval()(parts, 512)
        for index in range(4):
            changed = [value + (i == index) for i, value in enumerate(parts)]
            assert not torch.allclose(decoder(changed, 512), before)


def test_the_light_network_is_light():
    shapes = [(256, 10, 64), (512, 5, 32), (1024, 2, 16), (2048, 2, 16)]  # CNN14's, as published
    with torch.device("meta"):
        light, published = (make_mask_decoder(name, shapes, 513) for name in ("light", "published"))
    sizes = [sum(parameter.numel() for parameter in decoder.parameters()) for decoder in (light, published)]
    assert sizes[0] < sizes[1] / 20
    assert sizes[1] == pytest.approx(237e6, rel=0.01)


def test_unfit_representations_and_unknown_names_are_refused():
    with pytest.raises(ConfigurationError, match=r"published for CNN14.*choose light"):
        make_mask_decoder("published", [(256, 32, 32)], 513)
    with pytest.raises(ConfigurationError, match="no representation"):
        make_mask_decoder("light", [], 513)
    with pytest.raises(ConfigurationError, match="'heavy' is unknown"):
        make_mask_decoder("heavy", [(256, 32, 32)], 513)


def test_width_of_the_light_network_is_an_option():
    shapes = shapes_of(Cnn14Classifier, width=2)
    assert make_mask_decoder("light", shapes, 513).last.in_channels == 16
    assert make_mask_decoder("light", shapes, 513, width=3).last.in_channels == 3
    for name, width in (("published", 16), ("light", 0)):
        with pytest.raises(
            ConfigurationError, match=f"decoder_width: {width} must be positive, and only the light"
        ):
            make_mask_decoder(name, shapes, 513, width)
