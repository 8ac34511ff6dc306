"""Training of heard L-MAC: mixtures, and from data to scores."""

from dataclasses import replace

import pytest
import torch

from otoscope.data import Synthetic, collate
from otoscope.errors import ConfigurationError
from otoscope.explain import load
from otoscope.interpreters import HeardLMACInterpreter
from otoscope.training import HeardLMAC, run_training
from otoscope.training.heard_lmac import cropped, one_of_two, with_another


@pytest.fixture
def batch(data):
    """Four clips; the second is shorter."""
    data.setup("fit")
    clips = [replace(data.train_set[index]) for index in range(4)]
    clips[1].waveform = clips[1].waveform[:5000]
    return collate(clips)


def test_training_from_data_to_scores(classifier, trainer_options, tmp_path):
    data = Synthetic(clips_per_class=4, classes=classifier.labels, duration_s=0.5, batch_size=6)
    task = HeardLMAC(classifier, learning_rate=3e-3, schedule="constant", decoder_width=4)
    before = {name: value.clone() for name, value in task.classifier.state_dict().items()}
    results = run_training(task, data, tmp_path / "run", {**trainer_options, "max_epochs": 2})
    assert list(results["scores"])[:2] == ["heard L-MAC", "all-pass"]
    assert results["scores"]["heard L-MAC"]["MM"] == pytest.approx(0.2, abs=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in task.classifier.state_dict().items())
    header = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train_evidence", "train_remainder", "train_roughness", "valid_loss"} <= set(header)
    explainer = load(tmp_path / "run" / "model")
    assert isinstance(explainer.interpreter, HeardLMACInterpreter)
    masks = [explainer.explain(data.test_set[0].waveform, threshold=area).mask for area in (None, 0.05, 0.5)]
    assert [float(mask.mean()) for mask in masks] == pytest.approx([0.2, 0.05, 0.5], abs=1e-3)
    targets = [explainer.explain(data.test_set[0].waveform, target=label).mask for label in classifier.labels]
    assert not torch.equal(targets[0], targets[1])


def test_some_clips_are_mixed_in_training_only(classifier, batch):
    task = HeardLMAC(classifier, mixed=1.0)
    alone = classifier.frontend(batch.waveform, batch.lengths)
    trained, tested = (task.compute_forward(batch, stage) for stage in ("train", "valid"))
    assert torch.equal(tested.spectrogram.log_magnitude, alone.log_magnitude)
    assert tested.prediction.target is None
    assert not torch.allclose(trained.spectrogram.log_magnitude, alone.log_magnitude)
    assert trained.spectrogram.frames.tolist() == alone.frames.tolist()
    assert trained.spectrogram.phase is not None
    assert tested.spectrogram.phase is not None
    best = trained.prediction.logits.topk(2, -1).indices
    assert ((best == trained.prediction.target[:, None]).any(1)).all()
    assert set(task.loss_terms(trained)) == {"evidence", "remainder", "roughness"}


def test_pieces_are_cut_from_longer_clips(classifier, batch):
    pieces = cropped(batch, 6000)
    assert pieces.lengths.tolist() == [6000, 5000, 6000, 6000]
    assert pieces.waveform.shape == (4, 6000)
    assert pieces.padded
    for index, length in enumerate(pieces.lengths.tolist()):
        piece = pieces.waveform[index, :length]
        assert piece.abs().max() == pytest.approx(1)
        windows = batch.waveform[index, : int(batch.lengths[index])].unfold(0, length, 1)
        scaled = windows / windows.abs().amax(1, keepdim=True)
        assert (scaled - piece).abs().amax(1).min() < 1e-5
    assert not cropped(batch, 4000).padded
    task = HeardLMAC(classifier, crop_s=0.25, mixed=0)
    forward = task.compute_forward(batch, "train")
    assert forward.spectrogram.length == 4000
    assert torch.equal(forward.prediction.target, forward.prediction.predicted)


def test_mixtures_are_sums_at_the_level_of_the_draw(batch):
    drawn = torch.tensor([False, True, True, False])
    mixed = with_another(batch, drawn, largest_db=0.0)
    assert torch.equal(mixed.waveform[~drawn], batch.waveform[~drawn])
    for index in (1, 2):
        length = int(batch.lengths[index])
        parts = batch.waveform[[index, index + 1], :length]
        total = (parts / parts.norm(dim=1, keepdim=True)).sum(0)  # 0 dB: equal norms
        torch.testing.assert_close(mixed.waveform[index, :length], total / total.abs().max())
    assert mixed.waveform[1, 5000:].count_nonzero() == 0


def test_one_of_the_two_most_probable_classes_is_explained_where_it_is_drawn():
    logits = torch.tensor([[3.0, 2.0, 0.0]]).expand(400, -1)
    drawn = torch.arange(400) % 2 == 0
    target = one_of_two(logits, drawn)
    assert (target[~drawn] == 0).all()
    assert 70 < (target[drawn] == 0).sum() < 130
    assert (target[drawn] == 1).sum() == 200 - (target[drawn] == 0).sum()
    assert one_of_two(torch.zeros(2, 1), drawn[:2]).tolist() == [0, 0]


def test_invalid_options_are_refused(classifier, tmp_path):
    with pytest.raises(ConfigurationError, match=r"mixed \(2\)"):
        HeardLMAC(classifier, mixed=2)
    with pytest.raises(ConfigurationError, match="crop_s"):
        HeardLMAC(classifier, crop_s=0)
    with pytest.raises(ConfigurationError, match="cache_representations: mixtures and pieces differ"):
        HeardLMAC(classifier, cache_representations=True, cache_folder=tmp_path)
    HeardLMAC(classifier, mixed=0, cache_representations=True, cache_folder=tmp_path)
