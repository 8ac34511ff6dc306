"""Profiles of clips -> the evidence of their class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from otoscope.audit.clusters import Grouping, group_profiles
from otoscope.audit.evidence import ClassEvidence, Cluster, Neighbour, OutsideShare, ProfileCurve
from otoscope.audit.profiles import (
    SEGMENTS,
    Array,
    ClipProfile,
    band_edges,
    main_span,
    overlap,
    pooled,
    standout_span,
)
from otoscope.evaluation.statistics import estimate, resampling_by

FEW_CLIPS = 5
"""Number of clips below which a note says that the profiles are uncertain."""
_BOOTSTRAP = 1000
_EQUAL_S = 0.02
"""Relative difference between the lengths of clips that counts as none."""
_DIGITS = 5


def summarise_class(
    label: str, method: str, profiles: Sequence[ClipProfile], sample_rate_hz: int, seed: int
) -> ClassEvidence:
    """Return the evidence of a class, without its neighbour, clusters and examples.

    Args:
        label: Class.
        method: Title of the explanation method.
        profiles: Profiles of its clips.
        sample_rate_hz: Sample rate of the classifier.
        seed: Seed of the intervals.
    """
    used = usable(profiles)
    notes = list(_notes(label, profiles, used))
    decided = sum(profile.is_decided for profile in profiles)
    evidence = ClassEvidence(
        label,
        method,
        clips=len(profiles),
        recordings=len({profile.recording for profile in profiles}),
        decided=decided,
        outside=_outside(used, seed),
        notes=notes,
    )
    if not used:
        return evidence
    rows = stack(used, "frequency").shape[1]
    bands = band_edges(rows, sample_rate_hz)
    highest_s, unit = _time_axis(used)
    return replace(
        evidence,
        frequency=_curve(used, "frequency", bands, sample_rate_hz / 2, "Hz"),
        time=_curve(used, "time", np.arange(SEGMENTS + 1.0), highest_s, unit),
    )


def usable(profiles: Sequence[ClipProfile]) -> list[ClipProfile]:
    """Return the profiles that describe a class: those with evidence, of clips that are taken for it if any are."""
    with_evidence = [profile for profile in profiles if not profile.is_empty]
    return [profile for profile in with_evidence if profile.is_decided] or with_evidence


def with_neighbours(
    classes: Mapping[str, ClassEvidence], profiles: Mapping[str, Sequence[ClipProfile]]
) -> dict[str, ClassEvidence]:
    """Return the evidence of all classes, each with the class that it is confused with most easily.

    Args:
        classes: Evidence by class.
        profiles: Profiles of the clips of each class.
    """
    return {
        label: replace(evidence, nearest=_nearest(label, classes, profiles[label]))
        for label, evidence in classes.items()
    }


def cluster_class(
    evidence: ClassEvidence, profiles: Sequence[ClipProfile], seed: int, divide: bool
) -> tuple[ClassEvidence, Grouping | None]:
    """Return the evidence of a class with its clusters, and which clips belong to them.

    Args:
        evidence: Evidence of the class.
        profiles: Profiles of its clips, see `usable`.
        seed: Seed of the division.
        divide: Whether to look for clusters.

    Raises:
        MissingExtraError: scikit-learn is not installed, and clusters are looked for.
    """
    curve, time = evidence.frequency, evidence.time
    if not profiles or curve is None or time is None:
        return evidence, None
    rows = stack(profiles, "frequency")
    edges = np.asarray(curve.edges) / curve.edges[-1] * rows.shape[1]
    bands = np.stack([pooled(row, edges) for row in rows])
    grouping = group_profiles(bands, stack(profiles, "time"), seed, divide)
    clusters = []
    for members, medoid in zip(grouping.clusters, grouping.medoids, strict=True):
        inside = [profiles[position] for position in members]
        means = {name: stack(inside, name).mean(0) for name in ("frequency", "time", *_SOUNDS.values())}
        clusters.append(
            Cluster(
                clips=len(members),
                share=round(len(members) / len(profiles), _DIGITS),
                main_hz=main_span(means["frequency"], means["sound_frequency"], curve.edges[-1]),
                main_time=main_span(means["time"], means["sound_time"], time.edges[-1]),
                evidence=_rounded(pooled(means["frequency"], edges)),
                medoid=profiles[medoid].name,
                names=[profile.name for profile in inside],
            )
        )
    return replace(evidence, clusters=clusters), grouping


def stack(profiles: Sequence[ClipProfile], name: str) -> Array:
    """Return an array of each profile, shape (clips, parts)."""
    return np.stack([getattr(profile, name) for profile in profiles])


_SOUNDS = {"frequency": "sound_frequency", "time": "sound_time"}
"""Profile of the sound that belongs to each profile of the evidence."""


def _curve(profiles: Sequence[ClipProfile], name: str, edges: Array, highest: float, unit: str) -> ProfileCurve:
    rows, sounds = stack(profiles, name), stack(profiles, _SOUNDS[name])
    mean, sound = rows.mean(0), sounds.mean(0)
    parts = np.stack([pooled(row, edges) for row in rows])
    low, high = np.quantile(parts, (0.25, 0.75), axis=0)
    evidence, whole = pooled(mean, edges), pooled(sound, edges)
    return ProfileCurve(
        edges=[round(float(edge), 4) for edge in edges / edges[-1] * highest],
        evidence=_rounded(evidence),
        low=_rounded(low),
        high=_rounded(high),
        sound=_rounded(whole),
        # at the resolution of the rows: a narrow cue is narrower than a band
        main=main_span(mean, sound, highest),
        overlap=round(overlap(evidence, whole), _DIGITS),
        unit=unit,
        standout=standout_span(mean, sound, highest),
    )


def _time_axis(profiles: Sequence[ClipProfile]) -> tuple[float, str]:
    """Return the upper end of the axis of time and its unit."""
    lengths_s = [profile.duration_s for profile in profiles]
    if max(lengths_s) - min(lengths_s) <= _EQUAL_S * max(lengths_s):
        return float(np.median(lengths_s)), "s"
    return 100.0, "%"


def _outside(profiles: Sequence[ClipProfile], seed: int) -> OutsideShare | None:
    with_event = [
        profile for profile in profiles if profile.outside is not None and profile.sound_outside is not None
    ]
    if not with_event:
        return None
    recordings = [profile.recording for profile in with_event]
    values = np.array([[profile.outside, profile.sound_outside] for profile in with_event], np.float64)
    table = resampling_by(recordings, _BOOTSTRAP, seed)
    share, sound = estimate(values, table, recordings=recordings)
    return OutsideShare(
        mean=round(share.mean, _DIGITS),
        low=round(max(share.low, 0.0), _DIGITS),
        high=round(min(share.high, 1.0), _DIGITS),
        sound=round(sound.mean, _DIGITS),
        clips=len(with_event),
        recordings=len(set(recordings)),
    )


def _nearest(label: str, classes: Mapping[str, ClassEvidence], profiles: Sequence[ClipProfile]) -> Neighbour | None:
    sums: dict[str, float] = {}
    for profile in profiles:
        for other, probability in profile.probabilities.items():
            if other != label:
                sums[other] = sums.get(other, 0.0) + probability
    if not sums:
        return None
    nearest = max(sums, key=sums.__getitem__)
    curve = classes[label].frequency
    neighbour = classes[nearest].frequency if nearest in classes else None
    shared = None
    if curve is not None and neighbour is not None:
        shared = round(overlap(np.asarray(curve.evidence), np.asarray(neighbour.evidence)), _DIGITS)
    return Neighbour(nearest, round(sums[nearest] / len(profiles), _DIGITS), shared)


def _notes(label: str, profiles: Sequence[ClipProfile], used: Sequence[ClipProfile]) -> list[str]:
    notes = []
    empty = sum(profile.is_empty for profile in profiles)
    if empty:
        notes.append(f"In {empty} of {len(profiles)} clips the method has no evidence for {label}.")
    if used and not used[0].is_decided:
        notes.append(f"No explained clip is taken for {label}: the profiles show what little speaks for it.")
    elif 0 < len(used) < FEW_CLIPS:
        clips = "1 clip" if len(used) == 1 else f"{len(used)} clips"
        notes.append(f"The profiles rest on {clips} only.")
    return notes


def _rounded(values: Array) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
