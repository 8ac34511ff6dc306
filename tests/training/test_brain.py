"""Steps that all trainings of interpreters share: their results, and that nothing is computed twice."""

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Conv2dClassifier
from otoscope.data import Clip, collate
from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.training import PIQ, Interpretation, InterpretationSteps, InterpreterBrain, run_training


@pytest.fixture
def batch_sizes(classifier, monkeypatch):
    """List of the sizes of all batches that the classifier has run on."""
    sizes = []
    original = classifier.forward

    def forward(log_magnitude, frames=None):
        sizes.append(len(log_magnitude))
        return original(log_magnitude, frames)

    monkeypatch.setattr(classifier, "forward", forward)
    return sizes


@pytest.fixture
def piq(make_piq, monkeypatch):
    task = make_piq()
    logged = {}
    monkeypatch.setattr(task, "log_dict", lambda values, **options: logged.update(values))
    task.logged = logged
    return task


def batch_of(*lengths, event=False):
    clips = []
    for position, length in enumerate(lengths):
        wave = torch.randn(length, generator=torch.Generator().manual_seed(position))
        clips.append(Clip(wave / wave.abs().max(), position % 3, f"c{position}", f"key{position}/{length}"))
    return collate(clips)


def test_compute_forward_and_compute_objectives(piq, batch_sizes):
    batch = batch_of(6000, 6000, 6000, 6000)
    forward = piq.compute_forward(batch, "train")
    assert isinstance(forward, Interpretation)
    assert forward.spectrogram.log_magnitude.shape == (4, 513, 33)
    assert forward.spectrogram.phase is None
    assert forward.prediction.logits.shape == (4, 3)
    assert forward.decoded.logits.shape == (4, 513, 33)
    assert forward.spectrogram.frames is None
    assert batch_sizes == [4]
    loss = piq.compute_objectives(forward, batch, "train")
    assert loss.shape == ()
    assert set(piq.logged) == {"train_loss", "train_reconstruction", "train_codebook", "train_commitment"}
    assert piq.logged["train_loss"] == loss
    assert batch_sizes == [4]
    loss.backward()
    assert all(parameter.grad is not None for parameter in piq.parameters())
    assert all(parameter.grad is None for parameter in piq.classifier.parameters())
    assert not forward.prediction.logits.requires_grad


def test_training_and_validation_compute_nothing_twice(piq, batch_sizes):
    piq.training_step(batch_of(6000, 6000), 0)
    assert batch_sizes == [2]
    batch_sizes.clear()
    piq.validation_step(batch_of(6000, 6000), 0)
    assert batch_sizes == [2] * 3  # the clip, its evidence, its remainder


def test_test_runs_method_and_controls(piq, batch_sizes):
    piq.on_test_epoch_start()
    piq.test_step(batch_of(6000, 6000), 0)
    assert batch_sizes == [2] * (1 + 2 * 4)
    assert list(piq.report(None)["scores"]) == ["PIQ", "all-pass", "random", "loudest"]


def test_interpret_computation_steps_names_and_shapes(piq, capsys):
    waveform = torch.randn(2, 6000)
    piq.eval()
    steps = piq.interpret_computation_steps(waveform)
    assert isinstance(steps, InterpretationSteps)
    assert steps._fields == ("X_int", "xhat", "X_stft_phase", "class_pred")
    masked, output, phase, predicted = steps
    assert masked.shape == output.shape == phase.shape == (2, 513, 33)
    assert predicted.shape == (2,)
    spectrogram = piq.classifier.frontend(waveform)
    prediction = piq.classifier.predict(spectrogram)
    mask = piq.interpreter(spectrogram, prediction)
    torch.testing.assert_close(masked, mask * spectrogram.log_magnitude)
    torch.testing.assert_close(output, mask)
    torch.testing.assert_close(phase, spectrogram.phase)
    assert torch.equal(predicted, prediction.predicted)
    assert capsys.readouterr().out == ""
    piq.interpret_computation_steps(waveform, print_probability=True)
    probability = prediction.probabilities[0].max().item()
    assert capsys.readouterr().out == f"classifier probability: {probability:.4f}\n"


def test_the_classifier_is_frozen_and_not_part_of_the_state_dict(piq):
    assert isinstance(piq, InterpreterBrain)
    assert not any("classifier" in name or name.startswith("_frozen") for name in piq.state_dict())
    assert all(name.startswith("interpreter.") for name in piq.state_dict())
    assert all(name.startswith("interpreter.") for name, _ in piq.named_parameters())
    assert not any(parameter.requires_grad for parameter in piq.classifier.parameters())
    piq.train()
    assert piq.interpreter.training
    assert not piq.classifier.training
    before = {name: value.clone() for name, value in piq.classifier.state_dict().items()}
    piq.training_step(batch_of(6000, 6000), 0).backward()
    torch.testing.assert_close(piq.classifier.state_dict(), before, rtol=0, atol=0)


