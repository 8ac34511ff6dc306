"""Patches of features: YAMNet's against an oracle written from its description, functions of the user, errors."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from otoscope.classifiers.external.patches import (
    YamnetPatches,
    compute_patches,
    features_config,
    make_patch_features,
)
from otoscope.errors import CheckpointError, ConfigurationError


def slow_bands():
    """Yield the bins of each mel band and their weights: triangles on the mel scale from 125 to 7500 Hz."""
    edges_mel = np.linspace(1127 * math.log(1 + 125 / 700), 1127 * math.log(1 + 7500 / 700), 66)
    for low, centre, high in zip(edges_mel, edges_mel[1:], edges_mel[2:], strict=False):
        band = []
        for k in range(257):
            mel = 1127 * math.log(1 + k * 16_000 / 512 / 700)
            if low < mel <= centre:
                band.append((k, (mel - low) / (centre - low)))
            elif centre < mel < high:
                band.append((k, (high - mel) / (high - centre)))
        yield band


def slow_patches(waveform):
    """Return YAMNet's patches of a waveform in loops: frames, spectrum, mel bands, logarithm, patches."""
    waveform = list(waveform)
    while len(waveform) < 15_600 or (len(waveform) - 15_600) % 7680:  # 0.975 s, and 0.48 s for each further patch
        waveform.append(0.0)
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
    bands = list(slow_bands())
    rows = []
    for start in range(0, len(waveform) - 400 + 1, 160):
        frame = np.array([waveform[start + n] * hann[n] for n in range(400)])
        spectrum = np.abs(np.fft.rfft(frame, 512))
        rows.append([math.log(sum(weight * spectrum[k] for k, weight in band) + 0.001) for band in bands])
    return np.array([rows[start : start + 96] for start in range(0, len(rows) - 96 + 1, 48)])


@pytest.mark.parametrize("samples", [300, 15_600, 15_601])
def test_yamnet_patches_are_those_of_its_description(samples):
    waveform = 0.1 * torch.randn(samples) * torch.linspace(0.01, 1, samples)
    expected = slow_patches(waveform.numpy())
    patches = YamnetPatches()(waveform[None])[0]
    assert patches.shape == expected.shape == ({300: 1, 15_600: 1, 15_601: 2}[samples], 96, 64)
    np.testing.assert_allclose(patches.numpy(), expected, atol=2e-5)


def test_every_clip_has_its_own_patches():
    waveforms = 0.1 * torch.randn(3, 20_000)
    together = YamnetPatches()(waveforms)
    alone = torch.stack([YamnetPatches()(waveform[None])[0] for waveform in waveforms])
    torch.testing.assert_close(together, alone)


def test_silence_is_the_logarithm_of_the_offset():
    torch.testing.assert_close(YamnetPatches()(torch.zeros(1, 16_000)), torch.full((1, 2, 96, 64), math.log(0.001)))


def test_functions_receive_arrays_and_modules_tensors():
    class Tensors(nn.Module):
        def forward(self, waveforms):
            return waveforms.unfold(-1, 4, 4)

    waveforms = torch.randn(2, 8)
    for features in (lambda array: np.reshape(array, (2, 2, 4)).astype(np.float64), Tensors()):
        patches = compute_patches(make_patch_features(features), waveforms)
        assert patches.dtype == torch.float32
        torch.testing.assert_close(patches, waveforms.reshape(2, 2, 4))


def test_a_function_is_described_by_its_name():
    assert features_config("yamnet", YamnetPatches()) == "yamnet"
    assert features_config(None, None) is None
    assert features_config(np.abs, np.abs) == features_config(lambda x: x, lambda x: x)
    named = {"class_path": "torch.nn.Unflatten", "init_args": {"dim": 1, "unflattened_size": [2, 4]}}
    function = make_patch_features(named)
    assert features_config(named, function) == named
    assert function(torch.ones(3, 8)).shape == (3, 2, 4)


def test_wrong_features_are_refused():
    with pytest.raises(ConfigurationError, match="features: 'vggish' is none of yamnet"):
        make_patch_features("vggish")
    with pytest.raises(ConfigurationError, match="features: expected a name or a function, got int"):
        make_patch_features(3)
    with pytest.raises(CheckpointError, match=r"load_classifier\(folder, features=\.\.\.\)"):
        make_patch_features(features_config(lambda x: x, lambda x: x))
    with pytest.raises(ConfigurationError, match="the result, str, is no array of numbers"):
        compute_patches(lambda array: "loud", torch.ones(1, 8))
    with pytest.raises(ConfigurationError, match=r"the 2 clips, got shape \(3, 4\)"):
        compute_patches(lambda array: np.ones((3, 4)), torch.ones(2, 8))
