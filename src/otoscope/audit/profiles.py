"""Where the evidence of a clip lies: its shares over frequency and over time, beside those of the sound itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.audit.evidence import Span
from otoscope.data import annotated_bins
from otoscope.data.clips import Clip
from otoscope.explain import Explainer
from otoscope.explain.analysis import Analysis, analyse
from otoscope.metrics import ideal_mask
from otoscope.metrics.ranking import largest_bins

Array = npt.NDArray[np.float64]

ROWS = 512
"""Largest number of rows of a profile over frequency; finer spectrograms are pooled."""
SEGMENTS = 40
"""Number of parts of a clip that a profile over time distinguishes."""
EVIDENCE_AREA = 0.1
"""Share of the bins that count as evidence: those with the largest importance."""
_PROBABILITIES = 5
"""Number of the most probable classes that a profile keeps."""
_DIGITS = 6


@dataclass(frozen=True, eq=False)
class ClipProfile:
    """Where the evidence for the class of a clip lies.

    Attributes:
        name: Name of the clip.
        key: Cache key of the clip.
        recording: Recording that the clip was cut from; the name of the clip if that is not known.
        label: Class of the clip, which is explained.
        predicted: Class that the classifier decides for.
        probabilities: Probabilities of the most probable classes and of the label.
        duration_s: Length of the clip.
        frequency: Share of the evidence in each row from 0 Hz to half the sample rate; the sum is 1, or 0 where the
            method has no evidence. Shape (rows,).
        time: Share of the evidence in each part of the clip. Shape (`SEGMENTS`,).
        sound_frequency: Share of the sound in each row: of its log magnitude. Shape (rows,).
        sound_time: Share of the sound in each part. Shape (`SEGMENTS`,).
        outside: Share of the evidence outside the event; None if the event is not known.
        sound_outside: Share of the sound outside the event: what evidence that is spread as the sound would have.
    """

    name: str
    key: str
    recording: str
    label: str
    predicted: str
    probabilities: dict[str, float]
    duration_s: float
    frequency: Array
    time: Array
    sound_frequency: Array
    sound_time: Array
    outside: float | None = None
    sound_outside: float | None = None

    @property
    def is_decided(self) -> bool:
        """Whether the classifier decides for the class of the clip."""
        return self.label == self.predicted

    @property
    def is_empty(self) -> bool:
        """Whether the method has no evidence for the class."""
        return not self.frequency.any()

    def to_dict(self) -> dict[str, Any]:
        """Return the profile as JSON values."""
        arrays = ("frequency", "time", "sound_frequency", "sound_time")
        return {
            name: [round(float(share), _DIGITS) for share in value] if name in arrays else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClipProfile:
        """Return a profile from the result of `to_dict`."""
        content = dict(values)
        arrays = ("frequency", "time", "sound_frequency", "sound_time")
        return cls(**{**content, **{name: np.asarray(content[name]) for name in arrays}})


@dataclass
class ProfileResult:
    """Profiles of a batch.

    Attributes:
        profiles: Profile of each clip that could be explained.
        failures: Reason for each clip that could not, by name.
    """

    profiles: list[ClipProfile] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def profile_clips(explainer: Explainer, clips: Sequence[Clip], labels: Sequence[str]) -> ProfileResult:
    """Explain the classes of clips, and return where the evidence lies.

    Only the map of importances is computed: no scores, no search for a share that suffices, and no sound.

    Args:
        explainer: Classifier and method.
        clips: Clips.
        labels: Names of the classes of the data, which `Clip.target` counts; the classifier must know them.

    Raises:
        ConfigurationError: The classifier does not know a label.
    """
    targets = [labels[clip.target] for clip in clips]
    # data sets hold clips at a peak of 1; the classifier may take recordings at their own level
    analysis = analyse(explainer.classifier, [clip.waveform * clip.peak for clip in clips], targets)
    spectrogram, interpreter = analysis.spectrogram, explainer.interpreter
    decoded = interpreter.decode(spectrogram, analysis.prediction)
    importance = spectrogram.zero_padding(interpreter.output(decoded, spectrogram)).cpu()
    result = ProfileResult()
    for index, clip in enumerate(clips):
        count = spectrogram.frame_counts[index]
        values = importance[index, :, :count]
        if bool(values.isnan().any()):
            result.failures[clip.name] = f"{explainer.method}: its map is not finite"
            continue
        inside = event_bins(analysis, index, clip, targets[index])
        result.profiles.append(_profile(analysis, index, clip, targets[index], strongest(values), inside))
    return result


def strongest(importance: Tensor, area: float = EVIDENCE_AREA) -> Array:
    """Return the importances of the most important bins that speak for the class, and 0 elsewhere.

    The maps of trained networks are not 0 where nothing matters. Summed over a whole band, such noise would hide
    the few bins that decide.

    Args:
        importance: Map of one clip. Shape (frequency, time).
        area: Share of its bins that are kept.

    Example:
        >>> strongest(torch.tensor([[3.0, 0.1], [-2.0, 0.2]]), area=0.5)
        array([[3. , 0. ],
               [0. , 0.2]])
    """
    importance = importance.double()
    if not bool((importance > 0).any()):
        return np.zeros(tuple(importance.shape))
    return np.round((importance.clamp(min=0) * largest_bins(importance, area)).numpy(), 9)


def event_bins(analysis: Analysis, index: int, clip: Clip, label: str) -> Array | None:
    """Return the bins of a clip's event, or None if it is not known.

    They are those of the annotated boxes of the label, or those in which the event is louder than the rest of the
    clip where the sound of the event is known.

    Args:
        analysis: Batch that the clip belongs to.
        index: Position of the clip in it.
        clip: Clip.
        label: Label of the event.

    Returns:
        1 inside, 0 outside. Shape (frequency, time).
    """
    frontend, spectrogram = analysis.classifier.frontend, analysis.spectrogram
    frames = spectrogram.frame_counts[index]
    if clip.annotations is not None:
        covered = annotated_bins(clip.annotations, label, frontend, frames)
    elif clip.event is not None:
        length = int(analysis.lengths[index])
        waveform = analysis.waveform[index : index + 1, :length] / analysis.gain[index]
        event = (clip.event[:length] * clip.peak).to(waveform.device)[None] / analysis.gain[index]
        # magnitudes do not add, so the rest is analysed as a sound
        alone, rest = (frontend.log_magnitude(sound) for sound in (event, waveform - event))
        covered = ideal_mask(alone, rest)[0, :, :frames].cpu() > 0
    else:
        return None
    return np.asarray(covered.numpy(), np.float64) if bool(covered.any()) else None


def _profile(
    analysis: Analysis, index: int, clip: Clip, label: str, evidence: Array, inside: Array | None
) -> ClipProfile:
    classifier = analysis.classifier
    sound = _log_magnitude(analysis.spectrogram, index)
    probabilities = analysis.prediction.probabilities[index].cpu()
    leading = probabilities.topk(min(_PROBABILITIES, len(probabilities))).indices.tolist()
    shown = dict.fromkeys([*leading, classifier.index_of(label)])
    return ClipProfile(
        name=clip.name,
        key=clip.key,
        recording=clip.recording or clip.name,
        label=label,
        predicted=classifier.labels[int(probabilities.argmax())],
        probabilities={classifier.labels[k]: round(float(probabilities[k]), _DIGITS) for k in shown},
        duration_s=int(analysis.lengths[index]) / classifier.frontend.sample_rate_hz,
        frequency=shares(evidence.sum(1), ROWS),
        time=shares(evidence.sum(0), SEGMENTS, exact=True),
        sound_frequency=shares(sound.sum(1), ROWS),
        sound_time=shares(sound.sum(0), SEGMENTS, exact=True),
        outside=None if inside is None else _outside(evidence, inside),
        sound_outside=None if inside is None else _outside(sound, inside),
    )


def _log_magnitude(spectrogram: Spectrogram, index: int) -> Array:
    count = spectrogram.frame_counts[index]
    return np.asarray(spectrogram.log_magnitude[index, :, :count].double().cpu().numpy())


def _outside(values: Array, inside: Array) -> float | None:
    total = float(values.sum())
    return None if total == 0 else round(float((values * (1 - inside)).sum()) / total, _DIGITS)


def shares(values: Array, count: int, exact: bool = False) -> Array:
    """Return the shares that parts of equal width have in the sum of values.

    Args:
        values: Values, not negative. Shape (n,).
        count: Number of parts, at most; values are pooled only if they are more.
        exact: Whether there are exactly as many parts, also if values are fewer.

    Returns:
        Shares with the sum 1; zeros if all values are 0.

    Example:
        >>> shares(np.array([1.0, 1.0, 2.0]), 2), shares(np.array([1.0, 3.0]), 4, exact=True)
        (array([0.375, 0.625]), array([0.125, 0.125, 0.375, 0.375]))
    """
    total = float(values.sum())
    if total > 0:
        values = values / total
    if len(values) <= count and not exact:
        return values
    return pooled(values, np.linspace(0, len(values), count + 1))


def pooled(values: Array, edges: Array) -> Array:
    """Return the sums of values between edges, where a value counts in proportion to the part that lies between.

    Args:
        values: Values. Shape (n,).
        edges: Rising positions in [0, n]. Shape (parts + 1,).
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(np.diff(np.interp(edges, np.arange(len(sums)), sums)))


