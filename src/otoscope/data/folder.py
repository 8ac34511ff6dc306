"""The user's own recordings: folders named after classes, or a CSV."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from otoscope.audio.files import SUFFIXES
from otoscope.data.background import with_background
from otoscope.data.class_names import ClassName, choose_classes
from otoscope.data.clips import ClipFile
from otoscope.data.listed import Entry, Listing, label_files, read_label_files, read_listing, split_name
from otoscope.data.module import SoundData
from otoscope.data.splits import SPLITS, split_at_random
from otoscope.errors import DataError

_NO_CLASSES = frozenset({"audio", "wav", "wavs", "recordings", "sounds", "clips", "meta", "metadata", "labels"})
"""Names of folders that hold all recordings or their tables, if there is no other folder."""


class AudioFolder(SoundData):
    """Recordings in class-named folders, or listed in a CSV.

    These layouts are understood:

    - ``data_folder/<class>/<file>``: divided at random within each class, by ``seed``;
    - ``data_folder/train|valid|test/<class>/<file>``: divided as in the folders; ``test`` alone is enough if
      nothing is trained;
    - a CSV with the columns ``filename`` (relative to ``data_folder``) and ``label``, or other names of
      `COLUMN_NAMES`, and optionally ``split`` (train, valid, test; test alone is enough if nothing is trained) or
      ``fold`` (a number, divided by the ``*_folds`` options), and ``begin_s`` and ``end_s`` of a segment;
    - recordings with label files of Audacity or selection tables of Raven beside them, whose segments are cut out.

    Args:
        data_folder: Folder of the recordings, or the table that lists them.
        csv_file: Table that lists the recordings, absolute or relative to ``data_folder`` (default: the only CSV of
            a folder without class-named folders).
        train_folds: Folds to train on, for a CSV with folds.
        valid_folds: Folds that select the checkpoint, for a CSV with folds.
        test_folds: Folds to test on, for a CSV with folds.
        valid_share: Share of the clips for validation if they are divided at random.
        test_share: Share of the clips for test if they are divided at random.
        classes: Classes to use (default: all).
        background: Label of negative examples, which are cut from the parts of annotated recordings without any
            event (default: none are cut). All events of these recordings must then be annotated.
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
        classes: Sequence[ClassName] | None = None,
        background: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.data_folder = Path(data_folder)
        self.csv_file = None if csv_file is None else self.data_folder / csv_file
        if csv_file is None and self.data_folder.is_file():
            self.data_folder, self.csv_file = self.data_folder.parent, self.data_folder
        self.folds = {"train": train_folds, "valid": valid_folds, "test": test_folds}
        self.shares = (valid_share, test_share)
        self.classes = classes
        self.background = background

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

    def recordings(self) -> list[Entry]:
        """Return all recordings with their labels, without decoding any.

        Raises:
            DataError: There are none, or a table is malformed.
        """
        listing = self._listing()
        parts = [listing.entries] if listing.split is None else listing.split.values()
        entries = [entry for part in parts for entry in part]
        if self.classes is None:
            return entries
        chosen = choose_classes(self.classes, sorted({entry.label for entry in entries}), self.data_folder)
        return [entry for entry in entries if entry.label in chosen]

    @property
    def table(self) -> Path | None:
        """Table that lists the recordings; None if their folders, or label files beside them, name the classes."""
        if self.csv_file is not None or not self.data_folder.is_dir():
            return self.csv_file
        return only_table(self.data_folder) if self._class_folders() is None else None

    def _list_clips(self) -> None:
        split = self._split(self._listing())
        labels = sorted({entry.label for part in split.values() for entry in part})
        self.labels = labels if self.classes is None else choose_classes(self.classes, labels, self.data_folder)
        index = {label: position for position, label in enumerate(self.labels)}
        self.train_set, self.valid_set, self.test_set = (
            self.clip_files(
                [
                    ClipFile(entry.path, index[entry.label], entry.begin_s, entry.end_s, entry.recording)
                    for entry in split.get(name, [])
                    if entry.label in index
                ]
            )
            for name in SPLITS
        )

    def _listing(self) -> Listing:
        listing = self._annotated_listing()
        if self.background is None:
            return listing
        return with_background(listing, self.background, self.csv_file or self.data_folder)

    def _annotated_listing(self) -> Listing:
        if not self.data_folder.is_dir():
            raise DataError(f"{self.data_folder}: no such data folder; check data_folder")
        if table := self.table:
            return read_listing(table, self.data_folder, self.folds)
        if (listing := self._class_folders()) is not None:
            return listing
        if tables := label_files(self.data_folder):
            return read_label_files(tables, self.data_folder)
        raise DataError(
            f"{self.data_folder}: no sound files in class-named folders ({', '.join(SUFFIXES)}); expected "
            "<class>/<file>, or give csv_file"
        )

    def _class_folders(self) -> Listing | None:
        """Return the recordings in folders named after classes, or None if there are none."""
        split_folders = {name: folder for name in SPLITS if (folder := self._split_folder(name))}
        children = {child for child in self.data_folder.iterdir() if child.is_dir() and child.name[0] != "."}
        other_folders = children - set(split_folders.values())
        # One folder called "test" among others is a class of that name, not a division.
        if split_folders and (len(split_folders) == len(SPLITS) or not other_folders):
            return Listing(split={name: _required_entries(folder) for name, folder in split_folders.items()})
        # The single folder `audio` of ESC-50 and its kin is no class; a table lists what is in it.
        if len(children) <= 2 and {child.name.lower() for child in children} <= _NO_CLASSES:
            return None
        entries = class_entries(self.data_folder)
        return Listing(entries) if entries else None

    def _split(self, listing: Listing) -> Mapping[str, Sequence[Entry]]:
        if listing.split is not None:
            return listing.split
        entries = listing.entries
        return split_at_random(entries, [entry.label for entry in entries], self.shares, self.seed)

    def _split_folder(self, name: str) -> Path | None:
        folders = sorted(self.data_folder.iterdir())
        return next((folder for folder in folders if folder.is_dir() and split_name(folder.name) == name), None)


def class_entries(folder: Path) -> list[Entry]:
    """Return the sound files in the class-named folders of a folder; none if there are none."""
    return [
        Entry(path, child.name)
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
        for path in sorted(child.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]


def only_table(folder: Path) -> Path | None:
    """Return the only CSV of a folder, or of its folder ``meta`` or ``metadata``; None without a single one."""
    for place in (folder, folder / "meta", folder / "metadata"):
        tables = sorted(path for path in place.glob("*") if path.suffix.lower() in (".csv", ".tsv"))
        if len(tables) == 1:
            return tables[0]
    return None


def _required_entries(folder: Path) -> list[Entry]:
    if entries := class_entries(folder):
        return entries
    raise DataError(
        f"{folder}: no sound files in class-named folders ({', '.join(SUFFIXES)}); expected "
        "<class>/<file>, or give csv_file"
    )
