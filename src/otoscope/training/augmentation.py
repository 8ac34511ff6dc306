"""Augmentations for the training of classifiers, on whole batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.audio import peak_normalize


def shift_in_time(waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Rotate each clip by a random number of samples.

    Args:
        waveform: Waveforms of the clips, shape (batch, samples).
        lengths: Number of samples of each clip, where a batch was padded; the padding stays. Shape (batch,).

    Returns:
        Rotated waveforms, same shape; samples that leave at the start come back at the end.
    """
    samples = waveform.shape[-1]
    shifts = torch.randint(samples, (len(waveform), 1), device=waveform.device)[:, 0].tolist()
    # Clip by clip, because torch.roll takes the same shift for a whole batch; a gather takes ten times as long.
    if lengths is None:
        return torch.stack([clip.roll(-shift) for clip, shift in zip(waveform, shifts, strict=True)])
    rotated = torch.zeros_like(waveform)
    for row, (shift, length) in enumerate(zip(shifts, lengths.tolist(), strict=True)):
        rotated[row, :length] = waveform[row, :length].roll(-shift)
    return rotated


def change_speed(waveform: Tensor, lengths: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """Play each clip faster or slower at random, which changes its pitch too.

    Args:
        waveform: Waveforms of the clips, zero-padded at the end. Shape (batch, samples).
        lengths: Number of samples of each clip. Shape (batch,).
        largest: Largest relative change, in [0, 1); speeds are uniform in [1 - largest, 1 + largest].

    Returns:
        Waveforms, zero-padded at the end, and the new number of samples of each.

    Reference:
        Ko et al. 2015, Audio augmentation for speech recognition, Interspeech.
    """
    speeds = 1 + largest * (2 * torch.rand(len(waveform)) - 1)
    changed = (lengths.cpu() / speeds).round().long().clamp(min=1)
    # Linear interpolation suffices: what it attenuates near half the sample rate is another augmentation.
    clips = [
        F.interpolate(clip[None, None, :length], size=size, mode="linear", align_corners=False)[0, 0]
        for clip, length, size in zip(waveform, lengths.tolist(), changed.tolist(), strict=True)
    ]
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), changed.to(lengths)


def add_silence(waveform: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Add silence of random length before and after each clip.

    Args:
        waveform: Waveforms of the clips, zero-padded at the end. Shape (batch, samples).
        lengths: Number of samples of each clip. Shape (batch,).
        longest: Longest silence, in samples.

    Returns:
        Waveforms, zero-padded at the end, and the new number of samples of each.
    """
    before, after = torch.randint(longest + 1, (2, len(waveform))).tolist()
    rows = zip(waveform, lengths.tolist(), before, after, strict=True)
    clips = [F.pad(clip[:length], (start, end)) for clip, length, start, end in rows]
    silence = torch.tensor([start + end for start, end in zip(before, after, strict=True)])
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths + silence.to(lengths)


def drop_bands(log_magnitude: Tensor, count: int, widest: float, dim: int) -> Tensor:
    """Silence random bands of frequency (``dim`` 1) or chunks of time (``dim`` 2) of each clip.

    Args:
        log_magnitude: Log magnitude of the clips, shape (batch, frequency, time).
        count: Number of bands per clip; each has a random width, from nothing up to the widest.
        widest: Width of the widest band, as a share of the whole range.
        dim: Dimension along which bands are dropped: 1 for frequency, 2 for time.

    Returns:
        Log magnitude with zeros in the bands, same shape.

    Reference:
        Park et al. 2019, SpecAugment, arXiv 1904.08779. The published recipe of the classifiers drops frequencies
        and chunks of the waveform instead.
    """
    size = log_magnitude.shape[dim]
    shape = (len(log_magnitude), count, 1)
    width = torch.rand(shape, device=log_magnitude.device) * widest * size
    # uniform over the starts from which the whole band fits
    start = (torch.rand(shape, device=log_magnitude.device) * (size - width + 1)).floor()
    position = torch.arange(size, device=log_magnitude.device)
    # (batch, count, size) -> (batch, size): a position is dropped if any of the clip's bands covers it
    dropped = ((position >= start) & (position < start + width)).any(1)
    return log_magnitude.masked_fill(dropped.unsqueeze(3 - dim), 0)


def sounds_of_no_class(count: int, samples: int, sample_rate_hz: int) -> Tensor:
    """Generate coloured noise and tones at random, at a peak of 1.

    Half of them, rounded up, are noise whose power falls by 0 (white) to 6 dB (brown) per octave. The others are
    tones of one to four frequencies between 60 Hz and half the sample rate, over white noise at -20 dB or less.

    Args:
        count: Number of sounds.
        samples: Length of each.
        sample_rate_hz: Sample rate.

    Returns:
        Waveforms, shape (count, samples).
    """
    white = torch.randn(count, samples)
    noises = (count + 1) // 2
    # Amplitude falls as f^-u with u in [0, 1], and power as f^-2u. The bin of 0 Hz is set to zero.
    bins = torch.arange(samples // 2 + 1).clamp(min=1)
    envelope = bins ** (-torch.rand(noises, 1))
    envelope[:, 0] = 0
    coloured = torch.fft.irfft(torch.fft.rfft(white[:noises]) * envelope, samples)
    # Frequencies are uniform in octaves. Tones that a sound lacks get the amplitude 0; the first one always sounds.
    tones, seconds = count - noises, torch.arange(samples) / sample_rate_hz
    octaves = torch.log2(torch.tensor(sample_rate_hz / 2 / 60)) * torch.rand(tones, 4, 1)
    sounding = torch.arange(4)[:, None] <= torch.randint(4, (tones, 1, 1))
    amplitudes = torch.rand(tones, 4, 1).add(0.1) * sounding
    phases = 2 * torch.pi * torch.rand(tones, 4, 1)
    tone = (amplitudes * (2 * torch.pi * 60 * 2**octaves * seconds + phases).sin()).sum(1)
    tone = tone / tone.square().mean(-1, keepdim=True).sqrt() + 0.1 * torch.rand(tones, 1) * white[noises:]
    return peak_normalize(torch.cat([coloured, tone]))


def mix_up(waveform: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each clip with another clip of the batch.

    Args:
        waveform: Waveforms of the clips, shape (batch, samples).
        alpha: Parameter of the beta distribution that the shares are drawn from; small values mix little.

    Returns:
        The mixtures, the index of each clip's partner, and the clip's share of its mixture, at least 0.5.
        Shapes (batch, samples), (batch,), (batch,).

    Reference:
        Zhang et al. 2018, mixup, arXiv 1710.09412.
    """
    share = torch.distributions.Beta(alpha, alpha).sample((len(waveform),)).to(waveform)
    # The distribution is symmetric, so shares s and 1 - s are equally likely. With the larger of the two, the label
    # of the clip is the main label of its mixture, and the training accuracy can be measured against it.
    share = torch.maximum(share, 1 - share)
    partner = torch.randperm(len(waveform), device=waveform.device)
    mixed = share[:, None] * waveform + (1 - share[:, None]) * waveform[partner]
    return mixed, partner, share
