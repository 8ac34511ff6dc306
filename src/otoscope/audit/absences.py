"""Cues that are no sounds: edges of the band, silence, and level. Whether a clip has them is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio.level import active_level
from otoscope.audit import interventions
from otoscope.audit.cues import CandidateCue
from otoscope.audit.result import Place

_POINTS = 2048
_STEEP_DB = 20.0
"""Fall of the level over a third of an octave at an edge."""
_TOLERANCE = 0.12
"""Largest relative distance of a clip's edge from that of its class."""
_LOW_EDGES_HZ, _LOWEST_HIGH_EDGE_HZ = (40.0, 300.0), 500.0
"""Filters of recorders lie in the first range; higher up, the sound itself may begin there."""
_HIGHEST_EDGE, _RELIABLE = 0.4, 0.45
"""Shares of the sample rate: beyond the second one, the filter of a resampling lowers every sound."""
_FLOOR_DB = -85.0
_COMMON = 0.5
"""Share of a class's clips that must have a property to make it a candidate."""
_SILENCE_DB, _SILENT_S, _FRAME_S = -75.0, 0.1, 0.02
_FILL_DB = -50.0
_LEVEL_DB = 6.0
SAMPLE_RATES_HZ = (8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


FALLING_DB = tuple(round(-20 * math.log10(max(point, 8) / 8), 1) for point in range(513))
"""Spectrum that falls by 6 dB per octave, as an ordinary one where none was measured."""


@dataclass(frozen=True)
class EdgeCue(CandidateCue):
    """An edge of the band beyond which the clips of a class have nothing.

    Args:
        edge_hz: Frequency of the edge.
        low_pass: Whether what lies above is missing, and not what lies below.
        typical_db: Spectrum of ordinary clips in dB, from 0 Hz to half the sample rate: it shapes the fill.
    """

    is_sound: ClassVar[bool] = False
    kind: ClassVar[str] = "edge"
    edge_hz: float
    low_pass: bool
    typical_db: tuple[float, ...]

    @property
    def name(self) -> str:
        """Name in plain words."""
        side = "above" if self.low_pass else "below"
        edge = f"{self.edge_hz / 1000:.3g} kHz" if self.edge_hz >= 1000 else f"{self.edge_hz:.3g} Hz"
        rate = next((rate for rate in SAMPLE_RATES_HZ if abs(self.edge_hz / (rate / 2) - 1) < 0.04), None)
        origin = f" (the edge of a sample rate of {rate} Hz)" if rate and self.low_pass else ""
        return f"the empty band {side} {edge}{origin}"

    @property
    def removal_text(self) -> str:
        """What its removal is called."""
        return f"filling {self.name}"

    @property
    def transplant_text(self) -> str:
        """What its transplant is called."""
        return "cutting other clips off there"

    @property
    def place(self) -> Place:
        """Band in which sound is missing."""
        return Place(low_hz=self.edge_hz) if self.low_pass else Place(high_hz=self.edge_hz)

    @property
    def key(self) -> str:
        """Text that identifies the cue."""
        return f"EdgeCue({self.edge_hz:.1f}, {self.low_pass}, {hash(self.typical_db)})"

    @override
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        edge_hz = find_edge(spectrum_db(waveform), sample_rate_hz, self.low_pass)
        if edge_hz is None or abs(edge_hz / self.edge_hz - 1) > _TOLERANCE:
            return waveform.clone()
        return waveform + self._fill(waveform, sample_rate_hz, edge_hz)

    @override
    def transplanted(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor:
        response = interventions.edge_response(sample_rate_hz, self.edge_hz, self.low_pass)
        return interventions.filtered(receiver, response)

    @override
    def transplanted_elsewhere(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor | None:
        # a gap of an octave on the side that the cue leaves
        factors = (0.35, 0.7) if self.low_pass else (1.4, 2.8)
        low_hz, high_hz = self.edge_hz * factors[0], self.edge_hz * factors[1]
        below = interventions.edge_response(sample_rate_hz, low_hz, low_pass=True)
        above = interventions.edge_response(sample_rate_hz, high_hz, low_pass=False)
        return interventions.filtered(receiver, (below + above).clamp(max=1.0))

    @override
    def bands_hz(self, sample_rate_hz: int) -> list[tuple[float, float]]:
        reach = 1 + 2 * _TOLERANCE
        return [(self.edge_hz / reach, sample_rate_hz / 2) if self.low_pass else (0.0, self.edge_hz * reach)]

    def _fill(self, waveform: Tensor, sample_rate_hz: int, edge_hz: float) -> Tensor:
        """Return noise beyond the edge, as loud as ordinary clips are there beside the sound this side of it."""
        shape_db = torch.tensor(self.typical_db)
        hz = torch.linspace(0, sample_rate_hz / 2, len(shape_db))
        inner = (hz > edge_hz / 1.5) & (hz < edge_hz / 1.1) if self.low_pass else (hz > edge_hz * 1.1)
        inner = inner if self.low_pass else inner & (hz < edge_hz * 1.5)
        outer = hz > edge_hz / 1.03 if self.low_pass else hz < edge_hz * 1.03
        if not bool(inner.any()):
            return torch.zeros_like(waveform)
        gain_db = (shape_db - shape_db[inner].mean()).clamp(-40.0, 10.0)
        gain = torch.where(outer, 10 ** (gain_db / 20), torch.zeros(()))
        # Noise with the envelope of the sound this side of the edge: white noise times that envelope, then shaped.
        response = torch.where(inner, 1.0, 0.0)
        near = interventions.filtered(waveform, response)
        frame = max(1, round(_FRAME_S * sample_rate_hz))
        power = interventions.frame_power(near, frame)
        envelope = torch.repeat_interleave(power.sqrt(), frame)[: waveform.numel()]
        noise = torch.randn(waveform.numel(), generator=torch.Generator().manual_seed(0)).to(waveform.device)
        # the envelope belongs to a band of its own width; noise has the same density everywhere
        density = envelope / (float(inner.sum()) / len(hz)) ** 0.5
        return interventions.filtered(noise * density, gain)


@dataclass(frozen=True)
class SilenceCue(CandidateCue):
    """Parts of complete silence."""

    is_sound: ClassVar[bool] = False
    kind: ClassVar[str] = "silence"

    @property
    def name(self) -> str:
        """Name in plain words."""
        return "parts of complete silence"

    @property
    def removal_text(self) -> str:
        """What its removal is called."""
        return "filling parts of complete silence with a faint noise"

    @property
    def transplant_text(self) -> str:
        """What its transplant is called."""
        return "silencing the same parts of other clips"

    @override
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        silent = _silent_samples(waveform, sample_rate_hz)
        noise = torch.randn(waveform.numel(), generator=torch.Generator().manual_seed(0)).to(waveform.device)
        level = 10 ** (_FILL_DB / 20) * active_level(waveform, sample_rate_hz)
        # Pink, like the background of most recordings.
        hz = torch.linspace(0, 1, 1025).clamp(min=0.01)
        noise = interventions.filtered(noise, hz.rsqrt())
        return waveform + silent * level * noise / noise.square().mean().sqrt()

    @override
    def transplanted(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor:
        silent = interventions.fitted(_silent_samples(source, sample_rate_hz), receiver.numel())
        return receiver * (1 - silent)

    @override
    def transplanted_elsewhere(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor | None:
        # the same parts at -30 dB: quiet, but not silent
        silent = interventions.fitted(_silent_samples(source, sample_rate_hz), receiver.numel())
        return receiver * (1 - silent + 10 ** (-30 / 20) * silent)


@dataclass(frozen=True)
class LevelCue(CandidateCue):
    """Level of the clips of a class, for a classifier that hears it.

    Args:
        level: Median RMS of the class while it sounds.
        usual: The same of the other classes.
    """

    is_sound: ClassVar[bool] = False
    kind: ClassVar[str] = "level"
    level: float
    usual: float

    @property
    def name(self) -> str:
        """Name in plain words."""
        return f"a level that is {'higher' if self.level > self.usual else 'lower'} than that of other classes"

    @property
    def removal_text(self) -> str:
        """What its removal is called."""
        return "giving the clips the level of other classes"

    @property
    def transplant_text(self) -> str:
        """What its transplant is called."""
        return "giving other clips the level of the class"

    @override
    def removed(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        return waveform * (self.usual / self.level)

    @override
    def transplanted(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor:
        return receiver * (self.level / self.usual)

    @override
    def removed_elsewhere(self, waveform: Tensor, sample_rate_hz: int) -> Tensor | None:
        return waveform * (self.level / self.usual)  # as much in the other direction

    @override
    def transplanted_elsewhere(self, receiver: Tensor, source: Tensor, sample_rate_hz: int) -> Tensor | None:
        return receiver * (self.usual / self.level)


def observed_cues(
    waveforms: Sequence[Tensor], others: Sequence[Tensor], sample_rate_hz: int, level_matters: bool
) -> list[CandidateCue]:
    """Return the edges, silences and levels that most clips of a class have and most of the others lack.

    Args:
        waveforms: Clips of the class.
        others: Clips of other classes.
        sample_rate_hz: Sample rate.
        level_matters: Whether the classifier hears the level of a clip, which is else scaled to a peak of 1.
    """
    spectra, other_spectra = ([spectrum_db(sound) for sound in sounds] for sounds in (waveforms, others))
    cues: list[CandidateCue] = []
    if not spectra or not other_spectra:
        return cues
    typical = torch.stack(other_spectra).median(0).values
    shape = tuple(round(value, 1) for value in typical.tolist())
    for low_pass in (True, False):
        edges_hz = [find_edge(spectrum, sample_rate_hz, low_pass) for spectrum in spectra]
        edges = [edge_hz for edge_hz in edges_hz if edge_hz is not None]
        if not edges:
            continue
        edge_hz = median(edges)
        near = _share_near(edges_hz, edge_hz)
        elsewhere = _share_near([find_edge(sound, sample_rate_hz, low_pass) for sound in other_spectra], edge_hz)
        if near >= _COMMON > elsewhere:
            cues.append(EdgeCue(round(edge_hz, 1), low_pass, shape))
    silences = [
        np.mean([bool(_silent_samples(sound, sample_rate_hz).any()) for sound in sounds])
        for sounds in (waveforms, others)
    ]
    if silences[0] >= _COMMON > silences[1]:
        cues.append(SilenceCue())
    if level_matters:
        levels = [median(active_level(sound, sample_rate_hz) for sound in sounds) for sounds in (waveforms, others)]
        if min(levels) > 0 and abs(20 * np.log10(levels[0] / levels[1])) >= _LEVEL_DB:
            cues.append(LevelCue(round(levels[0], 5), round(levels[1], 5)))
    return cues


def spectrum_db(waveform: Tensor) -> Tensor:
    """Return the mean power spectrum of a sound over the loudest bin in dB, shape (1025,)."""
    window = torch.hann_window(_POINTS, device=waveform.device)
    padded = interventions.fitted(waveform, max(waveform.numel(), _POINTS))
    transform = torch.stft(
        padded, _POINTS, _POINTS // 2, window=window, center=True, pad_mode="constant", return_complex=True
    )
    power = transform.abs().square().mean(-1)
    return 10 * (power / power.max().clamp(min=1e-20)).clamp(min=1e-12).log10()


def find_edge(spectrum: Tensor, sample_rate_hz: int, low_pass: bool) -> float | None:
    """Return the frequency of the steep edge of a spectrum beyond which it stays low; None without one.

    It is where the fall begins, up to 15 % before a vertical edge.

    Args:
        spectrum: Spectrum in dB, from 0 Hz to half the sample rate, shape (points,).
        sample_rate_hz: Sample rate.
        low_pass: Whether to look for the upper edge.

    Example:
        >>> spectrum = torch.zeros(1025)
        >>> spectrum[512:] = -60
        >>> 3_400 < find_edge(spectrum, 16_000, low_pass=True) < 4_000, find_edge(spectrum, 16_000, low_pass=False)
        (True, None)
    """
    points = len(spectrum)
    bin_hz = sample_rate_hz / 2 / (points - 1)
    total = torch.cat([spectrum.new_zeros(1), spectrum.cumsum(0)])

    def mean(low_hz: Tensor, high_hz: Tensor) -> Tensor:
        low = (low_hz / bin_hz).round().long().clamp(0, points - 1)
        high = torch.maximum((high_hz / bin_hz).round().long().clamp(0, points), low + 1)
        return (total[high] - total[low]) / (high - low)

    lowest_hz, highest_hz = (_LOWEST_HIGH_EDGE_HZ, _HIGHEST_EDGE * sample_rate_hz) if low_pass else _LOW_EDGES_HZ
    tried = torch.logspace(float(np.log2(lowest_hz)), float(np.log2(highest_hz)), 120, base=2)
    limit = torch.full_like(tried, _RELIABLE * sample_rate_hz)
    if low_pass:
        inside, outside = mean(tried / 1.2, tried / 1.02), mean(tried * 1.1, (tried * 1.35).minimum(limit))
        beyond = mean(tried * 1.1, limit)
    else:
        inside, outside = mean(tried * 1.02, tried * 1.2), mean(tried / 1.35, tried / 1.1)
        beyond = mean(torch.zeros_like(tried), tried / 1.1)
    fall = inside - outside
    steep = (fall > _STEEP_DB) & (inside - beyond > _STEEP_DB) & (inside > _FLOOR_DB + _STEEP_DB)
    if not bool(steep.any()):
        return None
    steepest = tried[int(torch.where(steep, fall, -torch.inf).argmax())]
    # The fall is steepest a little beyond the corner, and begins to be steep a little before it.
    near = tried[steep & (tried / steepest > 0.75) & (tried / steepest < 1.33)]
    return float((steepest * (near.min() if low_pass else near.max())).sqrt())


def _share_near(edges: Sequence[float | None], edge_hz: float) -> float:
    near = [edge is not None and abs(edge / edge_hz - 1) <= _TOLERANCE for edge in edges]
    return sum(near) / len(near)


def _silent_samples(waveform: Tensor, sample_rate_hz: int) -> Tensor:
    """Return 1 where a sound is silent for a tenth of a second or longer, else 0, shape (samples,)."""
    frame = max(1, round(_FRAME_S * sample_rate_hz))
    power = interventions.frame_power(waveform, frame)
    silent = power < 10 ** (_SILENCE_DB / 10) * max(active_level(waveform, sample_rate_hz) ** 2, 1e-20)
    # runs of silent frames that are long enough
    padded = torch.nn.functional.pad(silent.int(), (1, 1)).diff()
    long_runs = torch.zeros_like(silent)
    for start, end in zip((padded == 1).nonzero().flatten(), (padded == -1).nonzero().flatten(), strict=True):
        if (end - start) * _FRAME_S >= _SILENT_S:
            long_runs[start:end] = True
    return torch.repeat_interleave(long_runs.float(), frame)[: waveform.numel()]
