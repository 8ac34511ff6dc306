"""Search for suspects in one half of the recordings, so that the other half can test them.

The best of many candidates looks better than it is on the clips that it was chosen on. So each half of the
recordings suggests suspects, and the other half tests them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from otoscope.audit.absences import EdgeCue, observed_cues
from otoscope.audit.answers import Answers, Request, decided
from otoscope.audit.borders import ENERGY, MOST_ENERGY, loud_band, loud_span
from otoscope.audit.cues import BandCue, CandidateCue, HumCue, SegmentCue
from otoscope.audit.grid import grid
from otoscope.audit.interventions import relative_level_db
from otoscope.audit.settings import AuditSettings

LEAST_LOSS = 0.12
"""Share of the decisions that a removal must cost in the search: one in eight, half of what a verdict needs.

A half of the recordings of a class is small. A cue that costs a quarter of all decisions costs fewer in one half by
chance, and a suspect that only one half suggests is tested on the other half alone."""
LEAST_CONVINCED = 0.2
"""Share of other clips that a transplant must convince in the search."""
_KEPT_SHARE = 0.85
"""Share of the effect that a sharper cue must keep."""
FEW_RECEIVERS = 5
_CONVINCED = 0.6
"""Share of other clips that a cue must convince alone, whose removal costs little."""
_FAINTEST_DB = -60.0


@dataclass(frozen=True)
class Finding:
    """A suspect of one half.

    Attributes:
        target: Index of the class.
        half: Half of the recordings in which the search has found it.
        cue: Cue.
        loss: Share of the class's decisions that are lost by removal.
        convinced: Share of other clips that are taken for the class after a transplant.
        alone: Whether it was found by the transplant alone, because its removal costs little.
    """

    target: int
    half: int
    cue: CandidateCue
    loss: float
    convinced: float = 0.0
    alone: bool = False

    @property
    def strength(self) -> float:
        """The smaller of both effects."""
        return min(self.loss, self.convinced)


class Search:
    """Search over all classes and both halves.

    Args:
        answers: Classifier and clips.
        settings: Options.
    """

    def __init__(self, answers: Answers, settings: AuditSettings) -> None:
        self.answers, self.settings, self.clips = answers, settings, answers.clips
        self.rate_hz = answers.sample_rate_hz
        self.plain = answers.ask([Request(index) for index in range(len(self.clips))], "Clips as they are")
        shortest = min(clip.waveform.numel() for clip in self.clips)
        self.grid = grid(self.rate_hz, shortest / self.rate_hz)

    def taken_for(self, target: int) -> NDArray[np.bool_]:
        """Return which clips are taken for a class as they are, shape (clips,)."""
        return decided(self.plain, target, self.answers.classifier.multi_label)

    def members(self, target: int, half: int | None = None) -> list[int]:
        """Return the clips of a class, in one half or in both."""
        return [i for i, clip in enumerate(self.clips) if clip.target == target and half in (None, clip.half)]

    def receivers(self, target: int, half: int | None, count: int) -> list[int]:
        """Return clips of other classes that are not taken for a class, classes in turn."""
        taken = self.taken_for(target)
        by_class: dict[int, list[int]] = defaultdict(list)
        for index, clip in enumerate(self.clips):
            if clip.target != target and half in (None, clip.half) and not taken[index]:
                by_class[clip.target].append(index)
        places = range(max(map(len, by_class.values()), default=0))
        turns = [indices[place] for place in places for indices in by_class.values() if place < len(indices)]
        return turns[:count]

    def run(self) -> list[Finding]:
        """Return the suspects of both halves, the strongest first, neighbours merged and borders sharpened."""
        scanned = self._scan()
        convincing = [finding for finding in self._transplanted(scanned) if finding.convinced >= LEAST_CONVINCED]
        groups: dict[tuple[int, int, str], list[Finding]] = defaultdict(list)
        for finding in convincing:
            groups[finding.target, finding.half, finding.cue.family].append(finding)
        best = [winner for group in groups.values() for winner in self._winners(group)]
        sharp = _specific([self._sharpened(finding) for finding in best])
        if not self.settings.quick:
            sharp += self._convincing_alone(sharp)
        return sorted(sharp, key=lambda finding: -finding.strength)

    def scan_requests(self) -> list[Request]:
        """Return the many requests of the scan by removal."""
        return [Request(index, "removed", cue) for _, _, cue, members in self.candidates for index in members]

    def _convincing_alone(self, others: Sequence[Finding]) -> list[Finding]:
        """Return quiet cues that convince other clips although their removal costs little, one of a class and half.

        So behaves a classifier that knows the sound of the class as well, and would follow the cue in other data.
        """
        candidates = []
        for target, half, cue, _ in self.candidates:
            taken = [finding.cue for finding in others if (finding.target, finding.half) == (target, half)]
            members = self._sources(target, half)[:3]
            if cue.is_narrow and not any(overlap(cue, other) or explains(other, cue) for other in taken):
                levels = [level_db(cue, self.clips[index].waveform, self.rate_hz) for index in members]
                if not cue.is_sound or _FAINTEST_DB < float(np.median(levels)) <= 0:
                    candidates.append(Finding(target, half, cue, 0.0, alone=True))
        first = [
            finding for finding in self._transplanted(candidates, FEW_RECEIVERS) if finding.convinced >= _CONVINCED
        ]
        confirmed = [finding for finding in self._transplanted(first) if finding.convinced >= _CONVINCED]
        best: dict[tuple[int, int], Finding] = {}
        for finding in sorted(confirmed, key=lambda finding: (-finding.convinced, _size(finding.cue))):
            best.setdefault((finding.target, finding.half), finding)
        return list(best.values())

    @cached_property
    def candidates(self) -> list[tuple[int, int, CandidateCue, list[int]]]:
        """Class, half, cue, and the clips of the class and half that are taken for it."""
        return list(self._candidates())

    def _candidates(self) -> Iterator[tuple[int, int, CandidateCue, list[int]]]:
        level_matters = not self.answers.classifier.normalize
        for target in sorted({clip.target for clip in self.clips}):
            taken = self.taken_for(target)
            for half in (0, 1):
                members = self.members(target, half)
                correct = [index for index in members if taken[index]]
                if not correct:
                    continue
                waveforms = [self.clips[index].waveform for index in members]
                others = [self.clips[index].waveform for index in self.receivers(target, half, 30)]
                observed = observed_cues(waveforms, others, self.rate_hz, level_matters)
                for cue in [*self.grid, *observed]:
                    yield target, half, cue, correct

    def _scan(self) -> list[Finding]:
        """Return the candidates whose removal costs decisions, the strongest of each class, half and family."""
        candidates = self.candidates
        logits = self.answers.ask(self.scan_requests(), "Removing candidates")
        multi_label, first = self.answers.classifier.multi_label, 0
        ranked: dict[tuple[int, int], list[tuple[float, Finding]]] = defaultdict(list)
        for target, half, cue, members in candidates:
            of_cue = logits[first : first + len(members)]
            first += len(members)
            loss = 1 - float(decided(of_cue, target, multi_label).mean())
            before, after = (_probability(rows, target, multi_label) for rows in (self.plain[members], of_cue))
            # Probabilities break ties between candidates that cost equally many of the few decisions.
            if loss >= LEAST_LOSS:
                ranked[target, half].append(
                    (loss + 0.1 * float((before - after).mean()), Finding(target, half, cue, loss))
                )
        result = []
        for entries in ranked.values():
            entries.sort(key=lambda entry: -entry[0])
            findings = [finding for _, finding in entries]
            # Many neighbouring bands may cost decisions together; they must not crowd out a hum or an edge.
            best_of_family = {finding.cue.family: finding for finding in reversed(findings)}
            chosen = findings[: self.settings.candidates]
            result += chosen + [finding for finding in best_of_family.values() if finding not in chosen]
        return result

    def _transplanted(self, findings: Sequence[Finding], count: int | None = None) -> list[Finding]:
        """Return the findings with the share of other clips of their half that a transplant convinces.

        Args:
            findings: Findings.
            count: Number of clips of other classes (default: as the settings say).
        """
        count = count or self.settings.search_receivers
        requests: list[Request] = []
        spans = []
        for finding in findings:
            receivers = self.receivers(finding.target, finding.half, count)
            of_cue = transplants(finding.cue, receivers, self.donors(finding.target, finding.half, finding.cue))
            spans.append((len(requests), len(requests) + len(of_cue)))
            requests += of_cue
        logits = self.answers.ask(requests, "Transplanting candidates")
        multi_label = self.answers.classifier.multi_label
        shares = [
            float(decided(logits[a:b], finding.target, multi_label).mean()) if b > a else 0.0
            for finding, (a, b) in zip(findings, spans, strict=True)
        ]
        return [replace(finding, convinced=share) for finding, share in zip(findings, shares, strict=True)]

    def _tried(self, target: int, half: int, cues: Sequence[CandidateCue]) -> list[Finding]:
        """Return findings with both effects for cues of one class and half."""
        taken = self.taken_for(target)
        members = [index for index in self.members(target, half) if taken[index]]
        requests = [Request(index, "removed", cue) for cue in cues for index in members]
        decisions = self.answers.takes_for(requests, target, "Sharpening borders").reshape(len(cues), -1)
        losses = 1 - decisions.mean(1)
        return self._transplanted(
            [Finding(target, half, cue, float(loss)) for cue, loss in zip(cues, losses, strict=True)]
        )

    def donors(self, target: int, half: int, cue: CandidateCue) -> list[int]:
        """Return the clips of a class and half that give a cue to others: those whose decision depends on it.

        A clip may hold the cue so faintly beside its other sounds that nothing can be taken out of it. If no
        decision depends on the cue, all clips that are taken for the class are returned.
        """
        sources = self._sources(target, half)
        taken = self.taken_for(target)
        stays = self.answers.takes_for([Request(index, "removed", cue) for index in sources], target)
        lost = [index for index, stay in zip(sources, stays, strict=True) if taken[index] and not stay]
        return lost or sources

    def _sources(self, target: int, half: int) -> list[int]:
        taken, members = self.taken_for(target), self.members(target, half)
        return [index for index in members if taken[index]] or members

    def _winners(self, group: Sequence[Finding]) -> Iterator[Finding]:
        """Yield the strongest finding of each group of overlapping places; neighbours are tried together too."""
        remaining = sorted(group, key=lambda finding: (-round(finding.strength, 2), _size(finding.cue)))
        while remaining:
            best = remaining[0]
            near = [finding for finding in remaining if overlap(finding.cue, best.cue)]
            joined = _joined([finding.cue for finding in near])
            if joined is not None:
                [together] = self._tried(best.target, best.half, [joined])
                if together.strength > best.strength + 0.1:
                    best = together
            yield best
            remaining = [finding for finding in remaining if finding not in near]

    def _sharpened(self, finding: Finding) -> Finding:
        """Return the finding with the smallest place that keeps most of its effect."""
        if not isinstance(finding.cue, BandCue):
            return finding
        members = self._sources(finding.target, finding.half)
        contents = [finding.cue.content(self.clips[index].waveform, self.rate_hz) for index in members]
        cue = finding.cue
        narrow, most = (
            replace(cue, **loud_band(contents, cue, self.rate_hz, share)) for share in (ENERGY, MOST_ENERGY)
        )
        brief = loud_span(contents, self.rate_hz)
        tried = [replace(narrow, start_s=brief[0], end_s=brief[1])] if brief else []
        tried += [replace(cue, start_s=brief[0], end_s=brief[1])] if brief else []
        # the level beside a part of a hiss is that of the hiss, so that it takes most of it to remove it
        tried += [narrow, most]
        for candidate in self._tried(finding.target, finding.half, tried):
            # the first one that keeps enough is the smallest
            if candidate.strength >= _KEPT_SHARE * finding.strength:
                return candidate
        return finding


def transplants(
    cue: CandidateCue, receivers: Sequence[int], sources: Sequence[int], elsewhere: bool = False
) -> list[Request]:
    """Return the requests that transplant a cue, from the sources in turn."""
    action = "transplanted elsewhere" if elsewhere else "transplanted"
    if not sources:
        return []
    return [
        Request(receiver, action, cue, sources[place % len(sources)])  # type: ignore[arg-type]
        for place, receiver in enumerate(receivers)
    ]


def overlap(first: CandidateCue, second: CandidateCue) -> bool:
    """Return whether two cues of one family are alternatives: neighbouring bands, the same edge, and so on."""
    if first.family != second.family:
        return False
    if isinstance(first, BandCue) and isinstance(second, BandCue):
        return first.low_hz <= 1.05 * second.high_hz and second.low_hz <= 1.05 * first.high_hz
    if isinstance(first, SegmentCue) and isinstance(second, SegmentCue):
        return (first.start_s < 0) == (second.start_s < 0)
    if isinstance(first, EdgeCue) and isinstance(second, EdgeCue):
        return first.low_pass == second.low_pass and abs(first.edge_hz / second.edge_hz - 1) < 0.15
    return True  # hum of 50 and of 60 Hz: the stronger one counts


def _specific(findings: Sequence[Finding]) -> list[Finding]:
    """Leave out findings that a more specific one of the same class and half explains as well."""
    return [
        finding
        for finding in findings
        if not any(
            other is not finding
            and (other.target, other.half) == (finding.target, finding.half)
            and other.strength >= _KEPT_SHARE * finding.strength
            and explains(other.cue, finding.cue)
            for other in findings
        )
    ]


def explains(specific: CandidateCue, general: CandidateCue) -> bool:
    """Return whether one cue lies inside another one of a different family, or is a hum with a band as its part."""
    if isinstance(specific, HumCue) and isinstance(general, BandCue):
        place = specific.place
        return general.high_hz > (place.low_hz or 0.0) and general.low_hz < (place.high_hz or 0.0)
    if isinstance(specific, BandCue) and isinstance(general, SegmentCue):
        return specific.start_s is not None and (specific.start_s < 0) == (general.start_s < 0)
    return False


def _joined(cues: Sequence[CandidateCue]) -> CandidateCue | None:
    """Return the first band, joined with those of the others that leave it narrow; None if there are none."""
    bands = [cue for cue in cues if isinstance(cue, BandCue)]
    if len(bands) < 2 or len(bands) < len(cues):
        return None
    joined = bands[0]
    for band in bands[1:]:
        both = BandCue(min(joined.low_hz, band.low_hz), max(joined.high_hz, band.high_hz))
        joined = both if both.is_narrow else joined
    return joined if joined != bands[0] else None


def _size(cue: CandidateCue) -> float:
    """Return a size to prefer small cues of one family by."""
    if isinstance(cue, BandCue):
        return cue.octaves
    return cue.end_s - cue.start_s if isinstance(cue, SegmentCue) else 0.0


def _probability(logits: NDArray[np.float32], target: int, multi_label: bool) -> NDArray[np.float64]:
    values = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    result: NDArray[np.float64] = (values.sigmoid() if multi_label else values.softmax(-1))[:, target].numpy()
    return result


def level_db(cue: CandidateCue, waveform: Tensor, sample_rate_hz: int) -> float:
    """Return the level of a cue over that of the rest of a clip, in dB."""
    content = cue.content(waveform, sample_rate_hz)
    return relative_level_db(content, waveform - content, sample_rate_hz)
