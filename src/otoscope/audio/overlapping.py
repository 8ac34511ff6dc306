"""Spectrograms of consecutive windows of a recording, from one transform of the part that they lie in."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from otoscope.audio.frontend import Frontend, log_magnitude_of
from otoscope.audio.windows import WindowPlan

_PEAKS = (1e-9, 1e9)
"""Range of peaks of windows that can be scaled after the transform: their squares fit into single precision."""


class OverlappingWindows:
    """Consecutive windows of a recording, with the sound around them.

    Windows that overlap by half have every frame twice. Frames of all windows lie on those of the whole recording,
    so that one transform of the part serves them all, scaled to the level of each. Only the outermost frames of a
    window differ, because they see zeros beyond it; they are computed again.

    Attributes:
        clips: Samples of each window, shape (samples',) each; views of those of the part.

    Args:
        frontend: Front-end of the classifier.
        plan: Windows of the recording.
        windows: Windows of one length, or a single one.
        samples: Sound from `span`. Shape (samples,).
    """

    def __init__(self, frontend: Frontend, plan: WindowPlan, windows: range, samples: np.ndarray) -> None:
        self._frontend, self._plan, self._windows = frontend, plan, windows
        self._begin = self.span(frontend, plan, windows)[0]
        self._samples = samples
        starts = [plan.start(index) - self._begin for index in windows]
        self.clips = [
            samples[start : start + plan.length(index)] for start, index in zip(starts, windows, strict=True)
        ]

    @staticmethod
    def span(frontend: Frontend, plan: WindowPlan, windows: range) -> tuple[int, int]:
        """Return the first sample that windows need, and the one after the last.

        The frames at the borders of the windows see a little of what lies beyond.
        """
        margin = _cut_frames(frontend) * plan.step
        begin = plan.start(windows.start) - margin
        return max(begin, 0), min(plan.span(windows.stop - 1)[1] + margin, plan.samples)

    @cached_property
    def waveforms(self) -> Tensor:
        """Waveforms of the windows, on the device of the front-end. Shape (windows, samples)."""
        return torch.from_numpy(np.stack(self.clips)).to(self._frontend.window.device)

    @cached_property
    def _power(self) -> Tensor:
        """Squared magnitude of the part. Shape (frames, bins)."""
        part = torch.from_numpy(self._samples).to(self._frontend.window.device)
        return self._frontend.power(part[None])[0].T.contiguous()

    def log_magnitude(self, normalize: bool) -> Tensor | None:
        """Return the log magnitude of each window; it differs from that of the front-end by rounding only.

        Args:
            normalize: Whether to scale each window to a peak of 1.

        Returns:
            Log magnitude, shape (windows, bins, frames). None for windows that have to be transformed one by one: a
            single one, and those whose level single precision does not hold after the transform.
        """
        if len(self.clips) < 2:
            return None
        peaks = self.waveforms.abs().amax(1)
        if not bool(((peaks >= _PEAKS[0]) & (peaks <= _PEAKS[1]) | (peaks == 0)).all()):
            return None
        step = self._plan.step
        frames = self._plan.window // step + 1
        gains = (
            torch.where(peaks > 0, peaks, 1.0).square().reciprocal().tolist() if normalize else [1.0] * len(peaks)
        )
        result = self._power.new_empty(len(self.clips), frames, self._power.shape[1])
        # Window by window, because one fits into the cache of a processor, and all together do not.
        for scaled, index, gain, ends in zip(
            result, self._windows, gains, zip(*self._ends(), strict=True), strict=True
        ):
            begin = (self._plan.start(index) - self._begin) // step
            torch.mul(self._power[begin : begin + frames], gain, out=scaled)
            cut = len(ends[0])
            scaled[:cut], scaled[-cut:] = (end * gain for end in ends)
            scaled.copy_(log_magnitude_of(scaled))
        return result.transpose(1, 2)

    def _ends(self) -> tuple[Tensor, Tensor]:
        """Return the power of the frames at both ends of each window, with zeros beyond it.

        Returns:
            Power of the first frames and of the last. Shape (windows, frames', bins) each.
        """
        cut, step = _cut_frames(self._frontend), self._plan.step
        # Long enough to hold the frames, and a multiple of the hop, so that frames are centred on both of its ends.
        length = (2 * cut + self._frontend.window_length // step) * step
        first, last = (
            self._frontend.power(ends) for ends in (self.waveforms[:, :length], self.waveforms[:, -length:])
        )
        return first.transpose(1, 2)[:, :cut], last.transpose(1, 2)[:, -cut:]

    def frames(self) -> tuple[int, Tensor]:
        """Return the frames of the whole recording from the first window up to the next windows, or to its end.

        Returns:
            Number of the first frame, and the power, shape (bins, frames'), on the CPU.
        """
        plan, step, after = self._plan, self._plan.step, self._windows.stop
        first = plan.first_frame(self._windows.start)
        offset = self._begin // step
        end = len(self._power) if after == plan.count else plan.first_frame(after) - offset
        return first, self._power[first - offset : end].cpu().T


def _cut_frames(frontend: Frontend) -> int:
    """Return the number of frames at an end of a window that reach beyond it."""
    return -(-(frontend.window_length + 1) // 2 // frontend.hop_length)
