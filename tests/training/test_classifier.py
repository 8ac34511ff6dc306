"""Training a classifier, on clips of one and of several lengths."""

import pytest
import torch

from otoscope.classifiers import Classifier, Prediction
from otoscope.data import Clip, collate
from otoscope.errors import ConfigurationError
from otoscope.training import ClassifierTraining


class RecordingClassifier(Classifier):
    """Classifier that returns zeros and records its inputs."""

    def __init__(self, labels):
        super().__init__(labels)
        self.bias = torch.nn.Parameter(torch.zeros(len(self.labels)))
        self.inputs = []

    representation_channels = (1,)
    config: dict = {}  # noqa: RUF012

    def forward(self, log_magnitude, frames=None):
        self.inputs.append((log_magnitude, frames))
        return Prediction(self.bias.expand(len(log_magnitude), -1), (log_magnitude[:, None],))


def make_task(monkeypatch, **options):
    task = ClassifierTraining(RecordingClassifier, **{"frequency_drops": 0, "chunk_drops": 0, **options})
    task.adapt_to(["a", "b", "c"])
    monkeypatch.setattr(task, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(task, "log_dict", lambda *args, **kwargs: None)
    return task


def clips(*lengths):
    return collate([Clip(torch.randn(n), i % 3, f"c{i}", f"k{i}") for i, n in enumerate(lengths)])


def test_the_classifier_gets_the_labels_of_the_data(monkeypatch):
    task = make_task(monkeypatch)
    assert task.labels == task.classifier.labels == ["a", "b", "c"]
    assert (task.monitor, task.monitor_mode) == ("valid_accuracy", "max")


def test_without_augmentation_the_classifier_sees_the_clip(monkeypatch):
    task, batch = make_task(monkeypatch), clips(2000, 2000)
    loss = task.training_step(batch, 0)
    assert loss.item() == pytest.approx(torch.tensor(3.0).log().item())
    seen, frames = task.classifier.inputs[0]
    assert frames is None
    assert torch.equal(seen, task.classifier.frontend.log_magnitude(batch.waveform))
    task.validation_step(batch, 0)
    assert torch.equal(task.classifier.inputs[1][0], seen)


def test_the_classifier_gets_the_valid_frames_of_padded_clips(monkeypatch):
    task, batch = make_task(monkeypatch), clips(2000, 1000)
    task.training_step(batch, 0)
    task.validation_step(batch, 0)
    task.test_step(batch, 0)
    for _, frames in task.classifier.inputs:
        assert torch.equal(frames, task.classifier.frontend.frames(batch.lengths))


def test_drops_silence_bands_and_chunks_only_while_training(monkeypatch):
    task = make_task(monkeypatch, frequency_drops=2, chunk_drops=2, widest_chunk_drop=0.5)
    batch = clips(*[20_000] * 8)
    task.training_step(batch, 0)
    task.validation_step(batch, 0)
    silent = task.classifier.inputs[0][0] == 0
    assert silent.all(1).any()
    assert silent.all(2).any()
    assert not (task.classifier.inputs[1][0] == 0).any()


def test_rotated_clips_keep_their_padding(monkeypatch):
    task, batch = make_task(monkeypatch, time_shift=True), clips(2000, 1000)
    before = batch.waveform.clone()
    inputs = task._augmented(batch)
    assert torch.equal(batch.waveform, before)
    assert not inputs.waveform[1, 1000:].any()
    assert torch.equal(inputs.waveform.sort(1).values, before.sort(1).values)
    assert not torch.equal(inputs.waveform, before)
    assert torch.equal(inputs.frames, task.classifier.frontend.frames(batch.lengths))


def test_a_mixture_lasts_as_long_as_the_longer_clip(monkeypatch):
    task, batch = make_task(monkeypatch, mixup_alpha=0.4, mixup_probability=1.0), clips(2000, 1000, 500)
    inputs = task._augmented(batch)
    longest = torch.maximum(batch.lengths, batch.lengths[inputs.partner])
    assert torch.equal(inputs.frames, task.classifier.frontend.frames(longest))


def test_changed_speed_and_added_silence_change_the_valid_frames(monkeypatch):
    task, batch = make_task(monkeypatch, speed_change=0.2, silence_s=0.05), clips(20_000, 20_000, 10_000)
    inputs = task._augmented(batch)
    frames = task.classifier.frontend.frames
    assert all(inputs.frames != frames(batch.lengths))
    assert inputs.frames.max() <= frames(int(20_000 / 0.8) + 1600)


def test_sounds_of_no_class_have_all_classes_as_targets(monkeypatch):
    task, batch = make_task(monkeypatch, outliers=2), clips(2000, 2000, 1000)
    with torch.no_grad():
        task.classifier.bias.copy_(torch.tensor([2.0, 0.0, -1.0]))
    loss = task.training_step(batch, 0)
    log_p = task.classifier.bias.log_softmax(-1)
    expected = -(log_p[0] + log_p[1] + log_p[2] + 2 * log_p.mean()) / 5
    torch.testing.assert_close(loss, expected)
    seen, frames = task.classifier.inputs[0]
    count = task.classifier.frontend.frames
    assert len(seen) == 5
    assert frames.tolist() == [count(2000), count(2000), count(1000), count(2000), count(2000)]


def test_loss_of_a_mixture_is_weighted_by_share():
    task = ClassifierTraining(RecordingClassifier)
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    partner, share = torch.tensor([1, 0, 3, 2]), torch.tensor([0.5, 0.7, 0.9, 1.0])
    log_p = logits.log_softmax(-1)
    rows = range(4)
    expected = -(share * log_p[rows, target] + (1 - share) * log_p[rows, target[partner]]).mean()
    torch.testing.assert_close(task._cross_entropies(logits, target, partner, share).mean(), expected)


def test_options_are_handed_on_to_the_training_task():
    task = ClassifierTraining(RecordingClassifier, learning_rate=0.5, weight_decay=0.25, optimizer="adamw", seed=3)
    assert (task.learning_rate, task.weight_decay, task.optimizer_name, task.seed) == (0.5, 0.25, "adamw", 3)
    assert task.schedule == "cyclic"
    with pytest.raises(TypeError, match="learning_rat"):
        ClassifierTraining(RecordingClassifier, learning_rat=0.5)


def test_label_smoothing():
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    loss = (
        ClassifierTraining(RecordingClassifier, label_smoothing=0.3)
        ._cross_entropies(logits, target, None, None)
        .mean()
    )
    log_p = logits.log_softmax(-1)
    torch.testing.assert_close(loss, -(0.7 * log_p[range(4), target] + 0.1 * log_p.sum(-1)).mean())


@pytest.mark.parametrize(
    "options",
    [
        {"frequency_drops": -1},
        {"chunk_drops": -1},
        {"mixup_alpha": -0.1},
        {"outliers": -1},
        {"label_smoothing": 1.0},
        {"layer_decay": 0.0},
        {"head_epochs": -1},
        {"speed_change": 1.0},
        {"silence_s": -0.1},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ClassifierTraining(RecordingClassifier, **options)


def test_report_counts_confusions_and_draws_them(monkeypatch, tmp_path):
    task = make_task(monkeypatch)
    for lengths in ((2000, 2000, 2000), (2000, 2000)):
        task.test_step(clips(*lengths), 0)
    result = task.report(tmp_path)
    assert result["confusion"] == [[2, 0, 0], [2, 0, 0], [1, 0, 0]]
    assert result["accuracy"] == pytest.approx(0.4)
    assert result["clips"] == 5
    assert result["accuracy_per_class"] == {"a": 1.0, "b": 0.0, "c": 0.0}
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_report_of_one_class_and_of_classes_without_clips(monkeypatch, tmp_path):
    task = make_task(monkeypatch)
    task.test_step(clips(2000), 0)
    assert task.report(tmp_path)["accuracy_per_class"] == {"a": 1.0, "b": None, "c": None}
    task.adapt_to(["only"])
    task.test_step(clips(2000), 0)
    result = task.report(tmp_path)
    assert result["confusion"] == [[1]]
    assert result["accuracy"] == 1
