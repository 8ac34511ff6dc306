"""Quiet cues that a classifier may learn as a shortcut, and how they are added to a clip.

Example:
    >>> planted = plant(torch.randn(16_000), Cue("tone", level_db=-20.0), 16_000, "clip", seed=0)
    >>> ratio = planted.cue.norm() / (planted.waveform - planted.cue).norm()
    >>> round(20 * float(ratio.log10()))
    -20
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import peak_normalize
from otoscope.data.planted.cue_sounds import band_noise, ramped
from otoscope.data.synthetic.building_blocks import Array, add_at, filtered
from otoscope.errors import ConfigurationError, choices

Kind = Literal["tone", "hum", "hiss", "clicks", "low_pass", "beep", "infrasound"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_FREQUENCY_HZ = {
    "tone": 3150.0,
    "hum": 50.0,
    "hiss": 6500.0,
    "clicks": 8.0,
    "low_pass": 4000.0,
    "beep": 2500.0,
    "infrasound": 14.0,
}
_HUM_HARMONICS = 8
_HISS_WIDTH_HZ = 800.0
_CLICK_S = 0.004
_BEEP_S = 0.15
_EDGE_ORDER = 24
"""Order of the low-pass filter; its level falls by 6 dB per octave and order, here 144 dB per octave."""
_SILENCE_DB = -60.0


@dataclass(frozen=True)
class Cue:
    """A cue and how it is added.

    Args:
        kind: ``tone`` (a steady tone), ``hum`` (of the mains, with harmonics), ``hiss`` (noise in a band of 800
            Hz), ``clicks`` (a click train), ``low_pass`` (everything above a frequency is removed), ``beep`` (at
            the start of the clip) or ``infrasound`` (a tone below 20 Hz).
        level_db: Level of the cue while it sounds over that of the clip where it is not silent (RMS); a number, or
            the lowest and the highest level, drawn evenly for each clip. A low-pass edge has no level.
        frequency_hz: Frequency of the tone, hum, beep or infrasound, middle of the hiss, number of clicks per
            second, or edge (default: 3150, 50, 2500, 14, 6500, 8 and 4000 Hz).
        jitter: Largest relative change of the frequency from clip to clip.
        probability: Share of the training clips of its class that carry the cue.

    Raises:
        ConfigurationError: An option is unknown or out of its range.
    """

    kind: Kind
    level_db: float | Sequence[float] = -20.0
    frequency_hz: float | None = None
    jitter: float = 0.02
    probability: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(f"cues: there is no cue {self.kind!r}; {choices(self.kind, KINDS)}")
        levels = self.levels_db
        if len(levels) != 2 or not -80 <= levels[0] <= levels[1] <= 20:
            raise ConfigurationError(
                f"level_db: expected a number or two rising numbers in [-80, 20] dB, got {self.level_db}"
            )
        if self.frequency_hz is not None and not 0 < self.frequency_hz < np.inf:
            raise ConfigurationError(f"frequency_hz: {self.frequency_hz} must be positive")
        if not 0 <= self.jitter < 1 or not 0 < self.probability <= 1:
            raise ConfigurationError(
                f"cue {self.kind}: jitter ({self.jitter}) must lie in [0, 1), probability ({self.probability}) in "
                "(0, 1]"
            )

    @property
    def levels_db(self) -> tuple[float, ...]:
        """Lowest and highest level."""
        if isinstance(self.level_db, Sequence):
            return tuple(float(level) for level in self.level_db)
        return float(self.level_db), float(self.level_db)

    @property
    def removes(self) -> bool:
        """Whether the cue is the absence of sound, which no evidence can hold."""
        return self.kind == "low_pass"


@dataclass(frozen=True, eq=False)
class PlantedClip:
    """A clip with a cue.

    Attributes:
        waveform: Clip with the cue, with a peak of 1. Shape (samples,), float32.
        clean: The clip without it, as loud as in ``waveform``. Same shape.
        cue: What the cue changed, ``waveform - clean``: its sound, or minus the sound that it removed. Same shape.
    """

    waveform: Tensor
    clean: Tensor
    cue: Tensor


def make_cues(specs: Mapping[str, Any]) -> dict[str, Cue]:
    """Return cues from their specifications by class.

    Args:
        specs: For each class a `Cue`, the kind of a cue, or a mapping with ``kind`` and options.

    Raises:
        ConfigurationError: An option is unknown or out of its range.

    Example:
        >>> make_cues({"dog": "hum", "rain": {"kind": "tone", "level_db": -12}})["rain"].level_db
        -12
    """
    cues = {}
    for label, spec in specs.items():
        options = asdict(spec) if isinstance(spec, Cue) else {"kind": spec} if isinstance(spec, str) else dict(spec)
        try:
            cues[label] = Cue(**options)
        except TypeError as error:
            names = ", ".join(Cue.__dataclass_fields__)
            raise ConfigurationError(f"cues.{label}: expected kind and options among {names}; {error}") from error
    return cues


def plant(waveform: Tensor, cue: Cue, sample_rate_hz: int, name: str, seed: int) -> PlantedClip:
    """Add a cue to a clip.

    Args:
        waveform: Clip, shape (samples,).
        cue: Cue to add.
        sample_rate_hz: Sample rate.
        name: Name of the clip; level, frequency and phase of the cue depend on it and on the seed.
        seed: Seed, 0 or positive.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, *name.encode()]))
    frequency_hz = cue.frequency_hz or _FREQUENCY_HZ[cue.kind]
    frequency_hz *= 1 + rng.uniform(-cue.jitter, cue.jitter)
    lowest_db, highest_db = cue.levels_db
    level_db = rng.uniform(lowest_db, highest_db)
    clean = waveform.double().numpy()
    if cue.removes:
        # Butterworth: half of the power at the edge
        edge = filtered(clean, lambda hz: (1 + (hz / frequency_hz) ** (2 * _EDGE_ORDER)) ** -0.5, sample_rate_hz)
        added = edge - clean
    else:
        sound = _SOUNDS[cue.kind](rng, clean.size, frequency_hz, sample_rate_hz)
        added = 10 ** (level_db / 20) * _active_rms(clean) / _active_rms(sound) * sound
    planted = clean + added
    # the parts get the gain of the whole, so that they remain its parts
    gain = float(peak_normalize(torch.from_numpy(planted)).abs().max()) / max(float(np.abs(planted).max()), 1e-12)
    whole, rest = (torch.from_numpy((gain * wave).astype(np.float32)) for wave in (planted, clean))
    return PlantedClip(whole, rest, torch.from_numpy((gain * added).astype(np.float32)))


