"""Front-end and mel bank compared with the reference."""

import torch

from otoscope.audio import Frontend, MelBank

FRAME = {"sample_rate": 16_000, "hop_length": 11.6099, "win_length": 23.2199}


def test_log_magnitude_and_phase(theirs, waveforms, agree):
    transform = theirs.STFT(n_fft=1024, **FRAME)(waveforms)
    magnitude = theirs.spectral_magnitude(transform, power=0.5)
    spectrogram = Frontend()(waveforms)
    agree(spectrogram.log_magnitude, torch.log1p(magnitude).transpose(1, 2))
    agree(Frontend().log_magnitude(waveforms), torch.log1p(magnitude).transpose(1, 2))
    # angles jump by a whole turn at pi, so phases are compared on the circle
    phase = theirs.spectral_phase(transform).transpose(1, 2)
    agree(spectrogram.phase.cos(), phase.cos())
    agree(spectrogram.phase.sin(), phase.sin())


def test_inverse(theirs, waveforms, agree):
    spectrogram = Frontend()(waveforms)
    spectrogram.log_magnitude *= torch.linspace(0, 1, 513)[:, None]  # no longer the transform of a sound
    transform = torch.polar(spectrogram.magnitude, spectrogram.phase)
    parts = torch.view_as_real(transform).transpose(1, 2)
    agree(Frontend().inverse(spectrogram), theirs.ISTFT(**FRAME)(parts, sig_length=80_000))


def test_mel_bank(theirs, waveforms, agree):
    magnitude = Frontend()(waveforms).magnitude
    bank = theirs.Filterbank(n_mels=80, n_fft=1024, sample_rate=16_000, log_mel=False)
    agree(MelBank()(magnitude), bank(magnitude.transpose(1, 2)).transpose(1, 2))
