"""Occlusion and SLIME with few runs of local layers: the same maps as with whole runs."""

import pytest
import torch
from attributions import FRONTEND, make

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import ContrastClassifier, Conv2dClassifier
from otoscope.errors import ClassifierError

# bins are 62.5 Hz high, frames 8 ms wide
OCCLUSIONS = [
    {"patch_hz": 1000.0, "patch_s": 0.08, "overlap": 2},
    {"patch_hz": 687.5, "patch_s": 0.072, "overlap": 3},
    {"patch_hz": 500.0, "patch_s": 0.104, "overlap": 1},
    {"patch_hz": 62.5, "patch_s": 1.0, "overlap": 1},  # rows of one bin, as long as the clip
    {"patch_hz": 9000.0, "patch_s": 0.008, "overlap": 1},  # single frames, as high as the clip
]
SLIMES = [
    {"segment_hz": 1375.0, "segment_s": 0.2, "score": "logit"},  # 22 bins, 25 frames: three blocks
    {"segment_hz": 1312.5, "segment_s": 0.168, "score": "probability"},  # 21 x 21: the least for three
    {"segment_hz": 1187.5, "segment_s": 0.152, "score": "logit"},  # 19 x 19: windows of 22 would see three segments
    {"segment_hz": 750.0, "segment_s": 0.072, "score": "log_odds"},  # 12 x 9: the least for two
    {"segment_hz": 9000.0, "segment_s": 0.08, "score": "log_probability"},  # one row of segments
]
CASES = [("occlusion", options) for options in OCCLUSIONS] + [("slime", options) for options in SLIMES]


@pytest.fixture
def classifier(experienced):
    classifier = Conv2dClassifier(["dog", "rain", "clock"], Frontend(**FRONTEND), width=4, head_width=4)
    # double precision, in which differences of rounding are far below the others
    return experienced(classifier).freeze().double()


def maps_and_runs(method, classifier, clips, **options):
    """Return the maps, and the number of inputs of the first layer of the network."""
    runs = []
    network = classifier.classifier if isinstance(classifier, ContrastClassifier) else classifier
    hook = network.blocks[0].register_forward_hook(lambda module, inputs, output: runs.append(len(output)))
    prediction = classifier.predict(clips)
    runs.clear()
    maps = make(method, classifier, **{"samples": 70, **options} if method == "slime" else options)
    maps = maps.decode(clips, prediction)
    hook.remove()
    return maps, sum(runs)


def compare(method, classifier, clips, monkeypatch, least=2.0, **options):
    """Compare the maps with those of whole runs, and require a number of them for each run of local layers."""
    local, few = maps_and_runs(method, classifier, clips, **options)
    with monkeypatch.context() as patch:
        patch.setattr(Conv2dClassifier, "local_layers", lambda self: ())
        whole, many = maps_and_runs(method, classifier, clips, **options)
    assert few * least <= many
    assert whole.std() > 0
    torch.testing.assert_close(local, whole, rtol=0, atol=1e-9 * float(whole.abs().max()))


@pytest.mark.parametrize(("method", "options"), CASES)
def test_maps_equal_those_of_whole_runs(method, options, classifier, monkeypatch):
    compare(method, classifier, Spectrogram(torch.rand(1, 129, 71).double()), monkeypatch, **options)


@pytest.mark.parametrize("frames", [9, 16, 33])  # 9: shorter than the receptive field, hence padded
@pytest.mark.parametrize(("method", "options"), [CASES[0], CASES[5]])
def test_short_clips(method, options, frames, classifier, monkeypatch):
    compare(method, classifier, Spectrogram(torch.rand(1, 129, frames).double()), monkeypatch, **options)


@pytest.mark.parametrize(("method", "options"), [CASES[0], CASES[5]])
def test_clips_of_a_batch(method, options, classifier, monkeypatch):
    clips = Spectrogram(torch.rand(3, 129, 66).double(), frames=torch.tensor([66, 40, 66]))
    compare(method, classifier, clips, monkeypatch, batch=3, **options)


@pytest.mark.parametrize(("method", "options"), [CASES[0], CASES[7]])
def test_contrast_and_independent_classes(method, options, classifier, monkeypatch):
    clips = Spectrogram(torch.rand(1, 129, 50).double())
    compare(method, ContrastClassifier(classifier, "dog", "clock"), clips, monkeypatch, **options)
    classifier.multi_label = True
    compare(method, classifier, clips, monkeypatch, **{**options, "score": "probability"})


@pytest.mark.parametrize(
    ("method", "options", "runs"),
    [
        ("occlusion", {"patch_hz": 4000.0, "patch_s": 0.3}, 1 + 12),  # few patches: four rows of three
        ("slime", {"segment_hz": 125.0, "segment_s": 0.1}, 70),  # outputs would see many segments
        ("slime", {"samples": 31}, 31),  # about as many patterns as versions
    ],
)
def test_the_whole_network_is_run_where_little_would_be_saved(method, options, runs, classifier):
    clips = Spectrogram(torch.rand(1, 129, 64).double())
    assert maps_and_runs(method, classifier, clips, **options)[1] == runs


@pytest.mark.parametrize("method", ["occlusion", "slime"])
def test_nan_of_the_network_is_reported(method, classifier):
    clips = Spectrogram(torch.rand(1, 129, 64).double())
    prediction = classifier.predict(clips)
    classifier.residual.block[0].weight.data[0] = torch.nan
    with pytest.raises(ClassifierError, match="returns NaN"):
        make(method, classifier).decode(clips, prediction)
