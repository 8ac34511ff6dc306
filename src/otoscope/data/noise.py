r"""Contamination: mix another sound into a clip at a given level, with both parts known.

Example:
    >>> from otoscope.seeding import generator_for
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
from otoscope.audio.files import SUFFIXES
from otoscope.data.clips import Clip
from otoscope.errors import DataError, ShapeError

MIXTURE_DB = 20 * math.log10(0.8 / 0.2)
"""Level of a clip over another clip or speech: 0.8 and 0.2 of unit L2 norm, 12.04 dB."""
WHITE_NOISE_DB = 20 * math.log10(2)
"""Level of a clip over white noise of half its L2 norm, 6.02 dB."""
WHAM_DB = 0.0
"""Level of a clip over WHAM! noise."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of two sounds and its parts.

    Attributes:
        waveform: Sum of both, with a peak of 1 (0 if both are silent). Shape (..., samples).
        signal: The signal, as loud as in the sum. Same shape.
        noise: The noise, as loud as in the sum. Same shape.
    """

    waveform: Tensor
    signal: Tensor
    noise: Tensor


def mix(signal: Tensor, noise: Tensor, snr_db: float) -> Mixture:
    r"""Add noise to a signal at a level given by their L2 norms, and normalise the peak.

    .. math:: x \propto \frac{s}{\|s\|_2} + 10^{-\mathrm{SNR}/20} \frac{n}{\|n\|_2}

    Args:
        signal: Signal. Shape (..., samples).
        noise: Noise, same shape; cut or pad it with `fit_length`. Silence adds nothing.
        snr_db: Level of the signal over the noise in dB: `MIXTURE_DB` mixes 0.8 and 0.2 of unit norm,
            `WHITE_NOISE_DB` adds noise of half the signal's norm.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> mix(torch.tensor([4.0, 0.0]), torch.tensor([0.0, 9.0]), snr_db=20.0).waveform
        tensor([1.0000, 0.1000])
    """
    if signal.shape != noise.shape:
        raise ShapeError(f"signal {tuple(signal.shape)} and noise {tuple(noise.shape)} differ in shape")
    # A level in dB is 10 log10 of a ratio of powers, so 20 log10 of a ratio of norms.
    signal, noise = _unit_norm(signal), _unit_norm(noise) * 10 ** (-snr_db / 20)
    peak = (signal + noise).abs().amax(-1, keepdim=True)
    # One gain for the sum and both parts, so that signal + noise stays the waveform.
    gain = 1 / torch.where(peak > 0, peak, torch.ones_like(peak))
    return Mixture(gain * (signal + noise), gain * signal, gain * noise)


def white_noise(samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Return Gaussian white noise of unit variance, shape (samples,)."""
    return torch.randn(samples, generator=generator)


def fit_length(waveform: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Cut a sound at a random position, or zero-pad it at the end.

    Args:
        waveform: Sound of any length. Shape (samples',).
        samples: Length of the result.
        generator: Random generator of the position (default: torch's global one).

    Returns:
        Shape (samples,).

    Example:
        >>> fit_length(torch.ones(2), 3)
        tensor([1., 1., 0.])
    """
    surplus = len(waveform) - samples
    if surplus <= 0:
        return torch.nn.functional.pad(waveform, (0, -surplus))
    # All surplus + 1 positions at which the piece lies within the sound are equally likely.
    start = int(torch.randint(surplus + 1, (), generator=generator))
    return waveform[start : start + samples]


class NoiseFolder:
    """Recordings of noise or speech to take random pieces from: WHAM!, LJSpeech, or any folder of sounds.

    Args:
        folder: Folder of sound files; subfolders are searched too.
        sample_rate_hz: Sample rate of the pieces; files are averaged to mono and resampled.
        split: Subfolder to use alone if it exists; WHAM! has ``tr``, ``cv`` and ``tt``.

    Raises:
        DataError: The folder does not exist or holds no sound file.
    """

    def __init__(
        self, folder: str | os.PathLike[str], sample_rate_hz: int = 16_000, split: str | None = None
    ) -> None:
        folder = Path(folder)
        self.folder = folder / split if split and (folder / split).is_dir() else folder
        self.sample_rate_hz = sample_rate_hz
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder of noise; check its name")
        # Sorted, because the order of a folder differs between file systems and pieces are drawn by index.
        paths = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        self.files = [path for path in paths if not path.name.startswith(".")]
        if not self.files:
            raise DataError(f"{self.folder}: holds no sound files ({', '.join(SUFFIXES)})")

    def __repr__(self) -> str:
        return f"NoiseFolder({str(self.folder)!r}, {len(self)} files, {self.sample_rate_hz} Hz)"

    def __len__(self) -> int:
        return len(self.files)

    def piece(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Return a random piece of a random file, cut or zero-padded as in `fit_length`.

        Args:
            samples: Length of the piece.
            generator: Random generator (default: torch's global one).

        Returns:
            Mono piece. Shape (samples,).
        """
        # First the file and then the position, so that all files are equally likely, whatever their length.
        index = int(torch.randint(len(self.files), (), generator=generator))
        return fit_length(load_audio(self.files[index], self.sample_rate_hz), samples, generator)

    def pieces(self, count: int, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Return several random pieces, shape (count, samples); see `piece`."""
        return torch.stack([self.piece(samples, generator) for _ in range(count)])


def contaminate(clip: Clip, noise: Tensor, snr_db: float) -> Clip:
    """Add noise to a clip; the part of the mixture that the label describes becomes its `Clip.event`.

    Args:
        clip: Clip. Its event stays the event, scaled as in the mixture; without one, the clean clip becomes it.
        noise: Noise as long as the clip. Shape (samples,).
        snr_db: Level of the whole clip over the noise.
    """
    mixture = mix(clip.waveform, noise, snr_db)
    event = mixture.signal
    if clip.event is not None:
        # The clip was scaled by ||signal|| / ||clip||, and its event must be scaled by the same gain.
        event = clip.event * (mixture.signal.norm() / clip.waveform.norm().clamp(min=1e-12))
    # The cache key must change with the noise, or representations of another mixture would be read.
    digest = hashlib.sha256(noise.numpy().tobytes()).hexdigest()[:16]
    return replace(clip, waveform=mixture.waveform, event=event, key=f"{clip.key}|{snr_db:.3f}|{digest}")


def other_clip(clips: Any, clip: Clip, generator: torch.Generator) -> Clip | None:
    """Return a random clip of another class, or None if all clips have the same class.

    Args:
        clips: Set to choose from: anything with a length that returns a `Clip` for an index.
        clip: Clip whose class is excluded.
        generator: Random generator of the choice.
    """
    # The first clip of another class in a random order; clips are loaded only until it appears.
    order: Sequence[int] = torch.randperm(len(clips), generator=generator).tolist()
    candidates = (clips[index] for index in order)
    return next((candidate for candidate in candidates if candidate.target != clip.target), None)


def _unit_norm(waveform: Tensor) -> Tensor:
    # Silence has no direction: divide it by 1, so that it stays silence.
    norm = torch.linalg.vector_norm(waveform, dim=-1, keepdim=True)
    return waveform / torch.where(norm > 0, norm, torch.ones_like(norm))
