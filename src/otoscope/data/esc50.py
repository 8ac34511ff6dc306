"""ESC-50 (Piczak 2015): 2000 clips of 5 s, 50 classes, 5 folds."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pooch
from typing_extensions import override

from otoscope.audio.files import SUFFIXES
from otoscope.data.class_names import ClassName, choose_classes
from otoscope.data.clips import ClipFile, ClipFiles
from otoscope.data.module import SoundData
from otoscope.data.splits import SPLITS, hold_back, split_by_fold
from otoscope.data.tables import read_rows
from otoscope.errors import ConfigurationError, DataError, DownloadError, listed

_COLUMNS = {"filename", "fold", "target", "category"}

# A commit instead of `master.zip`, whose bytes change with every edit of the README. Such edits twice broke the
# checksum that soundata pinned (its issues 67 and 208), until it moved to this commit.
ESC50_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
ESC50_URL = f"https://github.com/karolpiczak/ESC-50/archive/{ESC50_COMMIT}.zip"
# Observed, not published by the author: several public projects pin this value for these 645,832,161 bytes;
# soundata (soundata/datasets/esc50.py) pins the MD5 of the same address, 071b44018315e034b2c6e8064543d19c.
ESC50_CHECKSUM = "sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f"
ESC50_URL_VARIABLE = "OTOSCOPE_ESC50_URL"


class ESC50(SoundData):
    """ESC-50, or other data in its layout: ``meta/esc50.csv`` and ``audio/``.

    A subset of the clips or classes is accepted, and so are other formats than wav under the same names. Each
    clip is decoded and resampled once, then read from a cache.

    Args:
        data_folder: Folder that holds ``meta`` and ``audio``. Downloaded (600 MB) if it is absent.
        train_folds: Folds to train on.
        valid_folds: Folds that select the checkpoint.
        test_folds: Folds to test on. If there are none, the validation clips are tested.
        valid_share: Share of the clips of each class in ``train_folds`` that is held back for validation, besides
            the clips of ``valid_folds``, which may then be none. Clips cut from one recording stay together.
        classes: Categories to use (default: all).
        download: Download the data set if it is absent.
        **options: See `SoundData`.

    Raises:
        ConfigurationError: Folds overlap or do not exist, or a class is unknown.
        DataError: The folder does not have the layout of ESC-50.
        DownloadError: The data set is absent and cannot be downloaded.
    """

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        train_folds: Sequence[int] = (1, 2, 3),
        valid_folds: Sequence[int] = (4,),
        test_folds: Sequence[int] = (5,),
        valid_share: float = 0.0,
        classes: Sequence[ClassName] | None = None,
        download: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 <= valid_share < 1:
            raise ConfigurationError(f"valid_share: {valid_share} must lie in [0, 1)")
        self.data_folder = Path(data_folder)
        self.folds = {"train": train_folds, "valid": valid_folds, "test": test_folds}
        self.valid_share = valid_share
        self.classes = None if classes is None else list(classes)
        self.download = download

    @override
    def prepare_data(self) -> None:
        """Download the data set if it is absent, check it, and decode all clips that the cache lacks."""
        self._download_if_absent()
        self.setup("prepare")
        self.decode_all()

    @override
    def setup(self, stage: str) -> None:
        """Read ``meta/esc50.csv`` and divide the clips by fold."""
        if stage != "prepare" and hasattr(self, "labels"):
            return
        rows = self._of_chosen_classes(read_metadata(self.data_folder / "meta" / "esc50.csv"))
        self.labels = _labels(rows)
        split = self._split(rows)
        self.train_set, self.valid_set, self.test_set = (self._clips(split[name]) for name in SPLITS)

    def clips_of_folds(self, folds: Sequence[int] | None = None) -> ClipFiles:
        """Return the clips of some folds whatever they are used for, and set `labels`.

        Args:
            folds: Folds (default: all).

        Raises:
            ConfigurationError: There is no such fold.
            DataError: The folder does not have the layout of ESC-50.
        """
        rows = self._of_chosen_classes(read_metadata(self.data_folder / "meta" / "esc50.csv"))
        self.labels = _labels(rows)
        existing = sorted({int(row["fold"]) for row in rows})
        if missing := sorted(set(folds or ()) - set(existing)):
            raise ConfigurationError(
                f"folds: {listed(missing)} not in {self.data_folder}, which has the folds {listed(existing)}"
            )
        return self._clips([row for row in rows if folds is None or int(row["fold"]) in folds])

    def _clips(self, rows: Sequence[dict[str, str]]) -> ClipFiles:
        files = [
            ClipFile(self._audio(row["filename"]), self.labels.index(row["category"]), recording=_recording(row))
            for row in rows
        ]
        return self.clip_files(files)

    def _split(self, rows: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
        may_be_empty = ("test", "valid") if self.valid_share else ("test",)
        folds = [(row, int(row["fold"])) for row in rows]
        split = split_by_fold(folds, self.folds, str(self.data_folder), may_be_empty)
        if self.valid_share:
            train = split["train"]
            categories = [row["category"] for row in train]
            recordings = [_recording(row) for row in train]
            split["train"], held = hold_back(train, categories, recordings, self.valid_share, self.seed)
            split["valid"] = split["valid"] + held
        return split if self.folds["test"] else {**split, "test": split["valid"]}

    def _download_if_absent(self) -> None:
        if (self.data_folder / "meta" / "esc50.csv").is_file():
            return
        if self.data_folder.is_dir() and any(self.data_folder.iterdir()):
            raise DataError(
                f"{self.data_folder}: has no meta/esc50.csv; give the folder that holds meta and audio "
                "(ESC-50-master), or one that does not exist yet to download ESC-50 into"
            )
        if not self.download:
            raise DataError(f"{self.data_folder}: no such data folder, and download is off")
        fetch_esc50(self.data_folder)

    def _of_chosen_classes(self, rows: list[dict[str, str]]) -> list[dict[str, str]]:
        if self.classes is None:
            return rows
        categories = sorted({row["category"] for row in rows})
        chosen = choose_classes(self.classes, categories, self.data_folder)
        return [row for row in rows if row["category"] in chosen]

    def _audio(self, filename: str) -> Path:
        path = self.data_folder / "audio" / filename
        for candidate in (path, *(path.with_suffix(suffix) for suffix in SUFFIXES)):
            if candidate.is_file():
                return candidate
        raise DataError(f"{path}: listed in meta/esc50.csv, but missing; download the data set again")


def _labels(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return the labels in the order of the targets; with a subset of the classes the indices stay contiguous."""
    return [label for _, label in sorted({(int(row["target"]), row["category"]) for row in rows})]


