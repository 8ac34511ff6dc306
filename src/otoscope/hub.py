"""Models on the Hugging Face hub: fetched file by file, verified, and shared with a card.

A repository stands for the folder of the same content: where a folder can be given, so can its id.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from otoscope.errors import CheckpointError, DownloadError
from otoscope.model_card import write_card
from otoscope.model_folder import (
    CLASSIFIER_NAME,
    CONFIG_NAME,
    WEIGHTS_NAME,
    is_model_folder,
    read_config,
    write_folder,
)

_REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w")
_CHUNK_BYTES = 1 << 20
_PATIENCE_S = 5.0
_PORTS = {"http": 80, "https": 443}


def is_repository_id(source: str | os.PathLike[str]) -> bool:
    """Whether a source can only be meant as ``owner/name`` on the hub: it has that form and nothing local has it.

    Example:
        >>> is_repository_id("speechbrain/PIQ-ESC50"), is_repository_id("./runs/model"), is_repository_id("model")
        (True, False, False)
    """
    return bool(_REPOSITORY_ID.fullmatch(os.fspath(source))) and not Path(source).exists()


class Repository:
    """A repository on the hub, of which files are fetched when they are asked for.

    Files come into the cache of huggingface_hub and are taken from it afterwards, also without network. All of
    them are of one commit: the one that the first of them came from.

    Args:
        name: ``owner/name``.
        revision: Branch, tag or commit; by default the main branch.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        self.name = name
        self.revision = revision
        self._commit: str | None = None
        self._offline: bool | None = None

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name} at {self.revision}"

    def file(self, name: str) -> Path | None:
        """Fetches a file.

        Args:
            name: Its path in the repository.

        Returns:
            Where it lies; None if the repository has none of that name.

        Raises:
            DownloadError: It can neither be fetched nor is it in the cache, or it arrived damaged.
        """
        from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

        revision = self._commit or self.revision
        if self._offline is None:
            self._offline = not hub_answers()
        if self._offline or self._commit is not None:  # of a commit nothing changes
            known = try_to_load_from_cache(self.name, name, revision=revision)
            if known is not None and not isinstance(known, str):  # the hub has said that there is no such file
                return None
        try:
            found = hf_hub_download(self.name, name, revision=revision, local_files_only=self._offline)
        except errors.LocalEntryNotFoundError as error:
            raise self._cannot(name, error) from error
        except errors.EntryNotFoundError:
            return None
        except errors.RevisionNotFoundError as error:
            raise DownloadError(f"{self}: the repository has no such revision; check its name") from error
        except errors.RepositoryNotFoundError as error:
            raise DownloadError(
                f"{self}: is neither a folder here nor a repository on the hub that you may see; check the name, "
                "or log in with `hf auth login` if it is private"
            ) from error
        except _failures() as error:
            raise self._cannot(name, error) from error
        path = Path(found)
        _verify(path, f"{self}: {name}")
        self._commit = path.parts[-len(Path(name).parts) - 1]  # .../snapshots/<commit>/<name>
        return path

    def _cannot(self, name: str, error: Exception) -> DownloadError:
        from huggingface_hub import constants

        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        address = f"{constants.ENDPOINT}/{self.name}"
        return DownloadError(
            f"{self}: is no folder here, and {name} cannot be fetched from the hub ({cause}); without network, "
            f"download the files of {address} elsewhere, put them into a folder and give that folder instead"
        )


