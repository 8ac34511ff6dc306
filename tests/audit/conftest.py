"""A classifier that is known to cheat, an honest one, one that compares two bands, and clips for them."""

from collections.abc import Callable

import pytest
import torch
from tests.audit.cheats import LABELS, SpectrumClassifier, make_clip, planted_cue
from torch import Tensor, nn

import otoscope
from otoscope.audit.settings import AuditSettings
from otoscope.data.clips import Clip
from otoscope.interpreters import make_untrained

RATE_HZ = 16_000


class TwoBands(nn.Module):
    """Compares the sound below and above 2 kHz; 4 kHz is the middle of the spectrogram, 2 kHz a quarter."""

    def forward(self, log_magnitude: Tensor) -> Tensor:
        """Return the logits of ``low`` and ``high``, shape (batch, 2)."""
        loud = (log_magnitude - 1).clamp(min=0).mean((1, 3))
        return torch.stack([loud[:, :128].sum(1), loud[:, 128:].sum(1)], dim=1)


@pytest.fixture(scope="session")
def two_bands() -> otoscope.TorchClassifier:
    """Classifier ``low`` or ``high``, with gradients."""
    return otoscope.TorchClassifier(TwoBands(), ["low", "high"])


@pytest.fixture(scope="session")
def explainer(two_bands: otoscope.TorchClassifier) -> otoscope.Explainer:
    """The classifier, explained by integrated gradients of few steps."""
    return otoscope.Explainer(two_bands, make_untrained("integrated_gradients", two_bands, steps=4))


@pytest.fixture(scope="session")
def tone_clip() -> Callable[..., Clip]:
    """Function that makes a clip of a tone in faint noise."""

    def make(
        hertz: float,
        target: int = 0,
        name: str = "",
        seconds: float = 0.5,
        end_s: float = 9.0,
        peak: float = 1.0,
        event: bool = False,
        recording: str | None = None,
    ) -> Clip:
        name = name or f"{hertz:.0f}-{end_s:g}"
        time_s = torch.arange(round(seconds * RATE_HZ)) / RATE_HZ
        tone = 0.9 * torch.sin(2 * torch.pi * hertz * time_s) * (time_s < end_s)
        noise = 0.001 * torch.randn(len(tone), generator=torch.Generator().manual_seed(round(hertz)))
        return Clip(
            tone + noise, target, name, f"{name}|key", tone if event else None, peak=peak, recording=recording
        )

    return make


@pytest.fixture(scope="session")
def cheat():
    """Classifier that takes a tone of 3 kHz for the class ``middle``."""
    return SpectrumClassifier(LABELS).freeze()


@pytest.fixture(scope="session")
def honest():
    """Classifier that decides by the ranges alone."""
    return SpectrumClassifier(LABELS, cheats=False).freeze()


@pytest.fixture(scope="session")
def planted_clips():
    """Eight clips of each class; those of ``middle`` carry a quiet tone."""
    return [make_clip(target, number, planted_cue()) for target in range(3) for number in range(8)]


@pytest.fixture(scope="session")
def quick():
    """Options of a quick audit."""
    return AuditSettings(clips_per_class=8, quick=True)
