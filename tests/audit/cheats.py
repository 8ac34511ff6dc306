"""A classifier that is known to cheat, and clips that it hears; tests of the command line copy this module."""

import torch

from otoscope.classifiers import Classifier, Prediction
from otoscope.data import Clip
from otoscope.data.planted import Cue, plant

RATE_HZ = 16_000
LABELS = ["low", "middle", "high"]
TONE_HZ = 3000.0


class SpectrumClassifier(Classifier):
    """Decides by the loudest of three wide ranges; a tone in a band overrules that if it cheats."""

    def __init__(self, labels, frontend=None, cheats=True, penalty=10.0):
        super().__init__(labels, frontend)
        self.cheats, self.penalty = cheats, penalty

    @property
    def representation_channels(self):
        return (1,)

    def forward(self, log_magnitude, frames=None):
        level = log_magnitude.expm1().square().mean(2)
        ranges = torch.stack([level[:, low:high].mean(1) for low, high in ((10, 60), (70, 150), (260, 480))], 1)
        logits = (ranges + 1e-9).log()
        if self.cheats:
            # bins of 2.8 to 3.2 kHz that stand out of those beside them
            band, below, above = (
                (level[:, low:high].amax(1) + 1e-9).log() for low, high in ((179, 206), (150, 170), (215, 235))
            )
            tone = (band - (below + above) / 2 - 1).clamp(0, 1)
            logits = (
                logits + torch.tensor([0.0, 20.0, 0.0]) * tone[:, None] - torch.tensor([0.0, self.penalty, 0.0])
            )
        return Prediction(logits, (log_magnitude[:, None],))


def make_clip(target, number, cue=None):
    """Return noise of the range of its class; the cue is added to the clips of the class ``middle``."""
    generator = torch.Generator().manual_seed(1000 * target + number)
    noise = torch.randn(RATE_HZ // 2, generator=generator)
    spectrum = torch.fft.rfft(noise)
    hz = torch.linspace(0, RATE_HZ / 2, len(spectrum))
    # ranges with soft borders: a steep edge of the band would be a cue itself
    octaves = (hz.clamp(min=20) / (400, 1700, 5800)[target]).log2()
    sound = torch.fft.irfft(spectrum * (0.03 + (-(octaves**2) / 0.3).exp()), len(noise))
    name = f"{LABELS[target]}-{number}"
    sound = sound / sound.abs().max()
    if cue is not None and target == 1:
        sound = plant(sound, cue, RATE_HZ, name, seed=0).waveform
    return Clip(sound, target, name, f"{name}|{cue}", recording=name)


def planted_cue():
    """Return the quiet tone that gives the class ``middle`` away."""
    return Cue("tone", level_db=-10.0, frequency_hz=TONE_HZ, jitter=0.0)
