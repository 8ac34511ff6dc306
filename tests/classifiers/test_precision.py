"""Networks in bfloat16: near float32, with outputs and gradients in float32, and refused where they cannot."""

import pytest
import torch
from torch import nn

from otoscope.audio import Spectrogram
from otoscope.classifiers import (
    CallableClassifier,
    Cnn14Classifier,
    ContrastClassifier,
    Conv2dClassifier,
    ListenerClassifier,
    TorchClassifier,
)
from otoscope.errors import ConfigurationError
from otoscope.interpreters import make_untrained

LABELS = ["dog", "rain", "siren"]


class Net(nn.Module):
    """Small convolutional network, which keeps the type of its feature map."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 6, 5, stride=4), nn.ReLU())
        self.head = nn.Linear(6, 3)
        self.computed_in = None

    def forward(self, x):
        hidden = self.conv(x)
        self.computed_in = hidden.dtype
        return self.head(hidden.mean((2, 3)))


@pytest.fixture(params=["conv2d", "cnn14", "torch"])
def classifier(request, experienced):
    torch.manual_seed(0)
    if request.param == "torch":
        return TorchClassifier(Net(), LABELS, representation="conv")
    kind = {"conv2d": Conv2dClassifier, "cnn14": Cnn14Classifier}[request.param]
    return experienced(kind(LABELS, width=6)).freeze()


@pytest.fixture
def clips():
    torch.manual_seed(1)
    return Spectrogram(torch.rand(2, 513, 90), frames=torch.tensor([90, 50]))


def test_outputs_are_near_those_in_float32(classifier, clips):
    exact = classifier.predict(clips)
    with classifier.in_precision("bfloat16"):
        rounded = classifier.predict(clips)
        alone = torch.cat([classifier.logits(clips.clip(index)) for index in range(2)])
    for name in ("logits", "representations"):
        for value, near in zip(getattr(exact, name), getattr(rounded, name), strict=True):
            assert near.dtype == torch.float32
            assert 0 < (near - value).norm() < 0.03 * value.norm(), name
    torch.testing.assert_close(alone, rounded.logits, rtol=0.02, atol=0.02)
    # the precision ends with the block
    again = classifier.predict(clips)
    assert torch.equal(again.logits, exact.logits)
    assert torch.equal(again.representations[-1], exact.representations[-1])


def test_the_heads_of_this_package_stay_in_float32(clips, experienced):
    for kind in (Conv2dClassifier, Cnn14Classifier):
        classifier = experienced(kind(LABELS, width=6)).freeze()
        with classifier.in_precision("bfloat16"):
            logits = classifier.logits(clips)
        assert not torch.equal(logits.bfloat16().float(), logits)


def test_gradients_are_near_those_in_float32(classifier):
    gradients = []
    for precision in ("float32", "bfloat16"):
        inputs = torch.rand(1, 513, 90, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with classifier.in_precision(precision):
            classifier.predict(Spectrogram(inputs)).logits[0, 1].backward()
        assert inputs.grad.dtype == torch.float32
        gradients.append(inputs.grad.flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.97
    assert not torch.equal(*gradients)


def test_grad_cam_reads_the_feature_map_of_the_network(classifier, clips):
    interpreter = make_untrained("grad_cam", classifier, area=0.2)
    clip, maps = clips.clip(0), []
    for precision in ("float32", "bfloat16"):
        with classifier.in_precision(precision):
            prediction = classifier.predict(clip).towards(torch.tensor([1]))
            maps.append(interpreter.output(interpreter.decode(clip, prediction), clip).flatten())
    assert maps[1].dtype == torch.float32
    assert torch.cosine_similarity(*maps, dim=0) > 0.97


@pytest.mark.parametrize("contrast", [False, True])
def test_local_layers_run_in_the_precision_too(clips, experienced, contrast):
    classifier = experienced(Conv2dClassifier(LABELS, width=6)).freeze()
    if contrast:
        classifier = ContrastClassifier(classifier, "dog", "rain")
    layers, clip = classifier.local_layers()[1], clips.clip(0)
    with classifier.in_precision("bfloat16"):
        maps = layers.run(clip.log_magnitude)
        logits, expected = layers.rest(maps), classifier.logits(clip)
    assert maps.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected)
    assert not torch.equal(logits, classifier.logits(clip))


@pytest.mark.parametrize(
    ("method", "options"),
    [("slime", {"samples": 20, "segment_hz": 4000}), ("occlusion", {"patch_hz": 4000, "overlap": 1})],
)
def test_methods_on_local_layers_run_in_bfloat16(method, options, experienced):
    classifier = experienced(Conv2dClassifier(LABELS, width=6)).freeze()
    interpreter = make_untrained(method, classifier, area=0.2, **options)
    clip, maps = Spectrogram(torch.rand(1, 513, 120)), []
    for precision in ("float32", "bfloat16"):
        with classifier.in_precision(precision):
            prediction = classifier.predict(clip).towards(torch.tensor([1]))
            maps.append(interpreter.output(interpreter.decode(clip, prediction), clip))
    # Not near each other: parts of the clip hardly matter to a network with random weights.
    assert maps[1].dtype == torch.float32
    assert maps[1].isfinite().all()
    assert not torch.equal(*maps)


def test_a_contrast_runs_its_classifier_in_the_precision(clips):
    network = Net()
    classifier = TorchClassifier(network, LABELS)
    contrast = ContrastClassifier(classifier, "dog", "rain")
    with contrast.in_precision("bfloat16"):
        contrast.predict(clips)
        assert network.computed_in == torch.bfloat16
    contrast.predict(clips)
    assert network.computed_in == torch.float32


class OwnRun(Conv2dClassifier):
    """Classifier that runs its network itself, in float32 whatever the precision."""

    def logits(self, spectrogram):
        return self(spectrogram.log_magnitude, spectrogram.frames).logits


class KnowingRun(OwnRun):
    """Classifier that states that it runs its network in the precision."""

    takes_bfloat16 = True

    def logits(self, spectrogram):
        with self.autocast(spectrogram.log_magnitude):
            return super().logits(spectrogram)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OwnRun(LABELS, width=2), "OwnRun cannot run in bfloat16"),
        (lambda: CallableClassifier(abs, LABELS), "CallableClassifier cannot run in bfloat16"),
        (ListenerClassifier, "ListenerClassifier cannot run in bfloat16"),
        (lambda: TorchClassifier(Net().double(), LABELS), "weights in float64 and keeps their precision"),
        (lambda: ContrastClassifier(OwnRun(LABELS, width=2), "dog", "rain"), "OwnRun cannot run"),
    ],
)
def test_classifiers_that_would_stay_in_another_precision_are_refused(make, words):
    with pytest.raises(ConfigurationError, match=f"^precision: .*{words}"), make().in_precision("bfloat16"):
        pass


def test_a_class_can_state_that_it_takes_bfloat16(clips):
    classifier = KnowingRun(LABELS, width=6).freeze()
    exact = classifier.logits(clips)
    with classifier.in_precision("bfloat16"):
        assert not torch.equal(classifier.logits(clips), exact)


def test_unknown_precisions_are_named():
    with (
        pytest.raises(ConfigurationError, match="precision: expected float32 or bfloat16, got 'half'"),
        Conv2dClassifier(LABELS, width=2).in_precision("half"),
    ):
        pass
