import math

import numpy as np
import pytest
import torch

from otoscope.audio import Frontend, MelBank, mel_filters


def slow_mel_filters(n_mels, bins, sample_rate_hz):
    """Compute the bank of `mel_filters` one weight at a time, as an oracle."""
    nyquist_hz = sample_rate_hz / 2
    top = 2595 * math.log10(1 + nyquist_hz / 700)

    def corner_hz(position):
        return 700 * (10 ** (top * position / (n_mels + 1) / 2595) - 1)

    weights = np.zeros((n_mels, bins))
    for mel in range(n_mels):
        center_hz = corner_hz(mel + 1)
        half_width_hz = center_hz - corner_hz(mel)
        for position in range(bins):
            distance_hz = abs(nyquist_hz * position / (bins - 1) - center_hz)
            weights[mel, position] = max(0, 1 - distance_hz / half_width_hz)
    return weights


@pytest.mark.parametrize(("n_mels", "bins", "rate_hz"), [(80, 513, 16_000), (64, 513, 32_000), (8, 33, 8_000)])
def test_weights_equal_those_of_the_slow_oracle(n_mels, bins, rate_hz):
    expected = slow_mel_filters(n_mels, bins, rate_hz)
    np.testing.assert_allclose(mel_filters(n_mels, bins, rate_hz), expected, atol=2e-4)


def test_defaults_are_the_published_ones():
    assert torch.equal(mel_filters(), mel_filters(80, 513, 16_000))


def test_every_filter_has_large_weights():
    filters = mel_filters()
    assert (filters.amax(1) > 0.4).all()
    assert ((filters >= 0) & (filters <= 1)).all()


def test_filters_are_symmetric_in_hertz():
    frequency_hz = torch.linspace(0, 8_000, 16_001)  # half a hertz
    for weights in mel_filters(20, 16_001)[3:-3]:
        heard_hz = frequency_hz[weights > 0]
        peak_hz = frequency_hz[weights.argmax()]
        assert heard_hz[-1] - peak_hz == pytest.approx(peak_hz - heard_hz[0], abs=1.5)


def test_bank_sums_each_frame_on_its_own():
    magnitude = torch.rand(2, 513, 7)
    expected = np.einsum("mf,bft->bmt", slow_mel_filters(80, 513, 16_000), magnitude.double().numpy())
    np.testing.assert_allclose(MelBank()(magnitude), expected, rtol=1e-3, atol=2e-3)


def test_bank_keeps_nothing_in_a_checkpoint():
    assert MelBank(8, 33).state_dict() == {}


@pytest.mark.parametrize("frequency_hz", [200, 1_000, 5_000])
def test_a_tone_is_loudest_in_the_filter_around_it(frequency_hz):
    tone = torch.sin(2 * torch.pi * frequency_hz * torch.arange(8_000) / 16_000)
    energy = MelBank()(Frontend()(tone[None]).magnitude)[0, :, 20]
    center_mel = 2595 * math.log10(1 + frequency_hz / 700)
    top = 2595 * math.log10(1 + 8_000 / 700)
    assert abs(energy.argmax().item() - (center_mel / top * 81 - 1)) <= 1.5


@pytest.mark.parametrize(("n_mels", "bins"), [(64, 513), (2, 5), (40, 33)])
def test_the_bank_equals_the_product_with_its_filters(n_mels, bins):
    bank, magnitude = MelBank(n_mels, bins), torch.rand(2, bins, 7)
    assert torch.allclose(bank(magnitude), bank.filters @ magnitude, rtol=1e-5, atol=1e-6)


def test_the_bank_stays_in_single_precision_under_autocast():
    bank, magnitude = MelBank(), torch.rand(2, 513, 7)
    with torch.autocast("cpu", torch.bfloat16):
        inside = bank(magnitude)
    assert torch.equal(inside, bank(magnitude))
