"""Augmentations: what each changes, what stays unchanged, and their random numbers."""

import pytest
import torch

from otoscope.training.augmentation import (
    add_silence,
    change_speed,
    drop_bands,
    mix_up,
    shift_in_time,
    sounds_of_no_class,
)


def test_each_clip_is_rotated_by_its_own_shift():
    waveform = torch.arange(300.0).reshape(3, 100)
    shifted = shift_in_time(waveform)
    starts = []
    for clip, rotated in zip(waveform, shifted, strict=True):
        start = int(rotated[0] - clip[0])
        assert torch.equal(rotated, clip.roll(-start))
        starts.append(start)
    assert len(set(starts)) > 1


@pytest.mark.parametrize("dim", [1, 2])
def test_bands_are_dropped_whole_along_one_dimension(dim):
    spectrogram = 1 + torch.rand(40, 50, 60)
    before = spectrogram.clone()
    dropped = drop_bands(spectrogram, count=1, widest=0.2, dim=dim)
    assert torch.equal(spectrogram, before)
    silent = dropped == 0
    assert torch.equal(dropped[~silent], spectrogram[~silent])
    profile = silent.all(3 - dim)
    assert torch.equal(profile.unsqueeze(3 - dim).expand_as(silent), silent)  # only whole bands are silent
    widths = profile.sum(1)
    assert widths.max() <= 0.2 * spectrogram.shape[dim] + 1
    assert len(widths.unique()) > 3
    for dropped_positions in profile:  # a single band has at most two edges
        assert dropped_positions.int().diff().abs().sum() <= 2


def test_every_position_can_be_dropped():
    profile = (drop_bands(torch.ones(2000, 10, 4), count=1, widest=0.5, dim=1) == 0).all(2)
    assert profile.any(0)[1:].all()  # the first position is dropped only by bands that start there


def test_several_bands():
    dropped = drop_bands(torch.ones(500, 100, 2), count=3, widest=0.1, dim=1)[:, :, 0]
    edges = dropped.diff(dim=1).abs().sum(1)
    assert edges.max() >= 5
    assert (dropped == 0).sum(1).max() <= 33
    assert torch.equal(drop_bands(torch.ones(2, 9, 9), count=2, widest=0.0, dim=2), torch.ones(2, 9, 9))


def test_mixtures_are_weighted_sums_of_two_clips():
    waveform = torch.randn(64, 30)
    mixed, partner, share = mix_up(waveform, alpha=0.4)
    assert sorted(partner.tolist()) == list(range(64))
    assert share.shape == (64,)
    assert 0.5 <= share.min() < 0.8
    assert 0.9 < share.max() <= 1  # a clip has a larger share than its partner
    expected = share[:, None] * waveform + (1 - share[:, None]) * waveform[partner]
    torch.testing.assert_close(mixed, expected)


def test_same_seed_gives_same_augmentations():
    def draw():
        torch.manual_seed(3)
        wave = torch.randn(4, 50)
        return shift_in_time(wave), drop_bands(wave[:, None], 2, 0.3, 2), mix_up(wave, 0.4)[0]

    torch.testing.assert_close(draw(), draw(), rtol=0, atol=0)


def test_sounds_of_no_class_are_coloured_noise_and_tones():
    sounds = sounds_of_no_class(41, 16_000, 16_000)
    assert sounds.shape == (41, 16_000)
    torch.testing.assert_close(sounds.abs().amax(1), torch.ones(41))
    power = torch.fft.rfft(sounds).abs().square()
    # the strongest bins hold the power of tones, but not that of noise over many bins
    concentration = power.topk(40).values.sum(1) / power.sum(1)
    assert (concentration[21:] > 0.8).all()
    # the slope of the noises: 0 to 6 dB from octave to octave
    octaves = torch.stack([power[:21, 500:1000].mean(1), power[:21, 1000:2000].mean(1)]).log10() * 10
    fall_db = octaves[0] - octaves[1]
    assert -1 < fall_db.min() < 1.5
    assert 4 < fall_db.max() < 7
    assert not torch.equal(sounds, sounds_of_no_class(41, 16_000, 16_000))
    assert sounds_of_no_class(1, 100, 16_000).shape == (1, 100)


def test_clips_are_played_faster_and_slower():
    tone = torch.sin(0.3 * torch.arange(2000.0)).repeat(40, 1)
    changed, lengths = change_speed(tone, torch.full((40,), 2000), 0.2)
    assert lengths.min() >= 2000 / 1.2 - 1
    assert lengths.max() <= 2000 / 0.8 + 1
    assert len(lengths.unique()) > 30
    for clip, length in zip(changed, lengths.tolist(), strict=True):
        assert not clip[length:].any()
        # the number of periods stays: 95 in 2000 samples
        crossings = (clip[: length - 1].sign() != clip[1:length].sign()).sum().item()
        assert abs(crossings - 191) <= 1


def test_silence_is_added_on_both_sides():
    clips = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]]).repeat(50, 1)
    longer, lengths = add_silence(clips, torch.tensor([3, 1]).repeat(50), 5)
    assert torch.equal(longer.sum(1), clips.sum(1))
    starts = (longer > 0).float().argmax(1)
    assert starts.min() == 0
    assert starts.max() == 5
    ends = lengths - starts - torch.tensor([3, 1]).repeat(50)
    assert ends.min() == 0
    assert ends.max() == 5
