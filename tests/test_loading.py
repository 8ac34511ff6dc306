"""The public functions that open models; what they open is tested with the store and with SpeechBrain's files."""

import pytest
import torch

import otoscope
from otoscope.audio import Frontend
from otoscope.classifiers import Conv2dClassifier, TorchClassifier, save_classifier
from otoscope.errors import CheckpointError
from otoscope.interpreters import PIQInterpreter, save_interpreter
from otoscope.loading import load_model
from otoscope.nn import NMFDictionary


class Net(torch.nn.Module):
    """A user's network."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(513, 2)

    def forward(self, log_magnitude):
        return self.head(log_magnitude.mean(-1))


@pytest.fixture
def classifier():
    return Conv2dClassifier(["dog", "rain"], width=2, head_width=3)


def test_load_model_opens_every_role(classifier, tmp_path):
    interpreter = PIQInterpreter(classifier, codes=4)
    loaded = load_model(save_interpreter(interpreter, classifier, tmp_path / "piq"))
    assert [type(model) for model in loaded] == [PIQInterpreter, Conv2dClassifier]
    assert isinstance(load_model(save_classifier(classifier, tmp_path / "classifier")), Conv2dClassifier)
    assert isinstance(
        load_model(NMFDictionary(torch.rand(513, 3), Frontend()).save(tmp_path / "nmf")), NMFDictionary
    )


def test_arguments_replace_those_of_the_folder(tmp_path):
    net = Net()
    folder = save_classifier(TorchClassifier(net, ["dog", "rain"], axes="bft"), tmp_path / "model")
    loaded = otoscope.load_classifier(folder, module=Net())
    values = torch.rand(1, 513, 9)
    assert torch.equal(loaded(values).logits, net(values))


def test_a_folder_without_a_model_is_named(tmp_path):
    for load in (otoscope.load_classifier, otoscope.load_interpreter, otoscope.load_dictionary, load_model):
        with pytest.raises(CheckpointError, match=r"empty: is no model folder \(no config\.json\)"):
            load(tmp_path / "empty")


def test_a_damaged_configuration_is_named(classifier, tmp_path):
    folder = save_classifier(classifier, tmp_path / "model")
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        otoscope.load_classifier(folder)


def test_local_models_have_no_revision(classifier, tmp_path):
    folder = save_classifier(classifier, tmp_path / "model")
    with pytest.raises(CheckpointError, match="only repositories on the hub have revisions"):
        otoscope.load_classifier(folder, revision="main")
