"""Recordings with annotated events, cut into clips: ground truth for explanations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from otoscope.audio import audio_info
from otoscope.data.annotations import Annotation
from otoscope.data.class_names import ClassName, choose_classes
from otoscope.data.clips import ClipFile
from otoscope.data.folder import only_table
from otoscope.data.listed import Entry, label_files, read_events
from otoscope.data.module import SoundData
from otoscope.errors import ConfigurationError, DataError

CLIP_S = 5.0
"""Length of a clip if neither the user nor the model states one."""
_SHORTEST_REST = 0.1
"""Share of a clip's length that must remain behind the last whole clip for a further one."""


class AnnotatedRecordings(SoundData):
    """Recordings with tables of annotated events, as test clips of ``otoscope evaluate``.

    A table has a label, begin and end of each event, and optionally its frequencies: selection tables of Raven,
    labels of Audacity beside their recordings, CSV, JSON lines or Parquet files with the columns of `COLUMN_NAMES`,
    such as those that ``otoscope explain`` writes for long recordings and a person has corrected.

    Recordings are cut into clips one after the other; the last one ends with the recording. Clips without any event
    are left out, because nobody has said what is heard there. The label of a clip is the one with the longest
    events in it; all others are kept too. Train on such tables with `AudioFolder`, which cuts out the events.

    Args:
        data_folder: Folder of the recordings, or the table that lists the events.
        tables: Tables of the events, absolute or relative to ``data_folder`` (default: the labels of Audacity and
            selection tables of Raven in the folder, or else its only CSV).
        clip_s: Length of the clips in seconds (default: that of the clips that the model was trained on, else 5).
        classes: Labels to use (default: all).
        **options: See `SoundData`.

    Raises:
        DataError: There are no events, or a table is malformed.
        ConfigurationError: ``clip_s`` is not positive.
    """

    def __init__(
        self,
        data_folder: str | os.PathLike[str],
        tables: str | Sequence[str] | None = None,
        clip_s: float | None = None,
        classes: Sequence[ClassName] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if clip_s is not None and clip_s <= 0:
            raise ConfigurationError(f"data.clip_s: {clip_s:g} must be positive")
        self.data_folder = Path(data_folder)
        names = [tables] if isinstance(tables, str) else tables
        self.tables = None if names is None else [self.data_folder / name for name in names]
        if self.tables is None and self.data_folder.is_file():
            self.data_folder, self.tables = self.data_folder.parent, [self.data_folder]
        self.clip_s = CLIP_S if clip_s is None else clip_s
        self.length_is_chosen = clip_s is not None
        self.classes = classes

    @override
    def take_clip_length(self, clip_s: float | None) -> None:
        if clip_s is not None and not self.length_is_chosen:
            self.clip_s = clip_s

    @override
    def prepare_data(self) -> None:
        """Check the tables and decode all clips that the cache lacks."""
        self.setup("test")
        self.decode_all()

    @override
    def setup(self, stage: str) -> None:
        """List the clips; there are test clips only.

        Raises:
            DataError: Another stage is asked for, or no clip has an event.
        """
        if stage not in ("test", "prepare"):
            raise DataError(
                f"{self.data_folder}: AnnotatedRecordings has test clips only; train with "
                "otoscope.data.AudioFolder, which cuts out the annotated events"
            )
        if hasattr(self, "labels"):
            return
        entries = self._entries()
        labels = sorted({entry.label for entry in entries})
        self.labels = labels if self.classes is None else choose_classes(self.classes, labels, self.data_folder)
        events: dict[Path, list[Annotation]] = {}
        for entry in entries:
            if entry.label in self.labels:
                box = (entry.begin_s, entry.end_s or 0.0, entry.low_hz, entry.high_hz)
                events.setdefault(entry.path, []).append(Annotation(entry.label, *box))
        files = [clip for path, of_path in events.items() for clip in self._clips(path, of_path)]
        self.train_set, self.valid_set = self.clip_files([]), self.clip_files([])
        self.test_set = self.clip_files(files)

    def _entries(self) -> list[Entry]:
        if not self.data_folder.is_dir():
            raise DataError(f"{self.data_folder}: no such data folder; check data_folder")
        tables = self.tables or label_files(self.data_folder)
        if not tables and (table := only_table(self.data_folder)):
            tables = [table]
        entries = [entry for table in tables for entry in read_events(table, self.data_folder)]
        if not entries:
            raise DataError(
                f"{self.data_folder}: no table of events; expected selection tables of Raven, labels of Audacity "
                "beside their recordings, or the name of a table as tables"
            )
        return entries

    def _clips(self, path: Path, events: Sequence[Annotation]) -> Iterator[ClipFile]:
        info = audio_info(path)
        duration_s = info.frames / info.sample_rate_hz
        if (last_s := max(event.end_s for event in events)) > duration_s + 0.01:
            raise DataError(
                f"{path}: an annotated event ends at {last_s:g} s, but the recording at {duration_s:.2f} s; "
                "correct its table"
            )
        for begin_s, end_s in clip_spans(duration_s, self.clip_s):
            inside = [part for event in events if (part := event.within(begin_s, end_s)) is not None]
            if inside:
                yield ClipFile(path, self._target(inside), begin_s, end_s, annotations=tuple(inside))

    def _target(self, annotations: Sequence[Annotation]) -> int:
        """Return the class with the longest events of a clip; of equally long ones the first in the alphabet."""
        seconds = dict.fromkeys(self.labels, 0.0)
        for event in annotations:
            seconds[event.label] += event.end_s - event.begin_s
        return self.labels.index(max(seconds, key=seconds.__getitem__))


def clip_spans(duration_s: float, clip_s: float) -> list[tuple[float, float]]:
    """Return begin and end of the clips of a recording.

    Example:
        >>> clip_spans(12.0, 5.0), clip_spans(10.2, 5.0), clip_spans(3.0, 5.0)
        ([(0.0, 5.0), (5.0, 10.0), (7.0, 12.0)], [(0.0, 5.0), (5.0, 10.0)], [(0.0, 3.0)])
    """
    if duration_s <= clip_s:
        return [(0.0, duration_s)]
    count = int(duration_s / clip_s + 1e-9)
    spans = [(index * clip_s, min((index + 1) * clip_s, duration_s)) for index in range(count)]
    if duration_s - count * clip_s >= _SHORTEST_REST * clip_s:
        spans.append((duration_s - clip_s, duration_s))
    return spans
