"""The loop of an evaluation: condition by condition, batch by batch, method by method, as far as not known yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from otoscope.classifiers import Classifier
from otoscope.data import Clip, SoundData, collate
from otoscope.errors import DataError, OtoscopeError, first_line
from otoscope.evaluation.batch import ClassifiedBatch, classify_batch
from otoscope.evaluation.conditions import Contaminate, Prepared
from otoscope.evaluation.fingerprints import alike, sound_of
from otoscope.evaluation.mask_scores import BESIDE_OWN, ClipScores, MaskSource, control, decode, score
from otoscope.evaluation.methods import Methods
from otoscope.evaluation.records import Records
from otoscope.evaluation.sanity import cascade, compare_maps
from otoscope.metrics.ranking import Ranking, rank_bins
from otoscope.scoring import CONTROLS

SANITY = "sanity"
_SANITY_BATCH = 4  # the maps of all methods lie in memory at once


@dataclass
class Run:
    """What the parts of a run share."""

    classifier: Classifier
    methods: Methods
    data: SoundData
    areas: Sequence[float]
    batch_size: int
    seed: int
    curves: bool
    records: Records
    prepared: Prepared
    indices: list[int]
    device: torch.device
    progress: bool
    unchecked: dict[str, str] = field(default_factory=dict)


@dataclass
class Chosen:
    """The clips of a run, as a set of their own."""

    run: Run

    def __len__(self) -> int:
        return len(self.run.indices)

    def __getitem__(self, place: int) -> Clip:
        return self.run.data.test_set[self.run.indices[place]]


def score_all(run: Run) -> dict[str, dict[str, None]]:
    """Runs what is not known yet; names of the clips by condition."""
    clips: dict[str, dict[str, None]] = {}
    rows = len(CONTROLS) - 1 + len(run.methods.ready)
    total = len(run.prepared.contaminate) * len(run.indices) * rows
    with tqdm(total=total, desc="Evaluating", unit="mask", disable=not run.progress) as bar:

        def tick(what: str, done: int) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update(done)

        for position, (condition, contaminate) in enumerate(run.prepared.contaminate.items()):
            clips[condition] = {}
            curves = run.curves and position == 0
            for batch in _batches(run, run.batch_size, run.indices):
                clips[condition] |= dict.fromkeys(_score_batch(run, condition, contaminate, batch, curves, tick))
            if not clips[condition]:
                del clips[condition]
                run.prepared.skipped[condition] = "no clip has another one of another class to be mixed with"
    return clips


def _batches(run: Run, size: int, indices: Sequence[int]) -> Iterator[list[Clip]]:
    """So many clips at a time.

    Raises:
        DataError: Two have one name, which records are kept by.
    """
    seen: set[str] = set()
    for start in range(0, len(indices), size):
        clips = [run.data.test_set[index] for index in indices[start : start + size]]
        for clip in clips:
            if clip.name in seen:
                raise DataError(f"data: two test clips are named {clip.name!r}; each needs a name of its own")
            seen.add(clip.name)
        yield clips


def _score_batch(
    run: Run,
    condition: str,
    contaminate: Contaminate,
    clips: list[Clip],
    curves: bool,
    tick: Callable[[str, int], None],
) -> list[str]:
    """Scores the clips of a batch that some method lacks; returns the names of all that the condition has."""
    rows = [*(name for name in CONTROLS if name != "ideal"), *run.methods.ready]
    made = [clip for clip in map(contaminate, clips) if clip is not None]
    sounds = {clip.name: sound_of(clip.waveform) for clip in made}
    lacking = {row: _lacking(run, condition, row, sounds, curves) for row in [*rows, "ideal"]}
    open_clips = [clip for clip in made if any(clip.name in lacking[row] for row in rows)]
    if open_clips:
        batch = classify_batch(run.classifier, collate(open_clips), run.seed, run.device)
        beside = {name: _ranked_by(name, batch, run.seed) for name in BESIDE_OWN.values()}
        labels = [run.data.labels[clip.target] for clip in open_clips]
        for row in ["ideal", *rows]:
            source = _source(run, row, batch) if any(clip.name in lacking[row] for clip in open_clips) else None
            if source is not None:
                found = score(source, batch, run.areas, curves, None if row in CONTROLS else beside)
                records = _as_records(run, batch, labels, source, found)
                fresh = (one | {"sound": sounds[one["clip"]]} for one in records if one["clip"] in lacking[row])
                run.records.add(condition, row, fresh)
            tick(f"{condition}, {row}", 0 if row == "ideal" else len(open_clips))
    tick(condition, len(rows) * (len(clips) - len(open_clips)))
    return [clip.name for clip in made]


def _lacking(run: Run, condition: str, row: str, sounds: Mapping[str, list[float]], curves: bool) -> set[str]:
    """Clips that have no record of a row yet, or one without the curves that are wanted.

    Raises:
        DataError: There is a record, and the clip sounded otherwise then.
    """
    known = run.records.of(condition, row)
    for name, sound in sounds.items():
        if name in known and not alike(known[name].get("sound"), sound):
            raise DataError(
                f"{run.records.folder}: {name} ({condition}) was another sound when it was scored; choose another "
                "--output_folder, or delete the folder"
            )
    drawn = curves and row != "all-pass"  # which has no order to grow by
    return {name for name in sounds if name not in known or (drawn and "curves" not in known[name])}


def _ranked_by(name: str, batch: ClassifiedBatch, seed: int) -> Ranking:
    importance = control(name, batch, seed).map
    assert importance is not None
    return rank_bins(importance, batch.order, batch.frames)


def _source(run: Run, row: str, batch: ClassifiedBatch) -> MaskSource | None:
    if row in CONTROLS:
        return None if row == "ideal" and batch.truth is None else control(row, batch, run.seed)
    if row not in run.methods.ready:
        return None
    try:
        return decode(run.methods.ready[row].interpreter, batch)
    except Exception as error:  # it does not fit this classifier, or is faulty; the others need not suffer
        ours = isinstance(error, OtoscopeError)
        run.methods.skipped[row] = str(error) if ours else f"{type(error).__name__}: {first_line(error)}"
        del run.methods.ready[row]
        return None


def _as_records(
    run: Run, batch: ClassifiedBatch, labels: Sequence[str], source: MaskSource, found: Sequence[ClipScores]
) -> Iterator[dict[str, Any]]:
    predicted = batch.prediction.predicted.tolist()
    probability = batch.prediction.probabilities.amax(1).tolist()
    for i, one in enumerate(found):
        record = {
            "clip": batch.names[i],
            "label": labels[i],
            "predicted": run.classifier.labels[predicted[i]],
            "probability": probability[i],
        }
        if source.seconds is not None:
            record["seconds"] = source.seconds
        yield record | {"scores": one.scores} | ({"curves": one.curves} if one.curves else {})


def check_sanity(run: Run, places: Sequence[int]) -> list[str]:
    """Compares maps on some of the clips, by their places in the run; returns the names of those clips.

    Where the classifier cannot be asked once it has forgotten, `Run.unchecked` says why; the scores stay.
    """
    try:
        return _check_sanity(run, places)
    except OtoscopeError as error:
        run.unchecked["sanity"] = str(error)
        return []


def _check_sanity(run: Run, places: Sequence[int]) -> list[str]:
    if not cascade(run.classifier):
        run.unchecked["sanity"] = f"{type(run.classifier).__name__} shows no weights that could be shuffled"
        return []
    chosen = [run.indices[place] for place in places]
    names: list[str] = []
    with tqdm(total=len(chosen), desc="Sanity check", unit="clip", disable=not run.progress) as bar:
        for clips in _batches(run, min(_SANITY_BATCH, run.batch_size), chosen):
            bar.update(len(clips))
            names += [clip.name for clip in clips]
            methods = [
                one
                for one in run.methods.ready.values()
                if any(clip.name not in run.records.of(SANITY, one.name) for clip in clips)
            ]
            if not methods:
                continue
            batch = classify_batch(run.classifier, collate(clips), run.seed, run.device)
            for name, found in compare_maps(methods, batch, run.seed).items():
                lines = ({"clip": clip.name, "layers": one} for clip, one in zip(clips, found, strict=True))
                run.records.add(SANITY, name, lines)
    return names
