"""Labelled clips of a data folder: all of them, whatever its layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otoscope.data import ESC50, AudioFolder
from otoscope.data.annotated import AnnotatedRecordings
from otoscope.data.clips import ClipFile, ClipFiles, fill_cache
from otoscope.data.segments import read_segments
from otoscope.data.tables import COLUMN_NAMES, read_rows
from otoscope.errors import ConfigurationError, listed


@dataclass(frozen=True)
class LabelledClips:
    """Clips and the names of their classes.

    Attributes:
        clips: Clips.
        labels: Names of the classes that their targets count.
    """

    clips: ClipFiles
    labels: list[str]


def read_clips(
    data_folder: str | os.PathLike[str],
    sample_rate_hz: int,
    csv_file: str | None = None,
    folds: Sequence[int] | None = None,
    annotations: str | None = None,
    clip_s: float | None = None,
    progress: bool = True,
    **options: Any,
) -> LabelledClips:
    """Return all labelled clips of a folder, decoded.

    Args:
        data_folder: Folder in the layout of ESC-50, or any that `otoscope.data.AudioFolder` reads.
        sample_rate_hz: Sample rate of the classifier.
        csv_file: Table that lists the clips (default: the only one).
        folds: Folds to use, for a table with folds (default: all).
        annotations: Table of annotated events, absolute or relative to the folder; the recordings are then cut into
            clips, as in `otoscope.data.annotated.AnnotatedRecordings`.
        clip_s: Length of the clips that annotated recordings are cut into.
        progress: Whether to show a progress bar while the clips are decoded.
        **options: Options of `SoundData`, such as ``cache_folder``.

    Raises:
        DataError: There are no clips, or a table is malformed.
        ConfigurationError: Folds do not exist.
    """
    options["sample_rate_hz"] = sample_rate_hz
    if annotations is not None:
        recordings = AnnotatedRecordings(data_folder, annotations, clip_s, **options)
        recordings.setup("test")
        return _decoded(recordings.clip_files(_files(recordings.test_set)), recordings.labels, progress)
    folder = Path(data_folder)
    if csv_file is None and (folder / "meta" / "esc50.csv").is_file():
        esc50 = ESC50(folder, download=False, **options)
        return _decoded(esc50.clips_of_folds(folds), esc50.labels, progress)
    data = AudioFolder(data_folder, csv_file, **options)
    table = data.table
    existing = _folds_of(table)
    if folds is not None and not existing:
        raise ConfigurationError(f"--folds: {table or folder} has no folds")
    if existing:
        # one set of all folds that are asked for
        data.folds = {"train": _checked(folds, existing, str(table))}
    entries = data.recordings()
    labels = sorted({entry.label for entry in entries})
    files = [
        ClipFile(entry.path, labels.index(entry.label), entry.begin_s, entry.end_s, entry.recording)
        for entry in entries
    ]
    return _decoded(data.clip_files(files), labels, progress)


def _files(clips: Any) -> list[ClipFile]:
    files: list[ClipFile] = clips.files
    return files


def _folds_of(table: Path | None) -> list[int]:
    """Return the folds that a table names; none if it has no such column."""
    if table is None or not table.is_file() or read_segments(table) is not None:
        return []
    rows = read_rows(table, {"filename", "label"}, names=COLUMN_NAMES)
    if "split" in rows[0][1] or "fold" not in rows[0][1]:
        return []
    texts = {str(row["fold"]).removesuffix(".0") for _, row in rows}
    return sorted(int(text) for text in texts if text.isdecimal())


def _checked(folds: Sequence[int] | None, existing: Sequence[int], source: str) -> list[int]:
    if folds is None:
        return list(existing)
    if missing := sorted(set(folds) - set(existing)):
        raise ConfigurationError(
            f"--folds: {listed(missing)} not in {source}, which has the folds {listed(existing)}"
        )
    return sorted(set(folds))


def _decoded(clips: ClipFiles, labels: list[str], progress: bool) -> LabelledClips:
    fill_cache(clips, progress)
    return LabelledClips(clips, labels)
