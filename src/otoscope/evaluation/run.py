"""Evaluation of methods from data to report: scores of every clip, method and condition, then their means."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from otoscope.classifiers import Classifier
from otoscope.classifiers.base import require_classifier
from otoscope.classifiers.fingerprint import traits_of
from otoscope.data import SoundData
from otoscope.data.clips import ClipFiles
from otoscope.errors import ConfigurationError, DataError
from otoscope.evaluation.checks import require_same_checks, run_checks
from otoscope.evaluation.conditions import Conditions, prepare
from otoscope.evaluation.fingerprints import noise_probabilities
from otoscope.evaluation.loop import Run, SelectedClips, score_all
from otoscope.evaluation.mask_scores import ANNOTATED
from otoscope.evaluation.methods import build_methods
from otoscope.evaluation.paper import PaperOptions
from otoscope.evaluation.records import Records
from otoscope.evaluation.report import Report, make_report
from otoscope.evaluation.settings import Settings
from otoscope.scoring import CONTROLS
from otoscope.version import __version__


def run_evaluation(
    classifier: Classifier,
    methods: Mapping[str, Any],
    data: SoundData,
    output_folder: str | os.PathLike[str],
    conditions: Conditions | None = None,
    settings: Settings | None = None,
    device: str | torch.device = "cpu",
    progress: bool = True,
    data_options: Mapping[str, Any] | None = None,
    paper: PaperOptions | None = None,
) -> Report:
    """Compare methods of explanation under equal conditions.

    A run that was stopped resumes when it is started again, also with more methods, conditions or clips. The files
    ``results.json``, ``table.csv``, ``pairs.csv``, ``table.txt``, ``table.png`` and ``curves.png``, and for papers
    ``paper_table.tex``, ``paper_table.md`` and ``paper_figure.pdf``, are written to ``output_folder``, and the
    scores of each clip to its folder ``records``.

    Args:
        classifier: Classifier that the methods explain, or a pipeline of `transformers`.
        methods: Methods by display name; see `build_methods`.
        data: Data whose test set is used.
        output_folder: Folder for the results.
        conditions: Conditions to compare in (default: all that need no download).
        settings: Settings of the evaluation.
        device: Device of the networks.
        progress: Whether to show a progress bar.
        data_options: Options of the data, which show whether records were made from other data.
        paper: What the tables and the figure for papers show.

    Raises:
        OtoscopeError: An argument, the data or a method is wrong; the message states the remedy.
    """
    settings, output_folder = settings or Settings(), Path(output_folder)
    classifier = require_classifier(classifier)
    with classifier.in_precision(settings.precision):
        return _evaluate(
            classifier,
            methods,
            data,
            output_folder,
            conditions or Conditions(),
            settings,
            device,
            progress,
            data_options,
            paper or PaperOptions(),
        )


def _evaluate(
    classifier: Classifier,
    methods: Mapping[str, Any],
    data: SoundData,
    output_folder: Path,
    conditions: Conditions,
    settings: Settings,
    device: str | torch.device,
    progress: bool,
    data_options: Mapping[str, Any] | None,
    paper: PaperOptions,
) -> Report:
    """Compare methods as `run_evaluation` does, in the precision in which the classifier runs now."""
    _set_up(data, classifier)
    classifier = classifier.freeze().to(device)
    ready = build_methods(methods, classifier)
    for method in ready.ready.values():
        method.interpreter.to(device)
    prepared = prepare(conditions, data.test_set, data.sample_rate_hz, settings.seed)
    paper.check(settings.areas, list(methods), [*prepared.contaminate, *prepared.skipped])
    # Records of another evaluation are refused before anything is scored.
    records = Records(output_folder / "records", _dependencies(classifier, settings, data_options))
    for method in ready.ready.values():
        records.expect(method.name, method.fingerprint)
    run = Run(
        settings=settings,
        classifier=classifier,
        methods=ready,
        data=data,
        records=records,
        prepared=prepared,
        indices=select_clips(data.test_set, settings.clips),
        device=torch.device(device),
        progress=progress,
    )
    require_same_checks(run)
    clips = score_all(run)
    # Only where they are needed: to spread clips over the classes takes reading them.
    few = settings.randomisation or settings.stability
    checked = run_checks(
        run,
        sanity_positions=select_clips(SelectedClips(run), settings.sanity_clips) if settings.sanity else [],
        positions=select_clips(SelectedClips(run), settings.check_clips) if few else [],
    )
    return make_report(
        output_folder,
        records={name: _rows(run, name, list(clips[name])) for name in clips},
        clips={name: list(names) for name, names in clips.items()},
        checks={
            check: {name: _of_clips(records.of(check, name), names) for name in ready.ready}
            for check, names in checked.items()
        },
        settings={name: value for name, value in asdict(settings).items() if name != "workers"},
        skipped={"methods": ready.skipped, "conditions": prepared.skipped, "checks": run.unchecked},
        about={"classifier": type(classifier).__name__, "labels": classifier.labels, "machine": _machine(device)},
        recordings=run.recordings,
        paper=paper,
    )


def _dependencies(
    classifier: Classifier, settings: Settings, data_options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the values that all scores depend on, whatever the method, condition and clip."""
    # Batch size, processes, bootstrap, curves and the number of clips are not among them: they may change when a
    # run resumes.
    dependencies = {f"classifier.{name}": value for name, value in traits_of(classifier).items()}
    return (
        dependencies
        | {
            "classifier.answer": noise_probabilities(classifier),
            "data": dict(data_options or {}),
            "areas": settings.areas,
            "seed": settings.seed,
            "version": __version__,
        }
        | ({} if settings.precision == "float32" else {"precision": settings.precision})
    )


