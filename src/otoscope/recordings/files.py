"""Sound files among files and folders, each with a unique name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from otoscope.audio.files import SUFFIXES
from otoscope.errors import AudioError


@dataclass(frozen=True)
class Recording:
    """A sound file to explain.

    Attributes:
        path: Path of the file.
        name: Name of the folder for its explanation, unique in a run.
    """

    path: Path
    name: str


def find_recordings(sources: Sequence[str]) -> list[Recording]:
    """Return the sound files among files and folders, each with a unique name.

    Args:
        sources: Files, which need not exist, and folders, which are searched at any depth. Files of a folder are
            named by their path in it.

    Raises:
        AudioError: A folder holds no sound file.
    """
    names: set[str] = set()
    recordings = []
    for path, name in itertools.chain.from_iterable(map(_files_of, map(Path, sources))):
        # name, name-2, name-3, ...: two folders may hold files of the same name.
        candidates = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        unique = next(candidate for candidate in candidates if candidate not in names)
        names.add(unique)
        recordings.append(Recording(path, unique))
    return recordings


def _files_of(source: Path) -> list[tuple[Path, str]]:
    """Return a file, or the sound files of a folder, with their names."""
    if not source.is_dir():
        return [(source, source.stem)]
    # Sorted, because the order of a folder differs between systems and decides which file is name-2.
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise AudioError(f"{source}: holds no sound file ({', '.join(sorted(SUFFIXES))})")
    return [(path, path.relative_to(source).with_suffix("").as_posix()) for path in files]
