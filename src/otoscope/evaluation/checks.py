"""Checks of an evaluation on a few clips: randomised classifiers, and inaudible changes of the sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from otoscope.data import Clip, collate
from otoscope.errors import ConfigurationError, DataError, OtoscopeError, first_line
from otoscope.evaluation.batch import ClassifiedBatch, classify_batch
from otoscope.evaluation.fingerprints import alike, sound_fingerprint
from otoscope.evaluation.loop import Run, batches, count_workers, in_processes
from otoscope.evaluation.methods import Method
from otoscope.evaluation.randomisation import NOISE, check_shuffles
from otoscope.evaluation.sanity import cascade, compare_maps
from otoscope.evaluation.stability import LEVEL_DB, NOISE_DB, SHIFT_S, score_stability

SANITY, RANDOMISATION, STABILITY = "sanity", "randomisation", "stability"
"""Names of the checks, which their records and results have too."""
_SANITY_BATCH = 4  # the maps of all methods lie in memory at once

Check = Callable[[Run, Method, ClassifiedBatch], Sequence[Mapping[str, Any]]]
"""Function that returns the values of each clip of a batch."""


def check_settings(run: Run) -> dict[str, dict[str, Any]]:
    """Return the settings that the values of each check depend on."""
    return {
        RANDOMISATION: {
            "shuffles": run.settings.shuffles,
            "noisy_inputs": run.settings.noisy_inputs,
            "noise": NOISE,
        },
        STABILITY: {"noise_db": NOISE_DB, "shift_s": SHIFT_S, "level_db": LEVEL_DB},
    }


def require_same_checks(run: Run) -> None:
    """Refuse records of checks that were made with other settings, before anything is computed.

    Raises:
        ConfigurationError: There are such records.
    """
    wanted = {RANDOMISATION: run.settings.randomisation, STABILITY: run.settings.stability}
    for check, settings in check_settings(run).items():
        if not wanted[check]:
            continue
        for method in run.methods.ready:
            for record in run.records.of(check, method).values():
                changed = [
                    f"{name} was {record['settings'].get(name)}, is {value}"
                    for name, value in settings.items()
                    if record["settings"].get(name) != value
                ]
                if changed:
                    raise ConfigurationError(
                        f"{run.records.folder / check}: holds records of another check ({'; '.join(changed)}); "
                        "choose another --output_folder, delete this folder, or resume with the former options"
                    )


def run_checks(run: Run, sanity_positions: Sequence[int], positions: Sequence[int]) -> dict[str, list[str]]:
    """Make the checks that the settings ask for; records that exist are not computed again.

    Args:
        run: Evaluation whose methods are checked.
        sanity_positions: Positions of the clips of the cascade among those of the run.
        positions: Positions of the clips of the other checks.

    Returns:
        Names of the clips by check.
    """
    checked: dict[str, list[str]] = {}
    if run.settings.sanity:
        checked[SANITY] = check_sanity(run, sanity_positions)
    if run.settings.randomisation:
        if cascade(run.classifier):
            checked[RANDOMISATION] = _check_each(run, RANDOMISATION, "Shuffled weights", positions)
        else:
            run.unchecked[RANDOMISATION] = _no_weights(run)
    if run.settings.stability:
        checked[STABILITY] = _check_each(run, STABILITY, "Stability", positions)
    return checked


def check_sanity(run: Run, positions: Sequence[int]) -> list[str]:
    """Compare the maps of the methods with those of the randomised classifier on some clips.

    If the randomised classifier fails, the reason is added to `Run.unchecked`; the scores remain.

    Args:
        run: Evaluation whose methods are checked.
        positions: Positions of the clips among those of the run.

    Returns:
        Names of the clips that were checked.
    """
    try:
        return _check_sanity(run, positions)
    except OtoscopeError as error:
        run.unchecked[SANITY] = str(error)
        return []


def _check_sanity(run: Run, positions: Sequence[int]) -> list[str]:
    if not cascade(run.classifier):
        run.unchecked[SANITY] = _no_weights(run)
        return []
    indices = [run.indices[position] for position in positions]
    size = min(_SANITY_BATCH, run.settings.batch_size)
    names: list[str] = []
    items = []
    for number, clips in enumerate(batches(run, size, indices)):
        names += [clip.name for clip in clips]
        # A method that lacks any clip of the batch checks the whole batch again.
        methods = [
            method
            for method in run.methods.ready
            if any(clip.name not in run.records.of(SANITY, method) for clip in clips)
        ]
        if methods:
            items.append((methods, indices[number * size : (number + 1) * size]))
    with tqdm(total=len(indices), desc="Sanity check", unit="clip", disable=not run.progress) as bar:
        bar.update(len(indices) - sum(len(of_item) for _, of_item in items))
        for (_, of_item), similarities in zip(items, in_processes(run, _compare_maps, items), strict=True):
            for method, records in similarities.items():
                run.records.add(SANITY, method, records)
            bar.update(len(of_item))
    return names


def _compare_maps(run: Run, methods: Sequence[str], indices: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Return the records of the cascade by method."""
    clips, seed = [run.data.test_set[index] for index in indices], run.settings.seed
    batch = classify_batch(run.classifier, collate(clips), seed, run.device)
    compared = compare_maps([run.methods.ready[name] for name in methods], batch, seed)
    return {
        name: [{"clip": clip.name, "layers": layers} for clip, layers in zip(clips, of_clips, strict=True)]
        for name, of_clips in compared.items()
    }


