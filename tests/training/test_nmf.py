"""Dictionaries learnt by whole trainings: what is left on disk, convergence, resuming, warm starts."""

import csv
import json
from itertools import pairwise

import pytest
import soundfile
import torch

from otoscope.audio import Frontend
from otoscope.data import Synthetic
from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.explain import load
from otoscope.loading import load_classifier, load_dictionary
from otoscope.nn import NMFDictionary, frames_of
from otoscope.training import AmortizedNMFTraining, NMFTraining, run_training

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def objectives(folder, name="train_loss"):
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A dictionary of 12 components, learnt until it converged."""
    folder = tmp_path_factory.mktemp("nmf")
    data = Synthetic(clips_per_class=4, classes=["siren", "clock_tick"], duration_s=0.5, batch_size=2)
    results = run_training(NMFTraining(12), data, folder, {**QUIET, "max_epochs": 60})
    return folder, results, data


def test_leaves_model_numbers_picture_and_sounds(learnt):
    folder, results, _ = learnt
    names = {path.name for path in folder.iterdir()}
    assert {"model", "test.json", "components.png", "components", "checkpoints", "metrics.csv"} <= names
    sounds = sorted((folder / "components").iterdir())
    assert len(sounds) == 12
    assert sounds[0].name.startswith("000-")
    assert sounds[0].name.endswith("Hz.wav")
    info = soundfile.info(sounds[3])
    assert (info.frames, info.samplerate, info.channels) == (16_000, 16_000, 1)
    assert json.loads((folder / "test.json").read_text())["nmf"] == results["nmf"]


def test_dictionary_is_sorted_sparse_and_of_unit_norm(learnt):
    folder, results, _ = learnt
    dictionary = load_dictionary(folder / "model")
    assert dictionary.frontend.same_as(Frontend())
    torch.testing.assert_close(dictionary.components.norm(dim=0), torch.ones(12))
    assert (dictionary.centroids_hz.diff() >= 0).all()
    assert (dictionary.levels > 0).all()
    numbers = results["nmf"]
    assert numbers["lowest_column_norm"] == pytest.approx(1, abs=1e-5)
    assert numbers["highest_column_norm"] == pytest.approx(1, abs=1e-5)
    assert numbers["silent_activations"] > 0.3


def test_reported_error_is_that_of_the_saved_dictionary(learnt):
    folder, results, data = learnt
    dictionary = load_dictionary(folder / "model")
    error = power = count = 0.0
    for batch in data.test_dataloader():
        log_magnitude = dictionary.frontend.log_magnitude(batch.waveform)
        activations = dictionary.activations(log_magnitude)
        error += float((log_magnitude - dictionary.components @ activations).square().sum())
        power += float(log_magnitude.square().sum())
        count += log_magnitude.numel()
    # the solver's own activations stop after fewer steps
    assert results["nmf"]["error"] == pytest.approx(error / count, rel=0.05)
    assert results["nmf"]["unexplained_power"] == pytest.approx(error / power, rel=0.05)
    assert results["nmf"]["unexplained_power"] < 0.5


def test_ends_when_converged_and_falls_until_then(learnt):
    folder, _, _ = learnt
    losses = objectives(folder)
    assert 3 < len(losses) < 60
    assert losses[-1] < losses[1] < losses[0]
    progress = [now < min(losses[:i]) * (1 - 1e-3) for i, now in enumerate(losses) if i]
    assert progress[-2:] == [False, False]
    assert all(first or second for first, second in pairwise(progress[:-1]))


def test_a_resumed_run_equals_a_whole_one(learnt, tmp_path):
    _, _, data = learnt
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_training(NMFTraining(5, tolerance=0), data, whole, {**QUIET, "max_epochs": 4})
    run_training(NMFTraining(5, tolerance=0), data, parts, {**QUIET, "max_epochs": 2})
    run_training(NMFTraining(5, tolerance=0), data, parts, {**QUIET, "max_epochs": 4})
    states = [torch.load(f / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for f in (whole, parts)]
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_a_converged_dictionary_does_not_change(learnt, tmp_path):
    _, _, data = learnt
    options = {**QUIET, "max_epochs": 60}
    for _ in range(2):
        run_training(NMFTraining(5, tolerance=1e-2), data, tmp_path, options)
        epochs = len(objectives(tmp_path))
        assert 2 < epochs < 60
    assert len(objectives(tmp_path)) == epochs
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["epoch"] == epochs - 1


def test_convergence_does_not_depend_on_a_stop_in_between(learnt, tmp_path):
    _, _, data = learnt
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_training(NMFTraining(5, tolerance=1e-2), data, whole, {**QUIET, "max_epochs": 60})
    for epochs in (2, 3, 60):
        run_training(NMFTraining(5, tolerance=1e-2), data, parts, {**QUIET, "max_epochs": epochs})
    assert objectives(parts) == objectives(whole)


def test_the_seed_decides_the_result(learnt, tmp_path):
    _, _, data = learnt
    dictionaries = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_training(NMFTraining(4, seed=seed), data, tmp_path / name, {**QUIET, "max_epochs": 1})
        dictionaries.append(load_dictionary(tmp_path / name / "model").components)
    assert torch.equal(dictionaries[0], dictionaries[1])
    assert not torch.equal(dictionaries[0], dictionaries[2])


def test_warm_start(learnt, tmp_path):
    folder, _, data = learnt
    run_training(NMFTraining(12, start=folder / "model"), data, tmp_path / "warm", {**QUIET, "max_epochs": 60})
    cold, warm = objectives(folder), objectives(tmp_path / "warm")
    assert warm[0] < cold[1]
    assert min(warm) < 1.02 * min(cold)


def test_a_start_that_does_not_fit_is_refused(learnt, tmp_path):
    folder, _, _ = learnt
    with pytest.raises(ConfigurationError, match=r"start: the dictionary in .* has 12 components"):
        NMFTraining(13, start=folder / "model")
    with pytest.raises(ConfigurationError, match=r"16000 Hz.*n_fft 2048"):
        NMFTraining(12, start=folder / "model", frontend=Frontend(n_fft=2048))
    with pytest.raises(CheckpointError, match="no model folder"):
        NMFTraining(12, start=tmp_path)


def test_amortized(learnt, tmp_path):
    _, _, data = learnt
    task = AmortizedNMFTraining(6, learning_rate=1e-3)
    run_training(task, data, tmp_path, {**QUIET, "max_epochs": 4})
    losses = objectives(tmp_path)
    assert losses[-1] < losses[0]
    saved = load_dictionary(tmp_path / "model")
    best = task.network.components.detach()
    order = NMFDictionary(best, Frontend()).centroids_hz.argsort()
    torch.testing.assert_close(saved.components, best[:, order])
    again = run_training(AmortizedNMFTraining(6), data, tmp_path, QUIET, test_only=True)
    assert again["nmf"]["error"] == pytest.approx(objectives(tmp_path, "valid_error")[-1], rel=1)


def test_padding_teaches_nothing():
    task = NMFTraining(3)
    clips = [torch.randn(8000), torch.randn(3000)]
    data = Synthetic(clips_per_class=4, classes=["siren"], duration_s=0.5)
    batch = next(iter_batches(data, clips))
    rows, activations, _ = task.explain(task.spectrogram(batch))
    expected = [frames_of(task.frontend.log_magnitude(clip[None])) for clip in clips]
    assert len(rows) == len(activations) == sum(len(part) for part in expected)
    torch.testing.assert_close(rows[: len(expected[0])], expected[0])


def iter_batches(data, waveforms):
    from otoscope.data import Clip, collate

    yield collate([Clip(waveform, 0, str(i), str(i)) for i, waveform in enumerate(waveforms)])


def test_another_sample_rate_is_refused(learnt, tmp_path, monkeypatch):
    _, _, data = learnt
    task = NMFTraining(3, frontend=Frontend(sample_rate_hz=44_100))
    monkeypatch.setattr(data, "rate_is_chosen", True)
    with pytest.raises(ConfigurationError, match=r"16000.*44100"):
        run_training(task, data, tmp_path, {**QUIET, "max_epochs": 1})


def test_a_dictionary_is_no_interpreter(learnt):
    folder, _, _ = learnt
    with pytest.raises(CheckpointError, match="holds an NMF dictionary, not an interpreter; train L2I"):
        load(folder / "model")
    with pytest.raises(CheckpointError, match="model: holds no classifier"):
        load_classifier(folder / "model")


def test_no_component_is_refused():
    for kind in (NMFTraining, AmortizedNMFTraining):
        with pytest.raises(ConfigurationError, match="components: 0 must be positive"):
            kind(0)
