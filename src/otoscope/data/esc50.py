"""ESC-50 (Piczak 2015): 2000 clips of 5 s, 50 classes, 5 folds."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from otoscope.data.folds import split_by_fold
from otoscope.data.module import ClipFile, SoundData
from otoscope.errors import ConfigurationError, DataError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_COLUMNS = {"filename", "fold", "target", "category"}


class ESC50(SoundData):
    """ESC-50, or any data in its layout: ``meta/esc50.csv`` and ``audio/``.

    A subset of the clips or classes is fine, and so are flac or ogg files under the same names. Each
    clip is decoded and resampled once, then read from a cache.

    Args:
        data_folder: The folder that holds ``meta`` and ``audio``. Fetched (600 MB) when it is absent.
        train_folds: Folds to train on.
        valid_folds: Folds that choose the checkpoint.
        test_folds: Folds that are reported.
        classes: Use only these categories.
        download: Fetch the data set when it is absent.
        batch_size: Clips in a batch.
        num_workers: Worker processes of each loader; 0 is right for cached clips.
        sample_rate_hz: Rate of the waveforms.
        seed: Of the order of the training clips.
        cache_folder: Where decoded clips are kept; by default the user's cache folder.

    Raises:
        ConfigurationError: Folds overlap or are not there; unknown classes.
        DataError: The folder is not in the layout of ESC-50.
        DownloadError: The data set is absent and cannot be fetched.
    """

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        train_folds: Sequence[int] = (1, 2, 3),
        valid_folds: Sequence[int] = (4,),
        test_folds: Sequence[int] = (5,),
        classes: Sequence[str] | None = None,
        download: bool = True,
        batch_size: int = 16,
        num_workers: int = 0,
        sample_rate_hz: int = 16_000,
        seed: int = 1234,
        cache_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, sample_rate_hz, seed, cache_folder)
        self.data_folder = Path(data_folder)
        self.folds = {"train": train_folds, "valid": valid_folds, "test": test_folds}
        self.classes = None if classes is None else list(classes)
        self.download = download

    def prepare_data(self) -> None:
        """Fetches the data set when absent, checks it, and decodes every clip that the cache lacks."""
        self._fetch()
        self.setup("prepare")
        self.decode_all()

    def setup(self, stage: str) -> None:
        """Reads ``meta/esc50.csv`` and divides the clips by fold."""
        if stage != "prepare" and hasattr(self, "labels"):
            return
        rows = read_metadata(self.data_folder / "meta" / "esc50.csv")
        rows = self._of_wanted_classes(rows)
        self.labels = [label for _, label in sorted({(int(row["target"]), row["category"]) for row in rows})]
        split = split_by_fold([(row, int(row["fold"])) for row in rows], self.folds, str(self.data_folder))
        index = {label: position for position, label in enumerate(self.labels)}
        files = {
            name: [ClipFile(self._audio(row["filename"]), index[row["category"]]) for row in part]
            for name, part in split.items()
        }
        self.train_set, self.valid_set, self.test_set = (
            self.clip_files(files[name]) for name in ("train", "valid", "test")
        )

    def _fetch(self) -> None:
        if (self.data_folder / "meta" / "esc50.csv").is_file():
            return
        if self.data_folder.is_dir() and any(self.data_folder.iterdir()):
            raise DataError(
                f"{self.data_folder}: has no meta/esc50.csv; give the folder that holds meta and audio "
                "(ESC-50-master), or one that does not exist yet to fetch ESC-50 into"
            )
        if not self.download:
            raise DataError(f"{self.data_folder}: no such data folder, and download is off")
        from otoscope.data.download import fetch_esc50  # its dependencies load slowly and are seldom needed

        fetch_esc50(self.data_folder)

    def _of_wanted_classes(self, rows: list[dict[str, str]]) -> list[dict[str, str]]:
        if self.classes is None:
            return rows
        known = {row["category"] for row in rows}
        if unknown := sorted(set(self.classes) - known):
            raise ConfigurationError(
                f"classes: {', '.join(unknown)} not in {self.data_folder}; it has {', '.join(sorted(known))}"
            )
        return [row for row in rows if row["category"] in self.classes]

    def _audio(self, filename: str) -> Path:
        path = self.data_folder / "audio" / filename
        if path.is_file():
            return path
        for suffix in SUFFIXES:
            if (other := path.with_suffix(suffix)).is_file():
                return other
        raise DataError(f"{path}: listed in meta/esc50.csv, but not there; fetch the data set again")


def read_metadata(path: Path) -> list[dict[str, str]]:
    """Reads ``esc50.csv``, one dictionary a row.

    Raises:
        DataError: The file is missing, empty, or a needed column or number is not there.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not rows:
        raise DataError(f"{path}: lists no clips")
    if missing := sorted(_COLUMNS - rows[0].keys()):
        raise DataError(f"{path}: has no column {', '.join(missing)}; expected the layout of ESC-50")
    for number, row in enumerate(rows, start=2):
        numbers = str(row["fold"]).isdecimal() and str(row["target"]).isdecimal()
        if not (numbers and row["filename"] and row["category"]):
            raise DataError(
                f"{path}, line {number}: filename, fold, target or category is missing, or fold or target no number"
            )
    return rows
