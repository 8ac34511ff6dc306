"""Sources in order of preference: a model that the user trained, then one that is published."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from otoscope.errors import ConfigurationError, DownloadError
from otoscope.store.hub import RemoteFile, Repository, is_hub_address

PathOrId = str | os.PathLike[str]
Candidates = PathOrId | Sequence[PathOrId]
"""One source, or several in order of preference."""

_COMMIT_DIGITS = 7


@dataclass(frozen=True)
class Choice:
    """The source that is opened, of several candidates.

    Attributes:
        source: The source.
        absent: Local paths that were preferred and do not exist.
        listed: Whether there was a choice; a single source needs no report.
    """

    source: PathOrId
    absent: tuple[str, ...] = ()
    listed: bool = False

    @property
    def exists(self) -> bool:
        """Whether the source exists locally or is an address on the hub."""
        return _exists(self.source)

    def report(self, role: str, place: Path | Repository | RemoteFile, remarks: Sequence[str] = ()) -> str:
        """Return the line that says which model was taken.

        Args:
            role: Role of the model, such as ``classifier``.
            place: Place of the source.
            remarks: What had to be assumed to open it.

        Example:
            >>> choose(["results/nmf/1234/model", "."]).report("dictionary", Path("."))
            'dictionary: .; results/nmf/1234/model does not exist'
        """
        parts = [f"{role}: {self.source}{_origin(place)}", *(f"{path} does not exist" for path in self.absent)]
        return "; ".join([*parts, *remarks])

    def unavailable(self, role: str, error: DownloadError) -> DownloadError:
        """Return the error for a source that cannot be fetched: also names the local paths that do not exist."""
        if not self.absent:
            return error
        return DownloadError(f"{role}: {', '.join(self.absent)} does not exist, and {error}", error.cause)


def choose(candidates: Candidates) -> Choice:
    """Return the first candidate that exists locally or is an address on the hub.

    Args:
        candidates: One source, or several in order of preference. If none exists, the last one is returned, whose
            error names what is missing.

    Raises:
        ConfigurationError: There is no candidate.

    Example:
        >>> choose(["../nowhere/model", "speechbrain/PIQ-ESC50/classifier.ckpt"]).source
        'speechbrain/PIQ-ESC50/classifier.ckpt'
    """
    # An object of another type is passed on to the function that opens sources, whose error names the remedy.
    if isinstance(candidates, str | os.PathLike) or not isinstance(candidates, Sequence):
        return Choice(candidates)
    absent: list[str] = []
    for candidate in candidates:
        if _exists(candidate):
            return Choice(candidate, tuple(absent), listed=True)
        absent.append(os.fspath(candidate))
    if not absent:
        raise ConfigurationError("the list of sources is empty; give a model folder or an address on the hub")
    return Choice(absent[-1], tuple(absent[:-1]), listed=True)


def _exists(source: PathOrId) -> bool:
    # A path as an object is always local, even where its text could be an address.
    return Path(source).exists() or (isinstance(source, str) and is_hub_address(source))


def _origin(place: Path | Repository | RemoteFile) -> str:
    """Return the commit of a source on the hub, and whether its files were downloaded; nothing for a local path."""
    if isinstance(place, Path):
        return ""
    repository = place if isinstance(place, Repository) else place.repository
    state = "downloaded" if repository.downloaded else "cached"
    return f" at {(repository.commit or '')[:_COMMIT_DIGITS]} (published weights, {state})"
