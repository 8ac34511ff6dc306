"""FocalNet and ViT: resizing of their input, predictions, padding, activation maps, layers."""

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import (
    Conv2dClassifier,
    FocalNetClassifier,
    ViTClassifier,
    save_classifier,
)
from otoscope.classifiers.image import resize_map, resize_spectrogram
from otoscope.classifiers.vit import attention_rollout
from otoscope.errors import ActivationMapError, ConfigurationError, DownloadError
from otoscope.loading import load_classifier

pytest.importorskip("transformers")
LABELS = ["dog", "rain", "clock"]
SMALL = {
    "focalnet": (FocalNetClassifier, {"embed_dim": 8, "depths": [1, 1, 2, 1], "hidden_sizes": [16, 32, 64, 64]}),
    "vit": (
        ViTClassifier,
        {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32},
    ),
}


@pytest.fixture(params=SMALL)
def classifier(request):
    kind, backbone = SMALL[request.param]
    return kind(LABELS, backbone={**backbone, "image_size": 64}, head_width=8).freeze()


def slow_resize(values, size):
    """Resize along the last axis by a triangle filter as wide as the scale, sample by sample."""
    columns = values.shape[-1]
    scale = columns / size
    support = max(scale, 1.0)
    result = []
    for i in range(size):
        center = (i + 0.5) * scale
        weights = torch.tensor([max(0.0, 1 - abs(j + 0.5 - center) / support) for j in range(columns)])
        result.append((values * weights).sum(-1) / weights.sum())
    return torch.stack(result, -1)


