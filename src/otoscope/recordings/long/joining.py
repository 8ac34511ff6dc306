"""Masks of overlapping windows, joined in the frames of the whole recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from otoscope.audio import WindowPlan
from otoscope.audio.frontend import MAGNITUDE_FLOOR
from otoscope.recordings.long.masks import WindowMask

_CUT_WEIGHT = 1e-6
"""Factor of the weight of frames that a window cuts off: not 0, because windows without overlap share no others."""
_FADE_SHARE = 0.05
"""Share of the weight of all windows below which the masks of the explained ones fade out. Beside a window that is
not explained, the evidence then begins and ends within 14 % of half a window instead of at once."""


def overlap_weights(frames: int) -> np.ndarray:
    """Return the weight of each frame of a window where windows overlap: a raised cosine that is nowhere 0.

    Frames at the ends of a window count least, because there the network hears what precedes or follows the window
    as silence.

    Example:
        >>> overlap_weights(4).round(2)
        array([0.15, 0.85, 0.85, 0.15])
    """
    return np.sin(np.pi * (np.arange(frames) + 0.5) / frames) ** 2


@dataclass(frozen=True)
class JoinedMasks:
    """Joined masks of a portion of the frames.

    Attributes:
        masks: Mask in [0, 1] of each explained label. Shape (frequency, frames') each.
        gain: Level of the windows to which the masks belong. Shape (frames',).
    """

    masks: Mapping[int, np.ndarray]
    gain: np.ndarray

    def union(self) -> np.ndarray | None:
        """Return the mask of all labels together: the largest in each bin; None if no window is explained."""
        return np.maximum.reduce(list(self.masks.values())) if self.masks else None


class MaskJoiner:
    """Weighted overlap-add of the masks of windows, portion by portion.

    The mask of a label in a frame is the mean over the explained windows that hold the frame, weighted by
    `overlap_weights`. The outermost frames of a window see zeros in place of the sound beyond it. They hardly
    count: the last two windows of a recording may begin one frame apart, so that their weights at the end are
    similar. Only the windows of a portion are in memory.

    Args:
        plan: Windows of the recording.
        masks: Masks of the explained windows, in the order of the windows.
        reach: Number of samples that a frame sees on each side of its centre.
    """

    def __init__(self, plan: WindowPlan, masks: Iterable[WindowMask], reach: int) -> None:
        self._plan = plan
        self._cut_frames = -(-reach // plan.step)
        self._source = iter(masks)
        self._active: list[WindowMask] = []
        self._next = next(self._source, None)
        self._first_window = 0

    def portion(self, begin: int, end: int) -> JoinedMasks:
        """Return the joined masks of frames; portions must be asked for in their order.

        Args:
            begin: First frame.
            end: Frame behind the last.
        """
        while self._next is not None and self._plan.first_frame(self._next.job.window) < end:
            self._active.append(self._next)
            self._next = next(self._source, None)
        self._active = [mask for mask in self._active if self._end(mask) > begin]
        masks: dict[int, np.ndarray] = {}
        for label in sorted({mask.job.label for mask in self._active}):
            parts = [mask for mask in self._active if mask.job.label == label]
            masks[label] = self._weighted_mean(parts, begin, end)
        return JoinedMasks(masks, self._gain(begin, end))

    def _end(self, mask: WindowMask) -> int:
        return self._plan.first_frame(mask.job.window) + int(mask.mask.shape[1])

    def _weighted_mean(self, parts: list[WindowMask], begin: int, end: int) -> np.ndarray:
        total = np.zeros((parts[0].mask.shape[0], end - begin), np.float32)
        weight = np.zeros(end - begin)
        for part in parts:
            for target, source, weights in self._overlap(part.job.window, part.mask.shape[1], begin, end):
                total[:, target] += part.mask[:, source] * weights.astype(np.float32)
                weight[target] += weights
        # Where all windows are explained this is the weighted mean; beside one that is not, the mask fades out.
        divisor = np.maximum(weight, _FADE_SHARE * self._weight_of_all(begin, end))
        return np.minimum(total / divisor.astype(np.float32), 1)

    def _gain(self, begin: int, end: int) -> np.ndarray:
        """Return the mean level of the explained windows in each frame; 1 where there is none."""
        total, weight = np.zeros(end - begin), np.zeros(end - begin)
        for part in {mask.job.window: mask for mask in self._active}.values():
            for target, _, weights in self._overlap(part.job.window, part.mask.shape[1], begin, end):
                total[target] += part.gain * weights
                weight[target] += weights
        return np.divide(total, weight, out=np.ones_like(total), where=(weight > 0) & (total > 0))

    def _weight_of_all(self, begin: int, end: int) -> np.ndarray:
        """Return the summed weights of all windows, explained or not."""
        plan, weight = self._plan, np.zeros(end - begin)
        while self._frames_end(self._first_window) <= begin and self._first_window < plan.count - 1:
            self._first_window += 1
        for window in range(self._first_window, plan.count):
            if plan.first_frame(window) >= end:
                break
            frames = self._frames_end(window) - plan.first_frame(window)
            for target, _, weights in self._overlap(window, frames, begin, end):
                weight[target] += weights
        return weight

    def _frames_end(self, window: int) -> int:
        return self._plan.first_frame(window) + self._plan.length(window) // self._plan.step + 1

    def _overlap(self, window: int, frames: int, begin: int, end: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Yield where a window lies in a portion, where the portion lies in the window, and the weights there."""
        first = self._plan.first_frame(window)
        low, high = max(first, begin), min(first + frames, end)
        if low < high:
            source = slice(low - first, high - first)
            yield slice(low - begin, high - begin), source, self._weights(window, frames)[source]

    def _weights(self, window: int, frames: int) -> np.ndarray:
        weights = overlap_weights(frames)
        # the whole recording has zeros before its begin and behind its end as well
        if window > 0:
            weights[: self._cut_frames] *= _CUT_WEIGHT
        if window < self._plan.count - 1:
            weights[-self._cut_frames :] *= _CUT_WEIGHT
        return weights


def masked_spectra(spectra: Tensor, masks: Iterable[np.ndarray], gain: np.ndarray) -> list[Tensor]:
    """Return what each mask keeps of spectra, at the level of the recording.

    A mask multiplies the log magnitude of a window at the level at which the networks were given it, and the
    logarithm is not linear in the level: so each frame is divided by the level of its windows first.

    Args:
        spectra: Complex spectra, shape (frequency, frames').
        masks: Masks in [0, 1], same shape.
        gain: Level of the windows in each frame. Shape (frames',).
    """
    level = torch.from_numpy(gain).float()
    # as `Frontend` computes the magnitude, with its floor
    leveled = spectra / level
    power = leveled.real.square() + leveled.imag.square()
    log_magnitude = (power + MAGNITUDE_FLOOR).sqrt().log1p()
    # the phase as numbers of magnitude 1, and 0 in digital silence: without angles, sines and cosines
    phase = spectra.sgn()
    return [phase * (level * torch.expm1(log_magnitude * torch.from_numpy(mask).float())) for mask in masks]
