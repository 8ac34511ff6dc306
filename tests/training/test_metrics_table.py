"""``metrics.csv`` after kills: no row twice, none missing, no line that was cut off."""

import csv
from argparse import Namespace

import pytest
import yaml

from otoscope.errors import OtoscopeError
from otoscope.training import run_training
from otoscope.training.metrics_table import MetricsTable


def rows_of(folder):
    with (folder / "metrics.csv").open() as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def log(folder, last_epoch, *rows):
    table = MetricsTable(folder, last_epoch)
    for epoch, step, values in rows:
        table.log_metrics({"epoch": epoch, **values}, step)
    table.finalize("success")
    return rows_of(folder)


def test_values_of_an_epoch_share_a_row_and_those_of_a_test_have_their_own(tmp_path):
    rows = log(
        tmp_path,
        -1,
        (0, 1, {"valid_loss": 2.0}),
        (0, 1, {"train_loss": 3.0}),
        (0, 1, {"train_loss": 3.0}),
        (0, 1, {"test_loss": 4.0}),
    )
    assert rows == [
        {"epoch": "0", "step": "1", "valid_loss": "2.0", "train_loss": "3.0"},
        {"epoch": "0", "step": "1", "test_loss": "4.0"},
    ]


def test_rows_of_epochs_that_are_trained_again_are_replaced(tmp_path):
    log(tmp_path, -1, *((epoch, epoch, {"loss": epoch + 0.5}) for epoch in range(4)))
    rows = log(tmp_path, 1, (2, 2, {"loss": 9.0}))
    assert [(row["epoch"], row["loss"]) for row in rows] == [("0", "0.5"), ("1", "1.5"), ("2", "9.0")]
    assert [row["epoch"] for row in log(tmp_path, -1, (0, 0, {"loss": 1.0}))] == ["0"]


def test_a_test_alone_keeps_all_rows_and_replaces_its_own(tmp_path):
    log(tmp_path, -1, (0, 0, {"train_loss": 1.0}), (1, 1, {"test_loss": 1.0}))
    for value in (2.0, 3.0):
        rows = log(tmp_path, None, (0, 0, {"test_loss": value}))
        assert [row.get("test_loss") for row in rows] == [None, "1.0", str(value)]


@pytest.mark.parametrize("end", ["1,1,0.", "1", "\0\0\0", '1,1,"0.5'])
def test_a_line_that_was_cut_off_is_dropped(tmp_path, end):
    log(tmp_path, -1, (0, 0, {"loss": 1.0}))
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write(end)
    assert [row["loss"] for row in log(tmp_path, 0, (1, 1, {"loss": 2.0}))] == ["1.0", "2.0"]


def test_new_values_add_columns_to_all_rows(tmp_path):
    rows = log(tmp_path, -1, (0, 0, {"b": 1.0}), (1, 1, {"a": 2.0}))
    assert (tmp_path / "metrics.csv").read_text() == "epoch,step,a,b\n0,0,,1.0\n1,1,2.0,\n"
    assert len(rows) == 2


def test_values_without_an_epoch_or_a_step_get_rows(tmp_path):
    table = MetricsTable(tmp_path, -1)
    table.log_metrics({"loss": 1.0})
    table.log_metrics({"loss": 2.0})
    table.finalize("success")
    assert [row["step"] for row in rows_of(tmp_path)] == ["0", "1"]


def test_hyperparameters_of_a_module_are_written_too(tmp_path):
    table = MetricsTable(tmp_path, -1)
    table.log_hyperparams({"rate": 0.1})
    table.log_hyperparams(Namespace(width=3))
    assert yaml.safe_load((tmp_path / "hparams.yaml").read_text()) == {"rate": 0.1, "width": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["hparams.yaml"]


def test_a_full_disk_is_reported_unless_an_error_is_reported_already(tmp_path):
    (tmp_path / "file").touch()
    table = MetricsTable(tmp_path / "file", -1)
    table.log_metrics({"loss": 1.0}, 0)
    table.finalize("failed")
    with pytest.raises(OtoscopeError, match=r"metrics\.csv: cannot be written"):
        table.finalize("success")


@pytest.mark.parametrize("every", [1, 2])
def test_a_resumed_run_has_the_table_and_the_log_of_an_uninterrupted_run(
    tmp_path, data, make_classifier_task, trainer_options, every
):
    def train(folder, epochs):
        options = {**trainer_options, "max_epochs": epochs, "check_val_every_n_epoch": every}
        run_training(make_classifier_task(), data, tmp_path / folder, options)

    train("whole", 4)
    train("parts", 2)
    # What a run leaves that is killed in epoch 2, before its checkpoint.
    with (tmp_path / "parts" / "metrics.csv").open("a") as file:
        file.write("2,5,0.5,0.5,0.5,0.5,0.5,0.5,0.5\n2,5,0.5")
    train("parts", 4)
    table, log_lines = ((tmp_path / "whole" / name).read_text() for name in ("metrics.csv", "train_log.txt"))
    assert (tmp_path / "parts" / "metrics.csv").read_text() == table
    lines = (tmp_path / "parts" / "train_log.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("epoch")] == log_lines.splitlines()[:-1]
    assert [row["epoch"] for row in rows_of(tmp_path / "parts")] == ["0", "1", "2", "3", "4"]
