"""Suspicions of the user: a sound, a band, a part of the clip, or a function from waveform to waveform."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import load_audio
from otoscope.audio.level import active_level
from otoscope.audit import interventions
from otoscope.audit.cues import BandCue, CandidateCue, SegmentCue
from otoscope.audit.result import Place
from otoscope.errors import ConfigurationError, OtoscopeError, first_line

SOUND_LEVEL_DB = -20.0
"""Level at which a sound of the user is added to other clips, over that of the clip while both sound."""
_POINTS = 4096
_ENERGY = 0.9
_GAP_BINS = 6
_WIDEST_OCTAVES = 3.0
_LEAST_GAIN = 0.05
_QUIET_SHARE = 0.2
"""Quantile of the power of noise over time; it is ``-log(1 - share)`` times the mean."""
_OVER = 2.0
"""Factor of the subtraction: the power of noise varies about its mean."""

Change = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Suspicion:
    """A cue that is tested without a search.

    Attributes:
        cue: Cue.
        label: Class that it is tested on (default: every class).
    """

    cue: CandidateCue
    label: str | None = None


@dataclass(frozen=True)
class SoundCue(CandidateCue):
    """A sound of the user, such as the hum of a recorder. Its bands are removed, and it is added to other clips.

    A sound that fills a wide range, such as a hiss, is removed by spectral subtraction instead: its spectrum, as
    loud as the quiet frames of the clip allow, is subtracted from every frame.

    Args:
        path: Sound file.
        sample_rate_hz: Sample rate of the classifier.
        level_db: Level at which it is added, over that of the clip while both sound.
    """

    kind: ClassVar[str] = "sound"
    path: str
    sample_rate_hz: int
    level_db: float = SOUND_LEVEL_DB
    sound: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sound = load_audio(self.path, self.sample_rate_hz)
        if float(sound.abs().max()) == 0:
            raise ConfigurationError(f"--cue {self.path}: is silent; give a file with the sound of the cue")
        object.__setattr__(self, "sound", sound)

    @property
    def name(self) -> str:
        """Name in plain words."""
        return f"the sound of {Path(self.path).name}"

    @property
    def key(self) -> str:
        """Text that changes with the samples."""
        digest = hashlib.sha256(self.sound.numpy().tobytes()).hexdigest()[:16]
        return f"SoundCue({digest}, {self.level_db})"

    @property
    def place(self) -> Place:
        """From its lowest to its highest band."""
        bands = self._bands()
        return Place(round(bands[0][0], 1), round(bands[-1][1], 1))

    @override
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        bands = self._bands()
        if _octaves(bands) <= _WIDEST_OCTAVES:
            return interventions.lower_bands(waveform, sample_rate_hz, bands)
        return self._subtracted(waveform)

    @override
    def transplanted(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor:
        return receiver + self._beside(receiver, self.sound, sample_rate_hz)

    @override
    def transplanted_elsewhere(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor | None:
        return receiver + self._beside(receiver, self.moved(self.sound, sample_rate_hz), sample_rate_hz)

    @override
    def bands_hz(self, sample_rate_hz: int) -> list[tuple[float, float]]:
        return self._bands()

    def _beside(self, receiver: Tensor, sound: Tensor, sample_rate_hz: int) -> Tensor:
        # A sound shorter than half of the clip is an event at its begin; a longer one is steady and repeated.
        short = 2 * sound.numel() < receiver.numel()
        fit = interventions.fitted if short else interventions.repeated
        level = active_level(receiver, sample_rate_hz) / max(active_level(sound, sample_rate_hz), 1e-12)
        return 10 ** (self.level_db / 20) * level * fit(sound, receiver.numel())

    def _bands(self) -> list[tuple[float, float]]:
        """Return the bands that hold most of the energy of the sound."""
        power = _mean_power(self.sound)
        order = power.argsort(descending=True)
        share = power[order].cumsum(0) / power.sum()
        count = int((share < _ENERGY).sum()) + 1
        bins = sorted(order[:count].tolist())
        bin_hz = self.sample_rate_hz / _POINTS
        runs: list[list[int]] = []
        for place in bins:
            if runs and place - runs[-1][1] <= _GAP_BINS:
                runs[-1][1] = place
            else:
                runs.append([place, place])
        return [(max(0.0, (low - 2) * bin_hz), (high + 2) * bin_hz) for low, high in runs]

    def _subtracted(self, waveform: Tensor) -> Tensor:
        power_of_sound = _mean_power(self.sound)
        window = torch.hann_window(_POINTS)
        padded = torch.nn.functional.pad(waveform, (0, -waveform.numel() % (_POINTS // 4)))
        transform = torch.stft(
            padded, _POINTS, _POINTS // 4, window=window, pad_mode="constant", return_complex=True
        )
        power = transform.abs().square()
        # A steady sound is present in the quietest frames too: they bound how loud it can be.
        quiet = power.quantile(_QUIET_SHARE, dim=1)
        loud = power_of_sound > 0.01 * power_of_sound.max()
        gain = _OVER * float((quiet[loud] / power_of_sound[loud]).median()) / -math.log(1 - _QUIET_SHARE)
        remainder = (power - gain * power_of_sound[:, None]).clamp(min=0) / power.clamp(min=1e-30)
        filtered = transform * remainder.sqrt().clamp(min=_LEAST_GAIN)
        return torch.istft(filtered, _POINTS, _POINTS // 4, window=window, length=padded.numel())[
            : waveform.numel()
        ]


@dataclass(frozen=True)
class FunctionCue(CandidateCue):
    """A function of the user that removes something from a sound; what it removed is transplanted.

    Args:
        function: Function of a waveform, shape (samples,), and optionally the sample rate; it returns a waveform of
            the same shape. Tensors, or numpy arrays if it returns one for a tensor.
        label: Name of the function.
    """

    kind: ClassVar[str] = "function"
    function: Callable[..., Any] = field(repr=False)
    label: str

    @property
    def name(self) -> str:
        """Name in plain words."""
        return f"what {self.label} removes"

    @property
    def removal_text(self) -> str:
        """What its removal is called."""
        return f"applying {self.label}"

    @property
    def transplant_text(self) -> str:
        """What its transplant is called."""
        return "adding what it removes to other clips"

    @property
    def key(self) -> str:
        """Name of the function, and its source as far as it can be read."""
        try:
            source = inspect.getsource(self.function)
        except (OSError, TypeError):
            source = repr(self.function)
        return f"FunctionCue({self.label}, {hashlib.sha256(source.encode()).hexdigest()[:16]})"

    @override
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        takes_rate = len(inspect.signature(self.function).parameters) > 1
        arguments = (waveform.clone(), sample_rate_hz) if takes_rate else (waveform.clone(),)
        try:
            result = torch.as_tensor(self.function(*arguments)).float()
        except Exception as error:  # code of the user may raise anything
            raise OtoscopeError(f"--function {self.label}: failed ({first_line(error)})") from error
        if result.shape != waveform.shape or not bool(torch.isfinite(result).all()):
            raise OtoscopeError(
                f"--function {self.label}: must return a finite waveform of the shape {tuple(waveform.shape)}, "
                f"got {tuple(result.shape)}"
            )
        return result


def band_suspicion(low_hz: float, high_hz: float, sample_rate_hz: int) -> Suspicion:
    """Return the suspicion of a band.

    Raises:
        ConfigurationError: It is no band below half the sample rate.
    """
    if not 0 <= low_hz < high_hz <= sample_rate_hz / 2:
        raise ConfigurationError(
            f"--band_hz {low_hz:g} {high_hz:g}: expected two rising frequencies of at most "
            f"{sample_rate_hz / 2:g} Hz, half the sample rate of the classifier"
        )
    return Suspicion(BandCue(low_hz, high_hz))


def segment_suspicion(start_s: float, end_s: float) -> Suspicion:
    """Return the suspicion of a part of the clip; negative times count from its end.

    Raises:
        ConfigurationError: It is no part.
    """
    if not start_s < end_s or (start_s < 0 < end_s):
        raise ConfigurationError(
            f"--segment_s {start_s:g} {end_s:g}: expected two rising times in seconds, both from the begin of the "
            "clip, such as 0 0.2, or both from its end, such as -0.2 0"
        )
    return Suspicion(SegmentCue(start_s, end_s))


def function_suspicion(path: str) -> Suspicion:
    """Return the suspicion of a function.

    Args:
        path: ``module:name``; the module is looked up in the current folder too.

    Raises:
        ConfigurationError: It cannot be imported, or is no function.
    """
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise ConfigurationError(f"--function {path}: expected module:name, such as my_cues:without_hum")
    if str(Path.cwd()) not in sys.path:  # an installed command does not search the current folder
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"--function {path}: cannot be imported ({error})") from error
    if not callable(function):
        raise ConfigurationError(f"--function {path}: is no function")
    return Suspicion(FunctionCue(function, path))


def _mean_power(sound: Tensor) -> Tensor:
    """Return the mean power of a sound by frequency, shape (2049,)."""
    padded = interventions.fitted(sound, max(sound.numel(), _POINTS))
    window = torch.hann_window(_POINTS)
    transform = torch.stft(padded, _POINTS, _POINTS // 4, window=window, pad_mode="constant", return_complex=True)
    return transform.abs().square().mean(1)


def _octaves(bands: list[tuple[float, float]]) -> float:
    """Return the width of bands together."""
    return sum(float(torch.tensor(high / max(low, 20.0)).log2().clamp(min=0)) for low, high in bands)
