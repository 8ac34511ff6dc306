"""Evidence of all classes of a data set: explanations of a sample, profiles, clusters and examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from otoscope.audit.clusters import require_clustering
from otoscope.audit.evidence import ClassEvidence
from otoscope.audit.examples import ExampleFolder, examples_of
from otoscope.audit.profiles import EVIDENCE_AREA, SEGMENTS, ClipProfile, ProfileResult, profile_clips
from otoscope.audit.sampling import recordings_of, sample_clips, targets_of
from otoscope.audit.summary import cluster_class, summarise_class, usable, with_neighbours
from otoscope.classifiers import Classifier
from otoscope.classifiers.fingerprint import traits_of
from otoscope.data.clips import Clip
from otoscope.errors import ConfigurationError, GradientError, MissingExtraError
from otoscope.explain import Explainer
from otoscope.files.json import json_text
from otoscope.files.json_lines import JsonLines
from otoscope.interpreters import make_untrained
from otoscope.methods import DEFAULT_BLACK_BOX
from otoscope.pool import Pool

PROFILES_NAME = "evidence.jsonl"
"""File of the profiles of all explained clips, in the folder of an audit."""
USUAL = "integrated_gradients"
"""Method of a classifier with gradients where none is named. It optimises no clip, as the default method of
explanations does, and its values have a unit, so that shares of their sum mean something."""
_USUAL_OPTIONS = {"steps": 16}
"""Half of the steps that single explanations take: profiles average over bins and clips."""
AUTO, NONE = "auto", "none"
"""Methods by name: the usual one of the classifier; no explanations at all."""


@dataclass(frozen=True)
class EvidenceOptions:
    """How the evidence of the classes is gathered.

    Attributes:
        method: Explanation method that needs no training, see `otoscope.methods.UNTRAINED`. ``auto``: integrated
            gradients, or segment regression for a classifier without gradients. ``none``: nothing is explained.
        method_options: Options of the method's class.
        clips_per_class: Largest number of clips of each class that are explained.
        typical: Largest number of examples of each class from the middle of its clusters.
        outlying: Largest number of examples of each class whose evidence is unlike that of the others.
        score_examples: Whether the examples have scores and a verdict, which takes about 40 more runs of the
            classifier for each.
        cluster: Whether to look for clusters, for which scikit-learn is needed.
        seed: Seed of the sample, of the intervals and of the clusters.
        batch_size: Number of clips that are explained together.
        workers: Number of processes.
    """

    method: str = AUTO
    method_options: Mapping[str, Any] = field(default_factory=dict)
    clips_per_class: int = 20
    typical: int = 2
    outlying: int = 1
    score_examples: bool = True
    cluster: bool = True
    seed: int = 0
    batch_size: int = 8
    workers: int = 1

    def __post_init__(self) -> None:
        for name in ("clips_per_class", "batch_size", "workers"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}: {getattr(self, name)} must be 1 or more")
        for name in ("typical", "outlying"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name}: {getattr(self, name)} must not be negative")

    @classmethod
    def quick(cls, **options: Any) -> EvidenceOptions:
        """Return options for a first look: 8 clips and two examples of each class, without scores."""
        return cls(**{"clips_per_class": 8, "typical": 1, "score_examples": False, **options})


@dataclass
class GatheredEvidence:
    """Evidence of all classes.

    Attributes:
        classes: Evidence by class, for those that have clips.
        method: Title of the method; empty if nothing was explained.
        explained: Number of explained clips.
        reused: Number of clips among them whose profile an earlier run had written.
        notes: What limits the evidence of all classes.
        failures: Reason for each clip that could not be explained, by name.
    """

    classes: dict[str, ClassEvidence] = field(default_factory=dict)
    method: str = ""
    explained: int = 0
    reused: int = 0
    notes: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def gather_evidence(
    classifier: Classifier,
    clips: Any,
    labels: Sequence[str],
    folder: Path | None,
    options: EvidenceOptions | None = None,
    targets: Sequence[int] | None = None,
    recordings: Sequence[str] | None = None,
    decided: Sequence[bool] | None = None,
    progress: bool = True,
) -> GatheredEvidence:
    """Explain a sample of the clips of each class, and return where the evidence lies.

    Profiles are appended to ``evidence.jsonl``, and explanations of the examples are saved in ``examples``, both in
    the folder; a later run with the same classifier, method and clips uses them again.

    Args:
        classifier: Classifier; classes whose labels it does not know are left out.
        clips: Data set: anything with a length that returns a `Clip` for an index.
        labels: Names of the classes, which the targets of the clips count.
        folder: Folder of the audit; None: nothing is saved, and there are no examples.
        options: Options.
        targets: Class of each clip (default: read from the data set).
        recordings: Recording of each clip (default: read from the data set).
        decided: Whether the classifier takes each clip for its class; such clips are chosen first (default: not
            known).
        progress: Whether to show a progress bar.

    Raises:
        ConfigurationError: There is no such method.
        GradientError: The named method needs gradients, and the classifier gives none.
    """
    options = options or EvidenceOptions()
    if options.method == NONE:
        return GatheredEvidence()
    explainer = evidence_explainer(classifier, options)
    targets = targets_of(clips) if targets is None else targets
    recordings = recordings_of(clips) if recordings is None else recordings
    chosen = sample_clips(targets, recordings, options.clips_per_class, options.seed, decided)
    chosen = {target: members for target, members in chosen.items() if labels[target] in classifier.labels}
    positions = [position for members in chosen.values() for position in members]
    if options.method == AUTO and classifier.differentiable and positions:
        explainer = _with_gradients_or_without(explainer, clips[positions[0]], labels)
    run = _Run(explainer, clips, labels, folder, options, progress)
    profiles = run.profiles(positions)
    result = GatheredEvidence(
        method=explainer.method, explained=len(profiles), reused=run.reused, failures=run.failures
    )
    members_of = {
        labels[target]: [position for position in members if position in profiles]
        for target, members in chosen.items()
    }
    result.classes = run.summaries(members_of, profiles, result.notes)
    return result


def evidence_explainer(classifier: Classifier, options: EvidenceOptions) -> Explainer:
    """Return the explainer of the method that the options name.

    Raises:
        ConfigurationError: There is no such method that needs no training.
        GradientError: It needs gradients, and the classifier gives none.
    """
    usual = USUAL if classifier.differentiable else DEFAULT_BLACK_BOX
    name, given = options.method, options.method_options
    if options.method == AUTO:
        name, given = usual, {**(_USUAL_OPTIONS if usual == USUAL else {}), **given}
    return Explainer(classifier, make_untrained(name, classifier, **given))


def _with_gradients_or_without(explainer: Explainer, clip: Clip, labels: Sequence[str]) -> Explainer:
    """Return the explainer, or that of a black box if no gradient comes through the classifier after all."""
    try:
        profile_clips(explainer, [clip], labels)
    except GradientError:
        return Explainer(explainer.classifier, make_untrained(DEFAULT_BLACK_BOX, explainer.classifier))
    return explainer


class _Run:
    """Explanations of a sample, with what an earlier run has written."""

    def __init__(
        self,
        explainer: Explainer,
        clips: Any,
        labels: Sequence[str],
        folder: Path | None,
        options: EvidenceOptions,
        progress: bool,
    ) -> None:
        self.explainer, self.clips, self.labels, self.folder = explainer, clips, list(labels), folder
        self.options, self.progress = options, progress
        self.stamp = _stamp(explainer)
        self.reused = 0
        self.failures: dict[str, str] = {}

    def profiles(self, positions: Sequence[int]) -> dict[int, ClipProfile]:
        """Return the profiles of clips by their position; those that fail are left out."""
        lines = None if self.folder is None else JsonLines(self.folder / PROFILES_NAME)
        stored = self._stored(lines)
        profiles: dict[int, ClipProfile] = {}
        missing = []
        for position in positions:
            clip: Clip = self.clips[position]
            row = stored.get(clip.key)
            if row is not None and row["name"] == clip.name and row["label"] == self.labels[clip.target]:
                values = {name: value for name, value in row.items() if name != "stamp"}
                profiles[position] = ClipProfile.from_dict(values)
            else:
                missing.append(position)
        self.reused = len(profiles)
        bar = tqdm(total=len(missing), desc="Explaining", unit="clip", disable=not self.progress, leave=False)
        with bar:
            for batch, result in self._explain(missing):
                rows = [profile.to_dict() for profile in result.profiles]
                if lines is not None and rows:
                    lines.append(*({"stamp": self.stamp, **row} for row in rows))
                # rounded as they are in the file, so that a resumed run has the same result
                by_name = {row["name"]: ClipProfile.from_dict(row) for row in rows}
                self.failures |= result.failures
                for position in batch:
                    if (profile := by_name.get(self.clips[position].name)) is not None:
                        profiles[position] = profile
                bar.update(len(batch))
        return profiles

    def _stored(self, lines: JsonLines | None) -> dict[str, dict[str, Any]]:
        """Return the profiles that an earlier run has written, by the key of the clip."""
        if lines is None:
            return {}
        lines.repair()
        return {row["key"]: row for row in lines.read(skip_damaged=True) if row.get("stamp") == self.stamp}

    def _explain(self, positions: Sequence[int]) -> Iterator[tuple[Sequence[int], ProfileResult]]:
        """Yield batches of positions with the profiles of their clips."""
        size = self.options.batch_size
        batches = [positions[begin : begin + size] for begin in range(0, len(positions), size)]
        if self.options.workers == 1 or len(batches) < 2 or not self.explainer.classifier.survives_fork:
            for batch in batches:
                yield batch, self._profile(batch)
            return
        with Pool(self._handle, min(self.options.workers, len(batches)), _failed) as pool:
            jobs = [pool.submit("profile", [batch]) for batch in batches]
            for batch, job in zip(batches, jobs, strict=True):
                yield batch, pool.wait(job)[0]

    def _handle(self, kind: str, items: list[Any]) -> Iterator[tuple[int, Any]]:
        for position, batch in enumerate(items):
            yield position, self._profile(batch)

    def _profile(self, batch: Sequence[int]) -> ProfileResult:
        return profile_clips(self.explainer, [self.clips[position] for position in batch], self.labels)

    def summaries(
        self, members_of: Mapping[str, Sequence[int]], profiles: Mapping[int, ClipProfile], notes: list[str]
    ) -> dict[str, ClassEvidence]:
        """Return the evidence of all classes; notes about all of them are appended to a list."""
        options, rate_hz = self.options, self.explainer.sample_rate_hz
        of_class = {label: [profiles[position] for position in members] for label, members in members_of.items()}
        classes = {
            label: summarise_class(label, self.explainer.method, rows, rate_hz, options.seed)
            for label, rows in of_class.items()
            if rows
        }
        classes = with_neighbours(classes, of_class)
        divide = options.cluster and _can_cluster(notes)
        examples = None
        if self.folder is not None:
            examples = ExampleFolder(self.folder, self.explainer, self.stamp, options.score_examples)
        for label in tqdm(classes, "Examples", disable=not self.progress, leave=False):
            rows = usable(of_class[label])
            position_of = {profiles[position].name: position for position in members_of[label]}
            classes[label], grouping = cluster_class(classes[label], rows, options.seed, divide)
            if grouping is None or examples is None:
                continue
            clips = _Lazy(self.clips, [position_of[row.name] for row in rows])
            saved = examples_of(grouping, rows, clips, examples, options.typical, options.outlying)
            classes[label] = replace(classes[label], examples=saved)
        return classes


class _Lazy(Sequence[Clip]):
    """Some clips of a data set, read when they are needed."""

    def __init__(self, clips: Any, positions: Sequence[int]) -> None:
        self.clips, self.positions = clips, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> Any:
        return self.clips[self.positions[index]]


def _can_cluster(notes: list[str]) -> bool:
    try:
        require_clustering()
    except MissingExtraError as error:
        notes.append(f"No clusters: {error}.")
        return False
    return True


def _failed(batch: Sequence[int], error: Exception) -> ProfileResult:
    return ProfileResult(failures={f"clip {position}": str(error) for position in batch})


def _stamp(explainer: Explainer) -> str:
    """Return a short text that changes with everything that profiles depend on, except the clips."""
    content = {
        "classifier": traits_of(explainer.classifier),
        "method": explainer.method,
        "options": explainer.interpreter.config,
        "profile": [EVIDENCE_AREA, SEGMENTS],
    }
    return hashlib.sha256(json_text(content).encode()).hexdigest()[:16]
