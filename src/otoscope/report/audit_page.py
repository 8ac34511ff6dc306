"""Audits as content of templates: suspects and classes with their figures and players."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from otoscope.audit.evidence import ClassEvidence, Cluster, Example
from otoscope.audit.result import ClassFigures, Suspect
from otoscope.errors import OtoscopeError
from otoscope.player import player_html
from otoscope.report.audit import SHORTCUT, UNCLEAR, AuditReading, facts_of, lead_of, verdict_counts
from otoscope.report.audit_charts import (
    EffectBar,
    Points,
    ProfileChart,
    effect_bars,
    evidence_sentences,
    profile_charts,
    short_text,
    sparkline,
)
from otoscope.report.clips import ClipResult

FIRST_SENTENCES = 3
"""Number of suspects whose sentences stand at the very top."""


@dataclass(frozen=True)
class SuspectView:
    """Suspect as a page shows it.

    Attributes:
        suspect: Suspect.
        rank: Rank, from 1.
        short: What it does, in a short sentence.
        bars: Effects.
        players: Headings and players.
        fault: Why there are no sounds; empty otherwise.
    """

    suspect: Suspect
    rank: int
    short: str
    bars: list[EffectBar]
    players: list[tuple[str, Markup]] = field(default_factory=list)
    fault: str = ""


@dataclass(frozen=True)
class ExampleView:
    """Example as a page shows it.

    Attributes:
        example: Example.
        clip: Its explanation; None if it cannot be read or is not embedded.
        player: Player; None if there is none.
        fault: Why there is no player; empty otherwise.
    """

    example: Example
    clip: ClipResult | None = None
    player: Markup | None = None
    fault: str = ""


@dataclass(frozen=True)
class ClusterView:
    """Cluster as a page shows it.

    Attributes:
        cluster: Cluster.
        curve: Its evidence over frequency.
        unit: Unit of time.
    """

    cluster: Cluster
    curve: Points
    unit: str


@dataclass(frozen=True)
class ClassView:
    """Class as a page shows it.

    Attributes:
        figures: Figures.
        number: Number, from 1.
        curve: Evidence over frequency as a small curve; empty without evidence.
        sentences: What its evidence looks like.
        charts: Profiles.
        clusters: Clusters.
        examples: Clips to listen to.
        suspects: Its suspects that are shown.
    """

    figures: ClassFigures
    number: int
    curve: Points
    sentences: list[str]
    charts: list[ProfileChart]
    clusters: list[ClusterView]
    examples: list[ExampleView]
    suspects: list[SuspectView]


def audit_parts(audits: Sequence[AuditReading], suspect_sounds: int) -> Iterator[dict[str, Any]]:
    """Yield what the template of an audit needs, for each audit.

    Args:
        audits: Audits.
        suspect_sounds: Number of suspects of each audit whose sounds are embedded, the highest ranks first.
    """
    for reading in audits:
        suspects = [
            _suspect(reading, suspect, rank, rank <= suspect_sounds)
            for rank, suspect in enumerate(reading.ranked, start=1)
        ]
        chosen = reading.chosen_examples()
        yield {
            "name": reading.name,
            "result": reading.result,
            "lead": lead_of(reading.result),
            "facts": facts_of(reading.result),
            "counts": verdict_counts(reading.result),
            "first": [view for view in suspects if view.suspect.verdict in (SHORTCUT, UNCLEAR)][:FIRST_SENTENCES],
            "suspects": suspects,
            "classes": [
                _class(reading, figures, number, chosen, suspects)
                for number, figures in enumerate(reading.classes, start=1)
            ],
            "tested": [(suspect, effect_bars(suspect)) for suspect in reading.result.suspects],
        }


def _suspect(reading: AuditReading, suspect: Suspect, rank: int, with_sounds: bool) -> SuspectView:
    bars = effect_bars(suspect)
    if not with_sounds:
        return SuspectView(
            suspect, rank, short_text(suspect), bars, fault="Its sounds are not embedded (--suspect_sounds)."
        )
    try:
        players = [(heading, player_html(clip)) for heading, clip in reading.clips_of(suspect)]
    except OtoscopeError as error:
        return SuspectView(suspect, rank, short_text(suspect), bars, fault=f"No sounds: {error}")
    return SuspectView(
        suspect, rank, short_text(suspect), bars, players, "" if players else "No sounds were saved."
    )


def _class(
    reading: AuditReading,
    figures: ClassFigures,
    number: int,
    chosen: set[tuple[str, str]],
    suspects: Sequence[SuspectView],
) -> ClassView:
    evidence = figures.evidence or ClassEvidence(figures.label)
    curve = evidence.frequency
    unit = evidence.time.unit if evidence.time is not None else "s"
    return ClassView(
        figures,
        number,
        curve=[] if curve is None else sparkline(curve.evidence, curve.edges),
        sentences=evidence_sentences(evidence),
        charts=profile_charts(evidence),
        clusters=[
            ClusterView(cluster, [] if curve is None else sparkline(cluster.evidence, curve.edges), unit)
            for cluster in evidence.clusters
        ],
        examples=[
            _example(reading, example, (figures.label, example.name) in chosen) for example in evidence.examples
        ],
        suspects=[view for view in suspects if view.suspect.label == figures.label],
    )


def _example(reading: AuditReading, example: Example, embedded: bool) -> ExampleView:
    if not embedded:
        return ExampleView(example, fault=f"Not embedded; its sounds lie in {example.folder}.")
    try:
        clip = reading.explanation(example)
        return ExampleView(example, clip, player_html(clip.clip()))
    except OtoscopeError as error:
        return ExampleView(example, fault=f"No sounds: {error}")
