"""AMT from data to table without training, and the overlap test of any interpreter."""

import enum
import json
import types

import pytest
import soundfile
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import FocalNetClassifier
from otoscope.data import Synthetic
from otoscope.errors import ConfigurationError
from otoscope.explain import load
from otoscope.training import (
    ClassifierTraining,
    InterpreterESC50Brain,
    OverlapTest,
    SaveInterpretations,
    run_training,
)
from otoscope.training.overlap import mixture_of

pytest.importorskip("transformers")
CLASSES = ["siren", "clock_tick"]
BACKBONE = {"embed_dim": 8, "depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 64, 64], "image_size": 64}
Stage = enum.Enum("Stage", ["TRAIN", "VALID", "TEST"])
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture
def focalnet():
    return FocalNetClassifier(CLASSES, backbone=BACKBONE, head_width=8)


@pytest.fixture
def clips():
    return Synthetic(clips_per_class=4, classes=CLASSES, duration_s=0.5, batch_size=4, snr_db=(10, 20))


def test_evaluates_saves_and_explains(focalnet, clips, tmp_path):
    task = InterpreterESC50Brain(focalnet, quantile=0.8)
    saver = SaveInterpretations(tmp_path / "interpretations", clips=1)
    overlap = OverlapTest(tmp_path / "overlap", clips=2)
    results = run_training(task, clips, tmp_path, QUIET, interpretations=saver, overlap=overlap)
    assert list(results["scores"]) == ["AMT", "all-pass", "random", "loudest", "ideal"]
    assert results["scores"]["AMT"]["MM"] == pytest.approx(0.2, abs=0.02)
    assert results["overlap"]["mixtures"] == 2
    assert results == json.loads((tmp_path / "test.json").read_text())
    assert not (tmp_path / "checkpoints").exists()
    [folder] = (tmp_path / "interpretations" / "test").iterdir()
    assert (folder / "maps.png").is_file()
    explanation = load(tmp_path / "model").explain(torch.rand(8000) - 0.5)
    assert explanation.method == "AMT"
    assert list(explanation.maps) == ["stage1", "stage2", "stage3", "stage4"]


def test_validation_step_collects_scores_without_a_loss(focalnet, clips, monkeypatch):
    task = InterpreterESC50Brain(focalnet, quantile=0.8)
    logged = {}
    monkeypatch.setattr(task, "log_dict", lambda values, **options: logged.update(values))
    clips.setup("test")
    task.validation_step(next(iter(clips.test_dataloader())), 0)
    assert list(logged) == ["valid_acc"]
    assert float(task._valid_scores.compute()["MM"]) == pytest.approx(0.2, abs=0.02)


def test_methods_of_the_reference(focalnet):
    task = InterpreterESC50Brain(focalnet)
    wavs = torch.randn(2, 8000)
    spectrogram = task.preprocess(wavs)
    forward = task.classifier_forward(spectrogram.log_magnitude)
    assert forward.xhat.shape == spectrogram.log_magnitude.shape
    assert torch.equal(forward.class_pred, forward.predictions.argmax(-1))
    sound = task.invert_stft_with_phase(spectrogram.log_magnitude, spectrogram.phase)
    torch.testing.assert_close(sound, wavs[:, : sound.shape[1]], rtol=1e-3, atol=1e-4)
    steps = task.interpret_computation_steps(wavs)
    assert torch.equal(steps.class_pred, forward.class_pred)
    torch.testing.assert_close(steps.X_int, forward.xhat * spectrogram.log_magnitude)


def test_forward_and_objectives_of_the_reference(focalnet, clips):
    task = InterpreterESC50Brain(focalnet, quantile=0.8)
    clips.setup("test")
    batch = next(iter(clips.test_dataloader()))
    for stage in (Stage.TRAIN, Stage.VALID, Stage.TEST, "test"):
        forward = task.compute_forward(batch, stage)
        interpretation, phase, predictions, original = forward
        assert phase.shape == original.shape == interpretation.shape
        assert predictions.shape == (len(batch), len(CLASSES))
        area = (interpretation > 0).float().mean()
        assert area == pytest.approx(0.2, abs=0.02)
        assert torch.equal(interpretation[interpretation > 0], original[interpretation > 0])
        logits = focalnet.logits(Spectrogram(interpretation))
        loss = task.compute_objectives(forward, batch, stage)
        torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, predictions.argmax(-1)))
    with pytest.raises(ConfigurationError, match="stage: 'later' is none of train, valid, test"):
        task.compute_forward(batch, "later")


