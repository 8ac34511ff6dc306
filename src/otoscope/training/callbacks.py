"""Callbacks of the trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
from torch.utils.data import Dataset

from otoscope.data import Clip
from otoscope.training.brain import InterpreterBrain


class SaveInterpretations(lightning.Callback):
    """Saves interpretations of the first clips, every N epochs of validation and at test.

    Each goes to ``<folder>/<clip>/``: ``original.wav interpretation.wav remainder.wav spectra.png
    explanation.json``.

    Args:
        folder: Where they go.
        every_n_epochs: Of the validation clips; 0 for at test only.
        clips: How many.
    """

    def __init__(self, folder: str | Path, every_n_epochs: int = 10, clips: int = 10) -> None:
        self.folder = Path(folder)
        self.every_n_epochs = every_n_epochs
        self.clips = clips

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves clips of the validation set."""
        due = self.every_n_epochs > 0 and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and not trainer.sanity_checking:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            self._save(trainer, pl_module, data.valid_set, f"epoch-{trainer.current_epoch + 1}")

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Saves clips of the test set."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._save(trainer, pl_module, data.test_set, "test")

    def _save(self, trainer: lightning.Trainer, module: Any, clips: Dataset[Clip], part: str) -> None:
        if not trainer.is_global_zero or not isinstance(module, InterpreterBrain):
            return
        with module.explaining() as explainer:
            for index in spread(len(clips), self.clips):  # type: ignore[arg-type]
                clip = clips[index]
                explanation = explainer.explain(clip.waveform, name=clip.name)
                explanation.save(self.folder / part / clip.name)


def spread(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` indices spread evenly over ``count``, so that sorted data shows many classes.

    Example:
        >>> spread(100, 4)
        [0, 25, 50, 75]
    """
    wanted = min(wanted, count)
    return [index * count // wanted for index in range(wanted)]
