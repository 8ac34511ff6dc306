import json

import pytest
import torch

from otoscope.audio import Frontend
from otoscope.classifiers import Classifier, Conv2dClassifier, Prediction, save_classifier
from otoscope.errors import CheckpointError
from otoscope.store.folder import open_model

LABELS = ["dog", "Zaunkönig", "rain"]


class MeanClassifier(Classifier):
    """A user's class."""

    def __init__(self, labels, frontend=None, gain=1.0):
        super().__init__(labels, frontend)
        self.gain = gain
        self.weight = torch.nn.Parameter(torch.randn(len(labels)))

    @property
    def representation_channels(self):
        return (1,)

    @property
    def config(self):
        return {"gain": self.gain}

    def forward(self, log_magnitude, frames=None):
        return Prediction(self.gain * log_magnitude.mean((1, 2))[:, None] * self.weight, (log_magnitude[:, None],))


class NoClassifier:
    """A class that is not a classifier."""


@pytest.fixture
def classifier(experienced):
    frontend = Frontend(sample_rate_hz=8_000, n_fft=256, window_ms=20.0, hop_ms=8.0)
    return experienced(Conv2dClassifier(LABELS, frontend, width=3, depth=2, head_width=4, scale=5.0)).eval()


@pytest.fixture
def folder(classifier, tmp_path):
    return save_classifier(classifier, tmp_path / "model")


def edit_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def refusal(folder, load=open_model):
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("train_scale", [False, True])
def test_round_trip(experienced, tmp_path, train_scale):
    classifier = experienced(Conv2dClassifier(LABELS, width=3, head_width=4, train_scale=train_scale)).eval()
    with torch.no_grad():
        classifier.head.log_scale.fill_(1.5)
    loaded = open_model(save_classifier(classifier, str(tmp_path / "model")))
    waveform = torch.randn(2, 4_000)
    log_magnitude = loaded.frontend.log_magnitude(waveform)
    assert torch.equal(log_magnitude, classifier.frontend.log_magnitude(waveform))
    assert torch.equal(loaded(log_magnitude).logits, classifier(log_magnitude).logits)
    assert loaded.labels == LABELS
    assert loaded.config == classifier.config


def test_frontend_travels_with_the_model(folder, classifier):
    assert open_model(folder).frontend.config == classifier.frontend.config


def test_a_loaded_classifier_is_frozen(folder):
    loaded = open_model(folder)
    assert not loaded.training
    assert not any(value.requires_grad for value in loaded.parameters())


def test_a_loaded_classifier_can_be_trained_and_saved_again(folder, classifier):
    loaded = open_model(folder).train().requires_grad_(True)
    loaded(torch.rand(4, 129, 30)).logits.logsumexp(1).sum().backward()
    torch.optim.SGD(loaded.parameters(), lr=0.1).step()
    again = open_model(save_classifier(loaded, folder))
    log_magnitude = torch.rand(2, 129, 30)
    assert torch.equal(again(log_magnitude).logits, loaded.eval()(log_magnitude).logits)
    assert not torch.equal(again(log_magnitude).logits, classifier(log_magnitude).logits)


def test_config_is_readable(folder, classifier):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config == {
        "format": 1,
        "kind": "classifier",
        "class": "conv2d",
        "init": classifier.config,
        "labels": LABELS,
        "frontend": classifier.frontend.config,
        "normalize": True,
    }


def test_details_are_kept_beside_the_model(classifier, tmp_path):
    folder = save_classifier(classifier, tmp_path / "model", metrics={"accuracy": 0.75})
    assert json.loads((folder / "config.json").read_text())["metrics"] == {"accuracy": 0.75}
    assert open_model(folder).labels == LABELS


def test_saving_replaces_the_whole_folder(classifier, folder):
    (folder / "old.txt").write_text("from before")
    (folder / "classifier").mkdir()
    save_classifier(classifier, folder)
    assert names_in(folder) == ["config.json", "model.safetensors"]
    assert names_in(folder.parent) == ["model"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_missing_folder(tmp_path):
    assert "is no model folder" in refusal(tmp_path / "absent")


@pytest.mark.parametrize("missing", ["labels", "frontend", "init"])
def test_incomplete_config(folder, missing):
    edit_config(folder, **{missing: ...})
    assert missing in refusal(folder)


def test_unknown_argument_in_the_config(folder):
    edit_config(folder, init={"breadth": 3})
    assert "breadth" in refusal(folder)


def test_impossible_argument_in_the_config(folder):
    edit_config(folder, init={"width": -3})
    assert "conv2d: width (-3)" in refusal(folder)


def test_missing_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(folder)


def test_other_labels_than_weights(folder):
    edit_config(folder, labels=["dog"])
    assert "head.weight has shape (3, 4) instead of (1, 4)" in refusal(folder)


@pytest.mark.parametrize(
    "name",
    [
        "otoscope.classifiers.unknown.Network",
        "otoscope.classifiers.conv2d.Unknown",
        "otoscope.classifiers.conv2d.torch",
        "otoscope.errors.OtoscopeError",
        "otoscope.nn.ResidualBlock",
        "os.system",
        "builtins.exec",
        "otoscope",
        "",
        None,
    ],
)
def test_a_class_that_is_no_classifier(folder, name):
    edit_config(folder, **{"class": name})
    refusal(folder)


def test_a_users_class_is_loaded_if_it_is_imported(tmp_path):
    classifier = MeanClassifier(LABELS, gain=2.0).eval()
    folder = save_classifier(classifier, tmp_path / "own")
    loaded = open_model(folder)
    log_magnitude = torch.rand(2, 513, 9)
    assert type(loaded) is MeanClassifier
    assert torch.equal(loaded(log_magnitude).logits, classifier(log_magnitude).logits)


def test_a_users_class_of_another_kind_is_refused(folder):
    edit_config(folder, **{"class": f"{__name__}.NoClassifier"})
    assert "is not a classifier" in refusal(folder)
