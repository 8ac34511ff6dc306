"""Checkpoints of a training: written atomically, checked before a run resumes, and replaced where damaged."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from otoscope.errors import CheckpointError, TrainingError, first_line
from otoscope.files.atomic import replace_file

BEST_NAME, LAST_NAME = "best.ckpt", "last.ckpt"
_REMEDY = "free some space and start the run again, which resumes from its last checkpoint, or name another folder"


@dataclass(frozen=True)
class Resumption:
    """Where a run resumes.

    Attributes:
        path: Checkpoint to resume from.
        epoch: Number of the last epoch that it contains, from 0.
        best_is_lost: Whether the best checkpoint is damaged or missing.
    """

    path: Path
    epoch: int
    best_is_lost: bool = False


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writer of Lightning's checkpoints that leaves the former file or the new one after a kill or on a full disk.

    Lightning's own writes to the folder of temporary files and moves the file from there. Across file systems this
    move is a copy over the former checkpoint, which a kill destroys.

    Args:
        forgets_best: Whether a checkpoint that is loaded forgets the best one, which is damaged, so that the best
            of the remaining epochs takes its place.
    """

    def __init__(self, forgets_best: bool = False) -> None:
        self.forgets_best = forgets_best

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint beside its target and move it into place.

        Raises:
            TrainingError: The file cannot be written. A former checkpoint keeps its content.
        """
        # Via memory, because PyTorch's own writer turns a full disk into an error that does not name it.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        replace_file(path, lambda temporary: temporary.write_bytes(content.getbuffer()), TrainingError, _REMEDY)

    @override
    def load_checkpoint(
        self, path: Any, map_location: Any = lambda storage, location: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; its paths become those of the folder in which it lies now."""
        checkpoint: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        folder = Path(path).resolve().parent
        callbacks = checkpoint.get("callbacks", {})
        for name, state in list(callbacks.items()):
            if isinstance(state, dict) and "best_k_models" in state:
                callbacks[name] = _moved(state, folder)
                if self.forgets_best and state.get("monitor") is not None:
                    del callbacks[name]
        return checkpoint


def find_resumption(folder: Path) -> Resumption | None:
    """Choose the checkpoint that a run resumes from: the last one, or the best one if the last is damaged.

    A damaged checkpoint is reported on the error output.

    Args:
        folder: Folder of the checkpoints.

    Returns:
        The checkpoint; None if the run has not saved its last one yet.

    Raises:
        CheckpointError: The last checkpoint is damaged, and the best one is damaged or missing.
    """
    best, last = folder / BEST_NAME, folder / LAST_NAME
    if not last.exists():
        return None
    last_epoch, best_epoch = _epoch_or_damage(last), _epoch_or_damage(best)
    if isinstance(last_epoch, int) and isinstance(best_epoch, int):
        return Resumption(last, last_epoch)
    if isinstance(last_epoch, int):
        # A run without a monitored value yet, or with one that was never logged, has no best checkpoint.
        if best.exists():
            _warn(f"{best} {best_epoch}; the run resumes from {last}, and the best of its next epochs replaces it")
        return Resumption(last, last_epoch, best_is_lost=True)
    if isinstance(best_epoch, int):
        _warn(f"{last} {last_epoch}; the run resumes from {best} (epoch {best_epoch + 1})")
        return Resumption(best, best_epoch)
    raise CheckpointError(f"{last}: {last_epoch}, and {best} {best_epoch}; delete both to begin again")


def load_tested(best: Path, use: Callable[[dict[str, Any]], None]) -> int:
    """Load the checkpoint that becomes the model: the best one, or the last one if the best is damaged.

    Args:
        best: Path of the best checkpoint.
        use: Callback that loads the content into the model.

    Returns:
        Number of its epoch, from 1.

    Raises:
        CheckpointError: There is no checkpoint, both are damaged, or the content does not fit the model.
    """
    last = best.with_name(LAST_NAME)
    if not best.exists() and not last.exists():
        raise CheckpointError(f"{best}: training has saved no checkpoint; is max_epochs at least 1?")
    path = best
    if isinstance(damage := _epoch_or_damage(best), str):
        if not isinstance(_epoch_or_damage(last), int):
            raise CheckpointError(f"{best}: {damage}; train again, without --test_only")
        _warn(f"{best} {damage}; {last} is taken instead")
        path = last
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    try:
        use(checkpoint)
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path}: does not fit this model ({first_line(error)})") from error
    return int(checkpoint["epoch"]) + 1


def _epoch_or_damage(path: Path) -> int | str:
    """Return the number of a checkpoint's epoch, from 0, or a description of what is wrong with the file.

    Raises:
        CheckpointError: The file must not be read.
    """
    if not path.exists():
        return "is missing"
    try:
        # PyTorch does not compare the checksums of the archive, so it would load changed weights without an error.
        with zipfile.ZipFile(path) as archive:
            if (member := archive.testzip()) is not None:
                return f"is damaged ({member} has another checksum)"
        # Memory-mapped: only the structure is read, not the weights.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if "state_dict" not in checkpoint:
            return "is damaged (it has no weights)"
        return int(checkpoint["epoch"])
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    # What a damaged archive or pickle raises depends on where it is damaged.
    except Exception as error:
        return f"is damaged ({type(error).__name__}: {first_line(error)})"


def _moved(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the state of a checkpoint callback with its paths in another folder.

    Lightning forgets the best value when the folder of the run has been moved or renamed.
    """

    def moved(path: str) -> str:
        return str(folder / Path(path).name) if path else path

    return {
        **state,
        "dirpath": str(folder),
        "best_model_path": moved(state["best_model_path"]),
        "kth_best_model_path": moved(state["kth_best_model_path"]),
        "last_model_path": moved(state["last_model_path"]),
        "best_k_models": {moved(path): value for path, value in state["best_k_models"].items()},
    }


@rank_zero_only
def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
