"""Result of the explanation of a long recording."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from otoscope.errors import DataError
from otoscope.files.atomic import replace_file
from otoscope.files.json import read_json, write_json
from otoscope.plots import EventBox, FrequencyAxis, timeline_picture
from otoscope.plots.timeline import clock_text
from otoscope.recordings.event import Event
from otoscope.recordings.files import TIMELINE_NAME
from otoscope.views import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARRAYS_NAME, WINDOWS_NAME = "timeline.npz", "windows.csv"


@dataclass(repr=False)
class Timeline(Shown):
    """Events of a long recording, with the predictions of all of its windows.

    Attributes:
        file: Recording, as it was named.
        name: Name of the recording.
        method: Title of the method of explanation.
        labels: Names of the classes.
        events: Events, in the order of their begins.
        window_begins_s: Begin of each window in the recording. Shape (windows,).
        probabilities: Probability of each class in each window. Shape (windows, classes).
        log_magnitude: Log magnitude, pooled to the resolution of a page. Shape (rows, columns).
        evidence_share: Share of the energy of each cell that belongs to the evidence. Same shape.
        start_s: Begin of the analysed part in the recording.
        duration_s: Length of that part.
        window_s: Length of a window.
        hop_s: Distance between the begins of windows.
        min_confidence: Probability that a window of every event reaches.
        low_confidence: Probability that all windows of an event reach.
        explained_windows: Number of windows that were explained.
        sample_rate_hz: Sample rate of the classifier, and of the sounds.
        notes: Remarks for the user.
        source: What the result was made from: recording, model and options.
        folder: Folder of the results.
        against: Label that the explained ones are compared with; see `LongOptions`.
        levels_db: Level of each window in dB below full scale, shape (windows,): the largest RMS of its portions of
            50 ms. None in results of versions that did not measure it.
    """

    view: ClassVar[str] = "timeline"

    file: str
    name: str
    method: str
    labels: list[str]
    events: list[Event]
    window_begins_s: np.ndarray
    probabilities: np.ndarray
    log_magnitude: np.ndarray
    evidence_share: np.ndarray
    start_s: float
    duration_s: float
    window_s: float
    hop_s: float
    min_confidence: float
    low_confidence: float
    explained_windows: int
    sample_rate_hz: int
    notes: list[str] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path()
    against: str | None = None
    levels_db: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"Timeline({self.summary()}; {self.method})"

    @property
    def paths(self) -> dict[str, Path]:
        """Paths of the files of the result by name."""
        return {path.name: path for path in sorted(self.folder.iterdir()) if path.is_file()}

    def summary(self) -> str:
        """Return a summary of one line: number of events and windows, and the most frequent labels."""
        length = f"{clock_text(self.duration_s, self.duration_s)} {'h' if self.duration_s >= 3600 else 'min'}"
        counts = Counter(event.label for event in self.events).most_common(4)
        labels = f" ({', '.join(f'{label} {count}' for label, count in counts)})" if counts else ""
        supported = sum(event.verdict == "supported" for event in self.events)
        verdicts = f", {supported} supported" if any(event.verdict for event in self.events) else ""
        plural = "" if len(self.events) == 1 else "s"
        return (
            f"{self.name}: {len(self.events)} event{plural}{labels} in {length}{verdicts}; "
            f"{self.explained_windows} of {len(self.window_begins_s)} windows explained"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``timeline.json``: everything but the arrays."""
        arrays = ("window_begins_s", "probabilities", "log_magnitude", "evidence_share", "levels_db", "folder")
        content = {name: value for name, value in vars(self).items() if name not in arrays}
        return {**content, "events": [asdict(event) for event in self.events], "windows": len(self.window_begins_s)}

    def plot(self, axis: FrequencyAxis = "linear") -> Figure:
        """Draw the timeline as a matplotlib figure: confidence, spectrogram, evidence and events on one page.

        Args:
            axis: Scale of the frequency axis: ``linear``, ``mel`` or ``log``.
        """
        against = "" if self.against is None else f" against {self.against}"
        method = f"{self.method}{against}" if self.explained_windows else "predictions alone"
        return timeline_picture(
            self.log_magnitude,
            self.evidence_share,
            self.window_begins_s,
            self.probabilities,
            self.labels,
            [
                EventBox(event.label, event.begin_s, event.end_s, event.low_hz or 0.0, event.high_hz)
                for event in self.events
            ],
            self.start_s,
            self.duration_s,
            self.sample_rate_hz,
            window_s=self.window_s,
            min_confidence=self.min_confidence,
            headline=self.summary(),
            line=f"{method}   ·   windows of {self.window_s:.3g} s every {self.hop_s:.3g} s",
            axis=axis,
        )

    def save(self, folder: Path) -> None:
        """Write ``timeline.json``, ``timeline.npz`` and ``windows.csv`` to a folder.

        Raises:
            OtoscopeError: A file cannot be written.
        """
        names = ("window_begins_s", "probabilities", "log_magnitude", "evidence_share")
        arrays: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in names}
        if self.levels_db is not None:
            arrays["levels_db"] = self.levels_db
        replace_file(folder / ARRAYS_NAME, lambda path: np.savez_compressed(path, **arrays))
        replace_file(folder / WINDOWS_NAME, self._write_windows)
        write_json(folder / TIMELINE_NAME, self.to_dict())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Open the timeline in a folder of results.

        Raises:
            DataError: The folder holds none, or a damaged one.
        """
        folder = Path(folder)
        try:
            content = read_json(folder / TIMELINE_NAME)
            with np.load(folder / ARRAYS_NAME) as stored:
                arrays = {name: stored[name] for name in stored.files}
            content["events"] = [Event(**event) for event in content["events"]]
            content.pop("windows")
            return cls(**content, **arrays, folder=folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder}: holds no timeline that can be read ({error})") from error

    def _write_windows(self, path: Path) -> None:
        """Write a line for each window: begin, end, level if known, predicted label, probability of each class."""
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            levels: list[list[str]] = [[]] * len(self.probabilities)
            if self.levels_db is not None:
                levels = [[f"{level:.1f}"] for level in self.levels_db.tolist()]
            level_name = [] if self.levels_db is None else ["level_db"]
            writer.writerow(["file", "begin_s", "end_s", *level_name, "predicted", *self.labels])
            end_s = self.start_s + self.duration_s
            rows = zip(self.window_begins_s.tolist(), levels, self.probabilities, strict=True)
            for begin_s, level, values in rows:
                times = [round(begin_s, 4), round(min(begin_s + self.window_s, end_s), 4)]
                predicted = self.labels[int(values.argmax())]
                writer.writerow([self.file, *times, *level, predicted, *(f"{value:.4f}" for value in values)])
