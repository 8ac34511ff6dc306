"""Options that the trainings of the published methods hand on, and a training of L2I from data to scores."""

import inspect
import json

import pytest
import torch

from otoscope.audio import Frontend
from otoscope.data import Synthetic
from otoscope.errors import ConfigurationError
from otoscope.explain import load
from otoscope.interpreters import (
    AMTInterpreter,
    HeardLMACInterpreter,
    L2IInterpreter,
    LMACInterpreter,
    PIQInterpreter,
)
from otoscope.nn import NMFDictionary
from otoscope.training import L2I, LMAC, PIQ, HeardLMAC, InterpreterESC50Brain, SaveInterpretations, run_training


@pytest.fixture
def dictionary():
    return NMFDictionary(torch.rand(513, 9), Frontend())


def test_options_are_given_to_the_interpreter(classifier, dictionary):
    options = {"relevance_threshold": 0.4, "alpha": 3.0, "beta": 0.1, "temperature": 0.5, "decoder": "published"}
    config = L2I(classifier, dictionary, **options, pooling_frames=40).interpreter.config
    assert config == {**options, "components": 9, "pooling_frames": 40, "decoder_width": None}
    options = {"use_vq": False, "use_mask_output": False, "decoder": "published", "mask_threshold": 0.2}
    assert options.items() <= PIQ(classifier, **options).interpreter.config.items()


@pytest.mark.parametrize(
    ("training", "interpreter", "absent"),
    [
        (PIQ, PIQInterpreter, {"codebook_classes"}),  # only used for published weights
        (L2I, L2IInterpreter, {"components"}),  # the dictionary has the number
        (LMAC, LMACInterpreter, set()),
        (HeardLMAC, HeardLMACInterpreter, set()),
        (InterpreterESC50Brain, AMTInterpreter, set()),
    ],
)
def test_trainings_repeat_the_options_of_their_interpreter_with_the_same_defaults(training, interpreter, absent):
    required = {"classifier", "dictionary"}
    expected = dict(inspect.signature(interpreter).parameters)
    options = inspect.signature(training).parameters
    for name in expected.keys() - required - absent:
        assert options[name].default == expected[name].default, name
    assert not absent & options.keys()


def test_options_are_given_to_the_training(classifier, dictionary):
    task = L2I(classifier, dictionary, learning_rate=0.5, weight_decay=0.25, plateau_patience=7, seed=3)
    assert (task.learning_rate, task.weight_decay, task.plateau_patience, task.seed) == (0.5, 0.25, 7, 3)
    assert task.schedule == "plateau"
    with pytest.raises(TypeError, match="learning_rat"):
        L2I(classifier, dictionary, learning_rat=0.5)


def test_the_dictionary_is_not_trained(classifier, dictionary):
    task = L2I(classifier, dictionary, schedule="constant")
    trained = {id(p) for group in task.configure_optimizers().param_groups for p in group["params"]}
    assert id(task.interpreter.dictionary) not in trained
    assert len(trained) == len(list(task.interpreter.parameters()))


def test_training_of_l2i_from_data_to_scores(classifier, dictionary, trainer_options, tmp_path):
    data = Synthetic(clips_per_class=4, classes=classifier.labels, duration_s=0.5, batch_size=6)
    dictionary.save(tmp_path / "dictionary")
    task = L2I(classifier, tmp_path / "dictionary", learning_rate=3e-3, schedule="constant")
    saver = SaveInterpretations(tmp_path / "run" / "interpretations", clips=1)
    options = {**trainer_options, "max_epochs": 3}
    results = run_training(task, data, tmp_path / "run", options, interpretations=saver)
    scores = results["scores"]
    assert list(scores) == ["L2I", "all-pass", "random", "loudest", "ideal"]
    names = {"Fid-L2I", "Fid-L2I@3"}
    assert names <= scores["L2I"].keys()
    assert all(names.isdisjoint(row) for name, row in scores.items() if name != "L2I")
    assert scores["L2I"]["Fid-L2I@3"] == 1  # there are three classes
    assert scores["L2I"]["Fid-L2I"] == pytest.approx(_fidelity(task, data))
    [folder] = (tmp_path / "run" / "interpretations" / "test").iterdir()
    assert (folder / "components.png").is_file()
    assert "components" in json.loads((folder / "explanation.json").read_text())
    rows = [row.split(",") for row in (tmp_path / "run" / "metrics.csv").read_text().splitlines()]
    column = rows[0].index("train_loss")
    losses = [float(row[column]) for row in rows[1:] if row[column]]
    assert losses[-1] < losses[0]
    again = run_training(task, data, tmp_path / "run", trainer_options, test_only=True)
    assert again["scores"] == scores
    explainer = load(tmp_path / "run" / "model")
    assert isinstance(explainer.interpreter, L2IInterpreter)
    assert torch.equal(explainer.interpreter.dictionary, dictionary.components)


@torch.no_grad()
def _fidelity(task, data):
    """Return the share of test clips for which interpreter and classifier predict the same class, clip by clip."""
    task.eval()
    hits = []
    for clip in data.test_set:
        spectrogram = task.classifier.frontend(clip.waveform[None])
        prediction = task.classifier.predict(spectrogram)
        logits = task.interpreter.decode(spectrogram, prediction).logits
        hits.append(float(logits.argmax() == prediction.logits.argmax()))
    return sum(hits) / len(hits)


def test_a_dictionary_of_another_front_end_is_refused(classifier, tmp_path):
    dictionary = NMFDictionary(torch.rand(1025, 4), Frontend(sample_rate_hz=44_100))
    dictionary.save(tmp_path / "dictionary")
    with pytest.raises(ConfigurationError, match=r"dictionary in .*44100 Hz.*classifier \(16000 Hz"):
        L2I(classifier, tmp_path / "dictionary")
