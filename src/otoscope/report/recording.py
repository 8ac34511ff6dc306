"""Long recordings as a report reads them: events, timeline, and the sounds of the most confident events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from otoscope.errors import DataError, first_line
from otoscope.player import Clip, Picture, Track, level_picture, share_picture
from otoscope.recordings import Timeline
from otoscope.recordings.files import TIMELINE_NAME, UniqueNames, folder_name
from otoscope.recordings.identity import recording_identity
from otoscope.recordings.long.synthesis import EVIDENCE_NAME, REMAINDER_NAME, TARGETS_FOLDER
from otoscope.report.clips import LEVELS, SHARE, fitted, log_magnitude_of
from otoscope.report.contents import Content
from otoscope.report.masks import energy_share

MOST_LANES = 12
_COLUMNS, _ROWS = 1600, 160
_MARGIN_S, _LONGEST_S = 0.3, 10.0


@dataclass(frozen=True)
class EventFacts:
    """Event of a long recording.

    Attributes:
        number: Number, from 1.
        label: Class.
        begin_s: Begin in the recording.
        end_s: End in the recording.
        low_hz: Lowest frequency of the evidence; None without evidence.
        high_hz: Highest frequency.
        confidence: Highest probability.
        level: Level of the verdict; empty if there is none.
        summary: The verdict with its reasons.
        scores: Heard scores.
        notes: Notes.
    """

    number: int
    label: str
    begin_s: float
    end_s: float
    low_hz: float | None
    high_hz: float | None
    confidence: float
    level: str
    summary: str
    scores: dict[str, float]
    notes: list[str]


@dataclass
class RecordingResult:
    """Explanation of a long recording.

    Attributes:
        folder: Folder of the results.
        name: Name of the recording.
        file: Path of the recording, as it was given.
        method: Title of the method, or that there are predictions alone.
        labels: Names of the classes.
        events: Events, in the order of their begins.
        start_s: Begin of the analysed part.
        duration_s: Length of that part.
        window_s: Length of a window.
        hop_s: Distance between windows.
        sample_rate_hz: Sample rate of the sounds.
        notes: Notes.
        source: What the result was made from: recording, model and options.
        against: Label that the explained ones are compared with; empty if there is none.
    """

    folder: Path
    name: str
    file: str
    method: str
    labels: list[str]
    events: list[EventFacts]
    start_s: float
    duration_s: float
    window_s: float
    hop_s: float
    sample_rate_hz: int
    notes: list[str] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    against: str = ""

    def picture(self) -> TimelinePicture:
        """Return what the timeline in the folder shows.

        Raises:
            DataError: The arrays are missing or damaged.
        """
        return self.picture_of(Timeline.load(self.folder))

    def picture_of(self, timeline: Timeline) -> TimelinePicture:
        """Return what a timeline shows.

        Raises:
            DataError: Its arrays do not fit.
        """
        shape, windows = timeline.log_magnitude.shape, len(timeline.window_begins_s)
        if len(shape) != 2 or timeline.evidence_share.shape != shape or 0 in shape:
            raise DataError(f"{self.folder}: its spectrogram has the shape {shape}; explain the recording again")
        if timeline.probabilities.shape != (windows, len(self.labels)):
            raise DataError(f"{self.folder}: its probabilities do not fit its labels; explain the recording again")
        shown = self._lanes(timeline.probabilities)
        rows = [self.labels.index(label) for label in shown]
        lanes = _lanes(timeline, rows, self.start_s, self.duration_s)
        return TimelinePicture(
            levels=level_picture(timeline.log_magnitude, _ROWS, _COLUMNS),
            share=share_picture(timeline.evidence_share, _ROWS, _COLUMNS),
            lanes=share_picture(lanes, len(lanes), _COLUMNS),
            labels=shown,
        )

    def _lanes(self, probabilities: np.ndarray) -> list[str]:
        """Return the labels that have a lane: those with most events, then the most probable."""
        counts = {label: sum(event.label == label for event in self.events) for label in self.labels}
        largest = dict(zip(self.labels, probabilities.max(0, initial=0.0), strict=True))
        return sorted(self.labels, key=lambda label: (-counts[label], -largest[label]))[:MOST_LANES]

    def embedded(self, count: int) -> list[EventFacts]:
        """Return the events whose sounds a report embeds: the most confident ones, in the order of their begins."""
        if not (self.folder / EVIDENCE_NAME).is_file():
            return []
        ranked = sorted(self.events, key=lambda event: (-event.confidence, event.number))[:count]
        return sorted(ranked, key=lambda event: event.number)

    def clips(self, events: Sequence[EventFacts]) -> Iterator[tuple[EventFacts, Clip]]:
        """Yield events with the content of their players.

        Args:
            events: Events.

        Raises:
            DataError: A sound file is missing or damaged.
        """
        recording = self.recording_path()
        for event in events:
            begin_s = max(event.begin_s - _MARGIN_S, self.start_s)
            end_s = min(event.end_s + _MARGIN_S, begin_s + _LONGEST_S, self.start_s + self.duration_s)
            yield event, self._clip(event, begin_s, end_s, recording)

    def recording_path(self) -> Path | None:
        """Return the path of the recording if it is still there with the same content."""
        stated = self.source.get("recording")
        if not isinstance(stated, dict):
            return None
        path = Path(str(stated.get("full_path", "")))
        try:
            # The size first: a hash of an hour takes a second.
            if not path.is_file() or path.stat().st_size != stated.get("size_bytes"):
                return None
            return path if recording_identity(path)["sha256"] == stated.get("sha256") else None
        except (OSError, ValueError):
            return None

    def _sounds_of(self, label: str) -> Path:
        """Return the folder of the sounds of a label: of several targets, each has its own."""
        options = self.source.get("options")
        targets = options.get("targets") if isinstance(options, dict) else None
        # Named as they were written: labels that make equal names are numbered.
        names = UniqueNames()
        for target in targets if isinstance(targets, list) else [label]:
            folder = self.folder / TARGETS_FOLDER / names.take(folder_name(str(target)))
            if target == label and (folder / EVIDENCE_NAME).is_file():
                return folder
        return self.folder

    def _clip(self, event: EventFacts, begin_s: float, end_s: float, recording: Path | None) -> Clip:
        rate_hz, begin = self.sample_rate_hz, begin_s - self.start_s
        length = max(round((end_s - begin_s) * rate_hz), 1)
        folder = self._sounds_of(event.label)
        evidence, remainder = (
            fitted(_portion(folder / name, begin, end_s - self.start_s, rate_hz), length)
            for name in (EVIDENCE_NAME, REMAINDER_NAME)
        )
        first = Track("recording", "Evidence + remainder", evidence + remainder)
        if recording is not None:
            options = self.source.get("options")
            channel = options.get("channel") if isinstance(options, dict) else None
            sound = _portion(recording, begin_s, end_s, rate_hz, channel if isinstance(channel, int) else None)
            first = Track("recording", "Recording", fitted(sound, length))
        return Clip(
            name=f"{self.name}, event {event.number}: {event.label}",
            sample_rate_hz=rate_hz,
            tracks=[
                first,
                Track("evidence", "Evidence", evidence),
                Track("remainder", "Remainder", remainder),
            ],
            log_magnitude=log_magnitude_of(first.waveform, rate_hz),
            mask=energy_share(evidence, remainder, rate_hz),
            mask_title=SHARE,
            start_s=begin_s,
        )


@dataclass(frozen=True)
class TimelinePicture:
    """Timeline as compressed data.

    Attributes:
        levels: Spectrogram in dB.
        share: Share of the energy that belongs to the evidence.
        lanes: Confidence, a row for each label.
        labels: Labels of the lanes, the first on top.
    """

    levels: Picture
    share: Picture
    lanes: Picture
    labels: list[str]


def open_recording_result(folder: Path) -> RecordingResult:
    """Read the events of a long recording.

    Args:
        folder: Folder of its results.

    Raises:
        DataError: ``timeline.json`` is damaged.
    """
    return recording_result(Content.read(folder / TIMELINE_NAME), folder)


def recording_result(content: Content, folder: Path) -> RecordingResult:
    """Return the events of a long recording.

    Args:
        content: Content of ``timeline.json``.
        folder: Folder of the results.

    Raises:
        DataError: The content is damaged.
    """
    result = RecordingResult(
        folder=folder,
        name=content.text("name"),
        file=content.text("file"),
        method=content.text("method") if content.values.get("explained_windows", 1) else "predictions alone",
        labels=content.texts("labels"),
        events=[_event(number, part) for number, part in enumerate(content.parts("events"), start=1)],
        start_s=content.number("start_s"),
        duration_s=content.number("duration_s"),
        window_s=content.number("window_s"),
        hop_s=content.number("hop_s"),
        sample_rate_hz=int(content.number("sample_rate_hz")),
        notes=content.texts("notes"),
        source=content.part("source").values,
        against="" if content.values.get("against") is None else content.text("against"),
    )
    unknown = {event.label for event in result.events} - set(result.labels)
    if unknown or result.duration_s <= 0 or result.sample_rate_hz <= 0:
        raise DataError(f"{content.path}: labels, length or sample rate are wrong; explain the recording again")
    return result


def _event(number: int, content: Content) -> EventFacts:
    level = content.text("verdict", "")
    if level and level not in LEVELS:
        raise DataError(f"{content.path}: 'verdict' has an unknown level {level!r}; explain the recording again")
    return EventFacts(
        number=number,
        label=content.text("label"),
        begin_s=content.number("begin_s"),
        end_s=content.number("end_s"),
        low_hz=content.optional_number("low_hz"),
        high_hz=content.optional_number("high_hz"),
        confidence=content.number("confidence"),
        level=level,
        summary=content.text("summary", ""),
        scores=content.numbers("scores"),
        notes=content.texts("notes"),
    )


def _lanes(timeline: Timeline, rows: Sequence[int], start_s: float, duration_s: float) -> np.ndarray:
    """Return the highest confidence among the nearest windows of each column, the last label first."""
    windows = len(timeline.window_begins_s)
    columns = int(np.clip(8 * windows, 1, _COLUMNS))
    edges = np.linspace(start_s, start_s + duration_s, columns + 1)
    centers = timeline.window_begins_s + timeline.window_s / 2
    borders = (centers[1:] + centers[:-1]) / 2
    first = np.searchsorted(borders, edges[:-1], side="right")
    last = np.maximum(np.searchsorted(borders, edges[1:], side="left") + 1, first + 1)
    values = [timeline.probabilities[begin:end][:, rows].max(0) for begin, end in zip(first, last, strict=True)]
    # Pictures have their first row at the bottom, but the first label is on top.
    return np.asarray(np.clip(np.stack(values, 1)[::-1], 0, 1))


def _portion(
    path: Path, begin_s: float, end_s: float, sample_rate_hz: int, channel: int | None = None
) -> np.ndarray:
    """Return a portion of a sound file, mono and at a sample rate."""
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz = file.samplerate
            file.seek(min(max(round(begin_s * rate_hz), 0), file.frames))
            samples = file.read(max(round((end_s - begin_s) * rate_hz), 0), dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:  # libsndfile's errors are RuntimeErrors
        raise DataError(f"{path}: cannot be read ({first_line(error)}); explain the recording again") from error
    is_channel = channel is not None and 0 <= channel < samples.shape[1]
    mono = samples[:, channel] if is_channel else samples.mean(1)
    return np.asarray(mono if rate_hz == sample_rate_hz else soxr.resample(mono, rate_hz, sample_rate_hz))
