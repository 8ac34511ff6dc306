"""Explanations of clips as a report reads them: numbers first, sounds and mask when a page is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from otoscope.audio import Frontend, peak_normalize
from otoscope.errors import DataError
from otoscope.explanation.stored import StoredExplanation
from otoscope.player import Clip, Track
from otoscope.report.contents import Content
from otoscope.report.masks import energy_share

LEVELS = ("supported", "partly", "not supported")
"""Levels of a verdict, the best first."""
MASK, SHARE = "mask", "share of the energy"
LONGEST_S = 120.0
"""Longest sound of a player."""


@dataclass
class ClipResult:
    """Explanation of a clip.

    Attributes:
        open: Function that opens its parts.
        name: Name of the recording.
        label: Explained class.
        predicted: Most probable class.
        method: Title of the method.
        probabilities: Probability of each class.
        evidence_probabilities: The same for the sound of the evidence; empty if it is not stored.
        remainder_probabilities: The same for the sound of the remainder.
        level: Level of the verdict; empty if there is none.
        reasons: Reasons of the verdict.
        scores: Heard scores.
        controls: Heard scores of the controls.
        notes: Notes.
        curve: Points (area, probability) of evidence and remainder.
        sufficient: Smallest sufficient share.
        necessary: Smallest necessary share.
        decisive: Share that is both.
        sample_rate_hz: Sample rate.
        duration_s: Length.
        components: Relevance and centroid of each component.
        source: What the explanation was made from: model and options.
        file: Path of the recording, as it was given.
    """

    open: Callable[[], StoredExplanation]
    name: str
    label: str
    predicted: str
    method: str
    probabilities: dict[str, float]
    sample_rate_hz: int
    duration_s: float
    evidence_probabilities: dict[str, float] = field(default_factory=dict)
    remainder_probabilities: dict[str, float] = field(default_factory=dict)
    level: str = ""
    reasons: list[str] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    controls: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    curve: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    sufficient: float | None = None
    necessary: float | None = None
    decisive: float | None = None
    components: list[dict[str, float]] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    file: str = ""

    @classmethod
    def of(cls, content: Content, opening: Callable[[], StoredExplanation]) -> ClipResult:
        """Read the numbers of an explanation.

        Args:
            content: Content of ``explanation.json``.
            opening: Function that opens its parts.

        Raises:
            DataError: A part is missing or damaged.
        """
        probabilities, label = content.numbers("probabilities"), content.text("label")
        predicted, verdict, controls = content.text("predicted"), content.part("verdict"), content.part("controls")
        if label not in probabilities or predicted not in probabilities:
            raise DataError(f"{content.path}: 'probabilities' lacks {label!r} or {predicted!r}; explain it again")
        level = verdict.text("level", "")
        if level and level not in LEVELS:
            raise DataError(f"{content.path}: 'verdict' has an unknown level {level!r}; explain it again")
        source = content.part("source")
        return cls(
            open=opening,
            name=content.text("name"),
            label=label,
            predicted=predicted,
            method=content.text("method"),
            probabilities=probabilities,
            evidence_probabilities=content.numbers("evidence_probabilities"),
            remainder_probabilities=content.numbers("remainder_probabilities"),
            level=level,
            reasons=verdict.texts("reasons"),
            scores=content.numbers("scores"),
            controls={name: controls.numbers(name) for name in controls.values},
            notes=content.texts("notes"),
            curve=_curve(content.part("curve")),
            sufficient=content.optional_number("sufficient"),
            necessary=content.optional_number("necessary"),
            decisive=content.optional_number("decisive"),
            sample_rate_hz=int(content.number("sample_rate_hz")),
            duration_s=content.number("duration_s"),
            components=[
                {name: part.number(name) for name in ("index", "relevance", "centroid_hz")}
                for part in content.parts("components")
            ],
            source=source.values,
            file=source.part("recording").text("path", ""),
        )

    @property
    def confidence(self) -> float:
        """Probability of the explained class."""
        return self.probabilities[self.label]

    @property
    def badness(self) -> tuple[int, float]:
        """Key for sorting, the worst explained first: by the verdict, then by what the evidence adds.

        That is the probability of the evidence minus that of the remainder, relative to that of the recording.
        Explanations without a verdict are last.
        """
        if not self.level:
            return (len(LEVELS), 0.0)
        gap = self.scores.get("p_evidence", 0.0) - self.scores.get("p_remainder", 0.0)
        return (len(LEVELS) - 1 - LEVELS.index(self.level), gap / max(self.confidence, 1e-9))

    def clip(self, longest_s: float | None = None, components: bool = True) -> Clip:
        """Return the content of a player: sounds, spectrogram and mask.

        Args:
            longest_s: Length after which everything is cut (default: nothing is cut).
            components: Whether the sounds of components are among the tracks.

        Raises:
            OtoscopeError: A file is missing or damaged, or the recording is too long for a player.
        """
        stored = self.open()
        recording, rate_hz = stored.sound("recording").numpy(), stored.sample_rate_hz
        whole = len(recording)
        if not whole:
            raise DataError(f"{stored.place}: its sounds are empty; explain the recording again")
        length = whole if longest_s is None else min(max(round(longest_s * rate_hz), 1), whole)
        if length > LONGEST_S * rate_hz:
            raise DataError(f"{stored.place}: is longer than {LONGEST_S:.0f} s; explain it in windows (--window_s)")
        names = ("evidence", "remainder")
        # Sounds that were not kept are made from the mask.
        sounds = {name: stored.sound(name) for name in names} if {*names} <= {*stored.parts} else stored.fields()
        recording = recording[:length]
        evidence, remainder = (fitted(sounds[name].numpy(), length) for name in names)
        if "mask" in stored.parts:
            mask, title = stored.mask(), MASK
            mask = mask[:, : max(round(mask.shape[1] * length / whole), 1)]
        else:
            mask, title = energy_share(evidence, remainder, rate_hz), SHARE
        tracks = [
            Track("recording", "Recording", recording),
            Track("evidence", "Evidence", evidence),
            Track("remainder", "Remainder", remainder),
        ]
        parts = stored.component_sounds() if components else []
        tracks += [Track("component", name, fitted(sound.numpy(), length)) for name, sound in parts]
        return Clip(self.name, rate_hz, tracks, log_magnitude_of(recording, rate_hz), mask, title)


def log_magnitude_of(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Return the log magnitude of a waveform by the front-end of a sample rate. Shape (frequency, time)."""
    import torch

    sound = torch.from_numpy(np.ascontiguousarray(waveform, np.float32))[None]
    return np.asarray(Frontend(sample_rate_hz)(peak_normalize(sound)).log_magnitude[0].numpy())


def fitted(waveform: np.ndarray, length: int) -> np.ndarray:
    """Return a waveform of a given length, cut or with silence at its end."""
    return np.pad(waveform[:length], (0, max(length - len(waveform), 0)))


def _curve(content: Content) -> dict[str, list[tuple[float, float]]]:
    points = {}
    for name in ("evidence", "remainder"):
        pairs = [(part.number("area"), part.number("p")) for part in content.parts(name)]
        points[name] = sorted(pair for pair in pairs if pair[0] > 0)
    return points
