"""Search for SpeechBrain's files in a repository on the hub, a model folder, or the results of a training."""

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
        name: Name of the source, for messages.
        hyperparameters: Hyperparameter file, which names the networks and their files.
        folders: Folders to search for files, in this order.
        repository: Repository on the hub to download files from, instead of searching the folders.
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
        """Return the file of a network or of the label encoder, downloading it if necessary.

        Args:
            key: Key of the network in the hyperparameter file.
            *others: Further names that the file may have.

        Raises:
            CheckpointError: The file is missing and cannot be downloaded.
        """
        address = str(self.hyperparameters.follow(self._paths[key])) if key in self._paths else ""
        names = list(dict.fromkeys([*([Path(address).name] if address else []), f"{key}.ckpt", *others]))
        for name in names:
            if path := self._search(name):
                return path
        cause = ""
        if remote := _REMOTE.fullmatch(address):
            try:
                if path := Repository(remote[1]).file(remote[2]):
                    return path
            except DownloadError as error:
                cause = f"; {error}"
        raise CheckpointError(
            f"{self.name}: {' or '.join(names)} is missing; put the file beside "
            f"{self.hyperparameters.path.name}{cause}"
        )

    def _search(self, name: str) -> Path | None:
        if self.repository is not None:
            return self.repository.file(name)
        return next((folder / name for folder in self.folders if (folder / name).is_file()), None)


def find_source(source: str | os.PathLike[str] | Repository) -> Source | None:
    """Find SpeechBrain's hyperparameter file and the files that belong to it; None if there is none.

    Args:
        source: Repository, model folder, or results of a training: ``results/<name>/<seed>``, its ``save``, a
            ``CKPT+...`` in it, or ``results/<name>`` if it holds one seed. Of several checkpoints, the one that
            SpeechBrain tests is used: the complete one with the lowest validation loss (error for classifiers).

    Raises:
        CheckpointError: A training has no complete checkpoint, or the folder holds several trainings.
        DownloadError: The repository cannot be reached.
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
    """Return the folder of the training that a folder belongs to, or of the only training in it."""
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
    """Whether a folder is that of the training, its ``save``, or a checkpoint in ``save``."""
    root = root.absolute()
    return folder in (root, root / _SAVE) or folder.parent == root / _SAVE


def _best_checkpoint(saved: Path, hyperparameters: Hyperparameters) -> Path:
    """Return the checkpoint that SpeechBrain tests, among those that have every network."""
    checkpointer = hyperparameters.call("checkpointer")
    recoverables: Any = hyperparameters.follow(checkpointer.arguments.get("recoverables")) if checkpointer else None
    networks = [name for name in _NETWORKS if isinstance(recoverables, dict) and name in recoverables]
    measure = "loss" if {"psi_model", "psi", "nmf_decoder"} & set(networks) else "error"
    checkpoints = [folder for folder in saved.glob("CKPT*") if (folder / _META_NAME).is_file()]
    complete = [folder for folder in checkpoints if all((folder / f"{name}.ckpt").is_file() for name in networks)]
    if not complete:
        raise CheckpointError(
            f"{saved}: has no complete checkpoint (a folder CKPT+... with {_META_NAME} and "
            f"{', '.join(f'{name}.ckpt' for name in networks) or 'networks'}); train again, or copy all files"
        )
    meta = {folder: _numbers(folder / _META_NAME) for folder in complete}
    measured = [folder for folder in complete if measure in meta[folder]]
    time = {folder: (meta[folder].get("unixtime", 0.0), folder.name) for folder in complete}
    if not measured:
        return max(complete, key=lambda folder: time[folder])
    # the newest of those with the lowest value
    lowest = min(meta[folder][measure] for folder in measured)
    best = [folder for folder in measured if meta[folder][measure] == lowest]
    return max(best, key=lambda folder: time[folder])


def _numbers(path: Path) -> dict[str, float]:
    """Return the plain numbers in ``CKPT.yaml``.

    It is searched line by line, not parsed as YAML, because it may also hold tensors, written as Python objects.
    """
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
    """Return the addresses of the networks that the ``Pretrainer`` in the file names, by key."""
    paths: dict[str, Any] = {}
    for call in hyperparameters.calls():
        stated = hyperparameters.follow(call.arguments.get("paths")) if call.name == "Pretrainer" else None
        if isinstance(stated, dict):
            paths = {**{str(key): value for key, value in stated.items()}, **paths}
    return paths
