"""The front-end: transform and inverse, sizes, padding, gradients, parameters; peak normalisation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otoscope.audio import Frontend, peak_normalize
from otoscope.errors import ConfigurationError, PhaseError, ShapeError

SMALL = {"sample_rate_hz": 8_000, "n_fft": 64, "window_ms": 6.0, "hop_ms": 2.5}
LENGTHS = [1, 2, 100, 185, 186, 187, 371, 372, 373, 1024, 5_399, 16_000, 52_345, 80_000]


def slow_stft(waveform, n_fft=1024, window_length=372, hop=186):
    """Compute the transform of `Frontend` frame by frame in float64. Complex, shape (bins, frames)."""
    samples = np.asarray(waveform, np.float64)
    samples = np.pad(samples, (0, max(0, window_length - len(samples))))
    n = np.arange(window_length)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * n / window_length)
    offset = (n_fft - window_length) // 2
    kernel = np.exp(-2j * np.pi * np.arange(n_fft // 2 + 1)[:, None] * (n + offset) / n_fft)
    frames = []
    for center in range(0, len(samples) + 1, hop):
        index = center - n_fft // 2 + offset + n
        inside = (index >= 0) & (index < len(samples))
        frames.append(kernel @ (window * np.where(inside, samples[np.where(inside, index, 0)], 0)))
    return np.stack(frames, 1)


@pytest.mark.parametrize("length", [1, 186, 400, 2_000, 3_001])
def test_forward_agrees_with_a_plain_implementation(length):
    waveform = torch.randn(length)
    expected = slow_stft(waveform)
    spectrogram = Frontend()(waveform[None])
    magnitude = np.sqrt(np.abs(expected) ** 2 + 1e-14)
    np.testing.assert_allclose(spectrogram.log_magnitude[0], np.log1p(magnitude), atol=1e-5)
    complex_values = torch.polar(spectrogram.magnitude, spectrogram.phase)[0]
    np.testing.assert_allclose(complex_values, expected, atol=1e-4)


def test_other_parameters_agree_with_a_plain_implementation():
    waveform = torch.randn(333)
    magnitude = Frontend(**SMALL)(waveform[None]).magnitude[0]
    np.testing.assert_allclose(magnitude, np.abs(slow_stft(waveform, 64, 48, 20)), atol=1e-5)


def test_published_sizes():
    frontend = Frontend()
    spectrogram = frontend(torch.randn(1, 80_000))
    assert (frontend.window_length, frontend.hop_length, frontend.bins) == (372, 186, 513)
    assert spectrogram.log_magnitude.shape == spectrogram.phase.shape == (1, 513, 431)
    assert (spectrogram.length, spectrogram.frames) == (80_000, None)


def test_phase_can_be_left_out():
    frontend, waveform = Frontend(), torch.randn(1, 3_000)
    spectrogram = frontend(waveform, with_phase=False)
    assert spectrogram.phase is None
    assert torch.equal(spectrogram.log_magnitude, frontend(waveform).log_magnitude)
    with pytest.raises(PhaseError, match=r"the inverse transform needs the phase .*frontend\(waveform\)"):
        frontend.inverse(spectrogram)


def test_silence_has_the_given_number_of_frames_and_a_phase():
    silence = Frontend().silence(7)
    assert silence.log_magnitude.shape == silence.phase.shape == (1, 513, 7)
    assert silence.log_magnitude.count_nonzero() == 0


@pytest.mark.parametrize("length", LENGTHS)
def test_mask_of_ones_reproduces_the_sound(length):
    frontend = Frontend()
    waveform = torch.rand(2, length) * 2 - 1
    spectrogram = frontend(waveform)
    sound = frontend.inverse(spectrogram.masked(torch.ones_like(spectrogram.log_magnitude)))
    torch.testing.assert_close(sound, waveform, rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    length=st.integers(1, 700),
    window=st.integers(4, 64),
    overlap=st.floats(0.5, 0.95),
    spare=st.integers(0, 30),
    scale=st.floats(0, 1),
)
def test_every_valid_frontend_reproduces_every_sound(length, window, overlap, spare, scale):
    hop = max(1, round(window * (1 - overlap)))
    n_fft = 2 * ((window + spare + 1) // 2)
    frontend = Frontend(1000, n_fft, window_ms=window, hop_ms=hop)
    waveform = scale * (torch.rand(1, length) * 2 - 1)
    torch.testing.assert_close(frontend.inverse(frontend(waveform)), waveform, rtol=0, atol=1e-5)


def test_mask_of_zeros_is_silent():
    frontend = Frontend()
    spectrogram = frontend(torch.randn(1, 3_000))
    assert frontend.inverse(spectrogram.masked(torch.zeros_like(spectrogram.phase))).abs().max() == 0


def test_without_a_length_the_sound_ends_with_the_last_hop():
    frontend = Frontend()
    spectrogram = frontend(torch.randn(1, 2_000))
    whole = frontend.inverse(spectrogram)
    spectrogram.length = None
    torch.testing.assert_close(frontend.inverse(spectrogram), whole[:, :1_860])


def test_a_band_of_the_mask_is_a_band_of_the_sound():
    frontend = Frontend()
    time_s = torch.arange(16_000) / 16_000
    low, high = torch.sin(2 * torch.pi * 500 * time_s), torch.sin(2 * torch.pi * 4_000 * time_s)
    spectrogram = frontend((low + high)[None])
    mask = torch.zeros_like(spectrogram.log_magnitude)
    mask[:, :128] = 1  # below 2 kHz
    sound = frontend.inverse(spectrogram.masked(mask))[0, 500:-500]
    torch.testing.assert_close(sound, low[500:-500], rtol=0, atol=0.02)


@pytest.mark.parametrize("options", [{}, SMALL])
def test_frames_predicts_the_number_of_frames(options):
    frontend = Frontend(**options)
    lengths = [1, 19, 20, 21, 185, 186, 187, 372, 373, 5_000]
    expected = [frontend(torch.zeros(1, length)).log_magnitude.shape[-1] for length in lengths]
    assert [frontend.frames(length) for length in lengths] == expected
    assert frontend.frames(torch.tensor(lengths)).tolist() == expected


def test_padded_clip_gets_the_same_result_as_alone(pad_sounds):
    frontend = Frontend()
    clips, batch, lengths = pad_sounds([5_000, 2_345, 372, 100, 1])
    spectrogram = frontend(batch, lengths)
    sounds = frontend.inverse(spectrogram)
    assert spectrogram.frames.tolist() == [27, 13, 3, 3, 3]
    for clip, row, frames, sound in zip(clips, spectrogram.log_magnitude, spectrogram.frames, sounds, strict=True):
        alone = frontend(clip[None]).log_magnitude[0]
        torch.testing.assert_close(row[:, :frames], alone, rtol=0, atol=1e-6)
        torch.testing.assert_close(sound[: len(clip)], clip, rtol=0, atol=1e-5)


def test_log_magnitude_alone_is_that_of_forward():
    frontend, waveform = Frontend(), torch.randn(2, 3_000)
    assert torch.equal(frontend.log_magnitude(waveform), frontend(waveform).log_magnitude)


@pytest.mark.parametrize("method", ["log_magnitude", "forward"])
@pytest.mark.parametrize("level", [0.0, 1e-20, 1.0])
def test_gradients_are_finite_even_in_silence(method, level):
    waveform = torch.full((1, 1_000), level, requires_grad=True)
    values = getattr(Frontend(), method)(waveform)
    values = values if isinstance(values, torch.Tensor) else values.log_magnitude
    values.sum().backward()
    assert values.isfinite().all()
    assert (values >= 0).all()
    assert waveform.grad.isfinite().all()


def test_gradient_reaches_the_mask_through_the_inverse_transform():
    frontend = Frontend(**SMALL)
    spectrogram = frontend(torch.randn(1, 300))
    mask = torch.rand_like(spectrogram.log_magnitude).requires_grad_()
    frontend.inverse(spectrogram.masked(mask)).square().sum().backward()
    assert mask.grad.isfinite().all()
    assert mask.grad.abs().max() > 0


def test_gradient_of_log_magnitude_agrees_with_differences():
    frontend = Frontend(**SMALL)
    waveform, direction = torch.randn(1, 120), torch.randn(1, 120)
    waveform.requires_grad_()
    weights = torch.randn_like(frontend.log_magnitude(waveform))
    (frontend.log_magnitude(waveform) * weights).sum().backward()
    with torch.no_grad():
        ahead, behind = (
            (frontend.log_magnitude(waveform + step * direction) * weights).sum() for step in (1e-2, -1e-2)
        )
    assert ((ahead - behind) / 2e-2).item() == pytest.approx((waveform.grad * direction).sum().item(), rel=0.02)


@pytest.mark.parametrize("options", [{}, SMALL])
def test_config_makes_the_same_frontend(options):
    frontend = Frontend(**options)
    copy = Frontend(**frontend.config)
    waveform = torch.randn(1, 900)
    assert copy.config == frontend.config
    assert torch.equal(copy.log_magnitude(waveform), frontend.log_magnitude(waveform))
    assert frontend.state_dict() == {}


@pytest.mark.parametrize("options", [{}, SMALL])
def test_the_same_parameters_make_the_same_spectrograms(options):
    assert Frontend(**options).same_as(Frontend(**options))


@pytest.mark.parametrize(
    "options",
    [{"sample_rate_hz": 44_100, "n_fft": 2048}, {"n_fft": 512}, {"window_ms": 30.0}, {"hop_ms": 10.0}],
    ids=str,
)
def test_other_parameters_make_other_spectrograms(options):
    default, other = Frontend(), Frontend(**options)
    assert not default.same_as(other)
    assert not other.same_as(default)
    assert default.describe() != other.describe()


def test_times_that_round_to_the_same_samples_are_the_same():
    """A dictionary that was made with 23.22 ms fits a classifier of 23.2199 ms."""
    default, rounded = Frontend(), Frontend(window_ms=23.22, hop_ms=11.61)
    waveform = torch.randn(1, 2_000)
    assert default.config != rounded.config
    assert default.same_as(rounded)
    assert default.describe() == rounded.describe()
    assert torch.equal(default.log_magnitude(waveform), rounded.log_magnitude(waveform))


def test_description_is_in_samples():
    assert Frontend(**SMALL).describe() == "8000 Hz, n_fft 64, window 48 samples, hop 20 samples"


@pytest.mark.parametrize("shape", [(100,), (1, 1, 100), (2, 0)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match=r"\(batch, samples\)"):
        Frontend()(torch.zeros(shape))
    with pytest.raises(ShapeError, match=r"\(batch, samples\)"):
        Frontend().log_magnitude(torch.zeros(shape))


@pytest.mark.parametrize(
    "options",
    [{"n_fft": 371}, {"hop_ms": 24.0}, {"hop_ms": 15.0}, {"hop_ms": 0.0}, {"hop_ms": -1.0}, {"window_ms": 0.0}],
)
def test_transforms_without_an_inverse_are_refused(options):
    with pytest.raises(ConfigurationError, match=r"frontend: .*hop_ms, window_ms or n_fft"):
        Frontend(**options)


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_default_times_suit_every_common_sample_rate(sample_rate_hz):
    frontend = Frontend(sample_rate_hz, n_fft=2048)
    waveform = torch.randn(1, 4 * frontend.hop_length - 1)
    torch.testing.assert_close(frontend.inverse(frontend(waveform)), waveform, rtol=0, atol=1e-5)


def test_peak_of_either_sign_becomes_one():
    waveform = torch.tensor([[0.25, -0.5], [0.1, 0.2], [-4.0, 1.0]])
    expected = torch.tensor([[0.5, -1.0], [0.5, 1.0], [-1.0, 0.25]])
    torch.testing.assert_close(peak_normalize(waveform), expected)
    torch.testing.assert_close(peak_normalize(waveform[0]), expected[0])


def test_silence_stays_silent_when_normalized():
    waveform = torch.zeros(2, 5, requires_grad=True)
    peak_normalize(waveform).sum().backward()
    assert peak_normalize(waveform).abs().max() == 0
    assert waveform.grad.isfinite().all()


def test_each_clip_is_normalized_by_itself():
    waveform = torch.randn(3, 50) * torch.tensor([[1e-6], [1.0], [1e3]])
    torch.testing.assert_close(peak_normalize(waveform).abs().amax(-1), torch.ones(3))


@pytest.mark.parametrize(
    ("options", "samples"),
    [({}, 5000), ({}, 100), ({"n_fft": 401, "window_ms": 25, "hop_ms": 10}, 4321), ({"hop_ms": 7.3}, 6000)],
)
def test_the_inverse_transform_equals_that_of_pytorch(options, samples):
    frontend = Frontend(**options)
    transform = frontend._transform(torch.randn(2, samples)) * torch.rand(1)
    expected = torch.istft(
        transform,
        frontend.n_fft,
        frontend.hop_length,
        frontend.window_length,
        frontend.window,
        length=max(samples, frontend.window_length),
    )
    assert torch.allclose(frontend.inverse_transform(transform, samples), expected[:, :samples], atol=1e-5)