def fetch_model(source: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The folder of a model that otoscope saved: itself, or its copy in the cache if the hub has it.

    Args:
        source: A folder, or ``owner/name`` on the hub.
        revision: Of the repository.

    Raises:
        CheckpointError: The repository holds no model that otoscope saved.
        DownloadError: It cannot be fetched.
    """
    if not is_repository_id(source):
        if revision is not None:
            raise CheckpointError(f"revision {revision}: {source} is no repository on the hub, which alone has any")
        return Path(source)
    repository = Repository(os.fspath(source), revision)
    folder = fetch_files(repository)
    if folder is None:
        raise CheckpointError(
            f"{repository}: holds no model that otoscope saved; if it is a SpeechBrain checkpoint, open it with "
            "otoscope.load or `otoscope convert`"
        )
    return folder


def fetch_files(repository: Repository) -> Path | None:
    """Fetches the files of a model that otoscope saved; None if the repository holds something else."""
    config = repository.file(CONFIG_NAME)
    if config is None or not is_model_folder(config.parent):
        return None
    names = [WEIGHTS_NAME]
    if read_config(config.parent).get("kind") == "interpreter":
        names += [f"{CLASSIFIER_NAME}/{name}" for name in (CONFIG_NAME, WEIGHTS_NAME)]
    for name in names:
        repository.file(name)  # a missing one is told by who opens the folder
    return config.parent


class Shareable(ABC):
    """What can be saved as a model folder with a card, and shared on the hub."""

    details: dict[str, Any]
    """What is kept beside the model: ``metrics``, ``data``, ``license``, ``source`` and the like (JSON values)."""

    @abstractmethod
    def write_model(self, folder: Path, **details: Any) -> None:
        """Writes the model's files into an existing folder."""

    def save_pretrained(self, folder: str | os.PathLike[str], **details: Any) -> Path:
        """Saves a model folder with ``README.md``, the card that the hub shows.

        Args:
            folder: Replaced as a whole if it exists.
            **details: JSON values for configuration and card, such as ``metrics={"accuracy": 0.9}``,
                ``data="ESC-50, folds 1 to 3"``, ``license="apache-2.0"``. What a training wrote is kept.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        return self._save(folder, f"{Path(folder).name}", details)

    def push_to_hub(
        self,
        repository: str,
        revision: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        message: str = "Model and card",
        **details: Any,
    ) -> str:
        """Shares the model on the hub.

        Args:
            repository: ``owner/name``; made if there is none.
            revision: Branch; by default the main one.
            private: Whether others may see a repository that is made; by default the owner's setting.
            token: Of the hub; by default the one that `hf auth login` saved.
            message: Of the commit.
            **details: See `save_pretrained`.

        Returns:
            Address of the commit.

        Raises:
            DownloadError: The hub cannot be reached or refuses.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        try:
            with tempfile.TemporaryDirectory() as temporary:
                folder = self._save(Path(temporary) / "model", repository, details)
                api.create_repo(repository, private=private, exist_ok=True)
                if revision is not None:
                    api.create_branch(repository, branch=revision, exist_ok=True)
                done = api.upload_folder(
                    repo_id=repository, folder_path=folder, revision=revision, commit_message=message
                )
        except _failures() as error:
            cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DownloadError(
                f"{repository}: cannot be written on the hub ({cause}); check the name, the network and the token "
                "(`hf auth login`)"
            ) from error
        return str(done.commit_url)

    def _save(self, folder: str | os.PathLike[str], name: str, details: dict[str, Any]) -> Path:
        def write(temporary: Path) -> None:
            self.write_model(temporary, **{**self.details, **details})
            write_card(temporary, name)

        return write_folder(folder, write)

    @classmethod
    @abstractmethod
    def from_pretrained(cls, source: str | os.PathLike[str], revision: str | None = None) -> Self:
        """Opens what `save_pretrained` or a training wrote, or a repository on the hub that holds it.

        Args:
            source: A model folder, or ``owner/name``.
            revision: Branch, tag or commit of the repository.

        Raises:
            CheckpointError: There is no such model, or it is of another kind.
            DownloadError: It cannot be fetched.
        """


def hub_answers() -> bool:
    """Whether the hub can be connected to; huggingface_hub tries for half a minute before it uses its cache."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    host = address.hostname or ""
    if constants.HF_HUB_OFFLINE:
        return False
    if address.scheme in getproxies() and not proxy_bypass(host):
        return True  # which the proxy knows
    try:
        socket.create_connection((host, address.port or _PORTS.get(address.scheme, 443)), _PATIENCE_S).close()
    except OSError:
        return False
    return True


def _failures() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises when something is refused or breaks off; some are its HTTP library's own."""
    from huggingface_hub import errors

    transport = getattr(errors, "HTTPError", OSError)
    return (errors.HfHubHTTPError, errors.HFValidationError, transport, OSError, RuntimeError)


def _verify(path: Path, name: str) -> None:
    """Compares a file in the cache with the checksum that the hub gave it, which is the name it is kept under."""
    kept = path.resolve()
    if kept.parent.name != "blobs":
        return  # a file system without links: the cache does not know the checksum
    expected = kept.name
    if re.fullmatch("[0-9a-f]{64}", expected):
        digest = hashlib.sha256()
    elif re.fullmatch("[0-9a-f]{40}", expected):
        digest = hashlib.sha1(b"blob %d\0" % kept.stat().st_size)
    else:
        return
    with kept.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() == expected:
        return
    path.unlink(missing_ok=True)
    kept.unlink(missing_ok=True)
    raise DownloadError(
        f"{name} arrived damaged: its checksum is {digest.hexdigest()[:12]}... instead of {expected[:12]}...; it "
        "was deleted, so try again"
    )
