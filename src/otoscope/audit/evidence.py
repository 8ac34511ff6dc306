"""What the evidence of a class looks like over a data set.

`otoscope.audit.gathering` computes it. This module holds the result alone, so that a report opens it quickly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Span:
    """Range of an axis.

    Attributes:
        low: Lower end, in Hz, or in the unit of the time axis.
        high: Upper end.
        evidence: Share of the evidence in it.
        sound: Share of the sound in it.
    """

    low: float
    high: float
    evidence: float
    sound: float


@dataclass(frozen=True)
class ProfileCurve:
    """Evidence of a class over frequency, or over time in the clip.

    Attributes:
        edges: Edges of its parts, rising: Hz, seconds, or per cent of the clip. One more than parts.
        evidence: Share of the evidence in each part, mean over clips; the sum is 1.
        low: Share that a quarter of the clips do not exceed, for each part.
        high: Share that three quarters of the clips do not exceed.
        sound: Share of the sound itself, of its log magnitude, in each part; the sum is 1.
        main: Narrowest range that holds half of the evidence; None without evidence.
        standout: Range whose share of the evidence exceeds twice its share of the sound by most; None if it holds
            little of the evidence.
        overlap: How much evidence and sound have in common, from 0 (nothing) to 1 (evidence lies where sound lies).
        unit: ``Hz``, ``s``, or ``%`` of the clip where clips differ in length.
    """

    edges: Sequence[float]
    evidence: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    sound: Sequence[float]
    main: Span | None
    overlap: float
    unit: str
    standout: Span | None = None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the curve of a JSON object."""
        spans = {name: content[name] and Span(**content[name]) for name in ("main", "standout")}
        return cls(**{**content, **spans})


@dataclass(frozen=True)
class OutsideShare:
    """Share of the evidence that lies outside the event of the class.

    Attributes:
        mean: Mean over the clips whose event is known.
        low: Lower end of its 95 % interval over recordings.
        high: Upper end.
        sound: Share of the sound outside the event: evidence that is spread as the sound is would have this share.
        clips: Number of clips whose event is known.
        recordings: Number of recordings that they were cut from.
    """

    mean: float
    low: float
    high: float
    sound: float
    clips: int
    recordings: int


@dataclass(frozen=True)
class Neighbour:
    """Class that the classifier confuses most easily with a class.

    Attributes:
        label: Other class: the one with the largest mean probability in clips of the class.
        probability: That probability.
        overlap: How much the evidence of both classes has in common over frequency, from 0 to 1; None if the other
            class was not explained.
    """

    label: str
    probability: float
    overlap: float | None


@dataclass(frozen=True)
class Example:
    """Clip whose explanation was saved, to be listened to.

    Attributes:
        name: Name of the clip.
        role: ``typical``: the clip in the middle of its cluster; ``outlying``: the clip whose evidence is the
            farthest from that of all clusters.
        cluster: Number of its cluster, from 1.
        clips: Number of clips that it stands for: those of its cluster, or 1 for an outlying clip.
        distance: Distance of its profile from that of the middle of its cluster, from 0 to 1.
        predicted: Class that the classifier decides for.
        probability: Probability of the class that is explained.
        folder: Folder of the explanation, relative to that of the audit.
    """

    name: str
    role: str
    cluster: int
    clips: int
    distance: float
    predicted: str
    probability: float
    folder: str


@dataclass(frozen=True)
class Cluster:
    """Clips of a class whose evidence has a similar profile.

    Attributes:
        clips: Number of clips.
        share: Their share among the explained clips of the class.
        main_hz: Narrowest band that holds half of their evidence.
        main_time: Narrowest part of the clip that holds half of their evidence, in the unit of the time curve.
        evidence: Share of the evidence in each part of the frequency curve.
        medoid: Name of the clip in the middle.
        names: Names of the clips.
    """

    clips: int
    share: float
    main_hz: Span | None
    main_time: Span | None
    evidence: Sequence[float]
    medoid: str
    names: Sequence[str]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the cluster of a JSON object."""
        spans = {name: content[name] and Span(**content[name]) for name in ("main_hz", "main_time")}
        return cls(**{**content, **spans})


@dataclass(frozen=True)
class ClassEvidence:
    """Evidence of a class over the clips that were explained.

    Attributes:
        label: Class.
        method: Title of the explanation method.
        clips: Number of clips that were explained.
        recordings: Number of recordings that they were cut from.
        decided: Number of these clips that the classifier takes for the class. If there are any, the profiles are
            theirs alone.
        frequency: Evidence over frequency; None if there is no evidence.
        time: Evidence over time in the clip.
        outside: Share of the evidence outside the event; None if no event is known.
        nearest: Class that it is confused with most easily; None if the classifier has one class.
        clusters: Clusters of profiles, the largest first.
        examples: Clips to listen to.
        notes: What limits this evidence, in sentences.
    """

    label: str
    method: str = ""
    clips: int = 0
    recordings: int = 0
    decided: int = 0
    frequency: ProfileCurve | None = None
    time: ProfileCurve | None = None
    outside: OutsideShare | None = None
    nearest: Neighbour | None = None
    clusters: Sequence[Cluster] = ()
    examples: Sequence[Example] = ()
    notes: Sequence[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the evidence of a JSON object.

        Raises:
            KeyError: A key is missing.
            TypeError: A key is unknown, or holds another kind of value.
        """
        outside, nearest = content.get("outside"), content.get("nearest")
        curves = {name: content.get(name) for name in ("frequency", "time")}
        parts: dict[str, Any] = {
            **{name: values and ProfileCurve.from_dict(values) for name, values in curves.items()},
            "outside": outside and OutsideShare(**outside),
            "nearest": nearest and Neighbour(**nearest),
            "clusters": [Cluster.from_dict(values) for values in content.get("clusters", ())],
            "examples": [Example(**values) for values in content.get("examples", ())],
        }
        return cls(**{**content, **parts})
