"""Comparison of methods on clips of which it is known what the classifier uses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from tqdm import tqdm

from otoscope.classifiers import Classifier
from otoscope.classifiers.base import require_classifier
from otoscope.classifiers.fingerprint import traits_of
from otoscope.data.planted import ListenerScenes, PlantedCues
from otoscope.errors import ConfigurationError, OtoscopeError, first_line
from otoscope.evaluation.fingerprints import alike, sound_fingerprint
from otoscope.evaluation.known_use.cases import Case, Group, groups_of
from otoscope.evaluation.known_use.scores import BASELINES, Explain, baseline, explain_with, score_case
from otoscope.evaluation.known_use.table import format_known_use, summarise
from otoscope.evaluation.methods import build_methods
from otoscope.evaluation.records import Records
from otoscope.evaluation.settings import Settings
from otoscope.files.atomic import replace_text
from otoscope.files.json import write_json
from otoscope.version import __version__
from otoscope.views import Shown

FEWEST_CLIPS = 4
"""Number of clips that a planted cue must flip to count in means over cues."""


@dataclass(frozen=True, repr=False)
class KnownUseReport(Shown):
    """The results of a comparison on known use.

    Attributes:
        results: Content of ``known_use.json``.
        text: Output for the terminal, which is also the content of ``known_use.txt``.
        folder: Folder of the files; None if nothing was written.
    """

    view: ClassVar[str] = "known use"

    results: dict[str, Any]
    text: str
    folder: Path | None

    def __repr__(self) -> str:
        groups, methods = ", ".join(self.results["scores"]), ", ".join(self.results["means"])
        return f"KnownUseReport({methods} on {groups}; files in {self.folder})"


def run_known_use(
    classifier: Classifier,
    methods: Mapping[str, Any],
    data: ListenerScenes | PlantedCues,
    output_folder: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
    device: str | torch.device = "cpu",
    progress: bool = True,
    data_options: Mapping[str, Any] | None = None,
) -> KnownUseReport:
    """Compare methods by the bins that the classifier is known to use.

    With `ListenerScenes`, every design has a listener of its own. With `PlantedCues`, only clips count on which an
    intervention shows that the classifier relies on the cue. The loudest bins, random bins and the truth itself
    stand beside the methods. A run that was stopped resumes when it is started again.

    Args:
        classifier: Classifier that was trained on the cues; for scenes any `ListenerClassifier`.
        methods: Methods by display name; see `build_methods`.
        data: Data with known use.
        output_folder: Folder for ``known_use.json``, ``known_use.txt`` and the records (default: none).
        settings: Settings; ``clips`` is the number of clips of each listener or cue.
        device: Device of the networks.
        progress: Whether to show a progress bar.
        data_options: Options of the data, which show whether records were made from other data.

    Raises:
        OtoscopeError: An argument, the data or a method is wrong; the message states the remedy.
    """
    settings = settings or Settings()
    if settings.precision != "float32":
        raise ConfigurationError(
            f"precision: methods are compared on known use in float32 alone, not in {settings.precision}; leave "
            "the option out"
        )
    data.prepare_data()
    data.setup("test")
    classifier = require_classifier(classifier).freeze().to(device)
    if isinstance(data, PlantedCues):
        _check(classifier, data)
    records = None
    if output_folder is not None:
        traits = {f"classifier.{name}": value for name, value in traits_of(classifier).items()}
        depends_on = traits | {"data": dict(data_options or {}), "seed": settings.seed, "version": __version__}
        records = Records(Path(output_folder) / "records", depends_on)
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    skipped: dict[str, dict[str, str]] = {}
    reliance: dict[str, Any] = {}
    for group in groups_of(data, classifier, settings.clips):
        group.classifier.to(device)
        if group.reliance is not None:
            reliance[group.name] = asdict(group.reliance)
        if group.cases:
            rows[group.name], skipped[group.name] = _score_group(group, methods, settings.seed, records, progress)
    thin = [name for name, counts in reliance.items() if name in rows and counts["flipped"] < FEWEST_CLIPS]
    results = {
        "classifier": type(classifier).__name__,
        "settings": {"clips": settings.clips, "seed": settings.seed, "bootstrap": settings.bootstrap},
        "reliance": reliance,
        **summarise(rows, settings.bootstrap, settings.seed, thin),
        "skipped": {name: reasons for name, reasons in skipped.items() if reasons},
    }
    text = format_known_use(results)
    folder = None if output_folder is None else Path(output_folder)
    if folder is not None:
        write_json(folder / "known_use.json", results)
        replace_text(folder / "known_use.txt", text + "\n")
    return KnownUseReport(results, text, folder)


def _score_group(
    group: Group, specs: Mapping[str, Any], seed: int, records: Records | None, progress: bool
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Return the records of each row of a group, baselines last, and the reasons why methods were skipped."""
    if taken := sorted(set(specs) & set(BASELINES)):
        raise ConfigurationError(f"methods: {taken[0]!r} is the name of a baseline; choose another name")
    methods = build_methods(specs, group.classifier)
    skipped = dict(methods.skipped)
    explainers: dict[str, Explain] = {}
    for name, method in methods.ready.items():
        explainers[name] = explain_with(
            method.interpreter.to(group.classifier.frontend.window.device), group.classifier
        )
        if records is not None:
            records.expect(name, method.fingerprint)
    explainers |= {name: baseline(name, seed) for name in BASELINES}
    rows: dict[str, list[dict[str, Any]]] = {}
    bar = tqdm(explainers.items(), group.name, unit="method", disable=not progress, leave=False)
    for name, explain in bar:
        try:
            rows[name] = _score_row(group, name, explain, seed, records)
        except Exception as error:  # a method that fails on this classifier: the others continue
            expected = isinstance(error, OtoscopeError)
            skipped[name] = str(error) if expected else f"{type(error).__name__}: {first_line(error)}"
    return rows, skipped


def _score_row(
    group: Group, row: str, explain: Explain, seed: int, records: Records | None
) -> list[dict[str, Any]]:
    """Return the records of one method on all clips of a group; those on disk are not computed again."""
    former = {} if records is None else records.of(group.name, row)
    lines: list[dict[str, Any]] = []
    for case in group.cases:
        # Clips of one recording are drawn together. On disk it stays the clip, whose name no folder changes.
        recording = {"recording": case.recording or case.name}
        names = _record_names(case, group.classifier.labels)
        sound = sound_fingerprint(case.waveform)
        if all(name in former and alike(former[name].get("sound"), sound) for name in names):
            lines += [former[name] | recording for name in names]
            continue
        scores = score_case(case, group.classifier, explain, seed)
        fresh = [
            {"clip": name, "recording": case.name, "sound": sound, "scores": of_question}
            for name, of_question in zip(names, scores, strict=True)
        ]
        if records is not None:
            records.add(group.name, row, fresh)
        lines += [line | recording for line in fresh]
    return lines


def _record_names(case: Case, labels: Sequence[str]) -> list[str]:
    return [f"{case.name}, {labels[question.target]}" for question in case.questions]


def _check(classifier: Classifier, data: PlantedCues) -> None:
    if classifier.frontend.sample_rate_hz != data.sample_rate_hz:
        raise ConfigurationError(
            f"data.sample_rate_hz: the clips are at {data.sample_rate_hz} Hz, the classifier's front-end takes "
            f"{classifier.frontend.sample_rate_hz} Hz; set both to the same rate"
        )
    if list(classifier.labels) != list(data.labels):
        raise ConfigurationError(
            "data: its classes are not those of the classifier; give the data that the classifier was trained on, "
            "with the same `cues`"
        )
