"""Training of L-MAC: noise, fine-tuning, and that nothing is computed twice."""

import enum
from dataclasses import replace

import pytest
import torch

from otoscope.audio import save_audio
from otoscope.classifiers import Cnn14Classifier
from otoscope.data import Synthetic, collate
from otoscope.data.noise import NoiseFolder
from otoscope.errors import CheckpointError, ConfigurationError
from otoscope.explain import load
from otoscope.interpreters import LMACInterpreter
from otoscope.scoring import score_prediction
from otoscope.training import LMAC, PIQ, run_training
from otoscope.training.lmac import with_noise


@pytest.fixture
def noise_folder(tmp_path):
    torch.manual_seed(0)
    for split, level in (("tr", 0.5), ("tt", 0.0)):
        save_audio(tmp_path / "wham" / split / "a.wav", level * (torch.rand(32_000) - 0.5))
    return tmp_path / "wham"


def test_options_are_given_to_the_interpreter(classifier):
    options = {"l_in": 1.0, "l_out": 0.5, "l1": 2.0, "tv": 0.1, "guidance": 3.0, "decoder": "light"}
    options |= {"guidance_correlation": 0.7, "guidance_threshold": 0.2}
    task = LMAC(classifier, **options, learning_rate=0.5)
    assert task.interpreter.config == {**options, "decoder_width": None}
    assert task.learning_rate == 0.5


def test_training_from_data_to_scores_and_fine_tuning(classifier, trainer_options, tmp_path):
    data = Synthetic(clips_per_class=4, classes=classifier.labels, duration_s=0.5, batch_size=6)
    task = LMAC(classifier, l_out=0.02, learning_rate=3e-3, schedule="constant")
    before = {name: value.clone() for name, value in task.classifier.state_dict().items()}
    results = run_training(task, data, tmp_path / "run", {**trainer_options, "max_epochs": 3})
    assert list(results["scores"])[:2] == ["L-MAC", "all-pass"]
    assert all(torch.equal(value, before[name]) for name, value in task.classifier.state_dict().items())
    rows = [row.split(",") for row in (tmp_path / "run" / "metrics.csv").read_text().splitlines()]
    losses = [float(row[rows[0].index("train_loss")]) for row in rows[1:] if row[rows[0].index("train_loss")]]
    assert losses[-1] < losses[0]
    explainer = load(tmp_path / "run" / "model")
    assert isinstance(explainer.interpreter, LMACInterpreter)
    assert 0 < explainer.explain(data.test_set[0].waveform).mask.mean() < 1

    tuned = LMAC(classifier, start=tmp_path / "run" / "model", guidance=4.0)
    for name, value in explainer.interpreter.state_dict().items():
        assert torch.equal(tuned.interpreter.state_dict()[name], value)


def test_noise_is_added_to_training_clips_only(classifier, data, noise_folder):
    data.setup("fit")
    batch = collate([data.train_set[0], data.train_set[1]])
    task = LMAC(classifier, noise_folder=noise_folder, guidance=4.0)
    trained, tested = (task.compute_forward(batch, stage) for stage in ("train", "valid"))
    assert tested.clean is None
    assert torch.equal(tested.spectrogram.log_magnitude, classifier.frontend.log_magnitude(batch.waveform))
    assert not torch.allclose(trained.spectrogram.log_magnitude, tested.spectrogram.log_magnitude)
    # the mixture is scaled to the peak of the clip, so the clip itself becomes quieter
    magnitude = tested.spectrogram.magnitude
    gain = (trained.clean.expm1() / magnitude).flatten(1).median(1).values
    assert ((gain > 0) & (gain < 1)).all()
    torch.testing.assert_close(trained.clean.expm1(), gain[:, None, None] * magnitude, rtol=0.05, atol=1e-3)
    assert "guidance" in task.loss_terms(trained)


def test_the_stage_may_be_an_enum(classifier, data, noise_folder):
    data.setup("fit")
    batch = collate([data.train_set[0], data.train_set[1]])
    stage = enum.Enum("Stage", ["TRAIN", "VALID", "TEST"])
    task = LMAC(classifier, noise_folder=noise_folder)
    assert task.compute_forward(batch, stage.TRAIN).clean is not None
    assert task.compute_forward(batch, stage.VALID).clean is None
    assert task.compute_forward(batch, "TRAIN").clean is not None


