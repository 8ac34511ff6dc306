"""Checks of an evaluation on a few clips: randomised classifiers, and inaudible changes of the sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from otoscope.data import Clip, collate
from otoscope.errors import ConfigurationError, DataError, OtoscopeError, first_line
from otoscope.evaluation.batch import ClassifiedBatch, classify_batch
from otoscope.evaluation.fingerprints import alike, sound_fingerprint
from otoscope.evaluation.loop import Run, batches
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
            checked[RANDOMISATION] = _check_each(run, RANDOMISATION, "Shuffled weights", _shuffles, positions)
        else:
            run.unchecked[RANDOMISATION] = _no_weights(run)
    if run.settings.stability:
        checked[STABILITY] = _check_each(run, STABILITY, "Stability", _stability, positions)
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
    names: list[str] = []
    with tqdm(total=len(indices), desc="Sanity check", unit="clip", disable=not run.progress) as bar:
        for clips in batches(run, min(_SANITY_BATCH, run.settings.batch_size), indices):
            bar.update(len(clips))
            names += [clip.name for clip in clips]
            # A method that lacks any clip of the batch checks the whole batch again.
            methods = [
                method
                for method in run.methods.ready.values()
                if any(clip.name not in run.records.of(SANITY, method.name) for clip in clips)
            ]
            if not methods:
                continue
            seed = run.settings.seed
            batch = classify_batch(run.classifier, collate(clips), seed, run.device)
            for name, similarities in compare_maps(methods, batch, seed).items():
                layers = zip(clips, similarities, strict=True)
                run.records.add(SANITY, name, ({"clip": clip.name, "layers": values} for clip, values in layers))
    return names


def _check_each(run: Run, check: str, title: str, make: Check, positions: Sequence[int]) -> list[str]:
    """Check every method on the clips that it lacks, and return the names of all clips.

    A method that fails is left out, with the reason in `Run.unchecked`.
    """
    indices = [run.indices[position] for position in positions]
    settings = check_settings(run)[check]
    names: list[str] = []
    total = len(indices) * len(run.methods.ready)
    with tqdm(total=total, desc=title, unit="clip", disable=not run.progress) as bar:
        for clips in batches(run, run.settings.batch_size, indices):
            names += [clip.name for clip in clips]
            for method in run.methods.ready.values():
                bar.set_postfix_str(method.name, refresh=False)
                reason = f"{check} of {method.name}"
                if (missing := _missing(run, check, method.name, clips)) and reason not in run.unchecked:
                    batch = classify_batch(run.classifier, collate(missing), run.settings.seed, run.device)
                    try:
                        values = make(run, method, batch)
                    except Exception as error:  # as in the scores: the other methods continue
                        expected = isinstance(error, OtoscopeError)
                        run.unchecked[reason] = (
                            str(error) if expected else f"{type(error).__name__}: {first_line(error)}"
                        )
                    else:
                        run.records.add(check, method.name, _as_records(missing, settings, values))
                bar.update(len(clips))
    return names


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


def _no_weights(run: Run) -> str:
    return f"{type(run.classifier).__name__} has no weights that could be shuffled"
