"""Repositories on the Hugging Face hub, read through the cache of huggingface_hub."""

from __future__ import annotations

import glob
import logging
import os
import queue
import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from otoscope.errors import DownloadError, first_line

_REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w")
_FILE_ADDRESS = re.compile(rf"({_REPOSITORY_ID.pattern})/((?:[\w.-]+/)*[\w.-]+\.ckpt)")
_CONNECT_TIMEOUT_S = 5.0
_PORTS = {"http": 80, "https": 443}


def is_repository_id(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is ``owner/name`` on the hub: it has that form, and there is no such local path.

    Example:
        >>> is_repository_id("speechbrain/PIQ-ESC50"), is_repository_id("./runs/model"), is_repository_id("model")
        (True, False, False)
    """
    return bool(_REPOSITORY_ID.fullmatch(os.fspath(source))) and not Path(source).exists()


def is_hub_address(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is a repository on the hub, or a file in one, and no local path.

    Example:
        >>> is_hub_address("speechbrain/PIQ-ESC50/classifier.ckpt"), is_hub_address("../results/piq/1234/model")
        (True, False)
    """
    named = is_repository_id(source) or _FILE_ADDRESS.fullmatch(os.fspath(source)) is not None
    return named and not Path(source).exists()


class Repository:
    """A repository on the hub, whose files are fetched on demand.

    Files are downloaded into the cache of huggingface_hub and read from there afterwards, also without a network.
    All files come from one commit: the one that the revision named when the first file was fetched.

    Args:
        name: ``owner/name``.
        revision: Branch, tag or commit (default: the main branch).
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        self.name = name
        self.revision = revision
        self.commit: str | None = None
        """Commit of the files, once one has been fetched."""
        self.downloaded: list[str] = []
        """Names of the files that were not in the cache before."""
        self._offline: bool | None = None

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name} at {self.revision}"

    def fetch(self, *names: str) -> Path:
        """Fetch files that are not in the cache yet.

        Args:
            *names: Paths of the files in the repository; ``*`` matches any characters. Files that the
                repository does not have are ignored.

        Returns:
            Folder of the files in the cache. It may hold further files of the same commit.

        Raises:
            DownloadError: A file is neither in the cache nor can it be fetched.
        """
        from huggingface_hub import errors, snapshot_download

        logging.getLogger("huggingface_hub._snapshot_download").addFilter(_is_no_absent_file)
        cached = {name: self._in_cache(name) for name in names}
        try:
            # Later files come from the commit of the first one: a branch could move in between.
            folder = snapshot_download(
                self.name,
                revision=self.commit or self.revision,
                allow_patterns=list(names),
                local_files_only=self.offline,
                tqdm_class=_delayed_bar(),
            )
        # Specific errors first: `hub_failures` includes their base classes.
        except errors.LocalEntryNotFoundError as error:
            raise self._not_fetched(names, error) from error
        except errors.RevisionNotFoundError as error:
            cause = "the repository has no such revision"
            raise DownloadError(f"{self}: {cause}; check its name", cause) from error
        except errors.RepositoryNotFoundError as error:
            raise DownloadError(
                f"{self}: is neither a local folder nor a repository on the hub that you may see; check the name, "
                "or log in with `hf auth login` if it is private or gated; files that you have belong into "
                f"{Path(self.name).absolute()}, which is then opened instead",
                "there is no such repository that you may see",
            ) from error
        except hub_failures() as error:
            raise self._not_fetched(names, error) from error
        self.commit = Path(folder).name  # the cache keeps each commit in a folder of its own
        paths = {name: str(Path(folder) / name) for name in names}
        self.downloaded += [name for name in names if Path(paths[name]).is_file() and cached[name] != paths[name]]
        return Path(folder)

    def file(self, name: str) -> Path | None:
        """Fetch one file.

        Args:
            name: Path of the file in the repository.

        Returns:
            Path in the cache, or None if the repository has no such file.

        Raises:
            DownloadError: The file is neither in the cache nor can it be fetched.
        """
        # Escaped, because `fetch` takes patterns and a name may hold brackets.
        path = self.fetch(glob.escape(name)) / name
        return path if path.is_file() else None

    @property
    def offline(self) -> bool:
        """Whether the hub does not answer, so that files come from the cache only."""
        # The connection is tested once per repository, since a test can take five seconds.
        if self._offline is None:
            self._offline = not hub_answers()
        return self._offline

    def missing(self, *names: str) -> DownloadError:
        """Return the error for files that the model needs and that `file` did not return."""
        if self.offline:
            # The cache does not know whether the repository has these files.
            return self._not_fetched(names, DownloadError("not in the cache"))
        cause = f"the repository has no file {' or '.join(names)}"
        return DownloadError(f"{self}: {cause}", cause)

    def _in_cache(self, name: str) -> str | None:
        """Return the path in the cache of a file, None if it is not there."""
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.name, name, revision=self.commit or self.revision)
        return path if isinstance(path, str) else None

    def _not_fetched(self, names: tuple[str, ...], error: Exception) -> DownloadError:
        from huggingface_hub import constants

        page = f"{constants.ENDPOINT}/{self.name}"
        addresses = [f"{page}/resolve/{self.revision or 'main'}/{name}" for name in names]
        cause = "the hub does not answer" if self._offline else first_line(error)
        folder = Path(self.name).absolute()
        return DownloadError(
            f"{self}: is no local folder, and {', '.join(addresses)} cannot be fetched ({cause}); without a "
            f"network, download the files of {page} elsewhere and put them into {folder}, which is then opened "
            "instead",
            cause,
        )


@dataclass(frozen=True)
class RemoteFile:
    """A file in a repository on the hub.

    Attributes:
        repository: The repository.
        path: Path of the file in it.
    """

    repository: Repository
    path: str

    @classmethod
    def parse(cls, source: str | os.PathLike[str], revision: str | None = None) -> RemoteFile | None:
        """Return the file that ``owner/name/file.ckpt`` refers to, None for a source of another form."""
        match = _FILE_ADDRESS.fullmatch(os.fspath(source))
        return None if match is None else cls(Repository(match[1], revision), match[2])

    def __str__(self) -> str:
        return f"{self.repository.name}/{self.path}"


def hub_answers() -> bool:
    """Return whether the hub, or the proxy before it, accepts connections, after five seconds at most.

    Without this check, huggingface_hub waits for minutes in a network that drops packets before it uses its cache.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urlsplit(constants.ENDPOINT)
    proxy = getproxies().get(address.scheme)
    if proxy and not proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        place = (address.hostname or "", address.port or _PORTS.get(address.scheme, 443))
    except ValueError:  # the port is no number; the request will say so
        return True
    answers = queue.SimpleQueue[bool]()
    # In a thread, because the time limit of a connection does not cover the look-up of the name before it.
    threading.Thread(target=lambda: answers.put(_accepts(place)), daemon=True).start()
    try:
        return answers.get(timeout=_CONNECT_TIMEOUT_S)
    except queue.Empty:
        return False


def _accepts(place: tuple[str, int]) -> bool:
    """Return whether a host accepts connections at a port."""
    try:
        socket.create_connection(place, _CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _is_no_absent_file(record: logging.LogRecord) -> bool:
    """Drop the message of the hub's client that a file is absent: some are optional, and others are reported."""
    return "No files matched allow_patterns" not in record.getMessage()


def hub_failures() -> tuple[type[Exception], ...]:
    """Return the errors that huggingface_hub raises when a request is refused or interrupted.

    Some belong to its HTTP library, which differs between its versions.
    """
    from huggingface_hub import errors

    transport = getattr(errors, "HTTPError", OSError)
    return (errors.HfHubHTTPError, errors.HFValidationError, transport, OSError, RuntimeError)


def _delayed_bar() -> Any:
    """Return a class of progress bars that appear after a second, so that files in the cache show none."""
    from huggingface_hub.utils.tqdm import tqdm

    class DelayedBar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{"delay": 1.0, **options})  # type: ignore[no-untyped-call]

        def display(self, *args: Any, **options: Any) -> Any:
            # tqdm applies its delay to updates only, not to a new description.
            started = self._time() - self.start_t >= self.delay
            return super().display(*args, **options) if started else None

    return DelayedBar