def test_batches_of_the_reference_are_accepted(focalnet, clips):
    # Such a batch has nothing but sig, id and class_string_encoded; here its second clip is padded.
    task = InterpreterESC50Brain(focalnet)
    clip = torch.randn(8000)
    waveform = torch.stack([clip, torch.cat([clip[:6000], torch.zeros(2000)])])
    batch = types.SimpleNamespace(
        id=["a", "b"],
        sig=(waveform, torch.tensor([1.0, 0.75])),
        class_string_encoded=(torch.tensor([[1], [0]]), torch.ones(2)),
    )
    forward = task.compute_forward(batch, Stage.TEST)
    alone = task.compute_forward(types.SimpleNamespace(sig=(clip[None, :6000], torch.ones(1))), Stage.TEST)
    torch.testing.assert_close(forward.predictions[1:], alone.predictions, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(task.compute_objectives(forward, batch, Stage.TEST))


def test_overlap_writes_sounds_picture_and_scores(focalnet, clips, tmp_path):
    task = InterpreterESC50Brain(focalnet)
    overlap = OverlapTest(tmp_path / "overlap", clips=1, concat_sources=True)
    results = run_training(task, clips, tmp_path, QUIET, overlap=overlap)
    [folder] = (tmp_path / "overlap").iterdir()
    sounds = {"mixture", "source", "noise", "interpretation"}
    assert {path.name for path in folder.iterdir()} == {f"{s}.wav" for s in sounds} | {"specs.png", "overlap.json"}
    assert all(soundfile.info(folder / f"{name}.wav").frames == 8000 for name in sounds)
    scores = json.loads((folder / "overlap.json").read_text())
    assert scores["source"] != scores["noise"]
    assert results["overlap"]["si_sdr_to_source_db"] == pytest.approx(scores["si_sdr_to_source_db"])


def test_mixture_is_a_sum_or_a_concatenation():
    source, noise = torch.randn(1000), 5 * torch.randn(700)
    mixture, mixed_source, mixed_noise = mixture_of(source, noise)
    torch.testing.assert_close(mixture, mixed_source + mixed_noise)
    assert mixture.abs().max() == pytest.approx(1)
    assert 20 * torch.log10(mixed_source.norm() / mixed_noise.norm()) == pytest.approx(12.04, abs=0.01)
    mixture, mixed_source, mixed_noise = mixture_of(source, noise, concat_sources=True)
    assert mixed_source[500:].count_nonzero() == 0
    assert mixed_noise[:500].count_nonzero() == 0
    torch.testing.assert_close(mixture[:500] / mixture[:500].abs().max(), source[:500] / source[:500].abs().max())


def test_layer_decay_and_head_epochs(clips, tmp_path):
    def make(labels):
        return FocalNetClassifier(labels, backbone=BACKBONE, head_width=8)

    task = ClassifierTraining(make, learning_rate=1e-2, schedule="constant", layer_decay=0.5, head_epochs=1)
    classifier = make(CLASSES)
    task.make_classifier = lambda labels: classifier
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    run_training(task, clips, tmp_path / "run", {**QUIET, "max_epochs": 1})
    after = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    changed = {
        name
        for name, _ in classifier.named_parameters()
        if not torch.equal(after[f"classifier.{name}"], before[name])
    }
    assert changed
    assert all(name.startswith("head.") for name in changed)
    rates = [group["lr"] for group in task.parameter_groups()]
    assert rates == [1e-2 * 0.5**i for i in range(len(rates))]
    assert sum(len(group["params"]) for group in task.parameter_groups()) == len(list(classifier.parameters()))


def test_parameters_frozen_by_the_classifier_stay_frozen(clips, tmp_path):
    def make(labels):
        classifier = FocalNetClassifier(labels, backbone=BACKBONE, head_width=8)
        classifier.backbone.focalnet.embeddings.requires_grad_(False)
        return classifier

    task = ClassifierTraining(make, learning_rate=1e-2, schedule="constant", head_epochs=1)
    run_training(task, clips, tmp_path, {**QUIET, "max_epochs": 2})
    frozen = task.classifier.backbone.focalnet.embeddings.parameters()
    assert not any(parameter.requires_grad for parameter in frozen)
    assert all(layer.requires_grad for layer in task.classifier.head.parameters())
