"""``train_log.txt`` and ``label_encoder.txt`` of a run."""

import pytest

from otoscope.speechbrain.labels import read_labels
from otoscope.training import run_training
from otoscope.training.record import TrainLog, write_label_encoder


def lines_of(folder):
    return (folder / "train_log.txt").read_text().splitlines()


def test_labels_are_read_by_the_reader_of_speechbrain(tmp_path):
    labels = ["dog", "it's rain", 'a "quoted" name']
    write_label_encoder(tmp_path / "label_encoder.txt", labels)
    assert read_labels(tmp_path / "label_encoder.txt") == labels


def test_a_resumed_run_adds_its_epochs_once(make_classifier_task, data, trainer_options, tmp_path):
    run_training(make_classifier_task(), data, tmp_path, {**trainer_options, "max_epochs": 2})
    first = lines_of(tmp_path)
    assert [line.split(",")[0].split(" - ")[0] for line in first[:2]] == ["epoch: 1", "epoch: 2"]
    assert "train loss: " in first[0]
    assert "valid acc: " in first[0]
    assert first[2].startswith("Epoch loaded: ")
    results = run_training(make_classifier_task(), data, tmp_path, {**trainer_options, "max_epochs": 3})
    second = lines_of(tmp_path)
    assert second[:2] == first[:2]
    assert [line.partition(",")[0] for line in second if line.startswith("epoch")] == [
        "epoch: 1",
        "epoch: 2",
        "epoch: 3",
    ]
    # once more: a test replaces the line of the same epoch
    run_training(make_classifier_task(), data, tmp_path, {**trainer_options, "max_epochs": 3}, test_only=True)
    assert lines_of(tmp_path) == second
    assert second[-1].endswith(
        f"test acc: {results['accuracy']:.4g}, test linear_baseline: {results['linear_baseline']:.4g}"
    )
    assert read_labels(tmp_path / "label_encoder.txt") == data.labels


def test_epochs_without_validation_repeat_no_old_values(make_piq, data, trainer_options, tmp_path):
    options = {**trainer_options, "max_epochs": 2, "check_val_every_n_epoch": 2}
    results = run_training(make_piq(), data, tmp_path, options)
    first, second, test = lines_of(tmp_path)
    assert "valid" not in first
    assert "valid acc: " in second
    assert f"test acc: {results['acc']:.4g}" in test
    assert f"test MM: {results['scores']['PIQ']['MM']:.4g}" in test


def test_lines_of_an_earlier_run_are_replaced(tmp_path):
    log = TrainLog(tmp_path / "train_log.txt")
    log.write_test(1, {"acc": 0.5})
    log.write_test(2, {"acc": 0.6})
    log.write_test(1, {"acc": 0.7})
    assert lines_of(tmp_path) == ["Epoch loaded: 2 - test acc: 0.6", "Epoch loaded: 1 - test acc: 0.7"]


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (0.123456, "0.1235")])
def test_numbers_are_short(tmp_path, value, text):
    TrainLog(tmp_path / "train_log.txt").write_test(0, {"loss": value})
    assert lines_of(tmp_path) == [f"Epoch loaded: 0 - test loss: {text}"]