def _active_rms(wave: Array) -> float:
    """Return the RMS over the frames of 10 ms that are not silent; of silence, a faint level instead of 0."""
    frame = 160
    power = np.square(np.pad(wave, (0, -wave.size % frame)).reshape(-1, frame)).mean(1)
    active = power > 10 ** (_SILENCE_DB / 10) * power.max()
    return float(np.sqrt(power[active].mean())) if active.any() else 1e-3


def _steady(rng: np.random.Generator, samples: int, frequency_hz: float, sample_rate_hz: int) -> Array:
    return np.asarray(np.sin(2 * np.pi * frequency_hz * np.arange(samples) / sample_rate_hz + rng.uniform(0, 6.28)))


def _hum(rng: np.random.Generator, samples: int, frequency_hz: float, sample_rate_hz: int) -> Array:
    # Harmonics of almost equal strength, as in the hum of a rectifier.
    wave = np.zeros(samples)
    for k in range(1, _HUM_HARMONICS + 1):
        wave += _steady(rng, samples, k * frequency_hz, sample_rate_hz) / np.sqrt(k)
    return wave


def _hiss(rng: np.random.Generator, samples: int, frequency_hz: float, sample_rate_hz: int) -> Array:
    low_hz, high_hz = frequency_hz - _HISS_WIDTH_HZ / 2, frequency_hz + _HISS_WIDTH_HZ / 2
    return band_noise(rng, low_hz, high_hz, samples, sample_rate_hz)


def _clicks(rng: np.random.Generator, samples: int, frequency_hz: float, sample_rate_hz: int) -> Array:
    period = sample_rate_hz / frequency_hz
    length = max(2, round(_CLICK_S * sample_rate_hz))
    wave = np.zeros(samples)
    for start in np.arange(rng.uniform(0, period), samples, period):
        add_at(wave, rng.standard_normal(length) * np.exp(-4 * np.arange(length) / length), int(start))
    return wave


def _beep(rng: np.random.Generator, samples: int, frequency_hz: float, sample_rate_hz: int) -> Array:
    wave = np.zeros(samples)
    length = min(round(_BEEP_S * sample_rate_hz), samples)
    add_at(wave, ramped(_steady(rng, length, frequency_hz, sample_rate_hz), sample_rate_hz), 0)
    return wave


_SOUNDS: dict[str, Callable[[np.random.Generator, int, float, int], Array]] = {
    "tone": _steady,
    "hum": _hum,
    "hiss": _hiss,
    "clicks": _clicks,
    "beep": _beep,
    "infrasound": _steady,
}
