"""The user's own recordings: folders named after classes, or a CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from otoscope.data.esc50 import SUFFIXES
from otoscope.data.folds import SPLITS, split_at_random, split_by_fold
from otoscope.data.module import ClipFile, SoundData
from otoscope.errors import DataError

_Entry = tuple[Path, str]
_ALIASES = {"validation": "valid", "val": "valid"}


class AudioFolder(SoundData):
    """Recordings in class-named folders, or listed in a CSV.

    Three layouts are understood:

    - ``data_folder/<class>/<file>``: divided at random by class, by ``seed``;
    - ``data_folder/train|valid|test/<class>/<file>``: divided as the folders say; ``test`` alone will do where
      nothing is trained;
    - a CSV with the columns ``filename`` (relative to ``data_folder``) and ``label``, and optionally
      ``split`` (train, valid, test; the last alone will do where nothing is trained) or ``fold`` (a number,
      divided by the ``*_folds`` options).

    Args:
        data_folder: Where the recordings are.
        csv_file: The list; relative to ``data_folder`` or absolute.
        train_folds: Folds to train on, for a CSV with folds.
        valid_folds: Folds that choose the checkpoint.
        test_folds: Folds that are reported.
        valid_share: Share of clips for validation where the division is at random.
        test_share: Share of clips for test where the division is at random.
        batch_size: Clips in a batch.
        num_workers: Worker processes of each loader; 0 is right for cached clips.
        sample_rate_hz: Rate of the waveforms.
        seed: Of the division and of the order of the training clips.
        cache_folder: Where decoded clips are kept; by default the user's cache folder.

    Raises:
        DataError: No clips are found, or the CSV is malformed.
        ConfigurationError: Folds overlap or are not there.
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
        batch_size: int = 16,
        num_workers: int = 0,
        sample_rate_hz: int = 16_000,
        seed: int = 1234,
        cache_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, sample_rate_hz, seed, cache_folder)
        self.data_folder = Path(data_folder)
        self.csv_file = None if csv_file is None else self.data_folder / csv_file
        self.folds = {"train": train_folds, "valid": valid_folds, "test": test_folds}
        self.shares = (valid_share, test_share)

    def prepare_data(self) -> None:
        """Checks the data and decodes every clip that the cache lacks."""
        self.setup("prepare")
        self.decode_all()

    def setup(self, stage: str) -> None:
        """Finds the recordings and divides them; to test on them, no others are needed."""
        if stage == "prepare" or not hasattr(self, "labels"):
            self._find()
        needed = {"prepare": (), "test": ("test",)}.get(stage, SPLITS)
        sets = {"train": self.train_set, "valid": self.valid_set, "test": self.test_set}
        if empty := [name for name in needed if not len(sets[name])]:  # type: ignore[arg-type]
            raise DataError(f"{self.csv_file or self.data_folder}: there are no clips for {', '.join(empty)}")

    def _find(self) -> None:
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
        named = {name: self._split_folder(name) for name in SPLITS}
        found = {name: folder for name, folder in named.items() if folder is not None}
        children = {child for child in self.data_folder.iterdir() if child.is_dir() and child.name[0] != "."}
        others = children - set(found.values())
        if found and (len(found) == len(SPLITS) or not others):
            return {name: _class_folders(folder) for name, folder in found.items()}
        entries = _class_folders(self.data_folder)
        return split_at_random(entries, [label for _, label in entries], self.shares, self.seed)

    def _split_folder(self, name: str) -> Path | None:
        candidates = [
            self.data_folder / other for other in (name, *(n for n, to in _ALIASES.items() if to == name))
        ]
        return next((folder for folder in candidates if folder.is_dir()), None)

    def _from_csv(self, path: Path) -> dict[str, list[_Entry]]:
        rows = _read_rows(path)
        entries = [(self._recording(path, number, row), row["label"]) for number, row in rows]
        if "split" in rows[0][1]:
            return _by_named_split(path, rows, entries)
        if "fold" in rows[0][1]:
            folds = [_whole_number(path, number, row["fold"]) for number, row in rows]
            return split_by_fold(list(zip(entries, folds, strict=True)), self.folds, str(path))
        return split_at_random(entries, [label for _, label in entries], self.shares, self.seed)

    def _recording(self, path: Path, number: int, row: dict[str, str]) -> Path:
        recording = self.data_folder / (row["filename"] or "")
        if not row["filename"] or not row["label"]:
            raise DataError(f"{path}, line {number}: filename or label is missing")
        if not recording.is_file():
            raise DataError(f"{path}, line {number}: there is no {recording}; filenames go from data_folder")
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


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(enumerate(csv.DictReader(file), start=2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not rows:
        raise DataError(f"{path}: lists no clips")
    if missing := sorted({"filename", "label"} - rows[0][1].keys()):
        raise DataError(f"{path}: has no column {', '.join(missing)}")
    return rows


def _by_named_split(
    path: Path, rows: list[tuple[int, dict[str, str]]], entries: list[_Entry]
) -> dict[str, list[_Entry]]:
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
