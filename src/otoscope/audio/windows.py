"""Recordings of any length in constant memory: blocks at the sample rate of a classifier, and windows of them."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import soxr

from otoscope.audio.blocks import MonoBlocks
from otoscope.audio.frontend import Frontend
from otoscope.audio.waveforms import LARGEST_SAMPLE, scaling_note, too_short_error
from otoscope.errors import ConfigurationError

_PORTION = 1 << 18


@dataclass(frozen=True)
class Survey:
    """What a first pass over a recording shows.

    Attributes:
        samples: Number of samples at the sample rate of the classifier.
        peak: Largest absolute sample of the mono mixture in the file; 1, their bound, if the samples are integers.
        notes: Remarks for the user.
    """

    samples: int
    peak: float
    notes: tuple[str, ...] = ()


class RecordingStream:
    """Blocks of a recording as the networks take it: mono, float32, at their sample rate.

    The blocks joined are the waveform that `read_recording` returns, sample by sample, in constant memory: each
    iteration decodes the file anew, and the resampler keeps its state from block to block.

    Args:
        path: Sound file in any format that libsndfile reads.
        sample_rate_hz: Sample rate of the blocks.
        channel: Channel to take instead of the average, counted from 0.
        start_s: Begin of the part that is read.
        end_s: End of the part (default: that of the recording).
        survey: Result of an earlier `survey` of the same part.

    Raises:
        AudioError: See `read_recording`. Faults of the samples are raised at the end of the first iteration, or by
            the survey if it decodes the file.
        ConfigurationError: The part is empty or begins behind the end of the recording.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sample_rate_hz: int = 16_000,
        channel: int | None = None,
        start_s: float = 0.0,
        end_s: float | None = None,
        survey: Survey | None = None,
    ) -> None:
        self._blocks = MonoBlocks(path, channel, start_s, end_s)
        self.path = self._blocks.path
        self.info = self._blocks.info
        self.sample_rate_hz = sample_rate_hz
        self._given = survey
        self._checked = survey is not None and not self._blocks.is_bounded

    def __repr__(self) -> str:
        return f"RecordingStream({str(self.path)!r}, {self.sample_rate_hz} Hz)"

    @cached_property
    def survey(self) -> Survey:
        """Length, peak and faults: of integer samples from the header, else from decoding the part once."""
        if self._given is not None:
            return self._given
        if self._blocks.is_bounded:
            count, peak = self._blocks.samples, 1.0
        else:
            count, peak = 0, 0.0
            for block in self._blocks:
                count += len(block)
                peak = max(peak, float(block.max()), -float(block.min()))
            self._checked = True
        samples = self._resampler().length(count)
        if not samples:
            raise too_short_error(str(self.path), self.sample_rate_hz)
        notes = self._blocks.notes
        return Survey(samples, peak, tuple([*notes, scaling_note(peak)] if peak > LARGEST_SAMPLE else notes))

    @property
    def duration_s(self) -> float:
        """Length of the part."""
        return self.survey.samples / self.sample_rate_hz

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the blocks, float32. Shape (samples,) each."""
        peak = self.survey.peak
        resampler = self._resampler()
        for block in self._blocks.blocks(check=not self._checked):
            scaled = block.astype(np.float64) / peak if peak > LARGEST_SAMPLE else block
            yield resampler.resample(scaled.astype(np.float32, copy=False))
        self._checked = True
        yield resampler.finish()

    def _resampler(self) -> _Resampler:
        return _Resampler(self.info.sample_rate_hz, self.sample_rate_hz)


class _Resampler:
    """Resampler that continues from block to block; it passes on blocks that have the right rate."""

    def __init__(self, source_rate_hz: int, sample_rate_hz: int) -> None:
        self._rates_hz = source_rate_hz, sample_rate_hz
        is_needed = source_rate_hz != sample_rate_hz
        # the filter of `finish` in `waveforms`, with which whole recordings are resampled
        self._stream = (
            soxr.ResampleStream(source_rate_hz, sample_rate_hz, 1, "float32", "HQ") if is_needed else None
        )

    def resample(self, block: np.ndarray) -> np.ndarray:
        return block if self._stream is None else np.asarray(self._stream.resample_chunk(block))

    def length(self, samples: int) -> int:
        """Return the number of samples that a waveform has at the new rate."""
        source_hz, target_hz = self._rates_hz
        whole, rest = divmod(samples * target_hz, source_hz)
        if 2 * rest != source_hz:
            return whole + (2 * rest > source_hz)
        # Half a sample is rounded up for some pairs of rates and down for others, as floating-point numbers fall.
        resampler = _Resampler(source_hz, target_hz)
        sizes = (min(_PORTION, samples - begin) for begin in range(0, samples, _PORTION))
        count = sum(len(resampler.resample(np.zeros(size, np.float32))) for size in sizes)
        return count + len(resampler.finish())

    def finish(self) -> np.ndarray:
        """Return the samples that the filter still holds."""
        empty = np.zeros(0, np.float32)
        return empty if self._stream is None else np.asarray(self._stream.resample_chunk(empty, last=True))


@dataclass(frozen=True)
class WindowPlan:
    """Windows of a recording whose STFT frames lie on those of the whole recording.

    All windows begin at multiples of the STFT's hop and have one length, except the last: it ends with the
    recording and is longer by less than a hop. A recording that is shorter than a window is one window.

    Attributes:
        samples: Length of the recording.
        window: Length of a window, a multiple of ``step``.
        hop: Distance between the begins of windows, a multiple of ``step``.
        step: Hop of the STFT.

    Example:
        >>> plan = WindowPlan(samples=1000, window=400, hop=200, step=10)
        >>> [(plan.start(k), plan.length(k)) for k in range(plan.count)]
        [(0, 400), (200, 400), (400, 400), (600, 400)]
        >>> plan = WindowPlan(samples=1057, window=400, hop=200, step=10)
        >>> [(plan.start(k), plan.length(k)) for k in range(plan.count)]
        [(0, 400), (200, 400), (400, 400), (600, 400), (650, 407)]
    """

    samples: int
    window: int
    hop: int
    step: int

    @classmethod
    def of(cls, frontend: Frontend, samples: int, window_s: float, hop_s: float) -> WindowPlan:
        """Return the plan for window and hop in seconds, rounded to multiples of the STFT's hop.

        Args:
            frontend: Front-end of the classifier.
            samples: Length of the recording at its sample rate.
            window_s: Length of a window.
            hop_s: Distance between the begins of windows.

        Raises:
            ConfigurationError: The window is shorter than two frames, or the hop is not positive or longer than it.
        """
        for name, value in (("window_s", window_s), ("hop_s", hop_s)):
            if not 0 < value < math.inf:
                raise ConfigurationError(f"{name}: {value} must be a positive number of seconds")
        step = frontend.hop_length
        window, hop = (max(round(value * frontend.sample_rate_hz / step), 1) * step for value in (window_s, hop_s))
        if hop > window:
            raise ConfigurationError(
                f"hop_s: {hop_s:g} exceeds window_s ({window_s:g}): parts would not be heard; choose at most that"
            )
        if window < 2 * frontend.window_length:
            shortest_s = math.ceil(2000 * frontend.window_length / frontend.sample_rate_hz + 1) / 1000
            raise ConfigurationError(
                f"window_s: {window_s:g} s are shorter than two frames of the spectrogram; "
                f"choose {shortest_s:g} or more"
            )
        return cls(samples, window, hop, step)

    @property
    def _regular(self) -> int:
        """Number of windows at multiples of ``hop`` that lie in the recording."""
        return max((self.samples - self.window) // self.hop, 0) + 1

    @property
    def count(self) -> int:
        """Number of windows."""
        rest = self.samples - (self._regular - 1) * self.hop - self.window
        return self._regular + (rest >= self.step)

    def start(self, index: int) -> int:
        """Return the first sample of a window."""
        if index < self._regular:
            return index * self.hop
        return (self.samples - self.window) // self.step * self.step

    def length(self, index: int) -> int:
        """Return the number of samples of a window."""
        rest = self.samples - self.start(index)
        return rest if index == self.count - 1 else self.window

    def span(self, index: int) -> tuple[int, int]:
        """Return the first sample of a window, and the one behind its last."""
        return self.start(index), self.start(index) + self.length(index)

    def first_frame(self, index: int) -> int:
        """Return the frame of the whole recording that the first frame of a window lies on."""
        return self.start(index) // self.step

    def core(self, index: int) -> tuple[int, int]:
        """Return the samples that are nearer to the centre of this window than to that of any other.

        The cores of all windows divide the recording.
        """
        begin = 0 if index == 0 else self._border(index - 1)
        return begin, (self.samples if index == self.count - 1 else self._border(index))

    def _border(self, index: int) -> int:
        """Return the middle between the centres of a window and of the next."""
        return (self.start(index) + self.start(index + 1) + self.window) // 2


def cut_windows(blocks: Iterable[np.ndarray], spans: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Yield parts of a waveform that arrives in blocks; only the blocks that a part needs are in memory.

    Args:
        blocks: Blocks of the waveform. Shape (samples,) each.
        spans: First sample of each part and the one behind its last, in the order of the first.

    Yields:
        Samples of each part. Shape (samples',) each.
    """
    source = iter(blocks)
    waiting: deque[np.ndarray] = deque()
    offset = length = 0  # first of the samples in these blocks, and their number
    for begin, end in spans:
        while True:
            # What lies before this part is needed no more; blocks before it pass without being stored.
            while waiting and offset + len(waiting[0]) <= begin:
                offset, length = offset + len(waiting[0]), length - len(waiting[0])
                waiting.popleft()
            block = next(source, None) if offset + length < end else None
            if block is None:
                break
            waiting.append(block)
            length += len(block)
        # joined once for each part: with each block, the samples of a long part would be copied again and again
        joined = np.concatenate([np.zeros(0, np.float32), *waiting])
        yield joined[max(begin - offset, 0) : max(end - offset, 0)]