@pytest.mark.parametrize(("bins", "frames", "size"), [(37, 51, (8, 20)), (9, 7, (16, 16)), (64, 20, (13, 64))])
def test_resize_is_the_antialiased_triangle_filter(bins, frames, size):
    spectrogram = torch.rand(2, bins, frames)
    expected = slow_resize(slow_resize(spectrogram.transpose(1, 2), size[1]).transpose(1, 2), size[0])
    resized = resize_spectrogram(spectrogram, size)
    torch.testing.assert_close(resized, expected.transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_padded_clips_are_resized_as_alone():
    spectrogram = torch.rand(2, 40, 50)
    resized = resize_spectrogram(spectrogram, (16, 16), torch.tensor([50, 21]))
    torch.testing.assert_close(resized[1:], resize_spectrogram(spectrogram[1:, :, :21], (16, 16)))
    maps = resize_map(torch.rand(2, 4, 4), 40, 50, torch.tensor([50, 21]))
    assert maps[1, :, 21:].count_nonzero() == 0
    assert maps[1, :, :21].count_nonzero() == 40 * 21


def test_shapes_of_the_prediction(classifier):
    prediction = classifier(torch.rand(2, 513, 100))
    assert prediction.logits.shape == (2, 3)
    [representation] = prediction.representations
    assert representation.shape[:2] == (2, classifier.representation_channels[-1])
    assert all(values.shape[0] == 2 and (values >= 0).all() for values in prediction.activation_maps.values())


def test_representation_has_frequency_before_time(classifier):
    """Sound in the second half of the clip changes the late columns of the map more than the early ones."""
    log_magnitude = torch.rand(1, 513, 128)
    louder = log_magnitude.clone()
    louder[..., 64:] += 2 * torch.rand(1, 513, 64)
    maps, louder_maps = (classifier(values).activation_maps for values in (log_magnitude, louder))
    name = next(iter(maps)) if "stage1" in maps else "layer1"
    difference = (maps[name] - louder_maps[name]).abs()
    half = difference.shape[-1] // 2
    assert difference[..., half:].mean() > difference[..., :half].mean()
    upper = difference.shape[-2] // 2
    across = difference[:, upper:].mean() / difference[:, :upper].mean()
    assert 0.2 < across < 5


def test_padded_clip_gets_the_same_logits_as_alone(classifier):
    clips = torch.rand(2, 513, 100)
    together = classifier(clips, torch.tensor([100, 37]))
    alone = classifier(clips[1:, :, :37])
    torch.testing.assert_close(together.logits[1:], alone.logits, rtol=1e-4, atol=1e-4)
    for name, values in together.activation_maps.items():
        torch.testing.assert_close(values[1:], alone.activation_maps[name], rtol=1e-3, atol=1e-4)


def test_activation_maps_by_name(classifier):
    spectrogram = Spectrogram(torch.rand(1, 513, 64))
    prediction = classifier.predict(spectrogram)
    names = list(prediction.activation_maps)
    assert names in (["stage1", "stage2", "stage3", "stage4"], ["rollout", "layer1", "layer2", "layer3"])
    assert torch.equal(prediction.activation_map(), prediction.activation_maps[names[-1]])
    assert torch.equal(prediction.activation_map(names[0]), prediction.activation_maps[names[0]])
    assert torch.equal(classifier.activation_map(spectrogram, names[0]), prediction.activation_maps[names[0]])
    with pytest.raises(ActivationMapError, match=rf"no 'stage9'; .*{names[0]}"):
        prediction.activation_map("stage9")
    with pytest.raises(ActivationMapError, match="no activation map"):
        Conv2dClassifier(LABELS, width=4).freeze().activation_map(spectrogram)


def test_modulators_are_what_the_context_projections_return(classifier):
    if not isinstance(classifier, FocalNetClassifier):
        pytest.skip("only FocalNet has modulators")
    stage = classifier.backbone.focalnet.encoder.stages[-1]
    outputs = []
    handle = stage.layers[-1].modulation.projection_context.register_forward_hook(
        lambda module, inputs, output: outputs.append(output)
    )
    prediction = classifier(torch.rand(1, 513, 64))
    handle.remove()
    expected = outputs[0].square().sum(1).sqrt().transpose(-1, -2)
    torch.testing.assert_close(prediction.activation_maps["stage4"], expected)


def test_rollout_is_a_distribution_and_multiplies_the_layers():
    attentions = [torch.rand(2, 5, 5).softmax(-1) for _ in range(3)]
    rolled = attention_rollout(attentions)
    torch.testing.assert_close(rolled.sum(-1), torch.ones(2, 5))
    identity = torch.eye(5)
    expected = identity
    for attention in attentions:
        expected = (0.5 * attention[1] + 0.5 * identity) @ expected
    torch.testing.assert_close(rolled[1], expected)


def test_save_and_load(classifier, tmp_path):
    spectrogram = torch.rand(1, 513, 64)
    loaded = load_classifier(save_classifier(classifier, tmp_path / "model"))
    assert type(loaded) is type(classifier)
    assert torch.equal(loaded(spectrogram).logits, classifier(spectrogram).logits)


def test_layers_are_ordered_from_the_input_to_the_head(classifier):
    layers = classifier.layers()
    assert layers[0] in (getattr(classifier.backbone, "embeddings", None), *_embeddings(classifier))
    assert layers[-1] is classifier.head
    assert len(layers) == {"FocalNetClassifier": 7, "ViTClassifier": 5}[type(classifier).__name__]


def _embeddings(classifier):
    inner = getattr(classifier.backbone, "focalnet", None)
    return () if inner is None else (inner.embeddings,)


def test_unknown_options_and_weights_are_reported(classifier):
    kind = type(classifier)
    with pytest.raises(ConfigurationError, match="has no option 'embed_dimm'"):
        kind(LABELS, backbone={"embed_dimm": 3})
    with pytest.raises(DownloadError, match=r"weights: \./no-such-folder cannot be opened"):
        kind(LABELS, weights="./no-such-folder")


def test_logits_and_probabilities_are_those_of_the_prediction(classifier):
    spectrogram = Spectrogram(torch.rand(2, 513, 100), frames=torch.tensor([100, 37]))
    prediction = classifier(spectrogram.log_magnitude, spectrogram.frames)
    torch.testing.assert_close(classifier.logits(spectrogram), prediction.logits)
    torch.testing.assert_close(classifier.probabilities(spectrogram), prediction.probabilities)


def test_logits_in_bfloat16_are_those_of_the_prediction(classifier):
    spectrogram = Spectrogram(torch.rand(2, 513, 100))
    with classifier.in_precision("bfloat16"):
        prediction, logits = classifier.predict(spectrogram), classifier.logits(spectrogram)
    assert logits.dtype == prediction.representations[0].dtype == torch.float32
    torch.testing.assert_close(logits, prediction.logits)
    assert not torch.equal(logits, classifier.logits(spectrogram))


def test_runs_in_half_precision(classifier):
    clips = torch.rand(1, 513, 100)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = classifier(clips)
    exact = classifier(clips)
    torch.testing.assert_close(rounded.probabilities.float(), exact.probabilities, rtol=0.3, atol=0.02)
    for name, values in rounded.activation_maps.items():
        resized = resize_map(values, 513, 100)
        assert resized.dtype == torch.float32
        close = resize_map(exact.activation_maps[name], 513, 100)
        assert (resized - close).norm() < 0.1 * close.norm(), name