def overlap(first: Array, second: Array) -> float:
    """Return how much two profiles have in common: 1 for equal ones, 0 if they are nowhere both present.

    It is 1 minus the total variation distance: the share of one profile that need not be moved to get the other.

    Args:
        first: Profile with the sum 1.
        second: Profile with the sum 1. Same shape.

    Example:
        >>> overlap(np.array([0.5, 0.5]), np.array([0.5, 0.5])), overlap(np.array([1.0, 0.0]), np.array([0.2, 0.8]))
        (1.0, 0.2)
    """
    return float(np.minimum(first, second).sum())


def main_span(evidence: Array, sound: Array, highest: float, share: float = 0.5) -> Span | None:
    """Return the narrowest range that holds a share of the evidence, or None if there is no evidence.

    Args:
        evidence: Profile of the evidence over parts of equal width. Shape (n,).
        sound: Profile of the sound. Same shape.
        highest: Upper end of the axis; the lower one is 0.
        share: Share of the evidence.

    Example:
        >>> main_span(np.array([0.1, 0.2, 0.6, 0.1]), np.full(4, 0.25), 8000.0)
        Span(low=4000.0, high=6000.0, evidence=0.6, sound=0.25)
    """
    sums = np.concatenate([[0.0], np.cumsum(evidence)])
    if sums[-1] <= 0:
        return None
    wanted = share * sums[-1] - 1e-9
    ends = np.searchsorted(sums, sums + wanted)
    widths = np.where(ends < len(sums), ends - np.arange(len(sums)), len(sums))
    # of several equally narrow ranges, the one with most evidence
    best = min(range(len(sums)), key=lambda i: (widths[i], -(sums[min(ends[i], len(sums) - 1)] - sums[i])))
    low, high = best, int(ends[best])
    step = highest / len(evidence)
    return Span(
        low=round(low * step, 4),
        high=round(high * step, 4),
        evidence=round(float(sums[high] - sums[low]), _DIGITS),
        sound=round(float(sound[low:high].sum()), _DIGITS),
    )


