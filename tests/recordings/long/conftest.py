"""A classifier that hears bands, an interpreter that marks them, and recordings with sounds at known times."""

from dataclasses import dataclass

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from otoscope.audio import Frontend
from otoscope.classifiers import Classifier, Prediction
from otoscope.explain import Explainer
from otoscope.interpreters import Interpreter

LABELS = ["low", "high", "nothing"]
BANDS_HZ = ((200, 1000), (3000, 5000))
LOUD = 0.4
"""Log magnitude above which a bin belongs to a tone."""


class BandClassifier(Classifier):
    """Hears the loudest bin of two bands, and nothing where both are quiet."""

    representation_channels = (1,)

    def __init__(self, labels=tuple(LABELS), frontend=None, steepness=4.0):
        super().__init__(labels, frontend)
        self.steepness = steepness
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, log_magnitude, frames=None):
        loudest = [band.flatten(1).amax(1) for band in bands_of(log_magnitude, self.frontend)]
        logits = self.steepness * torch.stack([*loudest, torch.full_like(loudest[0], LOUD)], 1)
        return Prediction(logits, (log_magnitude[:, None],))


class BandMask(Interpreter):
    """Keeps the loud bins of the band of the explained class; soft by a factor."""

    def __init__(self, frontend, keeps=1.0):
        super().__init__()
        self.frontend, self.keeps = frontend, keeps
        self.calls = 0

    def decode(self, spectrogram, prediction):
        self.calls += 1
        mask = torch.zeros_like(spectrogram.log_magnitude)
        bands = list(bands_of(mask, self.frontend))
        for clip, label in enumerate(prediction.explained.tolist()):
            if label < len(bands):
                bands[label][clip] = 1
        return mask * (spectrogram.log_magnitude > LOUD) * self.keeps

    def mask(self, decoded, spectrogram):
        return spectrogram.zero_padding(decoded)

    def loss(self, decoded, spectrogram, prediction):
        return {}


def bands_of(values, frontend):
    for low_hz, high_hz in BANDS_HZ:
        width_hz = frontend.sample_rate_hz / frontend.n_fft
        yield values[:, round(low_hz / width_hz) : round(high_hz / width_hz)]


@dataclass
class Tone:
    begin_s: float
    end_s: float
    frequency_hz: float
    amplitude: float = 0.3


def write_tones(path, tones, duration_s, rate_hz=16_000, channels=1, noise=1e-4):
    """Write a recording of tones on faint noise."""
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    waveform = noise * np.random.default_rng(0).standard_normal(len(time_s))
    for tone in tones:
        inside = (time_s >= tone.begin_s) & (time_s < tone.end_s)
        waveform[inside] += tone.amplitude * np.sin(2 * np.pi * tone.frequency_hz * time_s[inside])
    soundfile.write(path, np.stack([waveform] * channels, 1), rate_hz, subtype="PCM_16")
    return path


@pytest.fixture
def explainer():
    frontend = Frontend()
    classifier = BandClassifier(frontend=frontend)
    classifier.normalize = False
    return Explainer(classifier, BandMask(frontend))


@pytest.fixture
def tones():
    return [Tone(3.2, 4.0, 500), Tone(9.0, 15.5, 4000), Tone(17.3, 17.8, 700), Tone(25.1, 26.4, 3500)]


@pytest.fixture
def record(tmp_path):
    """Function that writes a recording of tones, each of begin, end and frequency."""
    return lambda name, tones, duration_s: write_tones(tmp_path / name, [Tone(*tone) for tone in tones], duration_s)


@pytest.fixture
def night(tmp_path, tones):
    return write_tones(tmp_path / "night.wav", tones, 30, 48_000, 2)


@pytest.fixture(autouse=True)
def _no_pages(monkeypatch):
    """Pictures take most of the time and are tested elsewhere."""
    monkeypatch.setattr("otoscope.explanation.Explanation.plot", lambda self, axis: None)
    monkeypatch.setattr("otoscope.recordings.long.timeline.timeline_picture", lambda *_, **options: None)
    for module in ("masks", "run"):
        monkeypatch.setattr(f"otoscope.recordings.long.{module}.save_picture", _touch)


def _touch(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
