"""The audit of a classifier over a data set: plan, search, tests, sounds, and the file of the result."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from otoscope.audio import save_audio
from otoscope.audit.answers import AnswerBackend, Answers
from otoscope.audit.clips import choose_clips
from otoscope.audit.own import Suspicion
from otoscope.audit.result import AuditResult, ClassFigures, Suspect, Verdict, worst
from otoscope.audit.search import FEW_RECEIVERS, Search
from otoscope.audit.settings import AuditSettings
from otoscope.audit.statistics import FEWEST_RECORDINGS, HIGHEST_RATE
from otoscope.audit.suspects import (
    CONVINCES,
    HURTS,
    LARGEST_SIDE_EFFECT_DB,
    Tested,
    judged,
    rank,
    run_test,
    to_test,
)
from otoscope.classifiers import Classifier
from otoscope.classifiers.fingerprint import traits_of
from otoscope.evaluation.fingerprints import noise_probabilities
from otoscope.version import __version__

SOUNDS_FOLDER = "sounds"
_PROBES = 12
"""Number of answers whose time gives the expected cost; they are spread over all candidates."""


@dataclass(frozen=True)
class Cost:
    """What an audit is expected to cost.

    Attributes:
        answers: Largest number of answers of the classifier.
        finished: How many of the first ones an earlier run has left.
        seconds: Expected time.
        processes: Number of processes.
    """

    answers: int
    finished: int
    seconds: float
    processes: int

    @property
    def text(self) -> str:
        """The cost in one sentence."""
        minutes = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        finished = f" ({self.finished} of them known from an earlier run)" if self.finished else ""
        processes = f"{self.processes} process{'es' if self.processes > 1 else ''}"
        return f"about {self.answers} answers of the classifier{finished}, {minutes} with {processes}"


@dataclass(frozen=True)
class AuditInput:
    """What is audited.

    Attributes:
        classifier: Classifier.
        clips: Labelled clips; see `run_audit`.
        labels: Names of their classes.
        conditions: What the result should state about model and data.
    """

    classifier: Classifier
    clips: Any
    labels: Sequence[str]
    conditions: dict[str, Any] = field(default_factory=dict)


def run_audit(
    classifier: Classifier,
    clips: Any,
    labels: Sequence[str],
    folder: str | os.PathLike[str] | None = None,
    settings: AuditSettings | None = None,
    suspicions: Sequence[Suspicion] = (),
    workers: int = 1,
    progress: bool = False,
    on_cost: Callable[[Cost], None] | None = None,
    conditions: dict[str, Any] | None = None,
    backend: AnswerBackend | None = None,
) -> AuditResult:
    """Find out what a classifier listens to over a data set, by interventions on the sounds.

    Args:
        classifier: Classifier; a black box is enough, because nothing needs gradients.
        clips: Labelled clips: anything with a length that returns a `otoscope.data.Clip` for an index.
        labels: Names of the classes that the targets of the clips count.
        folder: Folder for the result, example sounds, and answers that a later run resumes from (default: none).
        settings: Options.
        suspicions: Cues of your own, which are tested beside those that the search finds.
        workers: Number of processes.
        progress: Whether to show progress bars.
        on_cost: Function that is called with the expected cost before the search.
        conditions: What else the result should state about model and data, as JSON values.
        backend: Function that answers elsewhere, such as `otoscope.audit.ray_answers.RayAnswers` (default:
            processes of this machine).

    Raises:
        DataError: The data has no clip of a class that the classifier knows.
        OtoscopeError: The classifier fails, or a file cannot be written.
    """
    start_s = time.perf_counter()
    settings = settings or AuditSettings()
    place = None if folder is None else Path(folder)
    classifier = classifier.freeze()
    chosen = choose_clips(clips, labels, classifier, settings.clips_per_class, settings.seed)
    answers = Answers(classifier, chosen, place, classifier_key(classifier), workers, progress, backend)
    search = Search(answers, settings)
    cost = estimate_cost(search, settings, len(suspicions))
    if on_cost is not None:
        on_cost(cost)
    findings = search.run()
    tests = to_test(findings)
    tests += [test for suspicion in suspicions for test in _own_tests(suspicion, search)]
    tests = [run_test(test, search, settings) for test in tests]
    suspects = judged(tests, answers)
    if place is not None:
        suspects = [
            _with_sounds(suspect, test, answers, place, settings.sounds, number)
            for number, (suspect, test) in enumerate(zip(suspects, tests, strict=True))
        ]
    suspects.sort(key=rank)
    seconds = time.perf_counter() - start_s
    stated = dict(conditions or {}) | _conditions(search, settings, cost, seconds, len(tests))
    classes = [_figures(search, target, suspects) for target in sorted({clip.target for clip in chosen})]
    result = AuditResult(stated, classes, suspects, place)
    if place is not None:
        result.save(place)
    return result


def classifier_key(classifier: Classifier) -> str:
    """Return a short text that changes with what a classifier answers."""
    traits = {**traits_of(classifier), "answers": noise_probabilities(classifier)}
    return hashlib.sha256(json.dumps(traits, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def estimate_cost(search: Search, settings: AuditSettings, suspicions: int = 0) -> Cost:
    """Return the expected cost of an audit, from the time of a few answers.

    Args:
        search: Search before it runs.
        settings: Options.
        suspicions: Number of cues of the user.
    """
    answers = search.answers
    requests = search.scan_requests()
    clips, classes = len(answers.clips), len({clip.target for clip in answers.clips})
    # A few candidates of each class come further; the tests are as many as there are suspects, about one in two
    # classes of an ordinary classifier.
    further = classes * 2 * settings.candidates * settings.search_receivers // 2
    further += 0 if settings.quick else FEW_RECEIVERS * len(search.candidates)
    tested = (classes // 2 + suspicions * classes) * 4 * settings.test_receivers + 2 * clips * suspicions
    total = clips + len(requests) + further + tested
    finished = len(requests) - answers.missing(requests)
    # from the classifier itself, as `ask` would return the answers of an earlier run
    probe = requests[:: max(1, len(requests) // _PROBES)][:_PROBES]
    answers.responder(probe[:1])  # the first answer of a process takes longer
    start_s = time.perf_counter()
    answers.responder(probe)
    each_s = (time.perf_counter() - start_s) / max(len(probe), 1)
    return Cost(total, finished, max(0, total - finished) * each_s / max(1, answers.workers), answers.workers)


def _own_tests(suspicion: Suspicion, search: Search) -> list[Tested]:
    """Return the test of a suspicion on its class, or on every class."""
    labels, cue = search.answers.classifier.labels, suspicion.cue
    targets = sorted({clip.target for clip in search.clips})
    # Nothing was searched, so that all clips can test it.
    return [
        Tested(target, cue, True, {0: cue, 1: cue})
        for target in targets
        if suspicion.label in (None, labels[target])
    ]


def _figures(search: Search, target: int, suspects: Sequence[Suspect]) -> ClassFigures:
    clips, label = search.clips, search.answers.classifier.labels[target]
    taken, members = search.taken_for(target), search.members(target)
    others = [index for index in range(len(clips)) if clips[index].target != target]
    recordings = len({clips[index].recording for index in members})
    of_class = [suspect for suspect in suspects if suspect.label == label]
    verdict: Verdict = worst([suspect.verdict for suspect in of_class])
    if verdict == "clean" and recordings < FEWEST_RECORDINGS:
        verdict = "too few clips to tell"
    return ClassFigures(
        label=label,
        clips=len(members),
        recordings=recordings,
        accuracy=float(taken[members].mean()),
        taken_for_it=float(taken[others].mean()) if others else 0.0,
        verdict=verdict,
        sentence=_class_sentence(label, verdict, of_class, recordings),
    )


def _class_sentence(label: str, verdict: Verdict, suspects: Sequence[Suspect], recordings: int) -> str:
    relevant = [suspect for suspect in suspects if suspect.verdict == verdict and verdict != "clean"]
    if relevant:
        return relevant[0].sentence
    if verdict == "too few clips to tell":
        return f"class {label}: {recordings} recordings, {FEWEST_RECORDINGS} are needed: {verdict}"
    return f"class {label}: none of the cues that were tried is a shortcut: {verdict}"


def _with_sounds(
    suspect: Suspect, test: Tested, answers: Answers, folder: Path, count: int, number: int
) -> Suspect:
    """Save the sounds of an example of each direction; clean suspects have none."""
    if suspect.verdict == "clean" or not count:
        return suspect
    rate_hz, clips = answers.sample_rate_hz, answers.clips
    sounds: dict[str, torch.Tensor] = {}
    names: dict[str, str] = {}
    members = [index for index, clip in enumerate(clips) if clip.target == test.target]
    hurt = test.hurt if test.hurt is not None else members[0]
    less = test.cue.removed(clips[hurt].waveform, rate_hz)
    sounds["clip"], sounds["without the cue"] = clips[hurt].waveform, less
    if test.cue.is_sound:
        sounds["what was removed"] = clips[hurt].waveform - less
    names |= dict.fromkeys(sounds, clips[hurt].name)
    if test.convinced is not None:
        receiver, source = test.convinced
        sounds["other clip"] = clips[receiver].waveform
        sounds["other clip with the cue"] = test.cue.transplanted(
            clips[receiver].waveform, clips[source].waveform, rate_hz
        )
        names |= dict.fromkeys(("other clip", "other clip with the cue"), clips[receiver].name)
    paths = {}
    for name, sound in sounds.items():
        path = Path(SOUNDS_FOLDER) / f"{number:02}_{name.replace(' ', '_')}.flac"
        save_audio(folder / path, sound / sound.abs().max().clamp(min=1.0), rate_hz)
        paths[name] = path.as_posix()
    return replace(suspect, sounds=paths, sound_clips=names)


def _conditions(search: Search, settings: AuditSettings, cost: Cost, seconds: float, tests: int) -> dict[str, Any]:
    answers, clips = search.answers, search.clips
    return {
        "version": __version__,
        "classifier": type(answers.classifier).__name__,
        "sample_rate_hz": answers.sample_rate_hz,
        "settings": asdict(settings),
        "clips": len(clips),
        "recordings": len({clip.recording for clip in clips}),
        "accuracy": float(np.mean([search.taken_for(clip.target)[place] for place, clip in enumerate(clips)])),
        "candidates": len(search.grid),
        "tests": tests,
        "answers": answers.computed,
        "reused_answers": answers.reused,
        "seconds": round(seconds, 1),
        "seconds_per_clip": round(seconds / len(clips), 3),
        "processes": cost.processes,
        "rules": {
            "search": "each half of the recordings suggests suspects, and the other half tests them",
            "removal_hurts": HURTS,
            "transplant_convinces": CONVINCES,
            "false_discovery_rate": HIGHEST_RATE,
            "corrected_together": "suspects of both directions; those that convince alone; those of the user",
            "fewest_recordings": FEWEST_RECORDINGS,
            "largest_side_effect_db": LARGEST_SIDE_EFFECT_DB,
        },
    }


def print_cost(cost: Cost) -> None:
    """Print the expected cost on the standard error."""
    print(f"expected: {cost.text}", file=sys.stderr, flush=True)
