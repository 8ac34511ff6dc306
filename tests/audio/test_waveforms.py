"""Sound in memory, as people hold it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from otoscope.audio import MonoWaveform, to_mono
from otoscope.errors import AudioError, ConfigurationError, OtoscopeError, ShapeError

RATE_HZ = 16_000
SAMPLES = np.round(16_384 * np.sin(np.arange(640) * 0.2)) / 32_768  # exact in 16 bits
PLAIN = torch.tensor(SAMPLES, dtype=torch.float32)

FORMS = {
    "float32": SAMPLES.astype(np.float32),
    "float64": SAMPLES,
    "long double": SAMPLES.astype(np.longdouble),
    "big-endian floats": SAMPLES.astype(">f4"),
    "int16": (SAMPLES * 2**15).astype(np.int16),
    "big-endian int16": (SAMPLES * 2**15).astype(">i2"),
    "int32": (SAMPLES * 2**31).astype(np.int32),
    "uint16": (SAMPLES * 2**15 + 2**15).astype(np.uint16),
    "reversed": SAMPLES[::-1].copy()[::-1],
    "strided": np.repeat(SAMPLES, 3)[::3],
    "list": SAMPLES.tolist(),
    "tuple": tuple(SAMPLES.tolist()),
    "list of tensors": list(PLAIN),
    "tensor": PLAIN,
    "tensor with gradient": PLAIN.clone().requires_grad_(),
    "int16 tensor": (PLAIN * 2**15).short(),
    "one channel first": SAMPLES[None],
    "one channel last": SAMPLES[:, None],
    "batch of one": SAMPLES[None, None],
    "memoryview": memoryview(SAMPLES),
    "Hugging Face": {"path": None, "array": SAMPLES, "sampling_rate": RATE_HZ},
    "soundfile": (SAMPLES, RATE_HZ),
    "SciPy": (RATE_HZ, (SAMPLES * 2**15).astype(np.int16)),
    "torchaudio": (PLAIN[None], RATE_HZ),
    "decoder": SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=PLAIN[None], sample_rate=RATE_HZ)),
    "result": MonoWaveform(PLAIN),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_waveform(form):
    result = to_mono(FORMS[form], RATE_HZ)
    assert result.samples.dtype == torch.float32
    assert not result.samples.requires_grad
    torch.testing.assert_close(result.samples, PLAIN, rtol=0, atol=1e-7)
    assert result.notes == ()


@pytest.mark.parametrize(
    ("samples", "tolerance"),
    [
        (SAMPLES.astype(np.float16), 3e-4),
        (PLAIN.bfloat16(), 3e-3),
        ((SAMPLES * 2**7 + 2**7).round().astype(np.uint8), 4e-3),
        ((SAMPLES * 2**7).round().astype(np.int8), 4e-3),
    ],
    ids=["half", "bfloat16", "uint8", "int8"],
)
def test_coarse_samples(samples, tolerance):
    torch.testing.assert_close(to_mono(samples, RATE_HZ).samples, PLAIN, rtol=0, atol=tolerance)


def test_integers_without_full_scale_have_a_note():
    result = to_mono((SAMPLES * 2**15).astype(np.int64), RATE_HZ)
    torch.testing.assert_close(result.samples, PLAIN)
    assert "16 bits" in result.notes[0]
    assert "32 bits" in to_mono((SAMPLES * 2**31).astype(np.int64).tolist(), RATE_HZ).notes[0]
    assert to_mono([0, 1, 0, -1], RATE_HZ).samples.tolist() == [0, 1, 0, -1]


@pytest.mark.parametrize("shape", ["channels first", "channels last", "batch"])
def test_stereo_is_mixed_down_with_a_note(shape):
    both = np.stack([SAMPLES, 0.5 * SAMPLES])
    stereo = {"channels first": both, "channels last": both.T, "batch": both[None]}[shape]
    result = to_mono(stereo, RATE_HZ)
    torch.testing.assert_close(result.samples, 0.75 * PLAIN)
    assert result.notes == ("2 channels are mixed down",)
    for channel, gain in enumerate((1, 0.5)):
        chosen = to_mono(stereo, RATE_HZ, channel=channel)
        torch.testing.assert_close(chosen.samples, gain * PLAIN)
        assert chosen.notes == ()
    with pytest.raises(AudioError, match="has no channel 2"):
        to_mono(stereo, RATE_HZ, channel=2)


def test_equal_axes_have_the_channels_first():
    assert to_mono(np.array([[0.5, 0.25], [0.1, 0.0]]), RATE_HZ, channel=0).samples.tolist() == [0.5, 0.25]


def test_channels_that_cancel_out_are_refused():
    noise = 1e-4 * np.random.default_rng(0).standard_normal(SAMPLES.shape)
    stereo = np.stack([SAMPLES, noise - SAMPLES])
    with pytest.raises(AudioError, match=r"clip: its 2 channels cancel out.*channel=0"):
        to_mono(stereo, RATE_HZ, name="clip")
    torch.testing.assert_close(to_mono(stereo, RATE_HZ, channel=0).samples, PLAIN)
    assert not to_mono(np.zeros((2, 100)), RATE_HZ).samples.any()  # silence does not cancel out


@pytest.mark.parametrize("form", ["array", "mapping", "pair"])
def test_other_rates_are_resampled(form):
    time_s = np.arange(44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    if form == "array":
        result = to_mono(tone, RATE_HZ, source_rate_hz=44_100)
    else:
        result = to_mono({"array": tone, "sampling_rate": 44_100} if form == "mapping" else (tone, 44_100), RATE_HZ)
    expected = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    assert len(result.samples) == 16_000
    torch.testing.assert_close(result.samples[500:-500], expected[500:-500], rtol=0, atol=1e-3)


def test_contradicting_or_impossible_rates_are_refused():
    with pytest.raises(ConfigurationError, match="sample_rate_hz is 8000, but the recording states 16000"):
        to_mono({"array": SAMPLES, "sampling_rate": RATE_HZ}, RATE_HZ, source_rate_hz=8_000)
    for rate_hz in (0, -1, 16, 1e9, float("nan"), "fast"):
        with pytest.raises(ConfigurationError, match="sample_rate_hz"):
            to_mono(SAMPLES, RATE_HZ, source_rate_hz=rate_hz)


@pytest.mark.parametrize("peak", [3e38, 1e300])
def test_huge_samples_are_scaled(peak):
    result = to_mono(peak * SAMPLES / np.abs(SAMPLES).max(), RATE_HZ)
    torch.testing.assert_close(result.samples, PLAIN / PLAIN.abs().max())
    assert "scaled to a peak of 1" in result.notes[0]


@pytest.mark.parametrize(
    "audio",
    [
        [], np.zeros(0), np.zeros((2, 0)), 0.5, np.float32(0.5), None, np.zeros((2, 3, 4)), np.zeros((513, 431)),
        {}, {"path": "a.wav"}, ["a", "b"], b"RIFF", [[0.1, 0.2], [0.3]], np.ones(5, complex), object(),
        torch.ones(5, dtype=torch.cfloat), np.ones(5, bool), torch.ones(5, dtype=torch.bool),
        {"array": None, "sampling_rate": 8000},
    ],
    ids=lambda audio: type(audio).__name__,
)  # fmt: skip
def test_what_holds_no_samples_is_refused(audio):
    with pytest.raises(ShapeError, match=r"waveform: .*expected"):
        to_mono(audio, RATE_HZ)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_must_be_finite(value):
    with pytest.raises(AudioError, match="NaN or infinite"):
        to_mono(np.array([0.1, value]), RATE_HZ)
    with pytest.raises(OtoscopeError, match="NaN or infinite"):
        to_mono(np.array([[0.1, value], [0.2, 0.3], [0.0, 0.0]]), RATE_HZ)
