"""Conditions in which methods are compared: the clean clips, and the clips with another sound mixed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch.nn import functional

from otoscope.data import Clip
from otoscope.data.noise import (
    MIXTURE_DB,
    WHAM_DB,
    WHITE_NOISE_DB,
    NoiseFolder,
    contaminate,
    other_clip,
    white_noise,
)
from otoscope.errors import ConfigurationError
from otoscope.seeding import generator_for

Contaminate = Callable[[Clip], Clip | None]


@dataclass
class NoiseSource:
    """A folder of recordings to mix into clips.

    Args:
        folder: Folder of the recordings; without it the condition is skipped, and the reason is reported.
        fetch: Whether to download the recordings into the folder if they are not there.
    """

    folder: str | None = None
    fetch: bool = False


@dataclass
class Conditions:
    """Conditions in which methods are compared.

    Args:
        clean: Clips without changes.
        wham: Clips with WHAM! noise at 0 dB, from its part ``tt``; null leaves the condition out.
        white_noise: Clips with white noise at 6 dB.
        mixture: Clips with another test clip of another class at 12 dB.
        speech: Clips with speech at 12 dB (LJSpeech, or any folder of speech); null leaves the condition out.
    """

    clean: bool = True
    wham: NoiseSource | None = field(default_factory=NoiseSource)
    white_noise: bool = True
    mixture: bool = True
    speech: NoiseSource | None = field(default_factory=NoiseSource)


@dataclass
class Prepared:
    """Conditions that are available, and the reasons why others are not.

    Attributes:
        contaminate: Function by condition that returns the contaminated clip, or None if the clip cannot be used.
        skipped: Reason by condition.
    """

    contaminate: dict[str, Contaminate] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def prepare(conditions: Conditions, clips: Any, sample_rate_hz: int, seed: int) -> Prepared:
    """Open or download the recordings that the conditions need.

    Args:
        conditions: Conditions to prepare.
        clips: Whole test set, from which mixtures take their other clip.
        sample_rate_hz: Sample rate of the clips in Hz.
        seed: Seed of the sounds that are mixed in. They depend only on it and on the name of the clip.

    Raises:
        ConfigurationError: No condition is available, or the folder to download into is not given.
        DataError: A folder of noise does not exist.
        DownloadError: A download failed.
    """
    ready = Prepared()
    add_folder = partial(_add_folder, ready, sample_rate_hz=sample_rate_hz, seed=seed)
    # This is the order of the tables. Curves are computed in the first condition only.
    if conditions.clean:
        ready.contaminate["clean"] = lambda clip: clip
    add_folder("wham", conditions.wham, WHAM_DB, split="tt")
    if conditions.white_noise:
        ready.contaminate["white_noise"] = lambda clip: contaminate(
            clip, white_noise(len(clip.waveform), generator_for(seed, "white_noise", clip.name)), WHITE_NOISE_DB
        )
    if conditions.mixture:
        ready.contaminate["mixture"] = lambda clip: _mixture(clip, clips, seed)
    add_folder("speech", conditions.speech, MIXTURE_DB)
    if not ready.contaminate:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in ready.skipped.items())
        raise ConfigurationError(
            f"conditions: none is available ({reasons or 'all are off'}); try --conditions.clean true"
        )
    return ready


def _mixture(clip: Clip, clips: Any, seed: int) -> Clip | None:
    """Mix a clip with a clip of another class; return None if there is no other class."""
    other = other_clip(clips, clip, generator_for(seed, "mixture", clip.name))
    if other is None:
        return None
    samples = len(clip.waveform)
    # The mixture keeps the length of the clip, so that its frames and its truth stay the same.
    missing = max(0, samples - len(other.waveform))
    noise = functional.pad(other.waveform[:samples], (0, missing))
    return contaminate(clip, noise, MIXTURE_DB)


def _add_folder(
    ready: Prepared,
    name: str,
    source: NoiseSource | None,
    snr_db: float,
    split: str | None = None,
    *,
    sample_rate_hz: int,
    seed: int,
) -> None:
    """Add the condition that mixes recordings of a folder into the clips, or the reason why it is skipped."""
    if source is None:
        return
    if source.folder is None:
        if source.fetch:
            raise ConfigurationError(
                f"conditions.{name}.fetch: there is no folder to download into; give --conditions.{name}.folder DIR"
            )
        ready.skipped[name] = f"no folder is given (--conditions.{name}.folder DIR)"
        return
    if source.fetch:
        from otoscope.data.download import FETCH  # its dependencies load slowly and are seldom needed

        FETCH[name](Path(source.folder))
    noises = NoiseFolder(source.folder, sample_rate_hz, split)

    def add_noise(clip: Clip) -> Clip:
        # The generator is new for each clip: the noise then depends neither on the batch nor on the other clips,
        # and a resumed evaluation draws the same.
        noise = noises.piece(len(clip.waveform), generator_for(seed, name, clip.name))
        return contaminate(clip, noise, snr_db)

    ready.contaminate[name] = add_noise
