"""Evidence and remainder of a whole recording, the borders of its events, and its picture, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile
import torch
from torch import Tensor

from otoscope.audio import Frontend, RecordingStream, StreamingInverse, stream_spectra
from otoscope.audio.opening import plain_path
from otoscope.plots import PooledSpectrogram
from otoscope.recordings.long.events import Run
from otoscope.recordings.long.joining import JoinedMasks, MaskJoiner, masked_spectra

EVIDENCE_NAME, REMAINDER_NAME = "evidence.flac", "remainder.flac"
TARGETS_FOLDER = "targets"
"""Folder of the sounds of each target, if there are several."""
_BOX_TAIL = 0.025
"""Share of the energy outside each side of a box: the box holds at least 90 % of it."""


class SoundWriter:
    """FLAC file that is written block by block; samples beyond full scale are clipped and counted.

    Args:
        path: File.
        sample_rate_hz: Sample rate.
        scale: Factor of all samples.
    """

    def __init__(self, path: Path, sample_rate_hz: int, scale: float = 1.0) -> None:
        self._scale = scale
        self.clipped = 0
        self._file = _raising_os_errors(
            lambda: soundfile.SoundFile(plain_path(path), "w", sample_rate_hz, 1, "PCM_24", format="FLAC")
        )

    def write(self, samples: np.ndarray) -> None:
        """Append samples, shape (samples,)."""
        scaled = samples * np.float32(self._scale)
        self.clipped += int(np.count_nonzero(np.abs(scaled) > 1))
        _raising_os_errors(lambda: self._file.write(scaled.clip(-1, 1)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _raising_os_errors(self._file.close)


@dataclass(frozen=True)
class Box:
    """Part of time and frequency that holds most of the evidence of an event.

    Attributes:
        begin: First frame.
        end: Frame behind the last.
        low: Lowest bin.
        high: Highest bin.
    """

    begin: int
    end: int
    low: int
    high: int


class EventEnergy:
    """Energy of the evidence of one event over time and over frequency.

    Attributes:
        box: Part that holds at least 90 % of the energy, when all of it has been added; None without evidence.

    Args:
        run: The event.
        begin: First frame that its evidence may lie in.
        end: Frame behind the last.
    """

    def __init__(self, run: Run, begin: int, end: int) -> None:
        self.run, self.begin, self.end = run, begin, end
        self.box: Box | None = None
        self._times = np.zeros(0)
        self._frequencies = np.zeros(0)

    def add(self, power: np.ndarray, frame: int) -> None:
        """Add the power of the evidence in a portion of the frames.

        Args:
            power: Power, shape (frequency, frames').
            frame: First frame of the portion.
        """
        low, high = max(self.begin, frame), min(self.end, frame + power.shape[1])
        if low >= high:
            return
        part = power[:, low - frame : high - frame].astype(np.float64)
        if not len(self._times):
            self._times, self._frequencies = np.zeros(self.end - self.begin), np.zeros(len(part))
        self._times[low - self.begin : high - self.begin] += part.sum(0)
        self._frequencies += part.sum(1)

    def finish(self) -> None:
        """Set the box that holds at least 90 % of the energy, None without evidence, and free the memory."""
        if self._times.sum() > 0:
            times, frequencies = _central(self._times), _central(self._frequencies)
            self.box = Box(self.begin + times[0], self.begin + times[1] + 1, *frequencies)
        self._times = self._frequencies = np.zeros(0)


def _central(values: np.ndarray) -> tuple[int, int]:
    """Return the first and the last index of the part without the smallest tails."""
    share = np.cumsum(values) / values.sum()
    first = int(np.searchsorted(share, _BOX_TAIL, side="right"))
    return first, max(first, int(np.searchsorted(share, 1 - _BOX_TAIL)))


@torch.no_grad()
def synthesise(
    stream: RecordingStream,
    frontend: Frontend,
    joiner: MaskJoiner,
    events: Sequence[EventEnergy],
    picture: PooledSpectrogram,
    writers: Mapping[int | None, tuple[SoundWriter, SoundWriter]],
    on_portion: Callable[[int], object],
) -> None:
    """Write evidence and remainder of a recording, and measure its events and its picture on the way.

    Args:
        stream: Recording.
        frontend: Front-end, on the CPU.
        joiner: Masks of the explained windows.
        events: Events that the evidence is added to.
        picture: Picture that the portions are added to.
        writers: Files of evidence and remainder by label; those of None hold all labels together. Empty: no window
            is explained and nothing is written.
        on_portion: Callback, called with the number of samples of each portion.
    """
    samples = stream.survey.samples
    inverses = {label: [StreamingInverse(frontend, samples) for _ in pair] for label, pair in writers.items()}
    # Events are open only while their frames pass, so that the memory does not grow with their number.
    pending = sorted(events, key=lambda event: event.begin, reverse=True)
    active: list[EventEnergy] = []
    frame = 0
    for spectra in stream_spectra(stream, frontend):
        end = frame + spectra.shape[1]
        parts = _parts(spectra, joiner.portion(frame, end))
        for label, pair in writers.items():
            sounds = parts.sounds.get(label, (torch.zeros_like(spectra), spectra))
            for writer, inverse, sound in zip(pair, inverses[label], sounds, strict=True):
                writer.write(inverse.add(sound))
        while pending and pending[-1].begin < end:
            active.append(pending.pop())
        for event in active:
            if event.run.label in parts.powers:
                event.add(parts.powers[event.run.label], frame)
            if event.end <= end:
                event.finish()
        active = [event for event in active if event.end > end]
        picture.add(frame, _power(spectra), parts.power)
        on_portion(min(end * frontend.hop_length, samples) - min(frame * frontend.hop_length, samples))
        frame = end
    for event in active:
        event.finish()
    for label, pair in writers.items():
        for writer, inverse in zip(pair, inverses[label], strict=True):
            writer.write(inverse.finish())


def resolved_bins(frontend: Frontend) -> int:
    """Return the number of frequency bins of a transform that is hardly longer than the window.

    More bins show no more in a picture: the window limits what is resolved.

    Example:
        >>> Frontend().describe()
        '16000 Hz, n_fft 1024, window 372 samples, hop 186 samples'
        >>> resolved_bins(Frontend())
        257
    """
    return (1 << (frontend.window_length - 1).bit_length()) // 2 + 1


@dataclass(frozen=True)
class _Parts:
    """Parts of a portion.

    Attributes:
        sounds: Spectra of evidence and remainder of each explained label; of all together under None.
        power: Power of the evidence; None if there is none.
        powers: Power of the evidence of each explained label.
    """

    sounds: dict[int | None, tuple[Tensor, Tensor]]
    power: np.ndarray | None
    powers: dict[int, np.ndarray]


def _parts(spectra: Tensor, joined: JoinedMasks) -> _Parts:
    union = joined.union()
    if union is None:
        return _Parts({}, None, {})
    evidence, remainder = masked_spectra(spectra, (union, 1 - union), joined.gain)
    power = _power(evidence)
    sounds: dict[int | None, tuple[Tensor, Tensor]] = dict.fromkeys([None, *joined.masks], (evidence, remainder))
    powers = dict.fromkeys(joined.masks, power)
    if len(powers) > 1:
        for label, mask in joined.masks.items():
            evidence, remainder = masked_spectra(spectra, (mask, 1 - mask), joined.gain)
            sounds[label], powers[label] = (evidence, remainder), _power(evidence)
    return _Parts(sounds, power, powers)


def _power(spectra: Tensor) -> np.ndarray:
    # Frame by frame, as the transform leaves them in memory, and with plain NumPy: the same values as those of
    # `spectra.real.square() + spectra.imag.square()` in half the time.
    parts = torch.view_as_real(spectra.T.contiguous()).flatten(1).numpy()
    squares = parts * parts
    return np.asarray((squares[:, ::2] + squares[:, 1::2]).T)


def _raising_os_errors(action: Callable[[], object]) -> soundfile.SoundFile:
    """Run an action; raise libsndfile's errors, such as those of a full disk, as those of the system."""
    try:
        return action()
    except soundfile.LibsndfileError as error:
        raise OSError(str(error)) from error
