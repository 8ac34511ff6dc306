"""Explain many recordings: skip those that fail, keep a manifest, resume an interrupted run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from otoscope.explain import Explainer
from otoscope.explanation import Explanation
from otoscope.explanation.parts import DEFAULT_PARTS, DEFAULT_SHARD_PARTS, PARTS, SHARD_PARTS, check_parts
from otoscope.recordings.batches import balanced_size, explain_in_process
from otoscope.recordings.files import Recording
from otoscope.recordings.manifest import MANIFEST_NAME, Manifest
from otoscope.recordings.places import Folders, Place, Shards
from otoscope.recordings.plan import (
    DEFAULT_HEARING,
    DEFAULT_PICTURES,
    Backend,
    HearingOptions,
    PictureOptions,
    planned,
)
from otoscope.recordings.progress import Progress
from otoscope.recordings.results import Outcome, Result
from otoscope.recordings.workers import backend_for


def explain_recordings(
    explainer: Explainer,
    recordings: Sequence[Recording],
    folder: str | os.PathLike[str],
    target: str | None = None,
    threshold: float | None = None,
    batch_size: int = 4,
    skip_existing: bool = False,
    on_explained: Callable[[Result], None] | None = None,
    pictures: PictureOptions = DEFAULT_PICTURES,
    hearing: HearingOptions = DEFAULT_HEARING,
    workers: int = 1,
    keep: Iterable[str] | None = None,
    in_shards: bool = False,
    backend: Backend | None = None,
    longest_remote_s: float | None = None,
    on_answered: Callable[[Explanation], None] | None = None,
) -> Outcome:
    """Explain recordings and save each explanation; those that fail, for whatever reason, are skipped.

    An explanation gets the folder of its recording's name. If another recording has an explanation there, or the
    folder holds something else, the name gets a number. With ``in_shards`` it gets a row of that name instead.

    ``manifest.jsonl`` in the folder gets a line for each recording as soon as it is done: its result or its error.
    Lines are in the order of the recordings, whatever the number of processes.

    Args:
        explainer: Classifier and interpreter.
        recordings: Recordings to explain, see `find_recordings`.
        folder: Folder for the results.
        target: Label to explain (default: the predicted label of each recording).
        threshold: Threshold of the interpreter, see `Explainer.explain`.
        batch_size: Largest number of recordings that the networks process at once; fewer if they are long or few,
            see `balanced_size`.
        skip_existing: Skip recordings that already have an explanation of the same content, by the same model with
            the same options, which holds the parts that are to be kept.
        on_explained: Callback, called with each new result.
        pictures: How the pictures are drawn.
        hearing: How the recordings are heard.
        workers: Number of processes; each uses one thread.
        keep: Parts of an explanation that are written (default: `DEFAULT_PARTS`, in shards
            `DEFAULT_SHARD_PARTS`).
        in_shards: Write Parquet files with a row for each recording instead of a folder for each.
        backend: Function that explains the recordings (default: chosen by ``workers``).
        longest_remote_s: Longest recording at a URI; a longer one fails (default: any length).
        on_answered: Callback, called with each new explanation before its files are written. It is called only
            where this process alone explains the recordings, as it does a single one.

    Raises:
        ConfigurationError: Target, threshold or parts do not fit.
        MissingExtraError: Shards need pyarrow.
        OtoscopeError: The results cannot be written.
    """
    _check(explainer, target, threshold)
    if in_shards:
        parts = check_parts(DEFAULT_SHARD_PARTS if keep is None else keep, SHARD_PARTS)
    else:
        parts = check_parts(DEFAULT_PARTS if keep is None else keep, PARTS)
    folder = Path(folder)
    place: Place = Shards(folder) if in_shards else Folders(folder)
    with place:
        recordings = place.placed(recordings)
        plan = planned(explainer, folder, target, threshold, batch_size, pictures, hearing, parts, in_shards)
        plan = replace(plan, longest_remote_s=longest_remote_s)
        earlier = place.earlier(recordings, plan) if skip_existing else {}
        remaining = [recording for recording in recordings if recording not in earlier]
        plan = replace(plan, batch_size=balanced_size(len(remaining), batch_size))
        place.prepare(remaining)
        files = {str(recording.path) for recording in recordings}
        finished = {str(recording.path) for recording in earlier}
        manifest, outcome = Manifest(folder / MANIFEST_NAME, files, finished), Outcome()
        for result in earlier.values():
            # A run that was killed after saving an explanation and before adding its line has left no line for it.
            if result.line["file"] not in manifest.files:
                manifest.add(result.line)
            outcome.add(result)
        if backend is None:
            backend = backend_for(explainer, workers, len(remaining), plan.batch_size)
            if backend is explain_in_process:
                backend = partial(explain_in_process, on_answered=on_answered)
        # Closed at once after an error, because a generator ends its processes when it is closed.
        results = contextlib.closing(cast(Generator[Result], backend(explainer, remaining, plan)))
        with Progress(len(recordings), len(earlier)) as progress, results as new_results:
            for result in new_results:
                place.accept(result)
                manifest.add(result.line)
                outcome.add(result)
                if on_explained is not None and result.summary:
                    with progress.interrupted():
                        on_explained(result)
                progress.add(result)
    return outcome


def explain_each(
    explainer: Explainer,
    recordings: Iterable[Recording],
    folder: Path,
    target: str | None = None,
    threshold: float | None = None,
    batch_size: int = 4,
    pictures: PictureOptions = DEFAULT_PICTURES,
    hearing: HearingOptions = DEFAULT_HEARING,
    keep: Iterable[str] = DEFAULT_PARTS,
) -> Iterator[Result]:
    """Read, explain and save recordings in this process, and yield the result of each.

    Args:
        explainer: Classifier and interpreter.
        recordings: Recordings to explain.
        folder: Folder for the results.
        target: Label to explain.
        threshold: Threshold of the interpreter.
        batch_size: Largest number of recordings in a batch.
        pictures: How the pictures are drawn.
        hearing: How the recordings are heard.
        keep: Parts of an explanation that are written.
    """
    plan = planned(explainer, folder, target, threshold, batch_size, pictures, hearing, check_parts(keep))
    return explain_in_process(explainer, recordings, plan)


def _check(explainer: Explainer, target: str | None, threshold: float | None) -> None:
    """Raise errors that concern every recording before the first one is read."""
    # Both calls raise an error if the option does not fit; their results are not needed.
    if target is not None:
        explainer.classifier.index_of(target)
    explainer.interpreter.with_threshold(threshold)
