"""Clips of different lengths, and batches of them with padding."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

PadClips = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture
def pad_clips() -> PadClips:
    """A function that pads clips (..., time) to one length, and returns them with their lengths."""

    def pad(clips: Sequence[Tensor], padding_value: float = torch.nan) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([clip.shape[-1] for clip in clips])
        longest = int(lengths.max()) + 2
        padded = [
            torch.nn.functional.pad(clip, (0, longest - clip.shape[-1]), value=padding_value) for clip in clips
        ]
        return torch.stack(padded), lengths

    return pad


@pytest.fixture
def clips() -> list[Tensor]:
    """Four masks of 5 bins and 1 to 9 frames, with ties and zeros."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 6, (5, time), generator=generator) / 5 for time in (7, 1, 9, 4)]
