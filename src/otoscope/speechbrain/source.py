"""Where SpeechBrain's files lie: in a repository on the hub, in a model folder, or in the results of a training."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from otoscope.errors import CheckpointError, DownloadError
from otoscope.speechbrain.hyperparameters import FILE_NAME, Hyperparameters
from otoscope.store.hub import Repository

_META_NAME = "CKPT.yaml"
_SAVE = "save"
_NETWORKS = ("embedding_model", "classifier", "psi_model", "psi", "theta", "nmf_decoder", "nmf_encoder")
_REMOTE = re.compile(r"([\w.-]+/[\w.-]+)/([\w.-]+)")


class Source:
    """A hyperparameter file and the files that belong to it.

    Args:
        name: For messages.
        hyperparameters: Says which networks there are and where their files are.
        folders: Searched for files in this order.
        repository: Where further files are fetched.
    """

    def __init__(
        self,
        name: str,
        hyperparameters: Hyperparameters,
        folders: Sequence[Path] = (),
        repository: Repository | None = None,
    ) -> None:
        self.name = name
        self.hyperparameters = hyperparameters
        self.folders = list(folders)
        self.repository = repository
        self._paths = _pretrained_paths(hyperparameters)

    def file(self, key: str, *others: str) -> Path:
        """The file of a network, or of the label encoder.

        Args:
            key: Of it in the hyperparameter file.
            *others: Further file names that are in use.

        Raises:
            CheckpointError: There is none here, and none can be fetched.
        """
        address = str(self.hyperparameters.follow(self._paths[key])) if key in self._paths else ""
        names = list(dict.fromkeys([*([Path(address).name] if address else []), f"{key}.ckpt", *others]))
        for name in names:
            if found := self._here(name):
                return found
        cause = ""
        if remote := _REMOTE.fullmatch(address):
            try:
                if found := Repository(remote[1]).file(remote[2]):
                    return found
            except DownloadError as error:
                cause = f"; {error}"
        raise CheckpointError(
            f"{self.name}: {' or '.join(names)} is missing; put the file beside "
            f"{self.hyperparameters.path.name}{cause}"
        )

    def _here(self, name: str) -> Path | None:
        if self.repository is not None:
            return self.repository.file(name)
        return next((folder / name for folder in self.folders if (folder / name).is_file()), None)


def find_source(source: str | os.PathLike[str] | Repository) -> Source | None:
    """Finds SpeechBrain's hyperparameter file and what belongs to it; None if there is none.

    Args:
        source: A repository, a model folder, or the results of a training: ``results/<name>/<seed>``, its ``save``,
            one ``CKPT+...`` in it, or ``results/<name>`` if it holds one seed. Of several checkpoints the one is
            taken that SpeechBrain tests: the lowest validation loss (of classifiers: error) among whole ones.

    Raises:
        CheckpointError: A training has left no whole checkpoint, or there are several to choose from.
        DownloadError: A repository cannot be reached.
    """
    if isinstance(source, Repository):
        path = source.file(FILE_NAME)
        return None if path is None else Source(str(source), Hyperparameters(path), repository=source)
    folder = Path(source)
    if (folder / FILE_NAME).is_file() and not (folder / _SAVE).is_dir():
        return Source(str(folder), Hyperparameters(folder / FILE_NAME), [folder])
    root = _results_folder(folder)
    if root is None:
        return None
    hyperparameters = Hyperparameters(root / FILE_NAME)
    saved = root / _SAVE
    checkpoint = folder if (folder / _META_NAME).is_file() else _best_checkpoint(saved, hyperparameters)
    return Source(str(folder), hyperparameters, [checkpoint, saved, root])


def _results_folder(folder: Path) -> Path | None:
    """The folder of one training, above or below the one that was given."""
    absolute = folder.absolute()
    for above in (folder, absolute.parent, absolute.parent.parent):
        if (above / FILE_NAME).is_file() and (above / _SAVE).is_dir() and _within(absolute, above):
            return above
    if not folder.is_dir():
        return None
    below = sorted(path.parent for path in folder.glob(f"*/{FILE_NAME}") if (path.parent / _SAVE).is_dir())
    if len(below) > 1:
        raise CheckpointError(
            f"{folder}: holds {len(below)} trainings ({', '.join(path.name for path in below[:5])}); give one of "
            "them"
        )
    return below[0] if below else None


def _within(folder: Path, root: Path) -> bool:
    """Whether a folder is the training's, its ``save``, or a checkpoint in that."""
    root = root.absolute()
    return folder in (root, root / _SAVE) or folder.parent == root / _SAVE


def _best_checkpoint(saved: Path, hyperparameters: Hyperparameters) -> Path:
    """The checkpoint that SpeechBrain tests, of those that have every network."""
    keeper = hyperparameters.call("checkpointer")
    recoverables: Any = hyperparameters.follow(keeper.arguments.get("recoverables")) if keeper else None
    wanted = [name for name in _NETWORKS if isinstance(recoverables, dict) and name in recoverables]
    measure = "loss" if {"psi_model", "psi", "nmf_decoder"} & set(wanted) else "error"
    found = [folder for folder in saved.glob("CKPT*") if (folder / _META_NAME).is_file()]
    whole = [folder for folder in found if all((folder / f"{name}.ckpt").is_file() for name in wanted)]
    if not whole:
        raise CheckpointError(
            f"{saved}: has no whole checkpoint (a folder CKPT+... with {_META_NAME} and "
            f"{', '.join(f'{name}.ckpt' for name in wanted) or 'networks'}); train again, or copy all of it"
        )
    meta = {folder: _numbers(folder / _META_NAME) for folder in whole}
    measured = [folder for folder in whole if measure in meta[folder]]
    newest = {folder: (meta[folder].get("unixtime", 0.0), folder.name) for folder in whole}
    if not measured:
        return max(whole, key=lambda folder: newest[folder])
    lowest = min(meta[folder][measure] for folder in measured)
    return max((one for one in measured if meta[one][measure] == lowest), key=lambda folder: newest[folder])


def _numbers(path: Path) -> dict[str, float]:
    """The plain numbers of ``CKPT.yaml``, line by line: tensors, which it may hold too, are written as objects."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    lines = re.findall(r"^([\w.-]+): +([-+]?[0-9.]+(?:e[-+]?[0-9]+)?)\s*$", text, re.MULTILINE | re.IGNORECASE)
    numbers = {}
    for name, value in lines:
        try:
            numbers[name] = float(value)
        except ValueError:
            continue
    return numbers


def _pretrained_paths(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Where the file says that its networks are, by key."""
    paths: dict[str, Any] = {}
    for call in hyperparameters.calls():
        found = hyperparameters.follow(call.arguments.get("paths")) if call.name == "Pretrainer" else None
        if isinstance(found, dict):
            paths = {**{str(key): value for key, value in found.items()}, **paths}
    return paths
