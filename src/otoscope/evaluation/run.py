"""An evaluation from data to table: every method in every condition, clip by clip, then means over clips."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from otoscope import __version__
from otoscope.classifiers import Classifier
from otoscope.classifiers.fingerprint import traits_of
from otoscope.data import SoundData
from otoscope.data.clips import ClipFiles
from otoscope.errors import ConfigurationError, DataError
from otoscope.evaluation.conditions import Conditions, prepare
from otoscope.evaluation.fingerprints import answer_of
from otoscope.evaluation.loop import SANITY, Chosen, Run, check_sanity, score_all
from otoscope.evaluation.methods import build_methods
from otoscope.evaluation.records import Records
from otoscope.evaluation.report import Report, make_report
from otoscope.scoring import CONTROLS


@dataclass
class Settings:
    """How to compare.

    Args:
        areas: Of the masks of equal area, as shares of the bins.
        clips: How many test clips, spread over the classes; all by default.
        batch_size: Clips at once; the results do not depend on it.
        seed: Of everything random.
        bootstrap: Samples for the intervals.
        curves: Insertion and deletion curves, in the first condition.
        sanity: Check whether explanations change when the classifier's weights are shuffled.
        sanity_clips: Clips for that check.
    """

    areas: Sequence[float] = (0.1, 0.2, 0.3)
    clips: int | None = None
    batch_size: int = 16
    seed: int = 1234
    bootstrap: int = 1000
    curves: bool = True
    sanity: bool = True
    sanity_clips: int = 16

    def __post_init__(self) -> None:
        self.areas = tuple(float(area) for area in self.areas)
        if not self.areas or not all(0 < area < 1 for area in self.areas) or len(set(self.areas)) < len(self.areas):
            raise ConfigurationError(f"areas: expected different shares between 0 and 1, got {list(self.areas)}")
        for name, least in (("batch_size", 1), ("bootstrap", 100), ("sanity_clips", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"{name}: expected {least} or more, got {getattr(self, name)}")
        if self.clips is not None and self.clips < 1:
            raise ConfigurationError(f"clips: expected 1 or more, got {self.clips}")


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
) -> Report:
    """Compares methods of explanation on one footing.

    A run that was stopped goes on where it was when it is started again; so does one with more methods, conditions
    or clips. Written to ``output_folder``: ``results.json table.csv pairs.csv table.txt table.png curves.png`` and
    ``records/`` with the scores of each clip.

    Args:
        classifier: What the methods explain.
        methods: By display name; see `build_methods`.
        data: Whose test set is used.
        output_folder: Where results go.
        conditions: By default all that need no download.
        settings: How to compare.
        device: Where the networks run.
        progress: Show a progress bar.
        data_options: What the data was made with, to tell whether records of an earlier run are of the same.

    Raises:
        OtoscopeError: Something that the user can mend; the message says what.
    """
    settings, output_folder = settings or Settings(), Path(output_folder)
    data.prepare_data()
    data.setup("test")
    _check(classifier, data)
    classifier = classifier.freeze().to(device)
    ready = build_methods(methods, classifier)
    for method in ready.ready.values():
        method.interpreter.to(device)
    prepared = prepare(conditions or Conditions(), data.test_set, data.sample_rate_hz, settings.seed)
    content: dict[str, Any] = {f"classifier.{name}": value for name, value in traits_of(classifier).items()}
    content |= {"classifier.answer": answer_of(classifier), "data": dict(data_options or {})}
    content |= {"areas": settings.areas, "seed": settings.seed, "version": __version__}
    records = Records(output_folder / "records", content)
    for method in ready.ready.values():
        records.expect(method.name, method.fingerprint)
    indices = choose(data.test_set, settings.clips)
    run = Run(
        classifier=classifier,
        methods=ready,
        data=data,
        areas=settings.areas,
        batch_size=settings.batch_size,
        seed=settings.seed,
        curves=settings.curves,
        records=records,
        prepared=prepared,
        indices=indices,
        device=torch.device(device),
        progress=progress,
    )
    clips = score_all(run)
    checked = check_sanity(run, choose(Chosen(run), settings.sanity_clips)) if settings.sanity else []
    return make_report(
        output_folder,
        records={name: _rows(run, name, list(clips[name])) for name in clips},
        clips={name: list(found) for name, found in clips.items()},
        sanity={name: _of_clips(records.of(SANITY, name), checked) for name in ready.ready},
        settings=asdict(settings),
        skipped={"methods": ready.skipped, "conditions": prepared.skipped, "checks": run.unchecked},
        about={"classifier": type(classifier).__name__, "labels": classifier.labels, "machine": _machine(device)},
    )


def choose(clips: Any, wanted: int | None) -> list[int]:
    """Indices of so many clips: the classes take turns, and each class's clips are spread over the set.

    Args:
        clips: A set of clips.
        wanted: None for all.
    """
    if wanted is None or wanted >= len(clips):
        return list(range(len(clips)))
    by_class: dict[int, list[int]] = {}
    for index in range(len(clips)):
        target = clips.files[index].target if isinstance(clips, ClipFiles) else clips[index].target
        by_class.setdefault(target, []).append(index)
    shares = [wanted // len(by_class) + (turn < wanted % len(by_class)) for turn in range(len(by_class))]
    chosen: list[int] = []
    for share, (_, members) in zip(shares, sorted(by_class.items()), strict=True):
        share = min(share, len(members))
        chosen += [members[place * len(members) // share] for place in range(share)]
    rest = [index for index in range(len(clips)) if index not in set(chosen)]
    return sorted(chosen + rest[: wanted - len(chosen)])


def _check(classifier: Classifier, data: SoundData) -> None:
    if classifier.frontend.sample_rate_hz != data.sample_rate_hz:
        raise ConfigurationError(
            f"data.sample_rate_hz: the clips come at {data.sample_rate_hz} Hz, the classifier's front-end takes "
            f"{classifier.frontend.sample_rate_hz} Hz; set both to the same rate"
        )
    if not set(classifier.labels) & set(data.labels):
        raise ConfigurationError("data: it has no class that the classifier knows; is it the data of another one?")
    if not len(data.test_set):  # type: ignore[arg-type]
        raise DataError("data: the test set is empty")


def _rows(run: Run, condition: str, clips: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Records by row, methods first, of the clips of this run alone."""
    found = {}
    for row in [*run.methods.ready, *CONTROLS]:
        records = run.records.of(condition, row)
        if chosen := _of_clips(records, clips):
            found[row] = chosen
    return found


def _of_clips(records: Mapping[str, Any], clips: Sequence[str]) -> dict[str, Any]:
    return {clip: records[clip] for clip in clips if clip in records}


def _machine(device: str | torch.device) -> dict[str, Any]:
    """What times depend on."""
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
