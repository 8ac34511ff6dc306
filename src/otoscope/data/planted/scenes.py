"""Scenes for designed listeners: a cue that decides, louder distractors elsewhere, and a faint background.

In half of the scenes the cues of two classes are present at once: an explanation of each must point at its own cue.

Example:
    >>> scene = make_scene("band", 3, duration_s=2.0)
    >>> scene.label, sorted(scene.cues), scene.waveform.shape
    ('high band', ['high band', 'low band'], torch.Size([32000]))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import Frontend
from otoscope.data.planted.cue_sounds import make_cue
from otoscope.data.planted.distractors import make_distractors
from otoscope.data.synthetic.building_blocks import Array, noise, tilt
from otoscope.designs import LISTENER_DESIGNS, Design, Part
from otoscope.errors import ConfigurationError, choices

CUE_RMS = (0.06, 0.08)
"""Level of a cue while it sounds, where the loudest sample of a clip is 1."""
DISTRACTOR_PEAK = 0.75
BACKGROUND_RMS = 0.005
SHORTEST_S = 1.8
"""Shortest scene that holds the cues and distractors of every design."""
LOWEST_RATE_HZ = 16_000


@dataclass(frozen=True, eq=False)
class ListenerScene:
    """A sound whose decisive parts are known.

    Attributes:
        waveform: The whole sound, with a peak of 1. Shape (samples,), float32.
        label: Class of the cue that the scene was made for.
        cues: Sound of each cue that is present, by label, as loud as in the waveform. Shape of each (samples,).
        regions: Parts of the plane that the decision for each of these labels depends on in this scene.
        name: Name that is unique among the scenes of all designs and safe as a file name.
    """

    waveform: Tensor
    label: str
    cues: dict[str, Tensor]
    regions: dict[str, tuple[Part, ...]]
    name: str

    def truth(self, label: str, frontend: Frontend, floor: float) -> Tensor:
        """Return the bins that the decision for a label depends on: those of its regions with sound of its cue.

        Args:
            label: Class, one of `cues`.
            frontend: Front-end of the listener.
            floor: Log magnitude that a bin of the cue must exceed; the listener notices no less.

        Returns:
            True inside. Shape (frequency, time).
        """
        log_magnitude = frontend.log_magnitude(self.cues[label][None])[0]
        frequency_hz = torch.arange(log_magnitude.shape[0])[:, None] * frontend.sample_rate_hz / frontend.n_fft
        time_s = torch.arange(log_magnitude.shape[1])[None] * frontend.hop_length / frontend.sample_rate_hz
        inside = torch.zeros_like(log_magnitude, dtype=torch.bool)
        for part in self.regions[label]:
            of_part = (frequency_hz >= part.low_hz) & (frequency_hz <= part.high_hz)
            inside |= of_part & (time_s >= part.start_s) & (time_s <= part.end_s)
        return inside & (log_magnitude > floor)


def make_scene(
    design: str, index: int, duration_s: float = 2.0, sample_rate_hz: int = 16_000, seed: int = 0
) -> ListenerScene:
    """Make one scene; it depends on the arguments alone.

    Args:
        design: Name of the design, see `otoscope.designs.LISTENER_DESIGNS`.
        index: Number of the scene. Classes alternate; of four scenes, the last two hold the cues of both classes.
        duration_s: Length, at least `SHORTEST_S`.
        sample_rate_hz: Sample rate, at least 16 kHz.
        seed: Seed of all scenes, 0 or positive.

    Raises:
        ConfigurationError: There is no such design, or an option is out of its range.
    """
    if design not in LISTENER_DESIGNS:
        raise ConfigurationError(f"designs: there is no {design!r}; {choices(design, LISTENER_DESIGNS)}")
    if duration_s < SHORTEST_S or sample_rate_hz < LOWEST_RATE_HZ or seed < 0:
        raise ConfigurationError(
            f"scenes: duration_s ({duration_s}) must be {SHORTEST_S} or more, sample_rate_hz ({sample_rate_hz}) "
            f"{LOWEST_RATE_HZ} or more, seed ({seed}) not negative"
        )
    rules, samples = LISTENER_DESIGNS[design], round(duration_s * sample_rate_hz)
    # independent generators: a change of the distractors leaves the cues of every scene as they were
    streams = np.random.SeedSequence([seed, list(LISTENER_DESIGNS).index(design), index]).spawn(3)
    rng_cues, rng_distractors, rng_background = map(np.random.default_rng, streams)
    label = rules.labels[index % 2]
    present = rules.labels if index % 4 >= 2 else [label]
    cues, regions = _cues(rng_cues, rules, present, samples, sample_rate_hz)
    busy = [part for parts in regions.values() for part in parts]
    loud = make_distractors(rng_distractors, rules, busy, samples, sample_rate_hz)
    wave = BACKGROUND_RMS * noise(rng_background, samples, tilt(-3.0), sample_rate_hz)
    wave = wave + DISTRACTOR_PEAK * loud / np.abs(loud).max() + sum(cues.values())
    # the cues get the gain of the whole, so that they remain parts of it
    gain = 1 / np.abs(wave).max()
    return ListenerScene(
        waveform=torch.from_numpy((gain * wave).astype(np.float32)),
        label=label,
        cues={name: torch.from_numpy((gain * cue).astype(np.float32)) for name, cue in cues.items()},
        regions=regions,
        name=f"{design}-{index:04d}",
    )


def _cues(
    rng: np.random.Generator, rules: Design, labels: list[str], samples: int, sample_rate_hz: int
) -> tuple[dict[str, Array], dict[str, tuple[Part, ...]]]:
    cues, regions = {}, {}
    # in the order of the classes, whichever of them the scene is made for
    for label in labels:
        cue = make_cue(rng, rules, label, samples, sample_rate_hz)
        sounding = np.abs(cue.wave) > 1e-3 * np.abs(cue.wave).max()
        rms = np.sqrt(np.mean(cue.wave[sounding] ** 2))
        cues[label] = rng.uniform(*CUE_RMS) / rms * cue.wave
        regions[label] = cue.regions
    return cues, regions
