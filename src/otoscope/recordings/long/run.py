"""Explain a recording of any length: windows, events, one continuous evidence sound, tables and a timeline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from otoscope.audio import Frontend, RecordingStream, WindowPlan
from otoscope.audio.waveforms import LARGEST_SAMPLE
from otoscope.errors import OtoscopeError
from otoscope.explain import Explainer
from otoscope.files.atomic import replace_folder
from otoscope.plots import ROWS, PooledSpectrogram, save_picture
from otoscope.recordings.event import Event
from otoscope.recordings.files import UniqueNames, folder_name
from otoscope.recordings.identity import model_identity, recording_identity
from otoscope.recordings.long.events import choose_jobs, find_runs, run_borders, run_reaches
from otoscope.recordings.long.joining import MaskJoiner
from otoscope.recordings.long.masks import WindowExplainer, WindowMask
from otoscope.recordings.long.options import LongOptions
from otoscope.recordings.long.place import require_place
from otoscope.recordings.long.predictions import predict_windows
from otoscope.recordings.long.scale import Scale
from otoscope.recordings.long.synthesis import (
    EVIDENCE_NAME,
    REMAINDER_NAME,
    TARGETS_FOLDER,
    Box,
    EventEnergy,
    SoundWriter,
    resolved_bins,
    synthesise,
)
from otoscope.recordings.long.timeline import Timeline
from otoscope.recordings.long.work import WorkFolder
from otoscope.recordings.segments import cut_segments
from otoscope.recordings.tables import TABLES, check_tables, write_table

PAGES_FOLDER = "events"
_FORMAT = 3
"""Number of the format of intermediate results; those of another one are not used."""
_PREDICTED_BATCHES = 4
"""Batches of explanations that are classified at once: a forward pass alone needs less memory."""


def explain_long(
    explainer: Explainer,
    recording: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    options: LongOptions | None = None,
    name: str | None = None,
    **changes: Any,
) -> Timeline:
    """Explain a recording of any length in constant memory, and save the result.

    The recording is cut into overlapping windows. All of them are classified; consecutive windows of a label are an
    event. The windows of events are explained, and their masks joined in the frames of the whole recording, which
    gives one continuous sound of the evidence and one of the remainder.

    A run that was interrupted, even by ``kill -9``, is continued by the same call, with the same result: a hidden
    folder beside the results keeps what is done.

    Args:
        explainer: Classifier and interpreter.
        recording: Sound file.
        folder: Folder of the results, replaced as a whole when they are complete.
        options: Options (default: those of `LongOptions`).
        name: Name of the recording (default: the file name without its ending).
        **changes: Options by name, instead of ``options``.

    Returns:
        The timeline: events, predictions of all windows, and paths of the files.

    Raises:
        AudioError: The recording cannot be read; see `read_recording`.
        ConfigurationError: An option is out of its range, or the classifier does not know a label.
        MissingExtraError: A table needs a package that is not installed.
        OtoscopeError: The folder holds other files or cannot be written, or no window can be explained.

    Example:
        >>> import otoscope
        >>> timeline = otoscope.explain_long(otoscope.load(), "night.wav", "results/night")  # doctest: +SKIP
        >>> [(event.label, event.begin_s, event.end_s) for event in timeline.events]  # doctest: +SKIP
        [('dog', 12.48, 13.26), ('rooster', 95.1, 97.94)]
    """
    options = LongOptions(**changes) if options is None else options
    path, folder = Path(recording), Path(folder)
    run = _LongRun(explainer, path, folder, options.resolved(explainer.classifier), name or path.stem)
    run.predict()
    run.explain()
    replace_folder(os.path.realpath(folder), run.write)
    run.work.remove()
    return Timeline.load(folder)


def source_of(explainer: Explainer, path: Path | None, options: LongOptions) -> dict[str, Any]:
    """Return what a timeline is made from: recording (if there is a path), model and resolved options."""
    recording = {} if path is None else {"recording": recording_identity(path)}
    return {**recording, "model": model_identity(explainer), "options": dict(vars(options))}


class _LongRun:
    """The steps of one recording.

    Args:
        explainer: Classifier and interpreter.
        path: Sound file.
        folder: Folder of the results.
        options: Resolved options.
        name: Name of the recording.
    """

    def __init__(self, explainer: Explainer, path: Path, folder: Path, options: LongOptions, name: str) -> None:
        # Errors of options first: they would otherwise come after hours.
        check_tables(options.tables)
        explainer.interpreter.with_threshold(options.threshold)
        require_place(folder)
        self.explainer, self.path, self.options, self.name = explainer, path, options, name
        self.contrasts = _contrasts(explainer, options)
        classifier = explainer.classifier
        self.frontend = Frontend(**classifier.frontend.config)
        WindowPlan.of(self.frontend, 1, options.window_s or 0, options.hop_s or 0)
        rate_hz = self.frontend.sample_rate_hz
        part = (options.channel, options.start_s, options.end_s)
        RecordingStream(path, rate_hz, *part)  # a missing file is reported before it is hashed
        self.source = source_of(explainer, path, options)
        key = {**self.source, "name": name, "options": options.results_key(), "format": _FORMAT}
        self.work = WorkFolder(folder, key)
        self.stream = RecordingStream(path, rate_hz, *part, survey=self.work.survey)
        self.work.survey = self.stream.survey
        samples = self.stream.survey.samples
        self.plan = WindowPlan.of(self.frontend, samples, options.window_s or 0, options.hop_s or 0)
        # the sample of the file at which the part begins
        start_s = round(options.start_s * self.stream.info.sample_rate_hz) / self.stream.info.sample_rate_hz
        self.scale = Scale(self.frontend, start_s, samples)
        self.labels = [classifier.index_of(label) for label in options.labels or classifier.labels]
        self.targets = [classifier.index_of(label) for label in options.targets]
        self.notes = list(self.stream.survey.notes)
        self.details: dict[int, dict[str, Any]] = {}

    def predict(self) -> None:
        """Classify all windows, find the events, and choose the windows to explain."""
        options, plan = self.options, self.plan
        frames = int(self.frontend.frames(self.stream.survey.samples))
        has_evidence = options.explain != "none"
        rows = {} if has_evidence else {"rows": min(resolved_bins(self.frontend), ROWS)}
        self.picture = PooledSpectrogram(frames, self.frontend.bins, evidence=has_evidence, **rows)
        with _bar("classify", plan.count, "window") as bar:
            self.probabilities, self.levels_db = predict_windows(
                self.explainer.classifier,
                self.stream,
                plan,
                self.work.path,
                _PREDICTED_BATCHES * options.batch_size,
                bool(options.normalize),
                bar.update,
                # Without evidence, the picture needs no pass over the recording of its own.
                None if has_evidence else self.picture,
            )
        least_db = -np.inf if options.min_level_db is None else options.min_level_db
        loud = np.asarray(self.levels_db) >= least_db
        # a window that is too soft has no label
        heard = np.where(loud[:, None], self.probabilities, np.float32(0))
        self.runs = find_runs(heard, self.labels, options.min_confidence, options.lowest)
        self.borders = run_borders(self.runs, heard, plan, options.lowest)
        choice = (options.explain, options.top_k, self.targets)
        self.jobs = [job for job in choose_jobs(self.runs, heard, self.labels, *choice) if loud[job.window]]
        if soft := int(np.count_nonzero(~loud)):
            self.notes.append(f"{soft} of {plan.count} windows are below {least_db:g} dB and not regarded")
        self._note_targets_without_events()

    def explain(self) -> None:
        """Explain the chosen windows."""
        confidences = [-self.probabilities[run.peak, run.label] for run in self.runs]
        pictured = frozenset(np.argsort(confidences, kind="stable")[: self.options.pages].tolist())
        # A function that refers to this object would keep its arrays in memory until the garbage collector runs.
        contrasts, explainer = self.contrasts, self.explainer
        self.windows = WindowExplainer(
            lambda label: contrasts.get(label, explainer),
            self.stream,
            self.plan,
            self.jobs,
            self.work.path,
            self.options,
            self.explainer.labels,
            pictured,
            self.name,
        )
        if self.jobs:
            with _bar("explain", len(self.jobs), "window") as bar:
                self.windows.run(bar.update)

    def write(self, folder: Path) -> None:
        """Write the results into a folder."""
        energies = self._synthesise(folder)
        events = [self._event(index, energy.box) for index, energy in enumerate(energies)]
        # Their evidence may begin in another order than their windows.
        order = sorted(range(len(events)), key=lambda index: (events[index].begin_s, index))
        events = [events[index] for index in order]
        self._copy_pages(order, events, folder)
        if self.options.segments:
            cut_segments(self.path, events, folder)
        for kind in self.options.tables:
            write_table(events, folder / TABLES[kind].name, kind, self.frontend.sample_rate_hz / 2)
        timeline = self._timeline(events)
        save_picture(timeline.plot(self.options.axis), folder / f"timeline.{self.options.picture}")
        timeline.save(folder)

    def _synthesise(self, folder: Path) -> list[EventEnergy]:
        """Write evidence and remainder, and draw the picture; return the energies of the events."""
        survey, step = self.stream.survey, self.plan.step
        frames = int(self.frontend.frames(survey.samples))
        energies = [
            EventEnergy(run, begin // step, min(end // step + 1, frames))
            for run, (begin, end) in zip(self.runs, run_reaches(self.runs, self.plan), strict=True)
        ]
        # Flac holds no samples beyond 1; larger ones were scaled to a peak of 1 when they were read.
        peak = survey.peak if survey.peak <= LARGEST_SAMPLE else 1.0
        scale = 1 / max(peak, 1.0)
        if scale < 1 and self.jobs:
            self.notes.append(f"evidence and remainder are divided by {peak:.4g}, the peak of the recording")
        joiner = MaskJoiner(self.plan, self._observed(self.windows.masks()), self.frontend.window_length // 2)
        with ExitStack() as stack:
            writers = self._writers(folder, scale, stack) if self.jobs else {}
            bar = stack.enter_context(_bar("write", survey.samples, "sample"))
            if self.options.explain != "none":  # else the picture is complete, and there are no sounds
                synthesise(self.stream, self.frontend, joiner, energies, self.picture, writers, bar.update)
        clipped = sum(writer.clipped for writer in writers.get(None, ()))
        if clipped:
            self.notes.append(f"{clipped} samples of evidence and remainder exceed full scale and are clipped")
        self._report_failures()
        return energies

    def _writers(
        self, folder: Path, scale: float, stack: ExitStack
    ) -> dict[int | None, tuple[SoundWriter, SoundWriter]]:
        """Open the files of evidence and remainder: of all labels together and, of several targets, of each."""
        folders: dict[int | None, Path] = {None: folder}
        if len(self.targets) > 1:
            names = UniqueNames()
            for label in self.targets:
                name = names.take(folder_name(self.explainer.labels[label]))
                folders[label] = folder / TARGETS_FOLDER / name
                folders[label].mkdir(parents=True)

        def opened(path: Path) -> SoundWriter:
            return stack.enter_context(SoundWriter(path, self.frontend.sample_rate_hz, scale))

        return {
            label: (opened(place / EVIDENCE_NAME), opened(place / REMAINDER_NAME))
            for label, place in folders.items()
        }

    def _note_targets_without_events(self) -> None:
        for label in self.targets:
            if not any(run.label == label for run in self.runs):
                peak = int(np.argmax(self.probabilities[:, label]))
                begin_s = self.scale.time_s(self.plan.start(peak))
                self.notes.append(
                    f"{self.explainer.labels[label]}: no window reaches {self.options.min_confidence:g}; its "
                    f"highest probability is {self.probabilities[peak, label]:.2f}, at {begin_s:.1f} s"
                )

    def _observed(self, masks: Iterator[WindowMask]) -> Iterator[WindowMask]:
        """Yield masks, and note the details of those that events get their scores from."""
        self.failures: list[str] = []
        self.explained: set[tuple[int, int]] = set()
        for mask in masks:
            if "error" in mask.details:
                self.failures.append(mask.details["error"])
            else:
                self.explained.add((mask.job.window, mask.job.label))
            if mask.job.run is not None:
                self.details[mask.job.run] = mask.details
            yield mask

    def _report_failures(self) -> None:
        if not self.failures:
            return
        if not self.explained:
            raise OtoscopeError(f"{self.path}: no window could be explained; {self.failures[0]}")
        self.notes.append(f"{len(self.failures)} windows could not be explained: {self.failures[0]}")

    def _event(self, index: int, box: Box | None) -> Event:
        run, scale = self.runs[index], self.scale
        begin, end = self.borders[index]
        values = self.probabilities[run.first : run.last + 1, run.label]
        explained = [(window, run.label) in self.explained for window in range(run.first, run.last + 1)]
        details = self.details.get(index, {})
        event = Event(
            file=str(self.path),
            label=self.explainer.labels[run.label],
            begin_s=scale.time_s(begin),
            end_s=scale.time_s(end),
            confidence=float(values.max()),
            mean_confidence=float(values.mean()),
            windows_begin_s=scale.time_s(begin),
            windows_end_s=scale.time_s(end),
            windows=len(values),
            explained_windows=sum(explained),
            scores=details.get("scores", {}),
            verdict=details.get("verdict", ""),
            summary=details.get("summary", ""),
            notes=details.get("notes", []),
        )
        if box is not None:
            event.evidence_begin_s, event.evidence_end_s = scale.times_s(box)
            event.low_hz, event.high_hz = scale.frequencies_hz(box)
            if self.options.borders == "evidence":
                # An outermost window without a mask shows nothing about the border on its side.
                begin_s = event.evidence_begin_s if explained[0] else event.begin_s
                end_s = event.evidence_end_s if explained[-1] else event.end_s
                event.begin_s, event.end_s = (begin_s, end_s) if begin_s < end_s else scale.times_s(box)
        return event

    def _copy_pages(self, order: Sequence[int], events: Sequence[Event], folder: Path) -> None:
        """Copy the pictures of events, which are numbered in the order of their begins."""
        for number, (index, event) in enumerate(zip(order, events, strict=True), start=1):
            if (page := self.windows.page(index)) is not None:
                target = folder / PAGES_FOLDER / f"{event.name(number)}{page.suffix}"
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(page, target)
                event.page = str(target.relative_to(folder))

    def _timeline(self, events: list[Event]) -> Timeline:
        rate_hz, options, plan = self.frontend.sample_rate_hz, self.options, self.plan
        return Timeline(
            file=str(self.path),
            name=self.name,
            method=self.explainer.method,
            labels=list(self.explainer.labels),
            events=events,
            window_begins_s=np.array([self.scale.time_s(plan.start(index)) for index in range(plan.count)]),
            probabilities=np.asarray(self.probabilities),
            log_magnitude=self.picture.log_magnitude,
            evidence_share=self.picture.share,
            start_s=self.scale.start_s,
            duration_s=self.scale.samples / rate_hz,
            window_s=plan.window / rate_hz,
            hop_s=plan.hop / rate_hz,
            min_confidence=options.min_confidence,
            low_confidence=options.lowest,
            explained_windows=len({window for window, _ in self.explained}),
            sample_rate_hz=rate_hz,
            notes=self.notes,
            source=self.source,
            against=options.against,
            levels_db=np.asarray(self.levels_db),
        )


def _contrasts(explainer: Explainer, options: LongOptions) -> dict[int, Explainer]:
    """Return the explainer of each target against the label that it is compared with, if there is one."""
    if options.against is None:
        return {}
    index_of = explainer.classifier.index_of
    return {index_of(target): explainer.between(target, options.against) for target in options.targets}


def _bar(description: str, total: int, unit: str) -> Any:
    # disable=None shows the bar, with its rate and the remaining time, on a terminal only.
    return tqdm(
        total=total,
        desc=description,
        unit=f" {unit}s",
        unit_scale=unit == "sample",
        disable=None,
        leave=False,
        dynamic_ncols=True,
    )