def select_clips(clips: Any, count: int | None) -> list[int]:
    """Return the indices of a number of clips, divided equally among the classes and spread over the set.

    Args:
        clips: Set of clips.
        count: Number of clips (default: all).
    """
    if count is None or count >= len(clips):
        return list(range(len(clips)))
    by_class: dict[int, list[int]] = {}
    for index in range(len(clips)):
        target = clips.files[index].target if isinstance(clips, ClipFiles) else clips[index].target
        by_class.setdefault(target, []).append(index)
    # The remainder of the division goes to the first classes.
    shares = [count // len(by_class) + (position < count % len(by_class)) for position in range(len(by_class))]
    selected: list[int] = []
    for share, (_, members) in zip(shares, sorted(by_class.items()), strict=True):
        share = min(share, len(members))
        # Spread over the class: neighbours in a data set are often cut from one recording.
        selected += [members[place * len(members) // share] for place in range(share)]
    # Small classes may have had too few clips. Others replace them.
    rest = [index for index in range(len(clips)) if index not in set(selected)]
    return sorted(selected + rest[: count - len(selected)])


def _set_up(data: SoundData, classifier: Classifier) -> None:
    """Prepare the test set for a classifier, and check that both share classes."""
    # before anything is decoded, which can take long
    data.take_rate(classifier.frontend.sample_rate_hz)
    data.take_clip_length(classifier.clip_s)
    data.prepare_data()
    data.setup("test")
    _check(classifier, data)


def _check(classifier: Classifier, data: SoundData) -> None:
    if not set(classifier.labels) & set(data.labels):
        raise ConfigurationError(
            "data: it shares no class with the classifier; give data that the classifier was trained for"
        )
    if not len(data.test_set):  # type: ignore[arg-type]
        raise DataError("data: the test set is empty")


def _rows(run: Run, condition: str, clips: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the records of this run's clips by row, methods first."""
    # Records of methods that this run does not compare stay on disk, but not in its tables.
    rows = [*run.methods.ready, *CONTROLS, ANNOTATED]
    records = {row: _of_clips(run.records.of(condition, row), clips) for row in rows}
    return {row: of_clips for row, of_clips in records.items() if of_clips}


def _of_clips(records: Mapping[str, Any], clips: Sequence[str]) -> dict[str, Any]:
    return {clip: records[clip] for clip in clips if clip in records}


def _machine(device: str | torch.device) -> dict[str, Any]:
    """Return the properties of the machine that times depend on."""
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else platform.machine()
    return {
        "device": str(device),
        "name": name,
        "system": platform.system(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else float(np.nan),
        "torch": torch.__version__,
    }
