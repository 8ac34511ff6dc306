"""Times and frequencies of the samples, frames and bins of a part of a recording."""

from __future__ import annotations

from dataclasses import dataclass

from otoscope.audio import Frontend
from otoscope.recordings.long.synthesis import Box


@dataclass(frozen=True)
class Scale:
    """Scale of a part of a recording.

    Attributes:
        frontend: Front-end of the classifier.
        start_s: Begin of the part in the recording.
        samples: Length of the part at the sample rate of the front-end.
    """

    frontend: Frontend
    start_s: float
    samples: int

    def time_s(self, sample: float) -> float:
        """Return the time of a sample in the recording, within the part."""
        return self.start_s + min(max(sample, 0), self.samples) / self.frontend.sample_rate_hz

    def times_s(self, box: Box) -> tuple[float, float]:
        """Return begin and end of a box. Frames reach half a hop beyond their centres."""
        hop = self.frontend.hop_length
        return self.time_s((box.begin - 0.5) * hop), self.time_s((box.end - 0.5) * hop)

    def frequencies_hz(self, box: Box) -> tuple[float, float]:
        """Return lowest and highest frequency of a box. Bins reach half their distance beyond their centres."""
        rate_hz = self.frontend.sample_rate_hz
        width_hz = rate_hz / self.frontend.n_fft
        return max(box.low - 0.5, 0) * width_hz, min((box.high + 0.5) * width_hz, rate_hz / 2)
