"""Contamination: a clip with another sound over it, at a known level, its parts kept apart.

Example:
    >>> tone = torch.sin(torch.arange(800) / 5)
    >>> mixture = mix(tone, white_noise(800, generator_for(1234, "clip")), WHITE_NOISE_DB)
    >>> ratio = mixture.signal.norm() / mixture.noise.norm()
    >>> round(float(ratio), 3), float(mixture.waveform.abs().max())
    (2.0, 1.0)
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from otoscope.audio import load_audio
from otoscope.data.esc50 import SUFFIXES
from otoscope.data.module import Clip
from otoscope.errors import DataError, ShapeError

MIXTURE_DB = 20 * math.log10(0.8 / 0.2)
"""Level of a clip over another clip or speech: 0.8 and 0.2 of unit L2 norm, 12.04 dB."""
WHITE_NOISE_DB = 20 * math.log10(2)
"""Level of a clip over white noise of half its L2 norm, 6.02 dB."""
WHAM_DB = 0.0
"""Level of a clip over WHAM! noise."""


@dataclass(frozen=True)
class Mixture:
    """Two sounds over one another.

    Attributes:
        waveform: Their sum, with a peak of 1 (0 if both are silent). Shape (..., samples).
        signal: The first, as loud as in the sum. Same shape.
        noise: The second, as loud as in the sum. Same shape.
    """

    waveform: Tensor
    signal: Tensor
    noise: Tensor


def mix(signal: Tensor, noise: Tensor, snr_db: float) -> Mixture:
    r"""Lays a noise over a signal, at a level given by their L2 norms, and normalises the peak.

    .. math:: x \propto \frac{s}{\|s\|_2} + 10^{-\mathrm{SNR}/20} \frac{n}{\|n\|_2}

    Args:
        signal: Shape (..., samples).
        noise: Same shape; cut or padded with `fit_length`. A silent one leaves the signal alone.
        snr_db: Level of the signal over the noise.

    Raises:
        ShapeError: The shapes differ.

    Reference:
        METHODS, "Data": 0.8 and 0.2 of unit norm are `MIXTURE_DB`, half the norm is `WHITE_NOISE_DB`.

    Example:
        >>> mix(torch.tensor([4.0, 0.0]), torch.tensor([0.0, 9.0]), snr_db=20.0).waveform
        tensor([1.0000, 0.1000])
    """
    if signal.shape != noise.shape:
        raise ShapeError(f"signal {tuple(signal.shape)} and noise {tuple(noise.shape)} differ in shape")
    signal, noise = _unit(signal), _unit(noise) * 10 ** (-snr_db / 20)
    peak = (signal + noise).abs().amax(-1, keepdim=True)
    gain = 1 / torch.where(peak > 0, peak, torch.ones_like(peak))
    return Mixture(gain * (signal + noise), gain * signal, gain * noise)


def white_noise(samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian white noise of unit variance, shape (samples,)."""
    return torch.randn(samples, generator=generator)


def fit_length(waveform: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Cuts a sound at a random place, or pads it with silence at its end.

    Args:
        waveform: Shape (samples',).
        samples: Wanted.
        generator: Of the place.

    Returns:
        Shape (samples,).

    Example:
        >>> fit_length(torch.ones(2), 3)
        tensor([1., 1., 0.])
    """
    spare = len(waveform) - samples
    if spare <= 0:
        return torch.nn.functional.pad(waveform, (0, -spare))
    start = int(torch.randint(spare + 1, (), generator=generator))
    return waveform[start : start + samples]


class NoiseFolder:
    """Recordings of noise or speech, of which random pieces are taken: WHAM!, LJSpeech, or any folder of sounds.

    Args:
        folder: Searched with its subfolders for wav, flac, ogg and mp3.
        sample_rate_hz: Rate of the pieces; files are averaged to mono and resampled.
        split: Use only this subfolder where it exists, as WHAM! has ``tr``, ``cv`` and ``tt``.

    Raises:
        DataError: The folder is not there, or holds no sound.
    """

    def __init__(
        self, folder: str | os.PathLike[str], sample_rate_hz: int = 16_000, split: str | None = None
    ) -> None:
        folder = Path(folder)
        self.folder = folder / split if split and (folder / split).is_dir() else folder
        self.sample_rate_hz = sample_rate_hz
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder of noise; check its name")
        found = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        self.files = [path for path in found if not path.name.startswith(".")]
        if not self.files:
            raise DataError(f"{self.folder}: holds no sound files ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.files)

    def piece(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """A random piece of a random file, cut or padded; see `fit_length`.

        Args:
            samples: Its length.
            generator: Makes it; by default torch's own.

        Returns:
            Mono. Shape (samples,).
        """
        index = int(torch.randint(len(self.files), (), generator=generator))
        return fit_length(load_audio(self.files[index], self.sample_rate_hz), samples, generator)

    def pieces(self, count: int, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Several of them, shape (count, samples)."""
        return torch.stack([self.piece(samples, generator) for _ in range(count)])


def generator_for(*parts: object) -> torch.Generator:
    """A source of randomness that depends on these values alone, such as a seed and the name of a clip."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def contaminate(clip: Clip, noise: Tensor, snr_db: float) -> Clip:
    """The clip with noise over it; what it truly sounds of becomes its `Clip.event`.

    Args:
        clip: Its event, where it has one, stays the event; else the clean clip is.
        noise: As long as the clip. Shape (samples,).
        snr_db: Level of the whole clip over the noise.
    """
    mixture = mix(clip.waveform, noise, snr_db)
    event = mixture.signal
    if clip.event is not None:
        event = clip.event * (mixture.signal.norm() / clip.waveform.norm().clamp(min=1e-12))
    digest = hashlib.sha256(noise.numpy().tobytes()).hexdigest()[:16]
    return replace(clip, waveform=mixture.waveform, event=event, key=f"{clip.key}|{snr_db:.3f}|{digest}")


def other_clip(clips: Any, clip: Clip, generator: torch.Generator) -> Clip | None:
    """A random clip of another class.

    Args:
        clips: The set to take it from; anything with a length that gives a `Clip` for an index.
        clip: Whose class it must not have.
        generator: Makes the choice.

    Returns:
        None if all have the same class.
    """
    order: Sequence[int] = torch.randperm(len(clips), generator=generator).tolist()
    return next((other for other in (clips[index] for index in order) if other.target != clip.target), None)


def _unit(waveform: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(waveform, dim=-1, keepdim=True)
    return waveform / torch.where(norm > 0, norm, torch.ones_like(norm))
