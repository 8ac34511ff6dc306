"""Copies for listening are as loud as the recording, and never clipped."""

import math

import pytest
import torch

from otoscope.audio import levelled, load_audio, save_audio
from otoscope.audio.level import LARGEST_GAIN_DB, active_level


def noise(samples=16_000, seed=0):
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed)).clamp(-3, 3)


def test_a_scaled_copy_gets_its_level_back():
    waveform = noise()
    assert torch.allclose(levelled(0.03 * waveform, waveform), waveform, atol=1e-6)
    assert torch.allclose(levelled(3 * waveform, waveform), waveform, atol=1e-6)


def test_silence_between_events_does_not_count():
    """Two bursts in five seconds are as loud as five seconds of the same noise."""
    waveform = noise(80_000)
    bursts = torch.zeros(80_000)
    for start in (16_000, 48_000):
        bursts[start : start + 8_000] = 0.1 * waveform[start : start + 8_000]
    gain = levelled(bursts, waveform)[16_000:24_000].norm() / bursts[16_000:24_000].norm()
    assert 20 * math.log10(gain) == pytest.approx(20, abs=0.5)


def test_no_sample_beyond_full_scale():
    click = torch.zeros(16_000)
    click[100] = 0.3
    result = levelled(click, 0.5 * torch.ones(16_000))
    # The gain that equal loudness would need, about 36 dB, exceeds what the peak leaves.
    assert result[100] == 1
    assert result.count_nonzero() == 1
    assert levelled(torch.tensor([2.0, -4.0]), torch.zeros(5)).tolist() == [0.5, -1]


def test_rounding_noise_is_not_raised_beyond_the_largest_gain():
    quiet = 1e-6 * noise()
    assert torch.allclose(levelled(quiet, noise()), quiet * 10 ** (LARGEST_GAIN_DB / 20))


@pytest.mark.parametrize("reference", [torch.zeros(100), noise()])
def test_silence_remains_silent(reference):
    assert levelled(torch.zeros(500), reference).tolist() == [0] * 500


def test_a_silent_reference_changes_nothing():
    assert torch.equal(levelled(noise(), torch.zeros(100)), noise())


@pytest.mark.parametrize("samples", [1, 7, 1_599, 1_601])
def test_clips_shorter_than_a_window(samples):
    waveform = noise()[:samples] + 0.01
    assert torch.allclose(levelled(0.5 * waveform, waveform), waveform, atol=1e-6)


def test_the_smallest_floats_have_a_level():
    assert active_level(torch.full((5,), 1e-38)) == pytest.approx(1e-38, rel=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_peaks_at_full_scale_survive_flac(tmp_path, seed):
    """A gain of 1 / peak can round to a sample just above 1, which flac cannot hold."""
    waveform = noise(3_000, seed)
    path = save_audio(tmp_path / "a.flac", levelled(waveform, torch.ones(3_000)))
    assert load_audio(path).abs().max() == pytest.approx(1, abs=1e-6)


def test_the_last_samples_count():
    waveform = torch.zeros(1_999)
    waveform[-1] = 0.5
    assert active_level(waveform) == pytest.approx(0.5 / 40)
