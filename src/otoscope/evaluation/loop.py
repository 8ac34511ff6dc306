"""Loop of an evaluation over conditions, batches and methods, which skips scores that are already recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from otoscope.classifiers import Classifier
from otoscope.data import Clip, SoundData, collate
from otoscope.data.annotations import annotations_key
from otoscope.errors import DataError, OtoscopeError, first_line
from otoscope.evaluation.batch import ClassifiedBatch, classify_batch
from otoscope.evaluation.conditions import Prepared
from otoscope.evaluation.fingerprints import alike, sound_fingerprint
from otoscope.evaluation.mask_scores import (
    ANNOTATED,
    MATCHED_CONTROLS,
    ClipScores,
    MaskSource,
    control,
    decode,
    score,
)
from otoscope.evaluation.methods import Methods
from otoscope.evaluation.pace import Clock, Lap, Pace
from otoscope.evaluation.records import Records
from otoscope.evaluation.settings import Settings
from otoscope.metrics.ranking import Ranking, rank_bins
from otoscope.pool import Pool, can_fork, gradients_survive_fork
from otoscope.scoring import CONTROLS

_OPTIONAL = ("ideal", ANNOTATED)
"""Controls that only some clips or conditions have."""


@dataclass
class Run:
    """Settings and state of an evaluation.

    Attributes:
        settings: Settings of the evaluation.
        classifier: Classifier that the methods explain.
        methods: Methods to compare; those that fail are moved to ``methods.skipped``.
        data: Data whose test set is used.
        records: Scores of single clips on disk.
        prepared: Conditions to compare in.
        indices: Indices of the clips in the test set.
        device: Device of the networks.
        progress: Whether to show a progress bar.
        unchecked: Reasons why checks were not made, by name of the check.
        recordings: Recording of each clip that was cut from one, by name of the clip.
        silences: Answers of the classifier to silence, by number of samples.
    """

    settings: Settings
    classifier: Classifier
    methods: Methods
    data: SoundData
    records: Records
    prepared: Prepared
    indices: list[int]
    device: torch.device
    progress: bool
    unchecked: dict[str, str] = field(default_factory=dict)
    recordings: dict[str, str] = field(default_factory=dict)
    silences: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Extras:
    """Scores that only the first condition has, because they take long."""

    curves: bool
    road: bool

    @property
    def names(self) -> list[str]:
        """Their names in records."""
        return [name for name in ("curves", "road") if getattr(self, name)]


@dataclass
class _Scored:
    """What a process returns about some clips in one condition.

    Attributes:
        names: Names of all these clips.
        in_condition: Names of those that the condition has.
        records: New records by row.
        skipped: Reasons by method why it failed.
        recordings: See `Run.recordings`.
        laps: Times of the rows.
    """

    names: list[str]
    in_condition: list[str]
    records: list[tuple[str, list[dict[str, Any]]]]
    skipped: dict[str, str]
    recordings: dict[str, str]
    laps: list[Lap]


@dataclass
class SelectedClips:
    """Data set of the clips of a run."""

    run: Run

    def __len__(self) -> int:
        return len(self.run.indices)

    def __getitem__(self, position: int) -> Clip:
        return self.run.data.test_set[self.run.indices[position]]


def score_all(run: Run) -> dict[str, dict[str, None]]:
    """Compute the scores that are not recorded yet, and return the names of the clips by condition."""
    clips: dict[str, dict[str, None]] = {}
    rows = len(CONTROLS) - 1 + len(run.methods.ready)  # without `ideal`, which not every condition has
    total = len(run.prepared.contaminate) * len(run.indices) * rows
    workers = count_workers(run)
    pace = Pace(len(run.prepared.contaminate) * len(run.indices), workers)
    with tqdm(total=total, desc="Evaluating", unit="mask", disable=not run.progress) as bar:

        def tick(step: str, masks: int) -> None:
            # The longest methods first: they decide how long the evaluation takes.
            bar.set_postfix_str("; ".join(filter(None, [step, pace.remaining()])), refresh=False)
            bar.update(masks)

        for condition, names in (_in_workers if workers > 1 else _in_process)(run, tick, pace):
            clips.setdefault(condition, {}).update(dict.fromkeys(names))
        for condition in list(clips):
            if not clips[condition]:
                del clips[condition]
                run.prepared.skipped[condition] = "the test set has no clip of another class to mix with"
    return clips


def _in_process(run: Run, tick: Callable[[str, int], None], pace: Pace) -> Iterator[tuple[str, list[str]]]:
    """Score all batches in this process; yield the condition of each and the names of its clips."""
    for condition in run.prepared.contaminate:
        for batch in batches(run, run.settings.clips_per_batch(len(run.indices)), run.indices):
            clock = Clock()

            def lap(row: str, masks: int, clock: Clock = clock, condition: str = condition) -> None:
                clock.lap(row, masks)
                tick(f"{condition}, {row}" if row else condition, masks)

            names = _score_batch(run, condition, batch, run.records.add, lap)
            pace.add(clock.laps, len(batch))
            yield condition, names


def count_workers(run: Run) -> int:
    """Return the number of processes that score the clips: 1 where other processes cannot share the networks."""
    workers = min(run.settings.workers or 1, len(run.indices))
    shared = run.device.type == "cpu" and run.classifier.survives_fork and can_fork()
    return workers if workers > 1 and shared and gradients_survive_fork() else 1


def in_processes(run: Run, work: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """Yield the results of a function for each item, in their order; several items are processed at a time.

    Args:
        run: Evaluation, which says how many processes work; they share the memory of its networks.
        work: Function of the run and of an item. What it changes in the run is lost with its process.
        items: Further arguments for each call; they are sent by pickle, as the results are.

    Raises:
        Exception: The function has raised it.
    """
    workers = min(count_workers(run), len(items))
    if workers < 2:
        yield from (work(run, *item) for item in items)
        return

    def handle(kind: str, batch: list[Any]) -> Iterator[tuple[int, Any]]:
        return ((place, work(run, *item)) for place, item in enumerate(batch))

    with Pool(handle, workers, _raise_later) as pool:
        for job in [pool.submit("work", [item]) for item in items]:
            [result] = pool.wait(job)
            if isinstance(result, Exception):
                raise result
            yield result


def _in_workers(run: Run, tick: Callable[[str, int], None], pace: Pace) -> Iterator[tuple[str, list[str]]]:
    """Score some clips after the others in forked processes.

    This process alone writes the records, in the order of the clips, whatever the number of processes.
    """
    size = run.settings.clips_per_batch(len(run.indices))  # as a run with one process divides them
    parts = [run.indices[start : start + size] for start in range(0, len(run.indices), size)]
    items = [(condition, part) for condition in run.prepared.contaminate for part in parts]
    seen: dict[str, set[str]] = {}
    for (condition, _), scored in zip(items, in_processes(run, _score_part, items), strict=True):
        _require_new(scored.names, seen.setdefault(condition, set()))
        for row, records in scored.records:
            run.records.add(condition, row, records)
        for method, reason in scored.skipped.items():
            run.methods.skipped[method] = reason
            run.methods.ready.pop(method, None)
        run.recordings |= scored.recordings
        pace.add(scored.laps, len(scored.names))
        tick(condition, len(scored.names) * (len(CONTROLS) - 1 + len(run.methods.ready)))
        yield condition, scored.in_condition


def _score_part(run: Run, condition: str, indices: list[int]) -> _Scored:
    """Score some clips in one condition, in a process of its own."""
    records: list[tuple[str, list[dict[str, Any]]]] = []
    former = set(run.methods.skipped)
    [clips] = batches(run, len(indices), indices)
    clock = Clock()
    in_condition = _score_batch(run, condition, clips, lambda _, row, new: records.append((row, new)), clock.lap)
    skipped = {name: reason for name, reason in run.methods.skipped.items() if name not in former}
    return _Scored([clip.name for clip in clips], in_condition, records, skipped, run.recordings, clock.laps)


def _raise_later(item: Any, error: Exception) -> Exception:
    return OtoscopeError(f"{item[0]}: the scores of some clips could not be computed: {error}")


def _extras_of(run: Run, condition: str) -> _Extras:
    # Curves need about ten more masks for each method, so only the first condition has them.
    is_first = condition == next(iter(run.prepared.contaminate))
    return _Extras(run.settings.curves and is_first, run.settings.road and is_first)


def batches(run: Run, size: int, indices: Sequence[int]) -> Iterator[list[Clip]]:
    """Yield batches of clips.

    Raises:
        DataError: Two clips have the same name, which identifies their records.
    """
    seen: set[str] = set()
    for start in range(0, len(indices), size):
        clips = [run.data.test_set[index] for index in indices[start : start + size]]
        _require_new([clip.name for clip in clips], seen)
        for clip in clips:
            if clip.recording is not None:
                run.recordings[clip.name] = clip.recording
        yield clips


def _require_new(names: Sequence[str], seen: set[str]) -> None:
    """Raise an error if a name was seen before, and remember the names."""
    for name in names:
        if name in seen:
            raise DataError(f"data: two test clips are named {name!r}; rename one of them")
        seen.add(name)


def _score_batch(
    run: Run,
    condition: str,
    clips: list[Clip],
    add: Callable[[str, str, list[dict[str, Any]]], None],
    tick: Callable[[str, int], None],
) -> list[str]:
    """Score the clips that lack scores of some row, and return the names of all clips that the condition has.

    Args:
        run: Evaluation.
        condition: Name of the condition.
        clips: Clips of the batch.
        add: Function that takes the condition, the row and the new records.
        tick: Function that takes the name of a row, empty for all of them, and the number of masks that are done.
    """
    contaminate, extras = run.prepared.contaminate[condition], _extras_of(run, condition)
    rows = [*(name for name in CONTROLS if name != "ideal"), *run.methods.ready]
    # Records are checked against the contaminated sound: another folder of noise gives other fingerprints.
    contaminated = [clip for clip in map(contaminate, clips) if clip is not None]
    sounds = {clip.name: sound_fingerprint(clip.waveform) for clip in contaminated}
    keys = {clip.name: annotations_key(clip.annotations) for clip in contaminated}
    missing = {row: _missing(run, condition, row, sounds, keys, extras) for row in [*rows, *_OPTIONAL]}
    unscored = [clip for clip in contaminated if any(clip.name in missing[row] for row in rows)]
    if unscored:
        batch = classify_batch(run.classifier, collate(unscored), run.settings.seed, run.device, run.silences)
        controls = {name: _ranked_by(name, batch, run.settings.seed) for name in MATCHED_CONTROLS.values()}
        labels = [run.data.labels[clip.target] for clip in unscored]
        # A clip counts as scored when all rows but the optional ones are. Therefore these come first: a run that is
        # stopped between two rows then resumes with this clip.
        for row in [*_OPTIONAL, *rows]:
            source = _source(run, row, batch) if any(clip.name in missing[row] for clip in unscored) else None
            if source is not None:
                scores = score(
                    source,
                    batch,
                    run.settings.areas,
                    extras.curves,
                    controls=None if row in (*CONTROLS, ANNOTATED) else controls,
                    road_seed=run.settings.seed if extras.road else None,
                    seed=run.settings.seed,
                )
                records = [
                    record | {"sound": sounds[record["clip"]], "annotations": keys[record["clip"]]}
                    for record in _as_records(run, batch, labels, source, scores)
                    # Other clips of the batch have a record of this row, which stays.
                    if record["clip"] in missing[row]
                ]
                add(condition, row, records)
            tick(row, 0 if row in _OPTIONAL else len(unscored))
    # Clips that were scored by an earlier run, or cannot be used, count as done.
    tick("", len(rows) * (len(clips) - len(unscored)))
    return [clip.name for clip in contaminated]


def _missing(
    run: Run,
    condition: str,
    row: str,
    sounds: Mapping[str, list[float]],
    keys: Mapping[str, str | None],
    extras: _Extras,
) -> set[str]:
    """Return the clips without a record of a row, with other annotations, or without the requested curves.

    Raises:
        DataError: A record with the name of a clip was made from another sound.
    """
    records = run.records.of(condition, row)
    for name, sound in sounds.items():
        if name in records and not alike(records[name].get("sound"), sound):
            raise DataError(
                f"{run.records.folder}: {name} ({condition}) was scored with another sound; choose another "
                "--output_folder, or delete the folder"
            )
    # An all-pass mask has no ranking to grow by.
    needed = extras.names if row != "all-pass" else []
    return {
        name
        for name in sounds
        if name not in records
        or records[name].get("annotations") != keys[name]
        or any(part not in records[name] for part in needed)
    }


def _ranked_by(name: str, batch: ClassifiedBatch, seed: int) -> Ranking:
    importance = control(name, batch, seed).importance
    assert importance is not None
    return rank_bins(importance, batch.order, batch.frames)


def _source(run: Run, row: str, batch: ClassifiedBatch) -> MaskSource | None:
    if row == ANNOTATED:
        return None if batch.annotated is None else control(row, batch, run.settings.seed)
    if row in CONTROLS:
        return None if row == "ideal" and batch.truth is None else control(row, batch, run.settings.seed)
    if row not in run.methods.ready:
        return None
    try:
        return decode(run.methods.ready[row].interpreter, batch)
    except Exception as error:  # the method does not fit this classifier, or is faulty: the others continue
        expected = isinstance(error, OtoscopeError)
        run.methods.skipped[row] = str(error) if expected else f"{type(error).__name__}: {first_line(error)}"
        del run.methods.ready[row]
        return None


def _as_records(
    run: Run, batch: ClassifiedBatch, labels: Sequence[str], source: MaskSource, scores: Sequence[ClipScores]
) -> Iterator[dict[str, Any]]:
    # Repeated in the records of every row, so that each file of records can be read on its own.
    predicted = batch.prediction.predicted.tolist()
    probability = batch.prediction.probabilities.amax(1).tolist()
    for i, clip in enumerate(scores):
        record = {
            "clip": batch.names[i],
            "label": labels[i],
            "predicted": run.classifier.labels[predicted[i]],
            "probability": probability[i],
        }
        if source.seconds is not None:
            record["seconds"] = source.seconds
        if batch.annotated is not None:
            record["annotated"] = bool(batch.annotated[i].any())
        parts = {"curves": clip.curves, "road": clip.road}
        yield record | {"scores": clip.scores} | {name: part for name, part in parts.items() if part}
