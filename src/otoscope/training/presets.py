"""Settings of a training that follow from the recordings: sample rate, front-end, augmentation, epochs."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otoscope.audio import audio_info
from otoscope.data.listed import Entry
from otoscope.errors import AudioError, DataError

SHORT_S = 2.0
"""Clips with a median duration below this are single events, such as words and calls, from begin to end."""

_LONGEST_SURVEY = 1000
_COMMON_RATE_HZ = 16_000
_ULTRASOUND_RATE_HZ = 96_000
_WINDOW_MS, _HOP_MS = 23.2199, 11.6099  # of the published recipes, with a transform of 64 ms
_TRANSFORM_MS = 64.0
_SHORT_HOP_MS = 8.0
_BATCH_SIZE = 16
_PRESENTED_CLIPS = 40_000
_EPOCHS = (10, 80)
_EPOCHS_OF_LONG_CLIPS = 50


@dataclass(frozen=True)
class Traits:
    """Traits of a set of recordings.

    Attributes:
        clips: Number of clips.
        classes: Number of classes.
        smallest_class: Clips of the smallest class.
        median_s: Median duration.
        rate_hz: Most frequent sample rate.
    """

    clips: int
    classes: int
    smallest_class: int
    median_s: float
    rate_hz: int


@dataclass(frozen=True)
class Settings:
    """Settings of a training, named as the options that they are the values of.

    Attributes:
        sample_rate_hz: Sample rate of the front-end.
        n_fft: Length of its Fourier transform.
        window_ms: Its window.
        hop_ms: Its hop.
        time_shift: Whether clips are rotated.
        mixup_alpha: Strength of the mixing of clips.
        speed_change: Largest change of speed.
        silence_s: Longest silence that is added before and after a clip.
        batch_size: Clips in a batch.
        learning_rate: Highest learning rate.
        max_epochs: Number of epochs.
    """

    sample_rate_hz: int
    n_fft: int
    window_ms: float
    hop_ms: float
    time_shift: bool
    mixup_alpha: float
    speed_change: float
    silence_s: float
    batch_size: int
    learning_rate: float
    max_epochs: int

    def options(self) -> dict[str, Any]:
        """Return the values by the dotted names of the options of training, data and Trainer."""
        frontend = "model.classifier.frontend"
        return {
            f"{frontend}.sample_rate_hz": self.sample_rate_hz,
            f"{frontend}.n_fft": self.n_fft,
            f"{frontend}.window_ms": self.window_ms,
            f"{frontend}.hop_ms": self.hop_ms,
            "model.time_shift": self.time_shift,
            "model.mixup_alpha": self.mixup_alpha,
            "model.speed_change": self.speed_change,
            "model.silence_s": self.silence_s,
            "model.learning_rate": self.learning_rate,
            "data.batch_size": self.batch_size,
            "trainer.max_epochs": self.max_epochs,
        }


def survey(entries: Sequence[Entry]) -> Traits:
    """Read the headers of recordings, of at most a thousand, evenly spread.

    Args:
        entries: Recordings or segments with their labels.

    Raises:
        DataError: There are none, or no header can be read.
    """
    chosen = entries[:: -(-len(entries) // _LONGEST_SURVEY)] if entries else []
    headers = list(_headers(chosen))
    if not headers:
        cause = "none of the recordings can be read as sound" if entries else "there are no recordings"
        raise DataError(f"data: {cause}")
    sizes = Counter(entry.label for entry in entries)
    return Traits(
        clips=len(entries),
        classes=len(sizes),
        smallest_class=min(sizes.values()),
        median_s=statistics.median(duration_s for duration_s, _ in headers),
        rate_hz=Counter(rate_hz for _, rate_hz in headers).most_common(1)[0][0],
    )


def settings_for(traits: Traits, rate_hz: int | None = None, window_ms: float | None = None) -> Settings:
    """Choose settings for recordings.

    Long clips get the settings of the narrow ESC-50 recipes; what differs for short ones was chosen on validation
    clips of spoken digits (the page "Training" of the documentation).

    Args:
        traits: Traits of the recordings.
        rate_hz: Sample rate that the user chose (default: it follows from the recordings).
        window_ms: Window that the user chose (default: that of the published recipes).
    """
    rate_hz = rate_hz or _rate(traits.rate_hz)
    window_ms = window_ms or _WINDOW_MS
    short = traits.median_s < SHORT_S
    # Clips of half a second would otherwise give the network a handful of columns.
    hop_ms = _SHORT_HOP_MS if short else _HOP_MS
    transform_ms = window_ms if short else max(window_ms, _TRANSFORM_MS)
    least, most = _EPOCHS[0], _EPOCHS[1] if short else _EPOCHS_OF_LONG_CLIPS
    return Settings(
        sample_rate_hz=rate_hz,
        n_fft=1 << (max(64, round(rate_hz * transform_ms / 1000)) - 1).bit_length(),
        window_ms=window_ms,
        hop_ms=hop_ms,
        # A rotated word begins in its middle, and two mixed words are none; recordings of surroundings bear both.
        time_shift=not short,
        mixup_alpha=0.0 if short else 0.4,
        speed_change=0.15 if short else 0.0,
        silence_s=round(0.1 * traits.median_s, 3) if short else 0.0,
        batch_size=_BATCH_SIZE,
        learning_rate=0.003,
        max_epochs=min(most, max(least, round(_PRESENTED_CLIPS / traits.clips))),
    )


def describe(traits: Traits, options: Mapping[str, Any]) -> str:
    """Describe recordings and the settings that follow from them, in one line.

    Args:
        traits: Traits of the recordings.
        options: Values that are taken, by the dotted names of options.
    """
    values = ", ".join(f"{name.rpartition('.')[2]} {_text(value)}" for name, value in options.items())
    return (
        f"settings that follow from {traits.clips} recordings of {traits.classes} classes (at least "
        f"{traits.smallest_class} each, median {traits.median_s:.2f} s, {traits.rate_hz} Hz): {values}; any "
        "of these can be given as an option, and --follow_data false takes those of the file"
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _rate(rate_hz: int) -> int:
    """Return the rate to train at: that of the recordings, but no more than 16 kHz for audible sound."""
    # Nobody records audible sound at such rates by default; bats and rodents are recorded so.
    if rate_hz > _ULTRASOUND_RATE_HZ:
        return rate_hz
    return min(rate_hz, _COMMON_RATE_HZ)


def _headers(entries: Sequence[Entry]) -> Iterator[tuple[float, int]]:
    """Yield duration and sample rate of recordings; the decoding reports those that cannot be read."""
    rates: dict[Path, tuple[float, int]] = {}
    for entry in entries:
        try:
            if entry.path not in rates:
                info = audio_info(entry.path)
                rates[entry.path] = (info.frames / info.sample_rate_hz, info.sample_rate_hz)
        except AudioError:
            continue
        duration_s, rate_hz = rates[entry.path]
        yield (duration_s if entry.end_s is None else entry.end_s - entry.begin_s), rate_hz
