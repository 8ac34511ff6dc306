"""The conditions in which methods are compared: clean clips, and what is laid over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    """A folder of recordings to lay over clips.

    Args:
        folder: Where they are; without it the condition is skipped, and said so.
        fetch: Fetch them into the folder if it is not there.
    """

    folder: str | None = None
    fetch: bool = False


@dataclass
class Conditions:
    """In which conditions to compare.

    Args:
        clean: The clips as they are.
        wham: WHAM! noise at 0 dB, from its part ``tt``; null: not at all.
        white_noise: White noise at 6 dB.
        mixture: Another test clip of another class, at 12 dB.
        speech: Speech at 12 dB (LJSpeech, or any folder of speech); null: not at all.
    """

    clean: bool = True
    wham: NoiseSource | None = field(default_factory=NoiseSource)
    white_noise: bool = True
    mixture: bool = True
    speech: NoiseSource | None = field(default_factory=NoiseSource)


@dataclass
class Prepared:
    """Conditions that can be had, and why others cannot.

    Attributes:
        contaminate: What each condition makes of a clip; None where it can make nothing.
        skipped: Reason by condition.
    """

    contaminate: dict[str, Contaminate] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def prepare(conditions: Conditions, clips: Any, sample_rate_hz: int, seed: int) -> Prepared:
    """Finds or fetches what the conditions need.

    Args:
        conditions: The wanted ones.
        clips: Where mixtures take their other clip from: the whole test set.
        sample_rate_hz: Of the clips.
        seed: What is laid over a clip depends on it and on the clip's name alone.

    Raises:
        ConfigurationError: No condition is wanted, or one is to be fetched to nowhere.
        DataError: A folder of noise is named and is not there.
        DownloadError: It cannot be fetched.
    """
    ready = Prepared()
    if conditions.clean:
        ready.contaminate["clean"] = lambda clip: clip
    _add_folder(ready, "wham", conditions.wham, WHAM_DB, "tt", (sample_rate_hz, seed))
    if conditions.white_noise:
        ready.contaminate["white_noise"] = lambda clip: contaminate(
            clip, white_noise(len(clip.waveform), generator_for(seed, "white_noise", clip.name)), WHITE_NOISE_DB
        )
    if conditions.mixture:
        ready.contaminate["mixture"] = lambda clip: _mixture(clip, clips, seed)
    _add_folder(ready, "speech", conditions.speech, MIXTURE_DB, None, (sample_rate_hz, seed))
    if not ready.contaminate:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in ready.skipped.items())
        raise ConfigurationError(f"conditions: there is none to evaluate in ({reasons or 'all are off'})")
    return ready


def _mixture(clip: Clip, clips: Any, seed: int) -> Clip | None:
    generator = generator_for(seed, "mixture", clip.name)
    other = other_clip(clips, clip, generator)
    if other is None:
        return None
    samples = len(clip.waveform)
    missing = max(0, samples - len(other.waveform))
    noise = other.waveform.new_zeros(samples)
    noise[: samples - missing] = other.waveform[:samples]
    return contaminate(clip, noise, MIXTURE_DB)


def _add_folder(
    ready: Prepared,
    name: str,
    source: NoiseSource | None,
    snr_db: float,
    split: str | None,
    rate_and_seed: Sequence[int],
) -> None:
    if source is None:
        return
    if source.folder is None:
        if source.fetch:
            raise ConfigurationError(f"conditions.{name}.fetch: say into which folder (conditions.{name}.folder)")
        ready.skipped[name] = f"no folder of it is given (--conditions.{name}.folder DIR)"
        return
    if source.fetch:
        from otoscope.data.download import FETCH  # its dependencies load slowly and are seldom needed

        FETCH[name](Path(source.folder))
    sample_rate_hz, seed = rate_and_seed
    noises = NoiseFolder(source.folder, sample_rate_hz, split)

    def lay_over(clip: Clip) -> Clip:
        noise = noises.piece(len(clip.waveform), generator_for(seed, name, clip.name))
        return contaminate(clip, noise, snr_db)

    ready.contaminate[name] = lay_over
