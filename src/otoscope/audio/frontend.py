"""Waveform to `Spectrogram` and back: the short-time Fourier transform that the whole package uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from otoscope.audio.spectrogram import Spectrogram
from otoscope.errors import ConfigurationError, ShapeError
from otoscope.signatures import constructor_arguments

MAGNITUDE_FLOOR = 1e-14
"""Added to the squared magnitude, so that its square root has a gradient at silence."""


class Frontend(nn.Module):
    """Log-magnitude STFT with a Hamming window, zero-padded and centred, and its inverse.

    With the defaults a 5 s clip (80 000 samples) gives 513 bins and 431 frames.

    Args:
        sample_rate_hz: Sample rate of the waveforms.
        n_fft: Length of the Fourier transform in samples, which gives ``n_fft // 2 + 1`` frequency bins (default:
            the next power of two beyond 1.8 windows, and at least 1024: 2048 at 48 kHz, 16384 at 256 kHz).
        window_ms: Length of the Hamming window.
        hop_ms: Distance between the centres of neighbouring frames.

    Raises:
        ConfigurationError: The window is longer than the transform or shorter than two hops.

    Reference:
        The page "Front-end" of the documentation. The defaults are those of SpeechBrain's recipes for the
        interpretation of ESC-50 classifiers.

    Example:
        >>> frontend = Frontend()
        >>> spectrogram = frontend(torch.randn(2, 80_000))
        >>> spectrogram.log_magnitude.shape
        torch.Size([2, 513, 431])
        >>> frontend.inverse(spectrogram).shape
        torch.Size([2, 80000])
    """

    window: Tensor

    def __init__(
        self,
        sample_rate_hz: int = 16_000,
        n_fft: int | None = None,
        window_ms: float = 23.2199,
        hop_ms: float = 11.6099,
    ) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.window_length = round(sample_rate_hz * window_ms / 1000)
        n_fft = default_n_fft(self.window_length) if n_fft is None else n_fft
        self.n_fft = n_fft
        self.hop_length = round(sample_rate_hz * hop_ms / 1000)
        # with a hop longer than half a window (rounded up), no frame would cover the end of some clips
        if not 0 < self.hop_length <= self.window_length // 2 + 1 or self.window_length > n_fft:
            raise ConfigurationError(
                f"frontend: hop ({self.hop_length} samples) <= window / 2, window ({self.window_length}) <= n_fft "
                f"({n_fft}) must hold; change hop_ms, window_ms or n_fft"
            )
        # not saved with the weights: it follows from the parameters
        self.register_buffer("window", torch.hamming_window(self.window_length), persistent=False)

    @property
    def bins(self) -> int:
        """Number of frequency bins of a spectrogram."""
        return self.n_fft // 2 + 1

    @property
    def config(self) -> dict[str, Any]:
        """Arguments that make this front-end again; they are saved with every model."""
        return constructor_arguments(self)

    def same_as(self, other: Frontend) -> bool:
        """Whether both make the same spectrograms: milliseconds may differ as long as the samples do not."""
        return self.describe() == other.describe()

    def describe(self) -> str:
        """Return the parameters in samples, for messages.

        Example:
            >>> Frontend().describe()
            '16000 Hz, n_fft 1024, window 372 samples, hop 186 samples'
        """
        lengths = f"window {self.window_length} samples, hop {self.hop_length} samples"
        return f"{self.sample_rate_hz} Hz, n_fft {self.n_fft}, {lengths}"

    def frames(self, samples: Tensor | int) -> Any:
        """Return the number of frames of clips with the given number of samples (at least those of one window)."""
        # frames are centred on samples 0, hop, 2 hop, ..., up to the end of the clip
        if isinstance(samples, Tensor):
            return samples.clamp(min=self.window_length) // self.hop_length + 1
        return max(samples, self.window_length) // self.hop_length + 1

    def forward(self, waveform: Tensor, lengths: Tensor | None = None, with_phase: bool = True) -> Spectrogram:
        """Compute the spectrogram of waveforms.

        Args:
            waveform: Waveforms, shape (batch, samples). Those shorter than a window are zero-padded.
            lengths: Number of samples of each clip, where a batch was padded. Shape (batch,).
            with_phase: Whether to compute the phase too; False saves time where nothing is turned back into sound.

        Returns:
            Spectrogram of shape (batch, bins, frames).

        Raises:
            ShapeError: The waveform does not have two dimensions, or has no samples.
        """
        log_magnitude, phase = self._analysed(waveform, with_phase)
        return Spectrogram(
            log_magnitude=log_magnitude,
            phase=phase,
            length=waveform.shape[-1],
            frames=None if lengths is None else self.frames(lengths),
            lengths=lengths,
        )

    def log_magnitude(self, waveform: Tensor) -> Tensor:
        """Return the log magnitude alone, for stages that never go back to sound (training).

        Args:
            waveform: Waveforms, shape (batch, samples).

        Returns:
            Log magnitude, shape (batch, bins, frames).
        """
        return self._analysed(waveform, with_phase=False)[0]

    def power(self, waveform: Tensor) -> Tensor:
        """Return the squared magnitude alone; see `log_magnitude_of`.

        Args:
            waveform: Waveforms, shape (batch, samples).

        Returns:
            Squared magnitude, shape (batch, bins, frames).
        """
        return _power(self._transform(waveform))

    def silence(self, frames: int = 64) -> Spectrogram:
        """Return the spectrogram of one silent clip, to probe networks with.

        Args:
            frames: Number of frames.
        """
        silence = torch.zeros(1, self.bins, frames, device=self.window.device)
        return Spectrogram(silence, silence)

    def inverse(self, spectrogram: Spectrogram) -> Tensor:
        """Turn spectrograms back into sound.

        Args:
            spectrogram: Spectrogram with its phase.

        Returns:
            Waveform, shape (batch, samples).

        Raises:
            PhaseError: The spectrogram has no phase.
        """
        if spectrogram.lengths is not None:
            # Clip by clip: the inverse divides overlap-added frames by overlap-added squared windows, so that the
            # silent frames of the padding would attenuate the last samples of a clip.
            clips = [self.inverse(spectrogram.clip(index))[0] for index in range(len(spectrogram))]
            return nn.utils.rnn.pad_sequence(clips, batch_first=True)
        # istft and complex numbers need single precision, also under autocast
        magnitude = spectrogram.magnitude.float()
        transform = torch.polar(magnitude, spectrogram.require_phase("the inverse transform").float())
        return self.inverse_transform(transform, spectrogram.length)

    def inverse_transform(self, transform: Tensor, length: int | None = None) -> Tensor:
        """Turn complex spectrograms of clips of one length into sound.

        Args:
            transform: Complex STFT, single precision. Shape (batch, bins, frames).
            length: Number of samples (default: up to the centre of the last frame).

        Returns:
            Waveform, shape (batch, samples).
        """
        length = length or (transform.shape[-1] - 1) * self.hop_length
        # a clip shorter than a window was padded to one in `forward`: invert all of it, then cut it again
        samples = max(length, self.window_length)
        # The values of `torch.istft` in half the time, which adds up whole transforms: outside of the window, in
        # their middle, they are zero.
        first = (self.n_fft - self.window_length) // 2
        frames = torch.fft.irfft(transform.transpose(-1, -2), self.n_fft)
        windowed = frames[..., first : first + self.window_length] * self.window
        squares = self.window.square().expand(1, transform.shape[-1], -1)
        # The first frame is centred on the first sample: its window begins before the sound does.
        start = self.n_fft // 2 - first
        sums, weights = (self._overlap_add(part)[:, start : start + samples] for part in (windowed, squares))
        waveform = sums / weights
        missing = samples - waveform.shape[-1]
        return nn.functional.pad(waveform, (0, missing))[..., :length] if missing > 0 else waveform[..., :length]

    def _analysed(self, waveform: Tensor, with_phase: bool) -> tuple[Tensor, Tensor | None]:
        """Return log magnitude and phase, shape of each (batch, bins, frames)."""
        several = waveform.ndim == 2 and len(waveform) > 1
        if several and waveform.device.type == "cpu" and not torch.is_grad_enabled():
            # One after the other, so that the complex spectrogram stays in the cache of the processor: 0.75 instead
            # of 1.03 ms for each of 16 clips of 5 s.
            parts = [self._analysed(clip, with_phase) for clip in waveform.split(1)]  # type: ignore[no-untyped-call]
            phases = [phase for _, phase in parts if phase is not None]
            return _joined([log_magnitude for log_magnitude, _ in parts]), _joined(phases) if phases else None
        transform = self._transform(waveform)
        return log_magnitude_of(_power(transform)), transform.angle() if with_phase else None

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Add frames at distances of a hop, (batch, frames, samples) to (batch, samples)."""
        hop, count = self.hop_length, frames.shape[1]
        # Each frame is cut into blocks as long as a hop; the last one is completed with zeros:
        #
        #     frame 0   a a b b
        #     frame 1       a a b b       blocks a start at their frame, blocks b one hop later
        #     frame 2           a a b b
        blocks = math.ceil(frames.shape[2] / hop)
        missing = blocks * hop - frames.shape[2]
        padded = nn.functional.pad(frames, (0, missing)) if missing else frames
        total = frames.new_zeros(len(frames), count + blocks - 1, hop)
        for block in range(blocks):
            total[:, block : block + count] += padded[..., block * hop : (block + 1) * hop]
        return total.flatten(1)

    def _transform(self, waveform: Tensor) -> Tensor:
        if waveform.ndim != 2 or waveform.shape[-1] == 0:
            raise ShapeError(f"expected waveforms of shape (batch, samples), got {tuple(waveform.shape)}")
        missing = self.window_length - waveform.shape[-1]
        if missing > 0:
            waveform = nn.functional.pad(waveform, (0, missing))
        # center=True with zeros:   0 0 0 | x x x x x x | 0 0 0   half a transform on both sides, so that frame t
        # is centred on sample t * hop and the first sample lies in the middle of a window
        return torch.stft(
            waveform.float(),
            self.n_fft,
            self.hop_length,
            self.window_length,
            self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )


