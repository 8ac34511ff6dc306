"""The STFT of a stream and its inverse: those of the whole waveform."""

import numpy as np
import pytest
import torch

from otoscope.audio import Frontend, StreamingInverse, stream_spectra
from otoscope.audio import streaming as streaming_module

FRONTENDS = {
    "default": Frontend(),
    "48 kHz": Frontend(48_000),
    "8 kHz": Frontend(8000),
    "window as long as the transform": Frontend(16_000, n_fft=512, window_ms=32, hop_ms=10),
}


def blocks_of(waveform, size):
    return [waveform[0, start : start + size].numpy() for start in range(0, waveform.shape[-1], size)]


@pytest.mark.parametrize("frontend", FRONTENDS.values(), ids=FRONTENDS)
@pytest.mark.parametrize("samples", [100, 186 * 40, 9001])
@pytest.mark.parametrize("size", [70, 1000, 100_000])
def test_portions_joined_are_the_spectrum_of_the_whole(monkeypatch, frontend, samples, size):
    monkeypatch.setattr(streaming_module, "_LARGEST_PORTION", 7 * frontend.bins)
    waveform = torch.randn(1, samples)
    spectrogram = frontend(waveform)
    spectra = torch.cat(list(stream_spectra(blocks_of(waveform, size), frontend)), -1)
    assert spectra.shape == spectrogram.log_magnitude.shape[1:]
    expected = torch.polar(spectrogram.magnitude[0], spectrogram.phase[0])
    assert torch.allclose(spectra, expected, atol=2e-5)


@pytest.mark.parametrize("frontend", FRONTENDS.values(), ids=FRONTENDS)
@pytest.mark.parametrize("samples", [100, 186 * 40, 9001])
@pytest.mark.parametrize("portion", [1, 5, 1000])
def test_inverse_of_masked_portions_is_that_of_the_whole(monkeypatch, frontend, samples, portion):
    """With a mask, frames of one sample disagree, so that weights and sums matter up to both ends."""
    monkeypatch.setattr(streaming_module, "_LARGEST_PORTION", portion * frontend.bins)
    waveform = torch.randn(1, samples)
    spectrogram = frontend(waveform)
    mask = torch.rand_like(spectrogram.log_magnitude).round()
    expected = frontend.inverse(spectrogram.masked(mask))[0].numpy()
    inverse, frame, parts = StreamingInverse(frontend, samples), 0, []
    for spectra in stream_spectra(blocks_of(waveform, 500), frontend):
        parts.append(inverse.add(spectra * mask[0, :, frame : frame + spectra.shape[-1]]))
        frame += spectra.shape[-1]
    sound = np.concatenate([*parts, inverse.finish()])
    assert sound.shape == (samples,)
    np.testing.assert_allclose(sound, expected, atol=2e-5)
