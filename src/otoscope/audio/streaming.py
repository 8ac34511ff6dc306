"""Short-time Fourier transform of a waveform that arrives in blocks, and its inverse, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from otoscope.audio.frontend import Frontend

_LARGEST_PORTION = 1 << 19
"""Bins that are transformed at once: 4 MB of complex numbers."""


def stream_spectra(blocks: Iterable[np.ndarray], frontend: Frontend) -> Iterator[Tensor]:
    """Yield the frames of the spectrum of a whole waveform, portion by portion.

    The portions joined are the STFT that the front-end takes of the whole waveform.

    Args:
        blocks: Blocks of the waveform. Shape (samples,) each.
        frontend: Front-end, on the CPU.

    Yields:
        Complex spectra. Shape (bins, frames') each.
    """
    transform = StreamingTransform(frontend)
    for block in blocks:
        yield from transform.add(block)
    yield from transform.finish()


class StreamingTransform:
    """The transform of `stream_spectra`, for blocks that are handed over one by one.

    Args:
        frontend: Front-end, on the CPU.
    """

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._most = max(_LARGEST_PORTION // frontend.bins, 1)
        # Zeros on both sides, as the front-end adds them: frame t is centred on sample t * hop.
        self._buffer, self._samples = torch.zeros(frontend.n_fft // 2), 0

    def add(self, block: np.ndarray) -> Iterator[Tensor]:
        """Yield the frames that are complete with a block of the waveform, shape (samples,)."""
        self._samples += len(block)
        self._buffer = torch.cat([self._buffer, torch.from_numpy(np.ascontiguousarray(block))])
        yield from self._complete()

    def finish(self) -> Iterator[Tensor]:
        """Yield the frames at the end of the waveform."""
        # A waveform shorter than a window is padded to one.
        missing = max(self._frontend.window_length - self._samples, 0)
        self._buffer = F.pad(self._buffer, (0, self._frontend.n_fft // 2 + missing))
        yield from self._complete()

    def _complete(self) -> Iterator[Tensor]:
        n_fft, hop = self._frontend.n_fft, self._frontend.hop_length
        while (count := min((len(self._buffer) - n_fft) // hop + 1, self._most)) > 0:
            yield _transform(self._buffer[: (count - 1) * hop + n_fft], self._frontend)
            self._buffer = self._buffer[count * hop :]


def _transform(samples: Tensor, frontend: Frontend) -> Tensor:
    return torch.stft(
        samples,
        frontend.n_fft,
        frontend.hop_length,
        frontend.window_length,
        frontend.window,
        center=False,
        return_complex=True,
    )


class StreamingInverse:
    """Inverse of `stream_spectra`: frames in, finished samples out.

    Args:
        frontend: Front-end, on the CPU.
        samples: Length of the whole waveform.
    """

    def __init__(self, frontend: Frontend, samples: int) -> None:
        self._frontend = frontend
        self._samples = samples
        length = frontend.window_length
        # The window lies in the middle of the transform. The first begins before the recording.
        self._left = (frontend.n_fft - length) // 2
        self._position = self._left - frontend.n_fft // 2
        self._sum, self._weight = torch.zeros(length), torch.zeros(length)

    def add(self, spectra: Tensor) -> np.ndarray:
        """Return the samples that are complete when these frames have been added.

        Args:
            spectra: Complex spectra of the next frames. Shape (bins, frames'), at least one frame.
        """
        window, hop = self._frontend.window, self._frontend.hop_length
        length, count = len(window), spectra.shape[-1]
        frames = torch.fft.irfft(spectra, self._frontend.n_fft, dim=0)[self._left : self._left + length]
        total = (count - 1) * hop + length
        signal = _overlap_added(frames * window[:, None], hop, total)
        weight = _overlap_added((window**2)[:, None].expand(-1, count), hop, total)
        # What earlier frames left overlaps with the begin of these.
        signal[: len(self._sum)] += self._sum[:total]
        weight[: len(self._weight)] += self._weight[:total]
        finished = count * hop
        self._sum, self._weight = signal[finished:], weight[finished:]
        return self._output(signal[:finished], weight[:finished])

    def finish(self) -> np.ndarray:
        """Return the samples behind the centre of the last frame."""
        output = self._output(self._sum, self._weight)
        self._sum, self._weight = self._sum[:0], self._weight[:0]
        return output

    def _output(self, signal: Tensor, weight: Tensor) -> np.ndarray:
        begin, end = self._position, self._position + len(signal)
        self._position = end
        inside = slice(max(-begin, 0), max(min(end, self._samples) - begin, 0))
        # Every sample of the recording lies in a window; the Hamming window is nowhere 0.
        return np.asarray((signal[inside] / weight[inside]).numpy())


def _overlap_added(frames: Tensor, hop: int, total: int) -> Tensor:
    """Add frames of shape (samples, frames') at multiples of the hop. Shape (total,)."""
    folded = F.fold(frames[None], (1, total), (1, len(frames)), stride=(1, hop))
    return folded[0, 0, 0].clone()