def _recording(row: dict[str, str]) -> str:
    # A name is fold-recording-take-target.wav; a table of other data may lack the column of the recording.
    return row.get("src_file") or row["filename"]


def read_metadata(path: Path) -> list[dict[str, str]]:
    """Read ``esc50.csv`` and return one dictionary per row.

    Raises:
        DataError: The file is missing or empty, or lacks a column or a number.
    """
    rows = read_rows(path, _COLUMNS, layout="ESC-50")
    for number, row in rows:
        numeric = str(row["fold"]).isdecimal() and str(row["target"]).isdecimal()
        if not (numeric and row["filename"] and row["category"]):
            raise DataError(
                f"{path}, line {number}: filename, fold, target or category is missing, or fold or target is not a "
                "number"
            )
    return [row for _, row in rows]


def fetch_esc50(destination: Path, *, clips: int = 2000, progress: bool = True) -> Path:
    """Download ESC-50 (about 650 MB, 0.9 GB unpacked; CC BY-NC 3.0), unless the folder holds it already.

    GitHub makes the archive and does not guarantee its bytes, so the content is checked: the CRC of each member,
    and a WAV file for each clip of `meta/esc50.csv`. The SHA-256 that other projects observed for this commit is
    compared as well, but a difference only causes a warning. It is not compared if the environment variable
    OTOSCOPE_ESC50_URL names another address.

    Args:
        destination: Folder to create, with `audio/` and `meta/esc50.csv` in it.
        clips: Number of clips that the archive must hold; a mirror may offer a subset.
        progress: Show a progress bar on standard error.

    Raises:
        DownloadError: The archive cannot be downloaded, verified, unpacked or written.
    """
    # Imported here because requests loads slowly and is seldom needed.
    from otoscope.data.download import fetch_archive

    mirror = os.environ.get(ESC50_URL_VARIABLE)
    check = partial(_check_esc50, clips=clips, checksum=None if mirror else ESC50_CHECKSUM)
    contents = ("meta/esc50.csv", "audio/")
    return fetch_archive(mirror or ESC50_URL, destination, None, progress=progress, contents=contents, check=check)


def _check_esc50(folder: Path, archive: Path, clips: int, checksum: str | None) -> None:
    try:
        with (folder / "meta" / "esc50.csv").open(newline="", encoding="utf-8") as table:
            names = {row["filename"] for row in csv.DictReader(table)}
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DownloadError("meta/esc50.csv of the archive is not a table of clips") from error
    if len(names) != clips:
        raise DownloadError(f"meta/esc50.csv of the archive lists {len(names)} clips instead of {clips}")
    if broken := sorted(name for name in names if not _is_wav(folder / "audio" / name)):
        raise DownloadError(f"{len(broken)} clips of the archive are not WAV files, the first is {broken[0]}")
    if checksum is not None and (digest := f"sha256:{pooch.file_hash(str(archive))}") != checksum:
        warnings.warn(
            f"ESC-50 is complete, but the checksum of its archive is {digest} instead of {checksum}. GitHub may "
            "have packed it again; the results may not be comparable with published ones.",
            stacklevel=2,
        )


def _is_wav(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.read(45)
    # A wav without samples has exactly 44 bytes.
    return len(header) == 45 and header[:4] == b"RIFF" and header[8:12] == b"WAVE"