def _check_each(run: Run, check: str, title: str, positions: Sequence[int]) -> list[str]:
    """Check every method on the clips that it lacks, and return the names of all clips.

    A method that fails is left out, with the reason in `Run.unchecked`.
    """
    indices = [run.indices[position] for position in positions]
    size = run.settings.batch_size
    names: list[str] = []
    items: list[tuple[str, str, list[int]]] = []
    for number, clips in enumerate(batches(run, size, indices)):
        names += [clip.name for clip in clips]
        place = dict(zip((clip.name for clip in clips), indices[number * size :], strict=False))
        for method in run.methods.ready:
            if missing := _missing(run, check, method, clips):
                items.append((check, method, [place[clip.name] for clip in missing]))
    if count_workers(run) > 1:
        # The longest first, so that no process is left with one while the others have nothing to do.
        seconds = {method: seconds_of(run, method) for method in run.methods.ready}
        items.sort(key=lambda item: -seconds[item[1]])
    total = len(indices) * len(run.methods.ready)
    with tqdm(total=total, desc=title, unit="clip", disable=not run.progress) as bar:
        bar.update(total - sum(len(of_item) for _, _, of_item in items))
        for (_, method, of_item), result in zip(items, in_processes(run, _checked, items), strict=True):
            bar.set_postfix_str(method, refresh=False)
            reason = _reason(check, method)
            if isinstance(result, str):
                run.unchecked[reason] = result
            elif reason not in run.unchecked:
                run.records.add(check, method, result)
            bar.update(len(of_item))
    return names


def _checked(run: Run, check: str, method: str, indices: Sequence[int]) -> list[dict[str, Any]] | str:
    """Return the records of a check of a method on some clips, or the reason why it fails."""
    if _reason(check, method) in run.unchecked:
        return run.unchecked[_reason(check, method)]
    clips = [run.data.test_set[index] for index in indices]
    batch = classify_batch(run.classifier, collate(clips), run.settings.seed, run.device)
    try:
        values = _CHECKS[check](run, run.methods.ready[method], batch)
    except Exception as error:  # as in the scores: the other methods continue
        expected = isinstance(error, OtoscopeError)
        return str(error) if expected else f"{type(error).__name__}: {first_line(error)}"
    return _as_records(clips, check_settings(run)[check], values)


def _reason(check: str, method: str) -> str:
    return f"{check} of {method}"


def seconds_of(run: Run, method: str) -> float:
    """Return the mean time per clip of a method among the records; 0 where none states it."""
    values = [
        record["seconds"]
        for condition in run.prepared.contaminate
        for record in run.records.of(condition, method).values()
        if "seconds" in record
    ]
    return sum(values) / len(values) if values else 0.0


def _missing(run: Run, check: str, method: str, clips: Sequence[Clip]) -> list[Clip]:
    """Return the clips without a record of a check.

    Raises:
        DataError: A record with the name of a clip was made from another sound.
    """
    records = run.records.of(check, method)
    for clip in clips:
        if clip.name in records and not alike(records[clip.name].get("sound"), sound_fingerprint(clip.waveform)):
            raise DataError(
                f"{run.records.folder}: {clip.name} ({check}) was checked with another sound; choose another "
                "--output_folder, or delete the folder"
            )
    return [clip for clip in clips if clip.name not in records]


def _as_records(
    clips: Sequence[Clip], settings: Mapping[str, Any], values: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    return [
        {"clip": clip.name, "sound": sound_fingerprint(clip.waveform), "settings": settings, "values": of_clip}
        for clip, of_clip in zip(clips, values, strict=True)
    ]


def _shuffles(run: Run, method: Method, batch: ClassifiedBatch) -> list[dict[str, list[float]]]:
    """Return the values by shuffle of each clip; see `check_shuffles`."""
    settings = run.settings
    values = check_shuffles(method, batch, settings.seed, settings.shuffles, settings.noisy_inputs)
    return [
        {name: of_name[:, clip].tolist() for name, of_name in values.items()} for clip in range(len(batch.names))
    ]


def _stability(run: Run, method: Method, batch: ClassifiedBatch) -> list[dict[str, dict[str, float]]]:
    """Return the values by change of each clip; see `score_stability`."""
    lengths = batch.spectrogram.lengths
    results = []
    for clip, name in enumerate(batch.names):
        samples = batch.waveform.shape[1] if lengths is None else int(lengths[clip])
        waveform = batch.waveform[clip, :samples]
        results.append(score_stability(method.interpreter, run.classifier, waveform, name, run.settings.seed))
    return results


_CHECKS: dict[str, Check] = {RANDOMISATION: _shuffles, STABILITY: _stability}


def _no_weights(run: Run) -> str:
    return f"{type(run.classifier).__name__} has no weights that could be shuffled"