@pytest.mark.parametrize(
    ("guidance", "correlation", "expected"), [(0.0, 0.0, 0.0), (4.0, 0.0, 1.0), (4.0, 1.0, 0.0)]
)
def test_in_masks_is_the_share_of_guided_clips(
    classifier, data, tmp_path, trainer_options, guidance, correlation, expected
):
    task = LMAC(classifier, guidance=guidance, guidance_correlation=correlation, schedule="constant")
    results = run_training(task, data, tmp_path, {**trainer_options, "max_epochs": 1})
    assert results["in_masks"] == expected
    log = (tmp_path / "train_log.txt").read_text()
    assert f"valid in_masks: {expected:g}" in log
    assert f"test in_masks: {expected:g}" in log


@pytest.fixture
def task(classifier):
    brain = LMAC(classifier).eval()
    brain.log_dict = lambda *args, **kwargs: None
    return brain


@pytest.fixture
def batch_sizes(classifier, monkeypatch):
    """List of the sizes of all batches that the classifier has run on."""
    sizes = []
    predict = classifier.predict
    monkeypatch.setattr(
        classifier, "predict", lambda spectrogram: sizes.append(len(spectrogram)) or predict(spectrogram)
    )
    return sizes


@pytest.mark.parametrize("padded", [False, True])
def test_validation_classifies_masked_clips_once_for_loss_and_scores(classifier, data, task, batch_sizes, padded):
    data.setup("fit")
    clips = [data.train_set[0], data.train_set[1]]
    if padded:
        clips[1].waveform = clips[1].waveform[:5000]
    batch = collate(clips)
    with torch.no_grad():
        task.validation_step(batch, 0)
        assert batch_sizes == [2, 4]  # the clips, then their evidence and remainder together
        forward = task.compute_forward(batch, "valid")
        mask = task.interpreter.mask(forward.decoded, forward.spectrogram)
        expected = score_prediction(classifier, forward.spectrogram, forward.prediction, mask)
    means = task._valid_scores.compute()
    for name in ("AI", "AD", "AG", "FF", "Fid-In", "MM", "SPS", "COMP"):
        torch.testing.assert_close(means[name].float(), expected[name].float().mean(), rtol=1e-4, atol=1e-4)


def test_test_step_classifies_masked_clips_once_for_loss_and_scores(data, task, batch_sizes):
    data.setup("fit")
    batch = replace(collate([data.train_set[0], data.train_set[1]]), event=None)
    with torch.no_grad():
        task.on_test_epoch_start()
        task.test_step(batch, 0)
    controls = 3  # all-pass, random, loudest: evidence and remainder one after the other
    assert batch_sizes == [2, 4] + [2] * 2 * controls


def test_the_mask_is_computed_once_per_step(data, task, monkeypatch):
    data.setup("fit")
    batch = collate([data.train_set[0], data.train_set[1]])
    calls = []
    sigmoid = torch.Tensor.sigmoid
    monkeypatch.setattr(torch.Tensor, "sigmoid", lambda values: calls.append(values.shape) or sigmoid(values))
    task.training_step(batch, 0)
    assert calls.count(torch.Size([2, 513, 44])) == 1


def test_noise_has_the_given_level_and_padding_stays_silent(data, noise_folder):
    data.setup("fit")
    clips = [data.train_set[0], data.train_set[1]]
    clips[1].waveform = clips[1].waveform[:5000]
    batch = collate(clips)
    noisy = with_noise(batch, NoiseFolder(noise_folder, 16_000, "tr"), 6.0)
    noise = noisy.waveform - noisy.clean
    ratio = noisy.clean.square().sum(-1) / noise.square().sum(-1)
    torch.testing.assert_close(10 * ratio.log10(), torch.full((2,), 6.0), rtol=0, atol=1e-3)
    assert noisy.waveform[1, 5000:].count_nonzero() == 0
    assert torch.equal(batch.waveform, collate(clips).waveform)


def test_models_that_do_not_fit_are_refused(classifier, noise_folder, tmp_path, data, trainer_options):
    with pytest.raises(ConfigurationError, match="cache_representations"):
        LMAC(classifier, noise_folder=noise_folder, cache_representations=True, cache_folder=tmp_path)
    piq = PIQ(classifier, codes=12)
    piq.export(tmp_path / "piq")
    with pytest.raises(CheckpointError, match="holds PIQInterpreter"):
        LMAC(classifier, start=tmp_path / "piq")
    other = Cnn14Classifier(classifier.labels, width=1, mel_bins=64).freeze()
    LMAC(other).export(tmp_path / "other")
    with pytest.raises(CheckpointError, match="was trained to explain another classifier"):
        LMAC(classifier, start=tmp_path / "other")
    cnn14 = Cnn14Classifier(classifier.labels, width=8).freeze()
    LMAC(cnn14, decoder="published").export(tmp_path / "published")
    with pytest.raises(CheckpointError, match="does not fit"):
        LMAC(cnn14, start=tmp_path / "published")
