"""Tests of suspects on clips that did not suggest them, verdicts, and sentences in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from otoscope.audit import interventions
from otoscope.audit.absences import EdgeCue
from otoscope.audit.answers import Answers, Request, decided, margins
from otoscope.audit.clips import recordings_of
from otoscope.audit.cues import BandCue, CandidateCue, SegmentCue, span_in
from otoscope.audit.result import Effect, Suspect, Verdict
from otoscope.audit.search import Finding, Search, explains, level_db, overlap, transplants
from otoscope.audit.settings import AuditSettings
from otoscope.audit.statistics import FEWEST_RECORDINGS, HIGHEST_RATE, effect, false_discovery

HURTS = 0.25
"""Fall of the accuracy, in shares of the clips, from which a removal hurts."""
CONVINCES = 0.25
"""Rise of the share of other clips from which a transplant convinces."""
LARGEST_SIDE_EFFECT_DB = 1.0
"""Change of the level outside a cue by its removal, above which the effect may be that of the rest of the sound."""
_SIDE_EFFECT_CLIPS = 8


@dataclass(frozen=True)
class Tested:
    """A cue and its tests on a class.

    Attributes:
        target: Index of the class.
        cue: Cue, with the borders that both halves suggest.
        from_user: Whether the user asked for it.
        alone: Whether it was found by the transplant alone.
        parts: The cue that each tested half got, by half: a suspect of one half is tested on the other.
        removal: Effect of the removal.
        transplant: Effect of the transplant.
        level_db: Median level of the cue over that of the rest.
        hurt: Index of a clip of the class that loses its decision, if there is one.
        convinced: Index of a clip of another class that is convinced, and of the source, if there is one.
    """

    target: int
    cue: CandidateCue
    from_user: bool
    parts: dict[int, CandidateCue]
    alone: bool = False
    removal: Effect | None = None
    transplant: Effect | None = None
    level_db: float | None = None
    hurt: int | None = None
    convinced: tuple[int, int] | None = None

    @property
    def group(self) -> str:
        """Tests of one group are corrected together: found in both directions, convincing alone, or of the user."""
        return "own" if self.from_user else "alone" if self.alone else "found"

    @property
    def p_value(self) -> float | None:
        """The larger p value of both directions; None if one of them was not tested."""
        values = [effect.p_value for effect in (self.removal, self.transplant) if effect is not None]
        if len(values) < 2 or None in values:
            return None
        return max(value for value in values if value is not None)


def to_test(findings: Sequence[Finding]) -> list[Tested]:
    """Return the tests that findings need: those of one class in both halves that overlap are tested as one.

    Args:
        findings: Findings of both halves, the strongest first.
    """
    tests: list[Tested] = []
    remaining = list(findings)
    while remaining:
        finding = remaining.pop(0)
        parts = {1 - finding.half: finding.cue}
        cue = finding.cue
        partner = next(
            (
                other
                for other in remaining
                if (other.target, other.half) == (finding.target, 1 - finding.half)
                and overlap(other.cue, finding.cue)
            ),
            None,
        )
        if partner is not None:
            remaining.remove(partner)
            parts[1 - partner.half] = partner.cue
            cue = _between(finding.cue, partner.cue)
        alone = finding.alone and (partner is None or partner.alone)
        tests.append(Tested(finding.target, cue, False, parts, alone))
    return _without_explained(tests)


def run_test(test: Tested, search: Search, settings: AuditSettings) -> Tested:
    """Return a test with its effects."""
    answers, target = search.answers, test.target
    removal = _Direction(answers, target, rises=False, seed=settings.seed)
    transplant = _Direction(answers, target, rises=True, seed=settings.seed)
    levels: list[float] = []
    taken = search.taken_for(target)
    for half, cue in sorted(test.parts.items()):
        members = search.members(target, half)
        has_control = cue.removed_elsewhere(answers.clips[0].waveform, answers.sample_rate_hz) is not None
        removal.add(
            [bool(taken[index]) for index in members],
            [Request(index, "removed", cue) for index in members],
            [Request(index, "removed elsewhere" if has_control else "plain", cue) for index in members],
        )
        receivers = search.receivers(target, half, settings.test_receivers)
        donors = search.donors(target, half, cue)
        transplant.add(
            [False] * len(receivers),
            transplants(cue, receivers, donors),
            transplants(cue, receivers, donors, elsewhere=True),
        )
        if cue.is_sound:
            levels += [level_db(cue, answers.clips[index].waveform, answers.sample_rate_hz) for index in members]
    return replace(
        test,
        removal=removal.effect(),
        transplant=transplant.effect(),
        level_db=median(levels) if levels else None,
        hurt=removal.example(),
        convinced=transplant.example_pair(),
    )


class _Direction:
    """Decisions of one direction: before, after, and under the control."""

    def __init__(self, answers: Answers, target: int, rises: bool, seed: int) -> None:
        self.answers, self.target, self.rises, self.seed = answers, target, rises, seed
        self.before: list[bool] = []
        self.requests: list[Request] = []
        self.controls: list[Request] = []

    def add(self, before: list[bool], requests: list[Request], controls: list[Request]) -> None:
        """Add the clips of a half."""
        self.before += before[: len(requests)]
        self.requests += requests
        self.controls += controls

    def effect(self) -> Effect | None:
        """Return the effect over all clips; None without any."""
        if not self.requests:
            return None
        multi_label = self.answers.classifier.multi_label
        heard = self.answers.ask(self.requests, "Testing suspects")
        controls = self.answers.ask(self.controls, "Testing controls")
        after, control = (decided(logits, self.target, multi_label) for logits in (heard, controls))
        # Margins change in clips whose decision does not, so that few clips tell more than decisions alone.
        gain = margins(heard, self.target, multi_label) - margins(controls, self.target, multi_label)
        clips = self.answers.clips
        names = [clips[request.clip].name for request in self.requests]
        before = np.array(self.before, dtype=bool)
        gain = gain if self.rises else -gain
        return effect(names, recordings_of(clips), before, after, control, self.rises, self.seed, gain=gain)

    def example(self) -> int | None:
        """Return a clip whose decision changes."""
        changed = self._changed()
        return self.requests[changed].clip if changed is not None else None

    def example_pair(self) -> tuple[int, int] | None:
        """Return a clip whose decision changes, and its source."""
        changed = self._changed()
        if changed is None or self.requests[changed].source is None:
            return None
        return self.requests[changed].clip, self.requests[changed].source or 0

    def _changed(self) -> int | None:
        if not self.requests:
            return None
        after = self.answers.takes_for(self.requests, self.target)
        changes = np.flatnonzero(after != np.array(self.before, dtype=bool))
        return int(changes[0]) if len(changes) else None


def judged(tests: Sequence[Tested], answers: Answers) -> list[Suspect]:
    """Return the suspects with q values, verdicts and sentences, ranked."""
    q_of: dict[int, float | None] = {}
    for group in {test.group for test in tests}:
        places = [place for place, test in enumerate(tests) if test.group == group]
        q_of |= dict(zip(places, false_discovery([tests[place].p_value for place in places]), strict=True))
    suspects = []
    for place, test in enumerate(tests):
        q_value = q_of[place]
        label = answers.classifier.labels[test.target]
        side_effect_db = _side_effect_db(test, answers)
        verdict, reason = _verdict(test, q_value, side_effect_db)
        suspects.append(
            Suspect(
                label=label,
                kind=test.cue.kind,
                name=test.cue.name,
                place=test.cue.place,
                removal=test.removal,
                transplant=test.transplant,
                level_db=test.level_db,
                p_value=test.p_value,
                q_value=q_value,
                verdict=verdict,
                sentence=_sentence(label, test, verdict, reason),
                from_user=test.from_user,
                side_effect_db=side_effect_db,
            )
        )
    return suspects


def rank(suspect: Suspect) -> tuple[Any, ...]:
    """Return the key that suspects are sorted by: verdict, then the smaller effect."""
    order = ("shortcut", "unclear", "too few clips to tell", "clean")
    effects = [abs(effect.change) for effect in (suspect.removal, suspect.transplant) if effect is not None]
    return order.index(suspect.verdict), -min(effects, default=0.0), suspect.label, suspect.name


def _verdict(test: Tested, q_value: float | None, side_effect_db: float | None) -> tuple[Verdict, str]:
    """Return the verdict, and what makes it unclear."""
    removal, transplant = test.removal, test.transplant
    if removal is None or transplant is None:
        return "too few clips to tell", "there are no clips of the class, or none of other classes"
    hurts = removal.change <= -HURTS and removal.high < 0
    convinces = transplant.change >= CONVINCES and transplant.low > 0
    # A suspect of one half that the other half does not confirm at all is no suspect, however few its clips.
    unconfirmed = len(test.parts) == 1 and removal.change > -HURTS and not convinces
    if removal.recordings < FEWEST_RECORDINGS and not unconfirmed:
        return (
            "too few clips to tell",
            f"{removal.recordings} recordings could test it, {FEWEST_RECORDINGS} are needed",
        )
    # One direction alone is remarkable only where the same change elsewhere does not do the same.
    if not (convinces or (hurts and _excess(removal) >= HURTS)):
        return "clean", ""
    if not (hurts or _excess(transplant) >= CONVINCES):
        return "clean", ""
    if not convinces:
        return "unclear", "its removal hurts, but adding it convinces few other clips"
    if not hurts:
        return "unclear", "adding it convinces, but its removal costs few decisions"
    if q_value is None or q_value > HIGHEST_RATE:
        return "unclear", "both effects could be chance, or those of any change of this size"
    if side_effect_db is not None and side_effect_db > LARGEST_SIDE_EFFECT_DB:
        return "unclear", f"its removal changes the rest of the sound by {side_effect_db:.1f} dB"
    if not test.cue.is_narrow:
        return "unclear", "it is so large a part of the clip that it may be the sound of the class itself"
    if test.level_db is not None and test.level_db > test.cue.loudest_db:
        return "unclear", "it is so loud in the clip that it may be the sound of the class itself"
    return "shortcut", ""


def _excess(effect: Effect) -> float:
    """Return by how much the change exceeds that of the control, in shares of the clips."""
    beside = effect.before if effect.control is None else effect.control
    return (effect.after - beside) * (1 if effect.change > 0 else -1)


def _sentence(label: str, test: Tested, verdict: Verdict, reason: str) -> str:
    """Return the result in plain words.

    For example: class rain: removing the band 95-105 Hz takes accuracy from 92 to 31 % (a change of this size
    elsewhere: 90 %); adding it to other clips turns 78 % of them into rain (elsewhere: 2 %): shortcut.
    """
    if test.removal is None or test.transplant is None:
        return f"class {label}: {test.cue.name} could not be tested: {verdict}"
    before, after = round(100 * test.removal.before), round(100 * test.removal.after)
    turned = round(100 * test.transplant.after)
    removal = f"{test.cue.removal_text} takes accuracy from {before} to {after} %"
    if before == after:
        removal = f"{test.cue.removal_text} leaves accuracy at {before} %"
    if test.removal.control is not None:
        removal += f" (a change of this size elsewhere: {round(100 * test.removal.control)} %)"
    transplant = f"{test.cue.transplant_text} turns {turned} % of them into {label}"
    if test.transplant.control is not None:
        transplant += f" (elsewhere: {round(100 * test.transplant.control)} %)"
    return f"class {label}: {removal}; {transplant}: {verdict}" + (f" ({reason})" if reason else "")


def _side_effect_db(test: Tested, answers: Answers) -> float | None:
    """Return the largest change of level outside the cue over clips of the class; None if nothing is outside."""
    rate_hz, cue, changes = answers.sample_rate_hz, test.cue, []
    members = [index for index, clip in enumerate(answers.clips) if clip.target == test.target]
    for index in members[:_SIDE_EFFECT_CLIPS]:
        sound = answers.clips[index].waveform
        span_s = None if cue.place.start_s is None else span_in(cue.place, sound.numel() / rate_hz)
        less, bands_hz = cue.removed(sound, rate_hz), cue.bands_hz(rate_hz)
        changes.append(interventions.side_effect_db(sound, less, rate_hz, bands_hz, span_s, cue.is_brief))
    return max((change for change in changes if change is not None), default=None)


def _between(first: CandidateCue, second: CandidateCue) -> CandidateCue:
    """Return the cue whose borders lie between those that both halves suggest."""
    if isinstance(first, BandCue) and isinstance(second, BandCue):
        low_hz, high_hz = (
            float(f"{np.sqrt(a * b):.3g}")  # 0 if either is: no band begins below it
            for a, b in ((first.low_hz, second.low_hz), (first.high_hz, second.high_hz))
        )
        if first.start_s is None or second.start_s is None or first.end_s is None or second.end_s is None:
            return BandCue(low_hz, high_hz)
        return BandCue(low_hz, high_hz, min(first.start_s, second.start_s), max(first.end_s, second.end_s))
    if isinstance(first, SegmentCue) and isinstance(second, SegmentCue):
        return SegmentCue(min(first.start_s, second.start_s), max(first.end_s, second.end_s))
    if isinstance(first, EdgeCue) and isinstance(second, EdgeCue):
        return replace(first, edge_hz=round(float(np.sqrt(first.edge_hz * second.edge_hz)), 1))
    return first


def _without_explained(tests: Sequence[Tested]) -> list[Tested]:
    """Leave out what was found in one half alone where another suspect of the class explains it."""
    return [
        test
        for test in tests
        if not any(
            other is not test
            and other.target == test.target
            and len(other.parts) >= len(test.parts)
            and (
                explains(other.cue, test.cue)
                or (len(other.parts) > len(test.parts) and overlap(other.cue, test.cue))
            )
            for other in tests
        )
    ]
