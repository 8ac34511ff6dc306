"""Geometry and words of an audit's figures: effects with intervals, and profiles of the evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from otoscope.audit.evidence import ClassEvidence, OutsideShare, ProfileCurve, Span
from otoscope.audit.result import Effect, Suspect

_TICKS_HZ = (100, 500, 1000, 2000, 4000, 8000, 16_000, 32_000)
_ALIKE = 0.8
"""Overlap of two profiles from which on they count as alike in words."""
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class EffectBar:
    """Effect as a bar from 0 to 100 %.

    Attributes:
        title: What was done.
        before: Share without the intervention.
        after: Share with it.
        low: Lower end of the interval of the share with it.
        high: Upper end.
        control: Share under the control; None without one.
        text: The numbers in words.
    """

    title: str
    before: float
    after: float
    low: float
    high: float
    control: float | None
    text: str


@dataclass(frozen=True)
class ProfileChart:
    """Profile of the evidence beside that of the sound, in the unit square with the origin below.

    Attributes:
        title: Title.
        x_label: Name of the horizontal axis.
        x_ticks: Places in [0, 1] with their texts.
        y_ticks: The same of the vertical axis.
        evidence: Outline of the evidence: a curve of steps.
        sound: Curve of steps of the sound.
        spread: Outline of the middle half of the clips.
        standout: Begin and end of the range where the evidence is most out of proportion; None: there is none.
        description: The figure in words.
    """

    title: str
    x_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    evidence: Points
    sound: Points
    spread: Points
    standout: tuple[float, float] | None
    description: str


def short_text(suspect: Suspect) -> str:
    """Return what a suspect does, as short as the top of a page needs it."""
    parts = []
    if (effect := suspect.removal) is not None:
        before, after = percent(effect.before), percent(effect.after)
        shares = f"still {after} of its clips are recognised"
        if before != after:
            shares = f"{after} of its clips are recognised, not {before}"
        parts.append(f"without this cue {shares}")
    if (effect := suspect.transplant) is not None:
        parts.append(f"with it {percent(effect.after)} of other clips are taken for {suspect.label}")
    name = f"{suspect.label}: {suspect.name}"
    return f"{name}: {'; '.join(parts)}" if parts else name


def effect_bars(suspect: Suspect) -> list[EffectBar]:
    """Return the effects of a suspect, removal first."""
    bars = []
    if suspect.removal is not None:
        bars.append(_bar("Cue removed", f"clips of {suspect.label} that are recognised", suspect.removal))
    if suspect.transplant is not None:
        bars.append(_bar("Cue added", f"other clips that are taken for {suspect.label}", suspect.transplant))
    return bars


def _bar(title: str, shares: str, effect: Effect) -> EffectBar:
    control = "" if effect.control is None else f"; control {percent(effect.control)}"
    recordings = "" if effect.recordings == effect.clips else f" of {plural(effect.recordings, 'recording')}"
    interval = f"95 % interval {points(effect.low)} to {points(effect.high)}"
    text = (
        f"{shares}: {percent(effect.before)} → {percent(effect.after)} (change {points(effect.change)}, {interval}"
        f"{control}; {plural(effect.clips, 'clip')}{recordings})"
    )
    low, high = (min(max(effect.before + end, 0.0), 1.0) for end in (effect.low, effect.high))
    return EffectBar(title, effect.before, effect.after, low, high, effect.control, text)


def percent(share: float) -> str:
    """Return a share in per cent.

    Example:
        >>> percent(0.314), percent(0.004), percent(0.0)
        ('31 %', '0.4 %', '0 %')
    """
    return f"{100 * share:.1g} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def points(change: float) -> str:
    """Return a change of a share in percentage points, with its sign.

    Example:
        >>> points(-0.612), points(0.05), points(0.0)
        ('−61', '+5', '0')
    """
    number = round(100 * change)
    return f"−{-number}" if number < 0 else f"+{number}" if number else "0"


def plural(count: int, name: str) -> str:
    """Return a number with its noun.

    Example:
        >>> plural(1, "clip"), plural(3, "clip")
        ('1 clip', '3 clips')
    """
    return f"{count} {name}{'' if count == 1 else 's'}"


def band_text(low_hz: float, high_hz: float) -> str:
    """Return a range of frequencies in words.

    Example:
        >>> band_text(95, 105), band_text(578.1, 3437.5), band_text(3093.75, 3437.5)
        ('95–105 Hz', '578 Hz–3.4 kHz', '3.1–3.4 kHz')
    """
    if high_hz < 1000:
        return f"{low_hz:.0f}–{high_hz:.0f} Hz"
    if low_hz < 1000:
        return f"{low_hz:.0f} Hz–{high_hz / 1000:.1f} kHz"
    low_khz, high_khz = low_hz / 1000, high_hz / 1000
    # as many digits as the width of the range needs
    digits = max(1, math.ceil(-math.log10(max(high_khz - low_khz, 1e-3))))
    return f"{low_khz:.{digits}f}–{high_khz:.{digits}f} kHz"


def span_text(span: Span, unit: str) -> str:
    """Return a range in the unit of its axis, in words."""
    if unit == "Hz":
        return band_text(span.low, span.high)
    if unit == "s":
        return f"{span.low:.2f}–{span.high:.2f} s"
    return f"{span.low:.0f}–{span.high:.0f} % of the clip"


def profile_charts(evidence: ClassEvidence) -> list[ProfileChart]:
    """Return the figures of the evidence over frequency and over time, as far as there are any."""
    charts = []
    if evidence.frequency is not None:
        charts.append(profile_chart(evidence.frequency, "Evidence over frequency", "frequency (mel scale)"))
    if evidence.time is not None:
        label = "time in the clip (s)" if evidence.time.unit == "s" else "place in the clip (%)"
        charts.append(profile_chart(evidence.time, "Evidence over time", label))
    return charts


def profile_chart(curve: ProfileCurve, title: str, x_label: str) -> ProfileChart:
    """Return the figure of a profile.

    Args:
        curve: Profile.
        title: Title.
        x_label: Name of the horizontal axis.
    """
    top = curve.edges[-1]
    places = [place_of(edge, top, curve.unit) for edge in curve.edges]
    largest = max(*curve.evidence, *curve.sound, *curve.high, 1e-9)
    step = nice_step(largest)
    highest = step * math.ceil(largest / step - 1e-9)
    y_ticks = [(i * step / highest, percent(i * step)) for i in range(round(highest / step) + 1)]
    main, standout = curve.main, curve.standout
    words = "no evidence" if main is None else f"half of the evidence lies in {span_text(main, curve.unit)}"
    if standout is not None:
        words += f"; it stands out in {span_text(standout, curve.unit)}"
    return ProfileChart(
        title,
        x_label,
        _x_ticks(top, curve.unit),
        y_ticks,
        steps(places, curve.evidence, highest),
        steps(places, curve.sound, highest),
        steps(places, curve.high, highest) + steps(places, curve.low, highest)[::-1],
        None if standout is None else places_of(standout, top, curve.unit),
        f"{words}; {percent(curve.overlap)} of the evidence lies where the sound lies.",
    )


def places_of(span: Span, top: float, unit: str) -> tuple[float, float]:
    """Return begin and end of a range as places on an axis, in [0, 1]."""
    return place_of(span.low, top, unit), place_of(span.high, top, unit)


def steps(places: Sequence[float], values: Sequence[float], highest: float) -> Points:
    """Return a curve of steps.

    Example:
        >>> steps([0.0, 0.5, 1.0], [2.0, 1.0], highest=2.0)
        [(0.0, 1.0), (0.5, 1.0), (0.5, 0.5), (1.0, 0.5)]
    """
    curve = []
    for low, high, value in zip(places[:-1], places[1:], values, strict=True):
        curve += [(low, value / highest), (high, value / highest)]
    return curve


def place_of(value: float, top: float, unit: str) -> float:
    """Return the place of a value on an axis, in [0, 1]: on the mel scale for frequencies."""
    if unit != "Hz":
        return value / top if top else 0.0
    return math.log1p(value / 700) / math.log1p(top / 700)


def nice_step(largest: float) -> float:
    """Return the distance of two to five ticks up to a value: 1, 2 or 5 times a power of ten.

    Example:
        >>> nice_step(0.07), nice_step(0.31)
        (0.02, 0.1)
    """
    rough = largest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return float(f"{step:.0e}")


def sparkline(values: Sequence[float], edges: Sequence[float]) -> Points:
    """Return a small curve of the evidence over frequency, in the unit square."""
    places = [place_of(edge, edges[-1], "Hz") for edge in edges]
    return steps(places, values, max(*values, 1e-9))


def _x_ticks(top: float, unit: str) -> list[tuple[float, str]]:
    if unit == "Hz":
        shown = [hertz for hertz in _TICKS_HZ if hertz <= top]
        return [
            (place_of(hertz, top, unit), f"{hertz // 1000} kHz" if hertz >= 1000 else f"{hertz}") for hertz in shown
        ]
    if unit == "%":
        return [(share, f"{100 * share:.0f}") for share in (0, 0.25, 0.5, 0.75, 1)]
    step = nice_step(top) if top > 0 else 1.0
    return [(i * step / top, f"{i * step:.3g}") for i in range(int(top / step + 1e-6) + 1)]


def evidence_sentences(evidence: ClassEvidence) -> list[str]:
    """Return what the evidence of a class looks like, in sentences."""
    sentences = []
    if (curve := evidence.frequency) is not None:
        sentences += _curve_sentences(curve)
    if (curve := evidence.time) is not None:
        if curve.overlap >= _ALIKE and curve.standout is None:
            sentences.append("Over time, the evidence lies where the sound lies.")
        else:
            sentences += [f"Over time: {text[:1].lower()}{text[1:]}" for text in _curve_sentences(curve)[:1]]
    if evidence.outside is not None:
        sentences.append(_outside_sentence(evidence.outside))
    if (nearest := evidence.nearest) is not None:
        shared = (
            ""
            if nearest.overlap is None
            else f"; {percent(nearest.overlap)} of their evidence is at the same frequencies"
        )
        sentences.append(
            f"Nearest other class: {nearest.label} (mean probability {nearest.probability:.2f}{shared})."
        )
    return sentences


def _curve_sentences(curve: ProfileCurve) -> list[str]:
    sentences = []
    if (span := curve.standout) is not None:
        sentences.append(
            f"{percent(span.evidence)} of the evidence lies in {span_text(span, curve.unit)}, which holds only "
            f"{percent(span.sound)} of the sound."
        )
    if (span := curve.main) is not None:
        sentences.append(
            f"Half of the evidence lies in {span_text(span, curve.unit)}, which holds {percent(span.sound)} of the "
            "sound."
        )
    return sentences


def _outside_sentence(outside: OutsideShare) -> str:
    return (
        f"{percent(outside.mean)} of the evidence lies outside the event (95 % interval {percent(outside.low)} to "
        f"{percent(outside.high)}, {plural(outside.clips, 'clip')}); of the sound, {percent(outside.sound)} does."
    )
