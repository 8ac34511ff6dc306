"""Sound files among files and folders, each with a unique name."""

from __future__ import annotations

import hashlib
import itertools
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from otoscope.audio.formats import CONVERTIBLE_SUFFIXES, SUFFIXES
from otoscope.errors import AudioError
from otoscope.recordings.uris import Location, Uri, files_at, full_path, parse_location


@dataclass(frozen=True)
class Recording:
    """A sound file to explain.

    Attributes:
        path: Path of the file, or its URI.
        name: Name of the folder for its explanation, unique in a run.
    """

    path: Location
    name: str


EXPLANATION_NAME = "explanation.json"
TIMELINE_NAME = "timeline.json"
_LISTED = {*SUFFIXES, *CONVERTIBLE_SUFFIXES}
"""Suffixes of recordings. Those that have to be converted first are listed too: each fails, with the command."""
_LONGEST_NAME = 180
"""Bytes of a part of a name; file systems allow 255, from which numbers and temporary names take some."""


def find_recordings(sources: Sequence[str], output_folder: str | os.PathLike[str] | None = None) -> list[Recording]:
    """Return the sound files among files and folders, each once and with a unique name.

    Args:
        sources: Files, which need not exist, and folders, which are searched at any depth, except hidden folders
            and explanations. Files of a folder are named by their path in it. URIs are files, or folders if they
            end with a slash, or patterns with asterisks, or data sets; see `otoscope.recordings.uris.files_at`.
        output_folder: Folder of the results, which is not searched if it lies in a source.

    Raises:
        AudioError: A folder holds no sound file, or a URI cannot be read.
        MissingExtraError: A package for the scheme of a URI is missing.
    """
    names = UniqueNames()
    recordings: dict[str, Recording] = {}
    output = None if output_folder is None else full_path(output_folder)
    for path, name in itertools.chain.from_iterable(
        _files_of(parse_location(source), output) for source in sources
    ):
        if full_path(path) not in recordings:
            recordings[full_path(path)] = Recording(path, names.take(name))
    return list(recordings.values())


class UniqueNames:
    """Names of folders that neither equal nor contain one another.

    Names that differ only in case or in the composition of accents count as equal, as they are on some systems.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._parents: set[str] = set()

    def take(self, name: str, is_free: Callable[[str], bool] = lambda name: True) -> str:
        """Return a name, with a number if it is taken, and take it.

        Args:
            name: Name of a folder, with slashes where it lies in others.
            is_free: Further condition.
        """
        # name, name-2, name-3, ...: two folders may hold files of the same name.
        unique = next(candidate for candidate in _numbered(name) if self._is_free(candidate) and is_free(candidate))
        *parents, last = _with_parents(_folded(unique))
        self._names.add(last)
        self._parents.update(parents)
        return unique

    def _is_free(self, name: str) -> bool:
        # An explanation is replaced as a whole, so that no other one may lie in it.
        lineage = _with_parents(_folded(name))
        return lineage[-1] not in self._parents and not self._names.intersection(lineage)


def _numbered(name: str) -> Iterator[str]:
    yield name
    first, slash, rest = name.partition("/")
    for number in itertools.count(2):
        yield f"{name}-{number}"
        if slash:  # a folder above may be the one that is taken
            yield f"{first}-{number}/{rest}"


def _with_parents(name: str) -> list[str]:
    """Return a name after all folders that it lies in: a, a/b, a/b/c."""
    return list(itertools.accumulate(name.split("/"), "{}/{}".format))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _files_of(source: Location, output: str | None) -> Sequence[tuple[Location, str]]:
    """Return a file, or the sound files of a folder, with their names."""
    if isinstance(source, Uri):
        return [(uri, "/".join(map(folder_name, name.split("/")))) for uri, name in files_at(source, _LISTED)]
    if not os.path.isdir(source):  # noqa: PTH112 - not Path.is_dir, which raises an error for names that are too long
        return [(source, folder_name(source.stem))]
    # Sorted, because the order of a folder differs between systems and decides which file is name-2.
    files = sorted(path for path in _walk(source, output) if path.suffix.lower() in _LISTED and path.is_file())
    if not files:
        raise AudioError(
            f"{source}: holds no sound file (wav, flac, ogg, mp3, aiff and others that libsndfile reads)"
        )
    return [(path, "/".join(map(folder_name, path.relative_to(source).with_suffix("").parts))) for path in files]


def _walk(source: Path, output: str | None) -> Iterator[Path]:
    """Yield the files below a folder that may be recordings of the user."""
    for folder, folders, files in os.walk(source):
        if {EXPLANATION_NAME, TIMELINE_NAME}.intersection(files) and folder != str(source):
            folders.clear()  # the sounds of an explanation are no recordings
            continue
        folders[:] = [
            name for name in folders if not name.startswith(".") and full_path(Path(folder, name)) != output
        ]
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def folder_name(stem: str) -> str:
    r"""Return the name of a folder that any file system takes, for one part of a recording's path.

    Bytes that are no text and control characters become escapes, names of dots underscores, and a long name is
    shortened and gets a hash.

    Example:
        >>> folder_name("dog"), folder_name(".."), folder_name("caf\udce9")
        ('dog', '__', 'caf%E9')
    """
    name = "".join(_named(character) for character in stem)
    if not name.strip("."):  # "." and ".." are this folder and the one above
        name = name.replace(".", "_") or "_"
    data = name.encode()
    if len(data) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(data).hexdigest()[:12]
    return f"{data[: _LONGEST_NAME - 13].decode(errors='ignore')}-{digest}"


def _named(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cs"):
        code = ord(character)
        return f"%{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02X}"
    return "_" if character in "\\/" else character
