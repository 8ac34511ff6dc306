"""Borders of a cue, from the sounds that its removal takes out of clips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from otoscope.audit.cues import BandCue

ENERGY, MOST_ENERGY = 0.85, 0.97
"""Shares of the energy of a cue that the sharper borders that are tried contain."""
_FRAME_S = 0.05
_POINTS = 8192


def loud_band(contents: Sequence[Tensor], cue: BandCue, sample_rate_hz: int, energy: float) -> dict[str, float]:
    """Return the borders of the smallest band that holds a share of the energy of a cue; each clip counts alike."""
    spectra = []
    for content in contents:
        points = max(_POINTS, content.numel())
        power = torch.fft.rfft(content, points).abs().square()
        spectrum = torch.nn.functional.adaptive_avg_pool1d(power[None, None, 1:], _POINTS // 2)[0, 0]
        spectra.append(spectrum / spectrum.sum().clamp(min=1e-20))
    bin_hz = sample_rate_hz / 2 / (_POINTS // 2)
    low, high = _smallest_span(torch.stack(spectra).mean(0), energy)
    # a margin for the clips that were not seen: a hundredth, and two bins
    low_hz = max(cue.low_hz, low * bin_hz * 0.99 - 2 * bin_hz)
    low_hz = low_hz if low_hz >= 1 else 0.0  # no window resolves less than 1 Hz
    high_hz = min(cue.high_hz, high * bin_hz * 1.01 + 2 * bin_hz)
    return {"low_hz": float(f"{low_hz:.4g}"), "high_hz": float(f"{high_hz:.4g}")}


def loud_span(contents: Sequence[Tensor], sample_rate_hz: int) -> tuple[float, float] | None:
    """Return begin and end of a part of the clip that holds most of the energy of a cue; None if it is long."""
    frame = max(1, round(_FRAME_S * sample_rate_hz))
    frames = min(content.numel() for content in contents) // frame
    if frames < 8:
        return None
    energy = torch.stack([content[: frames * frame].reshape(frames, frame).square().sum(1) for content in contents])
    low, high = _smallest_span((energy / energy.sum(1, keepdim=True).clamp(min=1e-20)).mean(0))
    if high - low > frames / 4:
        return None
    return round(max(low - 1, 0) * _FRAME_S, 3), round(min(high + 1, frames) * _FRAME_S, 3)


def _smallest_span(shares: Tensor, energy: float = ENERGY) -> tuple[int, int]:
    """Return begin and end of the shortest run that holds a share of the sum.

    Example:
        >>> _smallest_span(torch.tensor([0.05, 0.5, 0.4, 0.05]))
        (1, 3)
    """
    total = torch.cat([shares.new_zeros(1), shares.cumsum(0)]).double()
    wanted = float(energy * total[-1])
    # for each begin, the first end at which enough is inside
    ends = torch.searchsorted(total, total + wanted - 1e-9)
    begins = torch.arange(len(total))
    valid = ends < len(total)
    lengths = torch.where(valid, ends - begins, len(total) + 1)
    begin = int(lengths.argmin())
    return begin, int(ends[begin].clamp(max=len(shares)))
