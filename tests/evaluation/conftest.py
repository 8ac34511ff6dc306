"""A tiny classifier, tiny data, and methods whose scores can be predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Conv2dClassifier, Prediction
from otoscope.data import Batch, Clip, SoundData, Synthetic, collate
from otoscope.interpreters import Interpreter

CLASSES = ["siren", "rooster", "clock_tick"]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep caches out of the home folder."""
    monkeypatch.setenv("OTOSCOPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def classifier(experienced: Callable[[Any], Any]) -> Classifier:
    network: Classifier = experienced(Conv2dClassifier(CLASSES, width=6, depth=3, head_width=8, scale=5.0)).freeze()
    return network


@pytest.fixture(scope="session")
def data() -> SoundData:
    """Nine test clips of half a second."""
    synthetic = Synthetic(clips_per_class=12, classes=CLASSES, duration_s=0.5, batch_size=6, snr_db=(0, 10))
    synthetic.setup("test")
    return synthetic


@pytest.fixture
def batch(data: SoundData) -> Batch:
    """Four clips, two of them cut shorter."""
    clips = [data.test_set[index] for index in range(4)]
    return collate([_cut(clip, length) for clip, length in zip(clips, (8000, 6000, 8000, 5100), strict=True)])


def _cut(clip: Clip, length: int) -> Clip:
    assert clip.event is not None
    return Clip(clip.waveform[:length], clip.target, clip.name, clip.key, clip.event[:length])


class GradientInterpreter(Interpreter[Tensor]):
    """Gradient times input, the simplest method that runs the classifier again."""

    needs_gradient = True

    def __init__(self, classifier: Classifier, power: float = 1.0) -> None:
        super().__init__(classifier)
        self.power = power

    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> Tensor:
        with torch.enable_grad():
            inputs = spectrogram.log_magnitude.detach().clone().requires_grad_()
            logits = self.classifier.logits(spectrogram.with_log_magnitude(inputs))
            (gradient,) = torch.autograd.grad(logits.gather(1, prediction.explained[:, None]).sum(), inputs)
        return (gradient * spectrogram.log_magnitude).abs() ** self.power

    def mask(self, decoded: Tensor, spectrogram: Spectrogram) -> Tensor:
        return spectrogram.zero_padding(decoded / decoded.amax((1, 2), keepdim=True).clamp(min=1e-12))

    def output(self, decoded: Tensor, spectrogram: Spectrogram) -> Tensor:
        return decoded

    def loss(self, *arguments: Any) -> Mapping[str, Tensor]:
        raise NotImplementedError


class ConstantInterpreter(GradientInterpreter):
    """A mask of 0.5 and a map with the same value everywhere, which gives no ranking."""

    needs_gradient = False

    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> Tensor:
        return torch.full_like(spectrogram.log_magnitude, 0.5)

    def mask(self, decoded: Tensor, spectrogram: Spectrogram) -> Tensor:
        return spectrogram.zero_padding(decoded)


class BrokenInterpreter(ConstantInterpreter):
    """NaN for every second clip of a batch, so that the batch size decides which clips have NaN."""

    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> Tensor:
        decoded = super().decode(spectrogram, prediction)
        decoded[::2, 0, 0] = torch.nan
        return decoded


@pytest.fixture
def gradient(classifier: Classifier) -> Interpreter[Any]:
    return GradientInterpreter(classifier)


@pytest.fixture
def kinds() -> dict[str, type[Interpreter[Any]]]:
    """Interpreter classes of this file by a short name."""
    return {"gradient": GradientInterpreter, "constant": ConstantInterpreter, "broken": BrokenInterpreter}