def test_the_classifier_is_converted_with_the_task(piq):
    piq.double()
    assert all(parameter.dtype == torch.float64 for parameter in piq.classifier.parameters())


def test_padding_changes_no_clip(piq):
    piq.eval()
    together = piq.compute_forward(batch_of(9000, 5000), "valid")
    assert together.spectrogram.frame_counts == [piq.classifier.frontend.frames(length) for length in (9000, 5000)]
    short = batch_of(9000, 5000).waveform[1:, :5000]
    alone = piq.compute_forward(collate([Clip(short[0], 0, "short", "short")]), "valid")
    torch.testing.assert_close(together.prediction.logits[1:], alone.prediction.logits, rtol=1e-4, atol=1e-4)
    masks = [piq.interpreter.mask(forward.decoded, forward.spectrogram) for forward in (together, alone)]
    count = masks[1].shape[-1]
    torch.testing.assert_close(masks[0][1:, :, :count], masks[1], rtol=1e-3, atol=1e-3)
    assert not masks[0][1, :, count:].any()


def test_labels_unknown_to_the_classifier_are_refused(piq):
    piq.adapt_to(["rooster", "siren"])  # a subset in another order is allowed
    with pytest.raises(ConfigurationError, match=r"classifier: it does not know dragon of the data set"):
        piq.adapt_to(["siren", "dragon"])


def test_a_folder_without_a_classifier_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: is no model folder"):
        PIQ(tmp_path / "nowhere")


def test_stored_representations_equal_computed_ones(classifier, make_piq, batch_sizes, cache_folder):
    batch = batch_of(6000, 6000, 6000)
    computed = make_piq().compute_forward(batch, "train").prediction
    batch_sizes.clear()
    caching = make_piq(cache_representations=True)
    first = caching.compute_forward(batch, "train").prediction
    assert batch_sizes == [1, 1, 1]
    again = caching.compute_forward(batch, "train").prediction
    silence = Spectrogram(torch.zeros(3, 513, 33))
    another_run = make_piq(cache_representations=True)._predict(batch, silence, "train")
    assert batch_sizes == [1, 1, 1]  # nothing is computed again, not even in another run
    for prediction in (first, again, another_run):
        torch.testing.assert_close(prediction.logits, computed.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(prediction.representations, computed.representations, rtol=1e-4, atol=1e-5)
    assert (cache_folder / "representations").is_dir()


def test_stored_representations_belong_to_one_classifier(make_piq, batch_sizes, tmp_path):
    batch = batch_of(6000)
    folder = tmp_path / "stored"
    first = make_piq(cache_representations=True, cache_folder=folder).compute_forward(batch, "train").prediction
    torch.manual_seed(9)
    other = Conv2dClassifier(["siren", "rooster", "clock_tick"], width=6, head_width=8).freeze()
    task = make_piq(classifier=other, cache_representations=True, cache_folder=folder)
    assert not torch.allclose(task.compute_forward(batch, "train").prediction.logits, first.logits)


def test_padded_batches_are_not_stored(make_piq, cache_folder):
    make_piq(cache_representations=True).compute_forward(batch_of(6000, 5000), "train")
    assert not cache_folder.exists()


@pytest.mark.parametrize("stage", ["valid", "test"])
def test_scores_never_compare_with_stored_probabilities(make_piq, batch_sizes, stage):
    task = make_piq(cache_representations=True)
    task.compute_forward(batch_of(6000, 6000), "train")
    batch_sizes.clear()
    task.compute_forward(batch_of(6000, 6000), stage)
    assert batch_sizes == [2]


def test_accuracy_of_a_classifier_with_labels_in_another_order(make_piq, data, trainer_options, tmp_path):
    data.setup("fit")
    classifier = Conv2dClassifier(["other", *reversed(data.labels)], width=6, head_width=8).freeze()
    results = run_training(make_piq(classifier=classifier), data, tmp_path, {**trainer_options, "max_epochs": 1})
    data.setup("test")
    right = []
    for batch in data.test_dataloader():
        predicted = classifier.predict(classifier.frontend(batch.waveform)).predicted
        names = [classifier.labels[index] for index in predicted.tolist()]
        right += [data.labels[target] == name for target, name in zip(batch.target.tolist(), names, strict=True)]
    assert results["acc"] == pytest.approx(sum(right) / len(right))


def test_steps_of_the_reference(make_piq, data):
    brain = make_piq().eval()
    wavs = torch.randn(2, 8000)
    spectrogram = brain.preprocess(wavs)
    forward = brain.classifier_forward(spectrogram.log_magnitude)
    assert torch.equal(forward.class_pred, forward.predictions.argmax(-1))
    assert forward.hcat[0].shape[0] == 2
    sound = brain.invert_stft_with_phase(spectrogram.log_magnitude, spectrogram.phase)
    torch.testing.assert_close(sound, wavs[:, : sound.shape[1]], rtol=1e-3, atol=1e-4)