def _joined(spectrograms: Sequence[Tensor]) -> Tensor:
    """Join spectrograms (batch, bins, frames) with time first in memory, as PyTorch's transform has it."""
    return torch.cat([part.transpose(1, 2) for part in spectrograms]).transpose(1, 2)


def default_n_fft(window_length: int) -> int:
    """Return the length of the Fourier transform for a window, in samples.

    Example:
        >>> default_n_fft(372), default_n_fft(1115)
        (1024, 2048)
    """
    # A power of two that exceeds the window by a similar factor as at 16 kHz, where it is 1024 over 372.
    shortest = max(1024.0, 1.8 * window_length)
    return int(2 ** math.ceil(math.log2(shortest)))


def peak_normalize(waveform: Tensor) -> Tensor:
    """Divide each clip by its largest absolute sample; a silent clip stays silent.

    Args:
        waveform: Waveforms, shape (..., samples).

    Returns:
        Waveforms in [-1, 1], of the same shape.

    Reference:
        The page "Front-end" of the documentation. Departure from the published recipe, which divides by the
        largest sample: that does not normalise a clip whose peak is negative.

    Example:
        >>> peak_normalize(torch.tensor([[0.1, -0.5], [0.0, 0.0]]))
        tensor([[ 0.2000, -1.0000],
                [ 0.0000,  0.0000]])
    """
    peak = waveform.abs().amax(-1, keepdim=True)
    return waveform / torch.where(peak > 0, peak, torch.ones_like(peak))


def log_magnitude_of(power: Tensor) -> Tensor:
    """Return the log magnitude ``log1p(|X|)``, with a gradient at silence.

    Args:
        power: Squared magnitude, any shape; it is overwritten.
    """
    # In place to save memory, except for the logarithm: the gradient of the root needs the root itself.
    return power.add_(MAGNITUDE_FLOOR).sqrt_().log1p()


def _power(transform: Tensor) -> Tensor:
    parts = torch.view_as_real(transform)
    # Two terms are added instead of a sum over the last dimension: the same values in half the time.
    return parts[..., 0].square() + parts[..., 1].square()


def require_frontend(value: Any) -> Frontend | None:
    """Return a front-end, or None, unchanged.

    Args:
        value: Front-end, None, or a value of the user that is neither.

    Raises:
        ConfigurationError: It is another value, such as a sample rate.
    """
    if value is None or isinstance(value, Frontend):
        return value
    rate = value if isinstance(value, int) else "..."
    raise ConfigurationError(
        f"frontend: expected a Frontend, got {type(value).__name__}; otoscope.Frontend(sample_rate_hz={rate}) "
        "makes one"
    )
