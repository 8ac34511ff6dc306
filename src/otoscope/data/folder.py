"""The user's own recordings: folders named after classes, or a CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from otoscope.audio.files import SUFFIXES
from otoscope.data.clips import ClipFile
from otoscope.data.module import SoundData
from otoscope.data.splits import SPLITS, split_at_random, split_by_fold
from otoscope.data.tables import Row, read_rows
from otoscope.errors import DataError

_Entry = tuple[Path, str]  # a recording and its label
_ALIASES = {"validation": "valid", "val": "valid"}


class AudioFolder(SoundData):
    """Recordings in class-named folders, or listed in a CSV.

    Three layouts are understood:

    - ``data_folder/<class>/<file>``: divided at random within each class, by ``seed``;
    - ``data_folder/train|valid|test/<class>/<file>``: divided as in the folders; ``test`` alone is enough if
      nothing is trained;
    - a CSV with the columns ``filename`` (relative to ``data_folder``) and ``label``, and optionally
      ``split`` (train, valid, test; test alone is enough if nothing is trained) or ``fold`` (a number,
      divided by the ``*_folds`` options).

    Args:
        data_folder: Folder of the recordings.
        csv_file: CSV that lists the recordings, absolute or relative to ``data_folder`` (default: no list).
        train_folds: Folds to train on, for a CSV with folds.
        valid_folds: Folds that select the checkpoint, for a CSV with folds.
        test_folds: Folds to test on, for a CSV with folds.
        valid_share: Share of the clips for validation if they are divided at random.
        test_share: Share of the clips for test if they are divided at random.
        **options: See `SoundData`.

    Raises:
        DataError: There are no clips, or the CSV is malformed.
        ConfigurationError: Folds overlap or do not exist.
    """

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        csv_file: str | os.PathLike[str] | None = None,
        train_folds: Sequence[int] = (1, 2, 3),
        valid_folds: Sequence[int] = (4,),
        test_folds: Sequence[int] = (5,),
        valid_share: float = 0.15,
        test_share: float = 0.15,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.data_folder = Path(data_folder)
        self.csv_file = None if csv_file is None else self.data_folder / csv_file
        self.folds = {"train": train_folds, "valid": valid_folds, "test": test_folds}
        self.shares = (valid_share, test_share)

    @override
    def prepare_data(self) -> None:
        """Check the data and decode all clips that the cache lacks."""
        self.setup("prepare")
        self.decode_all()

    @override
    def setup(self, stage: str) -> None:
        """List the recordings and divide them; the stage ``test`` needs test clips only."""
        if stage == "prepare" or not hasattr(self, "labels"):
            self._list_clips()
        needed = {"prepare": (), "test": ("test",)}.get(stage, SPLITS)
        sets = {"train": self.train_set, "valid": self.valid_set, "test": self.test_set}
        if empty := [name for name in needed if not len(sets[name])]:  # type: ignore[arg-type]
            raise DataError(f"{self.csv_file or self.data_folder}: there are no clips for {', '.join(empty)}")

    def _list_clips(self) -> None:
        if not self.data_folder.is_dir():
            raise DataError(f"{self.data_folder}: no such data folder; check data_folder")
        split = self._from_folders() if self.csv_file is None else self._from_csv(self.csv_file)
        self.labels = sorted({label for part in split.values() for _, label in part})
        index = {label: position for position, label in enumerate(self.labels)}
        self.train_set, self.valid_set, self.test_set = (
            self.clip_files([ClipFile(path, index[label]) for path, label in split.get(name, [])])
            for name in SPLITS
        )

    def _from_folders(self) -> dict[str, list[_Entry]]:
        split_folders = {name: folder for name in SPLITS if (folder := self._split_folder(name))}
        children = {child for child in self.data_folder.iterdir() if child.is_dir() and child.name[0] != "."}
        other_folders = children - set(split_folders.values())
        # One folder called "test" among others is a class of that name, not a division.
        if split_folders and (len(split_folders) == len(SPLITS) or not other_folders):
            return {name: _class_folders(folder) for name, folder in split_folders.items()}
        return self._at_random(_class_folders(self.data_folder))

    def _split_folder(self, name: str) -> Path | None:
        spellings = (name, *(alias for alias, split in _ALIASES.items() if split == name))
        folders = (self.data_folder / spelling for spelling in spellings)
        return next((folder for folder in folders if folder.is_dir()), None)

    def _from_csv(self, path: Path) -> dict[str, list[_Entry]]:
        rows = read_rows(path, {"filename", "label"})
        entries = [(self._recording(path, number, row), row["label"]) for number, row in rows]
        if "split" in rows[0][1]:
            return _by_named_split(path, rows, entries)
        if "fold" in rows[0][1]:
            folds = [_whole_number(path, number, row["fold"]) for number, row in rows]
            return split_by_fold(list(zip(entries, folds, strict=True)), self.folds, str(path))
        return self._at_random(entries)

    def _at_random(self, entries: list[_Entry]) -> dict[str, list[_Entry]]:
        return split_at_random(entries, [label for _, label in entries], self.shares, self.seed)

    def _recording(self, path: Path, number: int, row: dict[str, str]) -> Path:
        recording = self.data_folder / (row["filename"] or "")
        if not row["filename"] or not row["label"]:
            raise DataError(f"{path}, line {number}: filename or label is missing")
        if not recording.is_file():
            raise DataError(
                f"{path}, line {number}: there is no {recording}; filenames must be relative to data_folder"
            )
        return recording


def _class_folders(folder: Path) -> list[_Entry]:
    entries = [
        (path, child.name)
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
        for path in sorted(child.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not entries:
        raise DataError(
            f"{folder}: no sound files in class-named folders ({', '.join(SUFFIXES)}); expected "
            "<class>/<file>, or give csv_file"
        )
    return entries


def _by_named_split(path: Path, rows: list[Row], entries: list[_Entry]) -> dict[str, list[_Entry]]:
    result: dict[str, list[_Entry]] = {name: [] for name in SPLITS}
    for (number, row), entry in zip(rows, entries, strict=True):
        name = _ALIASES.get(row["split"], row["split"])
        if name not in result:
            raise DataError(f"{path}, line {number}: split is {row['split']!r}, expected train, valid or test")
        result[name].append(entry)
    return result


def _whole_number(path: Path, number: int, text: str) -> int:
    if not str(text).isdecimal():
        raise DataError(f"{path}, line {number}: fold is {text!r}, expected a whole number")
    return int(text)
