"""Interventions on a sound: what stands out of its neighbourhood is lowered to it, and nothing else changes.

A band, a part of the clip or a click is not cut out, which would leave a hole that is a cue itself. Bins that stand
out of the bins beside them are lowered to the level of these. A broad natural sound therefore passes a removal of a
narrow band almost unchanged, while a tone in it vanishes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from otoscope.audio.level import active_level

STANDS_OUT = 4.0
"""Power over that of the neighbourhood at which a bin stands out: noise exceeds it in one bin of fifty."""
_RISE = 1.6
"""Mean power over that of the neighbourhood at which a band stands out in the quietest quarter of the clip."""
_SMOOTH_BINS = 9
_BIAS = 1.781
"""Mean power of noise over its geometric mean, the exponential of Euler's constant."""
_QUIETEST = 1e-16
"""Power of a bin, over that of the loudest one, below which it counts as silence."""
_LONG_S, _SHORT_S, _SEGMENT_S = 0.256, 0.008, 0.032
_FADE_S = 0.01
_CLICK_SHARE = 0.3
"""Share of the frequencies that must stand out at once in a click."""
_CLICK_REACH_S, _CLICK_GAP_S = 0.048, 0.010


@dataclass(frozen=True)
class _Transform:
    """Short-time Fourier transform with a Hann window."""

    n_fft: int
    sample_rate_hz: int

    @property
    def bin_hz(self) -> float:
        return self.sample_rate_hz / self.n_fft

    @property
    def hop(self) -> int:
        return self.n_fft // 4

    def __call__(self, waveform: Tensor) -> Tensor:
        window = torch.hann_window(self.n_fft, device=waveform.device)
        return torch.stft(
            waveform.float(),
            self.n_fft,
            self.hop,
            window=window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )

    def inverse(self, transform: Tensor, samples: int) -> Tensor:
        window = torch.hann_window(self.n_fft, device=transform.device)
        # the last frame is centred at or behind the last sample only if the padded length is a multiple of the hop
        missing = max(0, samples - (transform.shape[-1] - 1) * self.hop)
        sound = torch.istft(transform, self.n_fft, self.hop, window=window, center=True, length=samples - missing)
        return functional.pad(sound, (0, missing))


def _transform(seconds: float, sample_rate_hz: int) -> _Transform:
    return _Transform(2 ** round(math.log2(seconds * sample_rate_hz)), sample_rate_hz)


def lower_bands(
    waveform: Tensor, sample_rate_hz: int, bands_hz: Sequence[tuple[float, float]], window_s: float = _LONG_S
) -> Tensor:
    """Lower what stands out in bands to the level of the frequencies beside them.

    Args:
        waveform: Sound, shape (samples,).
        sample_rate_hz: Sample rate.
        bands_hz: Lower and upper border of each band.
        window_s: Length of the analysis window: the longer, the narrower a band can be.

    Returns:
        Sound of the same shape. Outside the bands, and the blur of two bins around them, nothing changes.

    Example:
        >>> time_s = torch.arange(16_000) / 16_000
        >>> noise = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
        >>> left = lower_bands(noise + torch.sin(2 * torch.pi * 1000 * time_s), 16_000, [(900, 1100)])
        >>> round(float(left.std()), 1), bool((lower_bands(noise, 16_000, [(900, 1100)]) - noise).std() < 0.01)
        (0.1, True)
    """
    stft = _transform(window_s, sample_rate_hz)
    transform = stft(_ending(waveform, stft))
    power = transform.abs().square()
    floor = _floor(power)
    gain = torch.ones_like(power)
    for low_hz, high_hz in bands_hz:
        low = max(0, math.floor(low_hz / stft.bin_hz))
        high = min(len(power), math.ceil(high_hz / stft.bin_hz) + 1)
        if low >= high:
            continue
        expected = _between(power, floor, low, high)
        lowered = torch.minimum(_lowered(power[low:high], expected), _without_steady(power[low:high], expected))
        gain[low:high] = torch.minimum(gain[low:high], lowered)
    if bool((gain == 1).all()):
        return waveform.clone()
    # The difference is transformed back, so that a sound without a cue stays exactly as it is.
    return waveform - stft.inverse(transform * (1 - gain), waveform.numel())


