"""Verdict on an explanation: whether its heard scores and its controls support it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Level = Literal["supported", "partly", "not supported"]

KEEPS = 0.8
"""Share of the recording's probability that the evidence alone must reach to keep the decision."""
LOSES = 0.5
"""Share of the recording's probability that the remainder must fall below to lose the decision."""
MARGIN = 0.05
"""Difference in probability that counts; smaller ones are level."""
LARGEST_AREA = 0.5
"""Share of the sound beyond which evidence does not single anything out."""
_HEADLINES = {
    "supported": "Supported",
    "partly": "Partly supported",
    "not supported": "Not supported: do not trust this explanation",
}


@dataclass(frozen=True)
class Verdict:
    """Verdict on one explanation.

    Attributes:
        level: ``supported``, ``partly`` or ``not supported``.
        reasons: What the verdict rests on, one clause each.
    """

    level: Level
    reasons: tuple[str, ...]

    @property
    def headline(self) -> str:
        """Verdict in a few words."""
        return _HEADLINES[self.level]

    def __str__(self) -> str:
        return (
            f"{self.headline}: {'; '.join(self.reasons)}"
            if self.level != "not supported"
            else (f"{self.headline} ({'; '.join(self.reasons)})")
        )


def judge(
    label: str,
    probability: float,
    scores: Mapping[str, float],
    controls: Mapping[str, Mapping[str, float]],
    decided: bool = True,
) -> Verdict:
    """Judge an explanation by its heard scores.

    Four questions are asked, in this order:

    1. Does the evidence alone keep the decision: does it get the explained class, with at least 0.8 of the
       probability? If it gets less than half of the probability, the explanation is not supported.
    2. Is the decision lost without the evidence: does the remainder get less than half of the probability?
    3. Is the evidence better than as many random bins? Better means that the probability of the evidence minus that
       of the remainder is larger by more than 0.05. If it is not, the explanation is not supported.
    4. Is the evidence better than as many of the loudest bins, in the same way?

    An explanation with four answers of yes, whose evidence is at most half of the sound, is supported. Any other,
    unless a rule above refuses it, is partly supported.

    Args:
        label: Explained class.
        probability: Its probability for the whole recording.
        scores: Heard scores of the explanation: ``p_evidence``, ``p_remainder``, ``Fid-In`` and ``MM``.
        controls: Heard scores of the controls ``random`` and ``loudest``.
        decided: Whether the classifier decides for the explained class. Of another class that was asked for, the
            evidence must keep the probability, but need not get the class.

    Example:
        >>> scores = {"p_evidence": 0.81, "p_remainder": 0.08, "Fid-In": 1.0, "MM": 0.04}
        >>> controls = {name: {"p_evidence": 0.3, "p_remainder": 0.7} for name in ("random", "loudest")}
        >>> verdict = judge("rooster", 0.84, scores, controls)
        >>> verdict.headline, verdict.reasons[0]
        ('Supported', 'the evidence (4 % of the sound) alone keeps rooster (0.84 -> 0.81)')
    """
    evidence, remainder = scores["p_evidence"], scores["p_remainder"]
    same_class = scores["Fid-In"] > 0 or not decided
    keeps = evidence >= KEEPS * probability and same_class
    loses = remainder < LOSES * probability
    gaps = {name: _gap(controls[name]) for name in ("random", "loudest") if name in controls}
    beaten = [name for name, gap in gaps.items() if evidence - remainder > gap + MARGIN]
    reasons = (
        _evidence_reason(label, probability, scores, keeps, same_class),
        _remainder_reason(label, remainder, loses),
        _control_reason(beaten, gaps),
    )
    if evidence < LOSES * probability or (not keeps and not loses) or "random" not in beaten:
        level: Level = "not supported"
    elif keeps and loses and len(beaten) == len(gaps) and scores["MM"] <= LARGEST_AREA:
        level = "supported"
    else:
        level = "partly"
    return Verdict(level, reasons)


def _gap(scores: Mapping[str, float]) -> float:
    return scores["p_evidence"] - scores["p_remainder"]


def _evidence_reason(
    label: str, probability: float, scores: Mapping[str, float], keeps: bool, same_class: bool
) -> str:
    change = f"({probability:.2f} -> {scores['p_evidence']:.2f})"
    size = f"{_percent(scores['MM'])} of the sound" + (", most of it" if scores["MM"] > LARGEST_AREA else "")
    subject = f"the evidence ({size}) alone"
    if keeps:
        return f"{subject} keeps {label} {change}"
    if not same_class:
        return f"{subject} is not classified as {label} {change}"
    return f"{subject} weakens {label} {change}"


def _remainder_reason(label: str, remainder: float, loses: bool) -> str:
    if loses or remainder < MARGIN:
        return f"without it {remainder:.2f}"
    return f"without it {label} still has {remainder:.2f}: other parts of the sound speak for it as well"


def _control_reason(beaten: list[str], gaps: Mapping[str, float]) -> str:
    pieces = {"loudest": "the loudest", "random": "random pieces"}
    better = " and than ".join(pieces[name] for name in ("loudest", "random") if name in beaten)
    level = " or ".join(pieces[name] for name in ("loudest", "random") if name in gaps and name not in beaten)
    if not level:
        return f"better than {better} of that size"
    return f"no better than {level} of that size"


def _percent(share: float) -> str:
    """Return a share in percent, with a decimal below ten."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 9.95 or value == round(value) else f"{value:.1f} %"
