"""Sounds for a player: aligned after decoding, at their level, small."""

from io import BytesIO

import numpy as np
import pytest
import soundfile

from otoscope.player import encode_sound


def decoded(sound):
    samples, rate_hz = soundfile.read(BytesIO(sound.data), dtype="float32")
    return sound.gain * samples, rate_hz


def lag(first, second):
    """Return the shift with the largest correlation, in samples."""
    size = 2 * len(first)
    spectra = np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size))
    position = int(np.fft.irfft(spectra, size).argmax())
    return position - size if position > size // 2 else position


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("begin", [0.0, 0.4])
def test_codec_neither_shifts_nor_shortens(rate_hz, begin):
    noise = np.random.default_rng(0).standard_normal(rate_hz).astype(np.float32)
    noise[: int(begin * rate_hz)] = 0
    samples, result_rate_hz = decoded(encode_sound(noise, rate_hz))
    assert (result_rate_hz, len(samples)) == (rate_hz, rate_hz)
    assert lag(samples, noise) == 0


@pytest.mark.parametrize("level", [1.0, 1e-3, 1e-6])
def test_quiet_sounds_keep_level_and_quality(level):
    time = np.arange(16_000) / 16_000
    tone = level * np.sin(2 * np.pi * 440 * time).astype(np.float32)
    samples, _ = decoded(encode_sound(tone, 16_000))
    error = np.sqrt(np.mean((samples - tone) ** 2)) / np.sqrt(np.mean(tone**2))
    assert error < 0.1


def test_equal_gain_makes_the_evidence_as_loud_as_its_recording():
    tone = np.sin(np.arange(16_000) * 0.3).astype(np.float32)
    sound = encode_sound(0.05 * tone, 16_000, reference=0.5 * tone)
    assert sound.equal_gain == pytest.approx(10, rel=0.01)
    assert encode_sound(np.zeros(100), 16_000, reference=tone).equal_gain == 1


@pytest.mark.parametrize(("rate_hz", "expected_hz"), [(4_000, 8_000), (250_000, 48_000)])
def test_rates_that_browsers_do_not_play_are_resampled(rate_hz, expected_hz):
    samples, result_rate_hz = decoded(encode_sound(np.ones(rate_hz // 2, np.float32), rate_hz))
    assert result_rate_hz == expected_hz
    assert len(samples) == pytest.approx(expected_hz / 2, abs=2)


@pytest.mark.parametrize("samples", [0, 1, 200_000])
def test_sounds_of_any_length_are_encoded(samples):
    result, _ = decoded(encode_sound(np.full(samples, 0.5, np.float32), 16_000))
    assert len(result) == max(samples, 1)


def test_five_seconds_of_noise_take_less_than_40_kilobytes():
    noise = np.random.default_rng(0).standard_normal(80_000)
    assert len(encode_sound(noise, 16_000).data) < 40_000
