"""Differentiable features compared with the feature extractors of transformers."""

import warnings

import numpy as np
import pytest
import torch

from otoscope.classifiers.external.features import FilterBank, make_features
from otoscope.errors import ConfigurationError

transformers = pytest.importorskip("transformers")

EXTRACTORS = {
    "ast": lambda: transformers.ASTFeatureExtractor(),
    "ast-short": lambda: transformers.ASTFeatureExtractor(num_mel_bins=40, max_length=64, mean=-3.0, std=2.0),
    "ast-raw": lambda: transformers.ASTFeatureExtractor(do_normalize=False, max_length=200),
    "wav2vec2": lambda: transformers.Wav2Vec2FeatureExtractor(),
    "wav2vec2-raw": lambda: transformers.Wav2Vec2FeatureExtractor(do_normalize=False),
    "whisper": lambda: transformers.WhisperFeatureExtractor(chunk_length=3),
    "whisper-128": lambda: transformers.WhisperFeatureExtractor(feature_size=128, chunk_length=1),
    "clap": lambda: transformers.ClapFeatureExtractor(truncation="rand_trunc", max_length_s=4),
    "clap-fused": lambda: transformers.ClapFeatureExtractor(truncation="fusion", max_length_s=4),
    "clap-repeat": lambda: transformers.ClapFeatureExtractor(
        truncation="rand_trunc", padding="repeat", max_length_s=4, frequency_min=50
    ),
    "clap-pad": lambda: transformers.ClapFeatureExtractor(truncation="rand_trunc", padding="pad", max_length_s=4),
}


@pytest.fixture(params=EXTRACTORS)
def extractor(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some mel filters contain no bin
        return EXTRACTORS[request.param]()


def sounds(rate):
    """Return a fading chirp in quiet noise, and one that follows silence: a range of more than 100 dB."""
    time = np.arange(int(1.37 * rate)) / rate
    chirp = 0.7 * np.sin(2 * np.pi * (200 * time + 1500 * time**2)) * np.exp(-6 * time)
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(time))
    late = chirp.copy()
    late[: rate // 4] = 0
    return torch.from_numpy(np.stack([chirp + noise, late]).astype(np.float32))


def test_equal_to_the_extractor_of_transformers(extractor):
    features = make_features(extractor)
    waveforms = sounds(features.sample_rate_hz)
    for values, waveform in zip(features(waveforms), waveforms, strict=True):
        theirs = extractor(waveform.numpy(), sampling_rate=features.sample_rate_hz, return_tensors="pt")
        expected = theirs[features.input_name][0].float()
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-4)


def test_saved_configuration_gives_the_same_features(extractor):
    waveforms = sounds(make_features(extractor).sample_rate_hz)
    copy = make_features({**extractor.to_dict(), "feature_extractor_type": type(extractor).__name__})
    assert torch.equal(copy(waveforms), make_features(extractor)(waveforms))


def test_gradients_reach_the_waveform(extractor):
    features = make_features(extractor)
    waveform = sounds(features.sample_rate_hz)[:, :6000].requires_grad_(True)
    values = features(waveform)
    (values * torch.randn_like(values)).sum().backward()
    assert waveform.grad.isfinite().all()
    assert waveform.grad[0].count_nonzero() > 0.5 * waveform.shape[-1]


def test_silence_has_finite_gradients(extractor):
    features = make_features(extractor)
    waveform = torch.zeros(1, 4000, requires_grad=True)
    values = features(waveform)
    values.sum().backward()
    assert values.isfinite().all()
    assert waveform.grad.isfinite().all()


def test_clips_shorter_than_a_window_are_padded():
    assert FilterBank(frames=8)(torch.randn(1, 100)).shape == (1, 8, 128)


def test_longer_clips_are_cut():
    features = make_features(transformers.ClapFeatureExtractor(truncation="rand_trunc", max_length_s=1))
    waveform = torch.randn(1, 60_000)
    assert torch.equal(features(waveform), features(waveform[:, :48_000]))


def test_unknown_extractors_are_refused():
    with pytest.raises(ConfigurationError, match=r"EncodecFeatureExtractor has no differentiable counterpart"):
        make_features({"feature_extractor_type": "EncodecFeatureExtractor"})
    with pytest.raises(ConfigurationError, match="padding: 'mirror'"):
        make_features({"feature_extractor_type": "ClapFeatureExtractor", "padding": "mirror"})
