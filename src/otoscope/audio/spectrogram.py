"""The spectrogram that every classifier takes and every mask multiplies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from otoscope.audio.padding import frame_counts, zero_padding
from otoscope.errors import PhaseError, ShapeError


@dataclass
class Spectrogram:
    """Log-magnitude STFT of a batch of clips, with the phase that turns it back into sound and the valid frames.

    Every function takes it as one value, so that the phase and the padding of a clip are never separated from its
    log magnitude. It can be indexed by clip, repeated, masked, and cut into clips without padding.

    Attributes:
        log_magnitude: ``log1p(|X|)``, not negative. Shape (batch, frequency, time).
        phase: Phase in radians; None where nothing is turned back into sound (most trainings). Same shape.
        length: Number of samples of the waveform (of the longest clip in a padded batch).
        frames: Number of valid frames of each clip; None: no clip is padded. Shape (batch,), int64.
        lengths: Number of samples of each clip; None: no clip is padded. Shape (batch,), int64.
        normalized: Whether each clip was scaled to a peak of 1 for the networks; None: as the classifier states.
            Sounds of masked clips are scaled in the same way, see `otoscope.classifiers.Classifier.heard`.

    Raises:
        ShapeError: Phase and log magnitude differ in shape.

    Example:
        >>> spectrogram = Spectrogram(torch.ones(2, 3, 4), frames=torch.tensor([4, 2]))
        >>> spectrogram.zero_padding(spectrogram.log_magnitude).sum((1, 2))
        tensor([12.,  6.])
        >>> [clip.log_magnitude.shape[-1] for _, clip in spectrogram.by_length()]
        [2, 4]
    """

    log_magnitude: Tensor
    phase: Tensor | None = None
    length: int | None = None
    frames: Tensor | None = None
    lengths: Tensor | None = None
    normalized: bool | None = None

    def __post_init__(self) -> None:
        if self.phase is not None and self.phase.shape != self.log_magnitude.shape:
            raise ShapeError(
                f"a phase of shape {tuple(self.phase.shape)} does not fit a spectrogram of shape "
                f"{tuple(self.log_magnitude.shape)}"
            )

    def __len__(self) -> int:
        return len(self.log_magnitude)

    def __getitem__(self, index: slice | Tensor | Sequence[int]) -> Spectrogram:
        """Select clips; they keep the padding that they have in this batch."""
        return replace(
            self,
            log_magnitude=self.log_magnitude[index],
            phase=None if self.phase is None else self.phase[index],
            frames=None if self.frames is None else self.frames[index],
            lengths=None if self.lengths is None else self.lengths[index],
        )

    @property
    def magnitude(self) -> Tensor:
        """Magnitude ``|X|``, shape (batch, frequency, time)."""
        # the inverse of log1p, precise for small values too
        return torch.expm1(self.log_magnitude)

    @property
    def frame_counts(self) -> list[int]:
        """Number of valid frames of each clip."""
        return frame_counts(self.log_magnitude, self.frames)

    def zero_padding(self, values: Tensor) -> Tensor:
        """Set values of shape (batch, ..., time) to zero in the padding of each clip."""
        return zero_padding(values, self.frames)

    def masked(self, mask: Tensor) -> Spectrogram:
        """Multiply the log magnitude by a mask and keep the phase.

        Args:
            mask: Mask in [0, 1], shape (batch, frequency, time).

        Raises:
            ShapeError: The mask and the spectrogram differ in shape.
        """
        if mask.shape != self.log_magnitude.shape:
            raise ShapeError(
                f"a mask of shape {tuple(mask.shape)} does not fit a spectrogram of shape "
                f"{tuple(self.log_magnitude.shape)}"
            )
        return replace(self, log_magnitude=self.log_magnitude * mask)

    def with_log_magnitude(self, log_magnitude: Tensor) -> Spectrogram:
        """Return the same spectrogram with another log magnitude, such as a perturbed one, of the same shape."""
        return replace(self, log_magnitude=log_magnitude)

    def repeat(self, times: int) -> Spectrogram:
        """Repeat the whole batch: all clips, then all clips again."""
        return self[torch.arange(len(self), device=self.log_magnitude.device).repeat(times)]

    def split(self, size: int) -> Iterator[Spectrogram]:
        """Yield the clips in order, at most ``size`` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def detach(self) -> Spectrogram:
        """Copy log magnitude and phase, detached from any graph."""
        # cloned: a tensor made in inference mode cannot take part in a new graph
        phase = None if self.phase is None else self.phase.detach().clone()
        return replace(self, log_magnitude=self.log_magnitude.detach().clone(), phase=phase)

    def clip(self, index: int) -> Spectrogram:
        """Return one clip without its padding, as a batch of one."""
        length = self.length if self.lengths is None else int(self.lengths[index])
        return self._without_padding(slice(index, index + 1), self.frame_counts[index], length)

    def by_length(self, size: int | None = None) -> Iterator[tuple[Tensor, Spectrogram]]:
        """Yield clips with the same number of frames together, without their padding.

        The result for a clip then does not depend on the other clips of its batch.

        Args:
            size: Largest number of clips to yield at a time (default: no limit).

        Yields:
            Positions of the clips in the batch, shape (clips,), and their spectrogram.
        """
        counts = self.frame_counts
        for count in sorted(set(counts)):
            clips = [index for index, other in enumerate(counts) if other == count]
            step = len(clips) if size is None else size
            for start in range(0, len(clips), step):
                index = torch.tensor(clips[start : start + step], device=self.log_magnitude.device)
                # with padding, clips with the same number of frames may still differ in their number of samples
                length = None if self.frames is not None else self.length
                yield index, self._without_padding(index, count, length)

    def require_phase(self, purpose: str) -> Tensor:
        """Return the phase.

        Args:
            purpose: Name of the operation that needs it, for the message.

        Raises:
            PhaseError: There is none.
        """
        if self.phase is None:
            raise PhaseError(
                f"{purpose} needs the phase of the spectrogram: give the spectrogram that the classifier's "
                "front-end made, classifier.frontend(waveform)"
            )
        return self.phase

    def _without_padding(self, index: slice | Tensor, frames: int, length: int | None) -> Spectrogram:
        log_magnitude = self.log_magnitude[index][..., :frames]
        phase = None if self.phase is None else self.phase[index][..., :frames]
        return Spectrogram(log_magnitude, phase, length, normalized=self.normalized)
