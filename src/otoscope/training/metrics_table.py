"""``metrics.csv`` of a run: a row per epoch, without gaps or repeated rows after kills and resuming."""

from __future__ import annotations

import contextlib
import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from otoscope.errors import OtoscopeError
from otoscope.files.atomic import replace_file, replace_text

TABLE_NAME = "metrics.csv"
_FIRST_COLUMNS = ("epoch", "step")
_INTERVAL_S = 10.0


class _Row(NamedTuple):
    """What identifies a row.

    Attributes:
        epoch: Number of the epoch, from 0; None if the values belong to none.
        step: Number of the optimiser's step.
        is_test: Whether the values are those of a test.
    """

    epoch: int | None
    step: int
    is_test: bool


class MetricsTable(Logger):
    """Logger that keeps all values of a run in ``metrics.csv``, and replaces the file as a whole.

    Values of the same epoch and step share a row; those of a test have a row of their own. Rows of steps within an
    epoch are written every ten seconds, and at the end of the epoch before its checkpoint; see `WriteMetrics`.

    Args:
        folder: Folder of the file.
        last_epoch: Number of the last epoch, from 0, whose rows of an earlier part of the run stay. -1: none; the
            run begins. None: all; nothing is trained.
    """

    def __init__(self, folder: Path, last_epoch: int | None) -> None:
        super().__init__()
        self.folder = folder
        self.last_epoch = last_epoch
        self._table: dict[_Row, dict[str, str]] | None = None
        self._unsaved = False
        self._saved_at = 0.0
        self._hyperparameters: dict[str, Any] = {}

    @property
    @override
    def name(self) -> str:
        return ""

    @property
    @override
    def version(self) -> str:
        return ""

    @property
    @override
    def save_dir(self) -> str:
        return str(self.folder)

    @property
    @override
    def log_dir(self) -> str:
        return str(self.folder)

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        table = self._rows()
        if step is None:
            step = max((row.step for row in table), default=-1) + 1
        row = _Row(None if epoch is None else int(epoch), step, _is_test(values))
        table.setdefault(row, {}).update({name: str(value) for name, value in values.items()})
        self._unsaved = True

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self._hyperparameters |= vars(params) if hasattr(params, "__dict__") else dict(params or {})
        values = self._hyperparameters
        replace_file(self.folder / "hparams.yaml", lambda path: save_hparams_to_yaml(path, values))

    @override
    @rank_zero_only
    def save(self) -> None:
        """Write the file, at most every ten seconds; Lightning calls this after each row."""
        if time.monotonic() - self._saved_at > _INTERVAL_S:
            self.write()

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        # After a failure its error is about to be reported; another one must not take its place.
        with contextlib.suppress(*([OtoscopeError] if status != "success" else [])):
            self.write()

    @rank_zero_only
    def write(self) -> None:
        """Write the file if it lacks anything.

        Raises:
            OtoscopeError: It cannot be written.
        """
        if self._unsaved:
            replace_text(self.folder / TABLE_NAME, _as_csv(self._rows()))
            self._unsaved, self._saved_at = False, time.monotonic()

    def _rows(self) -> dict[_Row, dict[str, str]]:
        """Return the rows; those of an earlier part of the run are read when first needed."""
        if self._table is None:
            former = {} if self.last_epoch == -1 else _read(self.folder / TABLE_NAME)
            self._table = {
                row: values
                for row, values in former.items()
                if self.last_epoch is None or (row.epoch is not None and row.epoch <= self.last_epoch)
            }
        return self._table


class WriteMetrics(lightning.Callback):
    """Callback that completes the row of an epoch and writes the file, before the checkpoint of the epoch.

    Lightning logs the values of an epoch after its checkpoint. A run that is killed between the two would not train
    the epoch again, so its values would be missing for ever.
    """

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the values of the epoch; Lightning logs the same once more."""
        for table in (logger for logger in trainer.loggers if isinstance(logger, MetricsTable)):
            values = {
                name: float(value) for name, value in trainer.logged_metrics.items() if name.startswith("train_")
            }
            if values:
                step = trainer.fit_loop.epoch_loop._batches_that_stepped - 1
                table.log_metrics({**values, "epoch": trainer.current_epoch}, step)
            table.write()


def _is_test(values: Mapping[str, Any]) -> bool:
    return bool(values) and all(name.startswith("test_") for name in values)


def _as_csv(table: Mapping[_Row, Mapping[str, str]]) -> str:
    names = sorted({name for values in table.values() for name in values})
    output = io.StringIO()
    writer = csv.DictWriter(output, [*_FIRST_COLUMNS, *names], lineterminator="\n")
    writer.writeheader()
    for row, values in table.items():
        writer.writerow({"epoch": "" if row.epoch is None else row.epoch, "step": row.step, **values})
    return output.getvalue()


def _read(path: Path) -> dict[_Row, dict[str, str]]:
    """Return the rows of a file, without a last line that was cut off and without other damaged lines."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return {}
    table: dict[_Row, dict[str, str]] = {}
    # What follows the last line feed was cut off.
    for line in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1].replace("\0", ""))):
        epoch, step = line.pop("epoch", None), line.pop("step", None)
        values = {name: value for name, value in line.items() if name is not None and value}
        with contextlib.suppress(ValueError, TypeError):
            row = _Row(int(epoch) if epoch else None, int(step or ""), _is_test(values))
            table.setdefault(row, {}).update(values)
    return table
