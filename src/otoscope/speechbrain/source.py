"""Search for SpeechBrain's files in a repository on the hub, a model folder, or the results of a training."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from otoscope.errors import CheckpointError
from otoscope.speechbrain.faults import one_error
from otoscope.speechbrain.hyperparameters import FILE_NAME, Hyperparameters
from otoscope.speechbrain.networks import KEYS, recognise
from otoscope.speechbrain.weights import read_weights
from otoscope.store.hub import RemoteFile, Repository

_META_NAME = "CKPT.yaml"
_SAVE = "save"
_NETWORKS = ("embedding_model", "classifier", "psi_model", "psi", "theta", "nmf_decoder", "nmf_encoder")
_REMOTE = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}/[\w.-]{1,96}")
_LABELS = "label_encoder.txt"
# With fine-tuned weights beside the original ones, the classifier's head belongs to the fine-tuned ones.
_USUAL_NAMES = {
    "embedding_model": ("embedding_modelft.ckpt", "embedding_model.ckpt"),
    "classifier": ("classifier.ckpt",),
    "psi_model": ("psi_model.ckpt", "psi.ckpt"),
    "nmf_decoder": ("nmf_decoder.ckpt",),
}
"""Names of the files of networks in folders without a hyperparameter file, by key."""


class Source:
    """Files of a model: a hyperparameter file, if there is one, and the files of its networks.

    Args:
        name: Name of the source, for messages.
        hyperparameters: Hyperparameter file, which names the networks and their files; or an absent one, and the
            networks are recognised by their parameters.
        folders: Folders to search for files, in this order.
        repository: Repository on the hub to download files from, instead of searching the folders.
        names: Names of files that differ from the usual ones, by key.
        subfolder: Folder of the files in the repository, ending with ``/``.

    Attributes:
        remarks: What had to be assumed while reading, for reports.
    """

    def __init__(
        self,
        name: str,
        hyperparameters: Hyperparameters,
        folders: Sequence[Path] = (),
        repository: Repository | None = None,
        names: Mapping[str, str] | None = None,
        subfolder: str = "",
    ) -> None:
        self.name = name
        self.hyperparameters = hyperparameters
        self.folders = list(folders)
        self.repository = repository
        self.remarks: list[str] = []
        self._names = dict(names or {})
        self._subfolder = subfolder
        self._paths = _pretrained_paths(hyperparameters)

    @property
    def described(self) -> bool:
        """Whether there is a hyperparameter file."""
        return self.hyperparameters.path.name == FILE_NAME

    def names_file(self, key: str) -> bool:
        """Return whether the hyperparameter file states the address of a file."""
        return key in self._paths

    def find(self, key: str, *others: str) -> Path | None:
        """Return the file of a network or of the label encoder, or None if the source has none.

        Args:
            key: Key of the network in the hyperparameter file.
            *others: Further names that the file may have.

        Raises:
            DownloadError: The hub cannot be reached, and its cache does not have the file.
        """
        return next((path for name in self._candidates(key, others) if (path := self._search(name))), None)

    def file(self, key: str, *others: str) -> Path:
        """Return the file of a network or of the label encoder, which a repository downloads if necessary.

        Args:
            key: Key of the network in the hyperparameter file.
            *others: Further names that the file may have.

        Raises:
            CheckpointError: The file is missing.
            DownloadError: The hub cannot be reached, and its cache does not have the file.
        """
        if path := self.find(key, *others):
            return path
        names = self._candidates(key, others)
        if self.repository is not None and self.repository.offline:
            raise self.repository.missing(*(self._subfolder + name for name in names))
        place = f"beside {self.hyperparameters.path.name}" if self.described else "into the same folder"
        raise CheckpointError(
            f"{self.name}: {' or '.join(names)} is missing; put the file {place}{self._hint(key)}"
        )

    def _candidates(self, key: str, others: Sequence[str]) -> list[str]:
        """Return the names that a file may have; the first that exists is the one."""
        if key in self._names:
            return [self._names[key]]
        if not self.described:
            return list(_USUAL_NAMES.get(key, others))
        address = self._address(key)
        return list(dict.fromkeys([*([Path(address).name] if address else []), f"{key}.ckpt", *others]))

    def _address(self, key: str) -> str:
        return str(self.hyperparameters.follow(self._paths[key])) if key in self._paths else ""

    def _hint(self, key: str) -> str:
        """Return where the hyperparameter file says that a file is, for the user to decide whether to fetch it."""
        address = _REMOTE.fullmatch(self._address(key))
        return f" (its address, according to {self.hyperparameters.path.name}: {address[0]})" if address else ""

    def _search(self, name: str) -> Path | None:
        if self.repository is not None:
            return self.repository.file(self._subfolder + name)
        return next((folder / name for folder in self.folders if (folder / name).is_file()), None)


@one_error
def find_source(source: str | os.PathLike[str] | Repository | RemoteFile) -> Source | None:
    """Find SpeechBrain's files; None if there are none.

    Args:
        source: Repository, model folder, or results of a training: ``results/<name>/<seed>``, its ``save``, a
            ``CKPT+...`` in it, or ``results/<name>`` if it holds one seed. Of several checkpoints, the one that
            SpeechBrain tests is used: the complete one with the lowest validation loss (error for classifiers).
            Or a file of weights, or a folder or repository that holds such files and no hyperparameter file.

    Raises:
        CheckpointError: A training has no complete checkpoint, or the folder holds several trainings.
        DownloadError: The repository cannot be reached.
    """
    if isinstance(source, RemoteFile):
        return _remote_file(source)
    if isinstance(source, Repository):
        return _repository(source)
    folder = Path(source)
    if folder.is_file():
        names = {_key_of(folder): folder.name}
        return Source(str(folder), Hyperparameters.absent(folder.parent), [folder.parent], names=names)
    if (folder / FILE_NAME).is_file() and not (folder / _SAVE).is_dir():
        return Source(str(folder), Hyperparameters(folder / FILE_NAME), [folder])
    root = _results_folder(folder)
    if root is None:
        weights = Source(str(folder), Hyperparameters.absent(folder), [folder])
        return weights if any(weights.find(key) for key in _USUAL_NAMES) else None
    hyperparameters = Hyperparameters(root / FILE_NAME)
    saved = root / _SAVE
    checkpoint = folder if (folder / _META_NAME).is_file() else _best_checkpoint(saved, hyperparameters)
    return Source(str(folder), hyperparameters, [checkpoint, saved, root])


def _repository(repository: Repository) -> Source | None:
    path = repository.file(FILE_NAME)
    if path is not None:
        return Source(str(repository), Hyperparameters(path), repository=repository)
    weights = Source(str(repository), Hyperparameters.absent(Path(repository.name)), repository=repository)
    # The small files of a repository would not show what it is: the first network that it has is fetched.
    return weights if any(weights.find(key) for key in _USUAL_NAMES) else None


def _remote_file(file: RemoteFile) -> Source:
    """Return the source of one file in a repository, with the files that belong to it."""
    name = PurePosixPath(file.path).name
    subfolder = file.path.removesuffix(name)
    # All at once, so that the error without a network names all of them.
    folder = file.repository.fetch(*(subfolder + each for each in (name, *_companions(name))))
    path = folder / file.path
    if not path.is_file():
        raise file.repository.missing(file.path)
    absent = Hyperparameters.absent(Path(str(file)).parent)
    names = {_key_of(path): name}
    return Source(str(file), absent, repository=file.repository, names=names, subfolder=subfolder)


def _companions(name: str) -> list[str]:
    """Return the names of the files that a model needs beside the file of a network."""
    key = next((key for key, names in _USUAL_NAMES.items() if name in names), "embedding_model")
    if key == "nmf_decoder":
        return []
    beside = [] if key == "embedding_model" else list(_USUAL_NAMES["embedding_model"])
    return [*beside, *(["classifier.ckpt"] if key != "classifier" else []), _LABELS]


def _key_of(path: Path) -> str:
    """Return the key of the network whose parameters a file holds."""
    weights = read_weights(path)
    network = recognise(weights)
    if network is None:
        raise CheckpointError(
            f"{path}: holds no network that is known ({', '.join(list(weights)[:3])} ...); give a folder with "
            f"{FILE_NAME}, which describes it"
        )
    return KEYS[network]


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