def standout_span(
    evidence: Array, sound: Array, highest: float, factor: float = 2.0, least: float = 0.04
) -> Span | None:
    """Return the range whose evidence exceeds a multiple of its sound by most, or None if it holds little evidence.

    The narrowest range with half of the evidence misses a narrow cue that has a smaller share; this one is where
    evidence is most out of proportion.

    Args:
        evidence: Profile of the evidence over parts of equal width. Shape (n,).
        sound: Profile of the sound. Same shape.
        highest: Upper end of the axis; the lower one is 0.
        factor: Multiple of the share of the sound.
        least: Least share of the evidence in the range.

    Example:
        >>> standout_span(np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.4, 0.5, 0.02, 0.08]), 8000.0)
        Span(low=4000.0, high=6000.0, evidence=0.2, sound=0.02)
    """
    # the largest sum of consecutive values (Kadane): the sum up to an end, minus the smallest sum before it
    sums = np.concatenate([[0.0], np.cumsum(evidence - factor * sound)])
    begins = np.minimum.accumulate(sums)
    high = int(np.argmax(sums - begins))
    if high == 0 or sums[high] <= begins[high]:
        return None
    low = int(np.argmin(sums[:high]))
    if float(evidence[low:high].sum()) < least:
        return None
    step = highest / len(evidence)
    return Span(
        low=round(low * step, 4),
        high=round(high * step, 4),
        evidence=round(float(evidence[low:high].sum()), _DIGITS),
        sound=round(float(sound[low:high].sum()), _DIGITS),
    )


def band_edges(rows: int, sample_rate_hz: int, bands: int = 48) -> Array:
    """Return edges of bands that are evenly spaced in mel, as far as rows allow: at least one row in each.

    Args:
        rows: Number of rows of a profile over frequency.
        sample_rate_hz: Sample rate.
        bands: Largest number of bands.

    Returns:
        Rising positions in [0, rows], whole numbers. Shape (bands' + 1,).

    Example:
        >>> band_edges(8, 16_000, bands=3)
        array([0., 1., 3., 8.])
    """
    top = 2595 * math.log10(1 + sample_rate_hz / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, bands + 1) / 2595) - 1)
    return np.unique(np.round(hertz / (sample_rate_hz / 2) * rows)).astype(np.float64)
