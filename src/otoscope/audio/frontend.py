"""Waveform to `Spectrogram` and back: the one short-time Fourier transform of the whole house."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from otoscope.audio.spectrogram import Spectrogram
from otoscope.errors import ConfigurationError, ShapeError

MAGNITUDE_FLOOR = 1e-14
"""Added to the squared magnitude, so that its square root has a gradient at silence."""


class Frontend(nn.Module):
    """Log-magnitude STFT with a Hamming window, zero-padded and centred, and its inverse.

    With the defaults a 5 s clip (80 000 samples) gives 513 bins and 431 frames.

    Args:
        sample_rate_hz: Rate of the waveforms.
        n_fft: Length of the Fourier transform in samples; ``n_fft // 2 + 1`` frequency bins.
        window_ms: Length of the Hamming window.
        hop_ms: Distance between frames.

    Raises:
        ConfigurationError: The window is longer than the transform or shorter than two hops.

    Reference:
        METHODS, "Front-end"; the parameters of the ESC-50 interpretation recipes of SpeechBrain.

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
        n_fft: int = 1024,
        window_ms: float = 23.2199,
        hop_ms: float = 11.6099,
    ) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.n_fft = n_fft
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.window_length = round(sample_rate_hz * window_ms / 1000)
        self.hop_length = round(sample_rate_hz * hop_ms / 1000)
        # Beyond half a window (rounded), the end of some clips would lie in no frame and be lost.
        if not 0 < self.hop_length <= self.window_length // 2 + 1 or self.window_length > n_fft:
            raise ConfigurationError(
                f"frontend: hop ({self.hop_length} samples) <= window / 2, window ({self.window_length}) <= n_fft "
                f"({n_fft}) must hold; change hop_ms, window_ms or n_fft"
            )
        window = torch.hamming_window(self.window_length)
        self.register_buffer("window", window, persistent=False)

    @property
    def bins(self) -> int:
        """Frequency bins of a spectrogram."""
        return self.n_fft // 2 + 1

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this front-end again; travels with every checkpoint."""
        names = ("sample_rate_hz", "n_fft", "window_ms", "hop_ms")
        return {name: getattr(self, name) for name in names}

    def same_as(self, other: Frontend) -> bool:
        """Whether both make the same spectrograms."""
        names = ("sample_rate_hz", "n_fft", "window_length", "hop_length")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def describe(self) -> str:
        """Itself in a few words, for messages.

        Example:
            >>> Frontend().describe()
            '16000 Hz, n_fft 1024, window 372 samples, hop 186 samples'
        """
        lengths = f"window {self.window_length} samples, hop {self.hop_length} samples"
        return f"{self.sample_rate_hz} Hz, n_fft {self.n_fft}, {lengths}"

    def frames(self, samples: Tensor | int) -> Any:
        """Frames that clips of so many samples have (never fewer than those of one window)."""
        if isinstance(samples, Tensor):
            return samples.clamp(min=self.window_length) // self.hop_length + 1
        return max(samples, self.window_length) // self.hop_length + 1

    def forward(self, waveform: Tensor, lengths: Tensor | None = None, with_phase: bool = True) -> Spectrogram:
        """Analyse waveforms.

        Args:
            waveform: Shape (batch, samples). Fewer samples than a window are padded with zeros.
            lengths: Samples of each clip, where a batch was padded. Shape (batch,).
            with_phase: Compute the phase too; False saves time where nothing is turned back into sound.

        Returns:
            Spectrogram of shape (batch, bins, frames).

        Raises:
            ShapeError: The waveform has not two dimensions, or no sample.
        """
        transform = self._transform(waveform)
        return Spectrogram(
            log_magnitude=_log_magnitude(transform),
            phase=transform.angle() if with_phase else None,
            length=waveform.shape[-1],
            frames=None if lengths is None else self.frames(lengths),
            lengths=lengths,
        )

    def log_magnitude(self, waveform: Tensor) -> Tensor:
        """The log magnitude alone, for stages that never go back to sound (training).

        Args:
            waveform: Shape (batch, samples).

        Returns:
            Shape (batch, bins, frames).
        """
        return _log_magnitude(self._transform(waveform))

    def silence(self, frames: int = 64) -> Spectrogram:
        """Spectrogram of one silent clip, to probe networks with.

        Args:
            frames: Number of frames.
        """
        silence = torch.zeros(1, self.bins, frames, device=self.window.device)
        return Spectrogram(silence, silence)

    def inverse(self, spectrogram: Spectrogram) -> Tensor:
        """Turn a spectrogram back into sound.

        Args:
            spectrogram: Spectrogram with its phase and the length of its waveform in samples.

        Returns:
            Waveform, shape (batch, samples).

        Raises:
            PhaseError: The spectrogram has no phase.
        """
        if spectrogram.lengths is not None:
            # clip by clip: in the overlap-add, the silent frames behind a clip's end would fade its last samples
            clips = [self.inverse(spectrogram.clip(index))[0] for index in range(len(spectrogram))]
            return nn.utils.rnn.pad_sequence(clips, batch_first=True)
        magnitude = spectrogram.magnitude.float()
        transform = torch.polar(magnitude, spectrogram.require_phase("the inverse transform").float())
        length = spectrogram.length or (magnitude.shape[-1] - 1) * self.hop_length
        waveform = torch.istft(
            transform,
            self.n_fft,
            self.hop_length,
            self.window_length,
            self.window,
            center=True,
            length=max(length, self.window_length),
        )
        return waveform[..., :length]

    def _transform(self, waveform: Tensor) -> Tensor:
        if waveform.ndim != 2 or waveform.shape[-1] == 0:
            raise ShapeError(f"expected waveforms of shape (batch, samples), got {tuple(waveform.shape)}")
        missing = self.window_length - waveform.shape[-1]
        if missing > 0:
            waveform = nn.functional.pad(waveform, (0, missing))
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


def peak_normalize(waveform: Tensor) -> Tensor:
    """Divides each clip by its largest absolute sample; a silent clip stays silent.

    Args:
        waveform: Shape (..., samples).

    Returns:
        Samples in [-1, 1]. Same shape.

    Reference:
        METHODS, "Front-end". Departure from the published recipe: it divides by the largest sample,
        which is wrong for a clip whose peak is negative.

    Example:
        >>> peak_normalize(torch.tensor([[0.1, -0.5], [0.0, 0.0]]))
        tensor([[ 0.2000, -1.0000],
                [ 0.0000,  0.0000]])
    """
    peak = waveform.abs().amax(-1, keepdim=True)
    return waveform / torch.where(peak > 0, peak, torch.ones_like(peak))


def _log_magnitude(transform: Tensor) -> Tensor:
    parts = torch.view_as_real(transform)
    # The gradient of the root needs the root, so the logarithm may not overwrite it.
    return parts.square().sum(-1).add_(MAGNITUDE_FLOOR).sqrt_().log1p()