def _between(power: Tensor, floor: Tensor, low: int, high: int) -> Tensor:
    """Return the power that the neighbours of a band suggest for its bins, shape (high - low, time)."""
    # Two bins on each side are left out: the main lobe of a tone at the border reaches into them.
    #   lower guard . . | band | . . upper guard
    guard, gap = max(4, (high - low) // 2), 2
    below = power[max(0, low - gap - guard) : max(0, low - gap)]
    above = power[high + gap : high + gap + guard]
    sides = [(side + floor).log().mean(0) for side in (below, above) if len(side)]
    if not sides:
        return torch.full_like(power[low:high], math.inf)  # the band is all there is
    if len(sides) == 1:
        return _BIAS * sides[0].exp().expand(high - low, -1)
    share = torch.linspace(0, 1, high - low, device=power.device)[:, None]
    return _BIAS * torch.lerp(sides[0].expand(high - low, -1), sides[1].expand(high - low, -1), share).exp()


def _lowered(power: Tensor, expected: Tensor) -> Tensor:
    """Return the gain that lowers the bins that stand out to what is expected."""
    ratio = (expected / power.clamp(min=1e-30)).clamp(max=1.0).sqrt()
    return torch.where(power > STANDS_OUT * expected, ratio, torch.ones_like(power))


def _without_steady(power: Tensor, expected: Tensor) -> Tensor:
    """Return the gain that takes out what sounds all the time, in loud moments of the clip too.

    A tone or a hiss stands out plainly while the rest is quiet, and hardly while it is loud. Its power in the
    quietest quarter of the time is subtracted everywhere. What comes and goes has none there, and stays.

    Args:
        power: Power of the bins of a band, shape (bins, time).
        expected: What is expected of them, same shape.
    """
    quiet = power.sum(0).argsort()[: max(1, power.shape[1] // 4)]
    means = torch.stack([power[:, quiet].mean(1), expected[:, quiet].mean(1)])
    # smooth over frequency, because a mean of few moments of noise is still uneven
    half = _SMOOTH_BINS // 2
    [heard, usual] = functional.avg_pool1d(means, _SMOOTH_BINS, 1, half, count_include_pad=False)
    steady = torch.where(heard > _RISE * usual, (means[0] - means[1]).clamp(min=0), torch.zeros_like(heard))
    # gain^2 = 1 - steady / power, but no bin falls below what is expected of it
    power = power.clamp(min=1e-30)
    least = (expected / power).clamp(max=1)
    return (1 - steady[:, None] / power).maximum(least).sqrt()


def lower_segment(waveform: Tensor, sample_rate_hz: int, start_s: float, end_s: float) -> Tensor:
    """Lower what stands out in a part of the clip to the level of the sound before and after it.

    Args:
        waveform: Sound, shape (samples,).
        sample_rate_hz: Sample rate.
        start_s: Begin of the part.
        end_s: End of the part.

    Returns:
        Sound of the same shape; outside the part nothing changes.
    """
    stft = _transform(_SEGMENT_S, sample_rate_hz)
    transform = stft(_ending(waveform, stft))
    power = transform.abs().square()
    log_power = (power + _floor(power)).log()
    frame_s = stft.hop / sample_rate_hz
    frames = power.shape[-1]
    low, high = max(0, math.floor(start_s / frame_s) - 1), min(frames, math.ceil(end_s / frame_s) + 2)
    # neighbours as long as the part, but a quarter of a second at least
    reach, gap = max(math.ceil(0.25 / frame_s), high - low), 2
    before = log_power[:, max(0, low - gap - reach) : max(0, low - gap)]
    after = log_power[:, high + gap : high + gap + reach]
    sides = [side.mean(1, keepdim=True) for side in (before, after) if side.shape[1]]
    if not sides or low >= high:
        return waveform.clone()
    expected = _BIAS * torch.stack(sides).mean(0).exp()
    gain = torch.ones_like(power)
    gain[:, low:high] = _lowered(power[:, low:high], expected)
    removed = stft.inverse(transform * (1 - gain), waveform.numel())
    return waveform - within(removed, sample_rate_hz, start_s, end_s)


def lower_clicks(waveform: Tensor, sample_rate_hz: int) -> Tensor:
    """Lower clicks, sounds of a few milliseconds over a wide range of frequencies, to the sound around them.

    Args:
        waveform: Sound, shape (samples,).
        sample_rate_hz: Sample rate.
    """
    stft = _transform(_SHORT_S, sample_rate_hz)
    transform = stft(_ending(waveform, stft))
    power = transform.abs().square()
    log_power = (power + _floor(power)).log()
    frame_s = stft.hop / sample_rate_hz
    reach, gap = max(2, round(_CLICK_REACH_S / frame_s)), max(1, round(_CLICK_GAP_S / frame_s))
    frames = power.shape[-1]
    if frames < 2 * (reach + gap):  # too short to have a neighbourhood
        return waveform.clone()
    # The louder side counts: at the begin or end of a longer sound it is that sound, so that no onset is lowered.
    mean = functional.avg_pool1d(log_power, reach, stride=1)
    silence = log_power.new_full((len(log_power), reach + gap - 1), float(log_power.min()))
    #   before: mean of t - gap - reach + 1 ... t - gap;  after: mean of t + gap ... t + gap + reach - 1
    before = torch.cat([silence, mean], 1)[:, :frames]
    after = torch.cat([mean, silence], 1)[:, -frames:]
    expected = _BIAS * torch.maximum(before, after).exp()
    wide = (power > 1.5 * STANDS_OUT * expected).float().mean(0) >= _CLICK_SHARE
    gain = torch.where(wide[None], (expected / power.clamp(min=1e-30)).clamp(max=1.0).sqrt(), 1.0)
    if not bool(wide.any()):
        return waveform.clone()
    return waveform - stft.inverse(transform * (1 - gain), waveform.numel())


def within(waveform: Tensor, sample_rate_hz: int, start_s: float, end_s: float) -> Tensor:
    """Return a sound that is silent outside a part of the clip, with fades of 10 ms inside it.

    Example:
        >>> within(torch.ones(1000), 1000, 0.2, 0.5)[[100, 300, 600]]
        tensor([0., 1., 0.])
    """
    time_s = (torch.arange(waveform.numel(), device=waveform.device) + 0.5) / sample_rate_hz
    length_s = waveform.numel() / sample_rate_hz
    # no fade at the begin and at the end of the clip, where a cue may lie
    rise = torch.ones_like(time_s) if start_s <= 0 else ((time_s - start_s) / _FADE_S).clamp(0, 1)
    fall = torch.ones_like(time_s) if end_s >= length_s else ((end_s - time_s) / _FADE_S).clamp(0, 1)
    return waveform * rise * fall


def filtered(waveform: Tensor, response: Tensor) -> Tensor:
    """Return a sound after a filter of zero phase.

    Args:
        waveform: Sound, shape (samples,).
        response: Gain at frequencies from 0 to half the sample rate, evenly spaced, shape (points,).
    """
    padded = 2 ** math.ceil(math.log2(waveform.numel() + 4096))
    bins = padded // 2 + 1
    gain = functional.interpolate(response[None, None], bins, mode="linear", align_corners=True)[0, 0]
    sound: Tensor = torch.fft.irfft(torch.fft.rfft(waveform, padded) * gain, padded)
    return sound[: waveform.numel()]


def edge_response(sample_rate_hz: int, edge_hz: float, low_pass: bool, order: int = 24) -> Tensor:
    """Return the gain of a steep low-pass or high-pass filter, shape (8193,)."""
    hz = torch.linspace(0, sample_rate_hz / 2, 8193, dtype=torch.float64)
    ratio = hz / edge_hz if low_pass else edge_hz / hz.clamp(min=1e-3)
    return (1 + ratio.clamp(max=1e3) ** (2 * order)).rsqrt().float()


def shifted(waveform: Tensor, sample_rate_hz: int, by_hz: float) -> Tensor:
    """Return a sound whose frequencies are moved by a number of Hz; its energy, envelope and width stay.

    What would fall below 0 Hz or beyond half the sample rate is moved back to the other end.
    """
    spectrum = torch.fft.rfft(waveform)
    moved = torch.roll(spectrum, round(by_hz * waveform.numel() / sample_rate_hz))
    sound: Tensor = torch.fft.irfft(moved, waveform.numel())
    return sound


def scrambled(waveform: Tensor, seed: int = 0) -> Tensor:
    """Return a sound of the same spectrum whose phases are random: clicks become a steady noise."""
    spectrum = torch.fft.rfft(waveform)
    generator = torch.Generator().manual_seed(seed)
    phase = 2 * torch.pi * torch.rand(spectrum.shape, generator=generator).to(waveform.device)
    sound: Tensor = torch.fft.irfft(torch.polar(spectrum.abs(), phase), waveform.numel())
    return sound


def fitted(waveform: Tensor, samples: int, at_end: bool = False) -> Tensor:
    """Return a sound of another length: cut, or with silence added; aligned with the begin or with the end."""
    missing = samples - waveform.numel()
    if missing >= 0:
        return functional.pad(waveform, (missing, 0) if at_end else (0, missing))
    return waveform[-samples:] if at_end else waveform[:samples]


def repeated(waveform: Tensor, samples: int) -> Tensor:
    """Return a steady sound of another length: cut, or repeated."""
    return waveform.repeat(-(-samples // waveform.numel()))[:samples]


def relative_level_db(part: Tensor, rest: Tensor, sample_rate_hz: int) -> float:
    """Return the level of a part of a sound over that of the rest, while each sounds; -120 for silence."""
    levels = [active_level(sound, sample_rate_hz) for sound in (part, rest)]
    return max(-120.0, 20 * math.log10(max(levels[0], 1e-12) / max(levels[1], 1e-12)))


def side_effect_db(
    before: Tensor,
    after: Tensor,
    sample_rate_hz: int,
    bands_hz: Sequence[tuple[float, float]],
    span_s: tuple[float, float] | None,
    is_brief: bool = False,
) -> float | None:
    """Return the largest change of level outside the cue: in frequency, in time, or between its events.

    Args:
        before: Sound, shape (samples,).
        after: The sound without the cue.
        sample_rate_hz: Sample rate.
        bands_hz: Bands of the cue; none if it is not limited in frequency.
        span_s: Begin and end of the cue; None if it is not limited in time.
        is_brief: Whether the cue sounds only now and then, as clicks do: outside are the moments from which the
            removal takes less than a hundredth of the power.

    Returns:
        Change in dB, 0 or larger. Third octaves and frames more than 60 dB below the loudest one do not count. None
        if nothing is outside.
    """
    if span_s is None and not bands_hz and not is_brief:
        return None
    changes = [0.0]
    if span_s is not None:
        frame = max(1, round(0.05 * sample_rate_hz))
        levels = [frame_power(sound, frame) for sound in (before, after)]
        begins_s = torch.arange(len(levels[0])) * frame / sample_rate_hz
        outside = (begins_s + 0.05 < span_s[0]) | (begins_s > span_s[1])
        changes.append(_largest_change(levels[0][outside], levels[1][outside]))
    if bands_hz:
        # A band that touches one of the cue's, with the blur of its window, is not outside.
        apart = [
            (low, high)
            for low, high in _third_octaves(sample_rate_hz)
            if all(high < cue_low / 1.02 - 16 or low > cue_high * 1.02 + 16 for cue_low, cue_high in bands_hz)
        ]
        # a window, without which a loud tone in the band would leak into all others
        window = torch.hann_window(before.numel())
        spectra = [torch.fft.rfft(sound * window).abs().square() for sound in (before, after)]
        changes.append(_largest_change(*(_in_bands(spectrum, apart, sample_rate_hz) for spectrum in spectra)))
    if is_brief:
        stft = _transform(_SHORT_S, sample_rate_hz)
        powers = [stft(sound).abs().square() for sound in (before, after)]
        removed = stft(before - after).abs().square().sum(0)
        # what is removed reaches into the frames beside it
        touched = (removed > 0.01 * powers[0].sum(0)).float()
        outside = functional.max_pool1d(touched[None], 3, 1, 1)[0] == 0
        if not bool(outside.any()):
            return None
        bands = _third_octaves(sample_rate_hz)
        changes.append(
            _largest_change(*(_in_bands(power[:, outside].sum(1), bands, sample_rate_hz) for power in powers))
        )
    return max(changes)


def _third_octaves(sample_rate_hz: int) -> list[tuple[float, float]]:
    """Return the borders of third octaves from 22 Hz to half the sample rate."""
    centres = [25.0 * 2 ** (index / 3) for index in range(40)]
    return [(hz * 2 ** (-1 / 6), hz * 2 ** (1 / 6)) for hz in centres if hz * 1.13 < sample_rate_hz / 2]


def _in_bands(power: Tensor, bands_hz: Sequence[tuple[float, float]], sample_rate_hz: int) -> Tensor:
    """Return the power in bands, shape (bands, ...); those without a bin are left out.

    Args:
        power: Power at frequencies from 0 to half the sample rate, shape (bins, ...).
        bands_hz: Borders of the bands.
        sample_rate_hz: Sample rate.
    """
    hz = torch.linspace(0, sample_rate_hz / 2, len(power))
    masks = [(hz >= low) & (hz < high) for low, high in bands_hz]
    sums = [power[mask].sum(0) for mask in masks if bool(mask.any())]
    return torch.stack(sums) if sums else power[:0]


def frame_power(waveform: Tensor, frame: int) -> Tensor:
    padded = functional.pad(waveform, (0, -waveform.numel() % frame))
    return padded.reshape(-1, frame).square().mean(1)


def _largest_change(before: Tensor, after: Tensor) -> float:
    if not before.numel():
        return 0.0
    loud = before > 1e-6 * before.max()
    if not bool(loud.any()):
        return 0.0
    return float((10 * (after[loud].clamp(min=1e-30) / before[loud]).log10()).abs().max())


def _floor(power: Tensor) -> Tensor:
    return _QUIETEST * power.amax().clamp(min=1e-20)


def _ending(waveform: Tensor, stft: _Transform) -> Tensor:
    """Return the sound with zeros up to a whole number of hops, so that the last samples can be inverted."""
    return functional.pad(waveform, (0, -waveform.numel() % stft.hop))
