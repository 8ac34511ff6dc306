"""Callbacks of the trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
from torch.utils.data import Dataset

from otoscope.data import Clip
from otoscope.training.brain import InterpreterBrain


class SaveInterpretations(lightning.Callback):
    """Callback that saves interpretations of clips during training and at test.

    ``original.wav interpretation.wav remainder.wav spectra.png explanation.json`` of a clip are written to
    ``<folder>/epoch-<number>/<clip>/`` or ``<folder>/test/<clip>/``.

    Args:
        folder: Folder of the interpretations.
        every_n_epochs: Number of epochs between interpretations of validation clips; 0 for test clips only.
        clips: Number of clips, spread evenly over the data set.
    """

    def __init__(self, folder: str | Path, every_n_epochs: int = 10, clips: int = 10) -> None:
        self.folder = Path(folder)
        self.every_n_epochs = every_n_epochs
        self.clips = clips

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save interpretations of validation clips."""
        due = self.every_n_epochs > 0 and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and not trainer.sanity_checking:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            self._save(trainer, pl_module, data.valid_set, f"epoch-{trainer.current_epoch + 1}")

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save interpretations of test clips."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._save(trainer, pl_module, data.test_set, "test")

    def _save(self, trainer: lightning.Trainer, module: Any, clips: Dataset[Clip], part: str) -> None:
        # The same callback may be given to the training of a classifier, which has nothing to interpret.
        if not trainer.is_global_zero or not isinstance(module, InterpreterBrain):
            return
        with module.explaining() as explainer:
            for index in spread(len(clips), self.clips):  # type: ignore[arg-type]
                clip = clips[index]
                explanation = explainer.explain(clip.waveform, name=clip.name)
                explanation.save(self.folder / part / clip.name)


def spread(count: int, wanted: int) -> list[int]:
    """Return indices spread evenly over a data set, so that sorted data shows many classes.

    Args:
        count: Number of clips in the data set.
        wanted: Number of indices; limited to ``count``.

    Example:
        >>> spread(100, 4)
        [0, 25, 50, 75]
    """
    wanted = min(wanted, count)
    return [index * count // wanted for index in range(wanted)]
