"""Inputs of networks that classify a clip patch by patch, by name or as a function of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from otoscope.classifiers.external.class_paths import is_named, make_named, name_of
from otoscope.classifiers.external.features import Features
from otoscope.classifiers.external.network_file import shown
from otoscope.errors import CheckpointError, ConfigurationError

# YAMNet at 16 kHz: 25 ms windows every 10 ms, patches of 0.96 s every 0.48 s.
_WINDOW, _HOP, _TRANSFORM = 400, 160, 512
_MEL_BINS, _LOWEST_HZ, _HIGHEST_HZ = 64, 125.0, 7500.0
_PATCH, _PATCH_HOP = 96, 48
_OFFSET = 0.001
_INTEGERS = (torch.uint8, torch.int8, torch.uint16, torch.int16)
"""Types of features that are already quantised."""
_UNNAMED = "unnamed function"
"""Value in a model folder for a function that cannot be imported by name."""

PatchSource = str | Callable[[Any], Any] | Mapping[str, Any]


class YamnetPatches(Features):
    """Patches of log mel features, the input of YAMNet: 96 frames of 10 ms by 64 mel bins, every 48 frames.

    The features have shape (batch, patches, 96, 64). Clips are continued with silence to a whole number of patches,
    one at least.

    Reference:
        YAMNet, `research/audioset/yamnet` of the TensorFlow Model Garden; Hershey et al. 2017, arXiv 1609.09430.

    Example:
        >>> YamnetPatches()(torch.randn(2, 32_000)).shape
        torch.Size([2, 4, 96, 64])
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__(16_000)
        self.register_buffer("filters", yamnet_filters(), persistent=False)

    @override
    def forward(self, waveform: Tensor) -> Tensor:
        # |== first patch ==|             the first patch needs 95 hops and one window, each further one 48 hops
        #          |== second ==|
        # x x x x x x x x x x 0 0 0       zeros up to the end of the last patch
        first, step = (_PATCH - 1) * _HOP + _WINDOW, _PATCH_HOP * _HOP
        length = first + -(-max(0, waveform.shape[-1] - first) // step) * step
        waveform = F.pad(waveform, (0, length - waveform.shape[-1])).double()
        window = torch.hann_window(_WINDOW, dtype=waveform.dtype, device=waveform.device)
        magnitude = torch.fft.rfft(waveform.unfold(-1, _WINDOW, _HOP) * window, _TRANSFORM).abs()
        log_mel = (magnitude @ self.filters.to(magnitude) + _OFFSET).log()
        # `unfold` appends the axis of the frames in a patch
        patches: Tensor = log_mel.unfold(1, _PATCH, _PATCH_HOP).transpose(-1, -2).float()
        return patches


def yamnet_filters() -> Tensor:
    """Return YAMNet's mel filters, triangles on the HTK mel scale without normalisation, shape (bins, mel bins)."""
    edges = torch.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), _MEL_BINS + 2, dtype=torch.float64)
    bins_hz = torch.linspace(0, 8000, _TRANSFORM // 2 + 1, dtype=torch.float64)
    position = 1127 * (bins_hz / 700).log1p()[:, None]
    rising = (position - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - position) / (edges[2:] - edges[1:-1])
    filters: Tensor = rising.minimum(falling).clamp(min=0)
    return filters


PATCH_FEATURES: dict[str, type[Features]] = {"yamnet": YamnetPatches}
"""Features that patch-wise networks take, by name."""


def make_patch_features(source: PatchSource | None) -> Callable[[Any], Any] | None:
    """Return the function from waveforms (batch, samples) to the input of a network; None for None.

    Args:
        source: Name in `PATCH_FEATURES`, function, or mapping with its ``class_path``.

    Raises:
        ConfigurationError: There are no such features, or the value is no function.
        CheckpointError: A model folder does not hold the function.
    """
    if source is None:
        return None
    if source == _UNNAMED:
        raise CheckpointError(
            "features: the function cannot be imported by name, so that the model folder does not hold it; load it "
            "with load_classifier(folder, features=...)"
        )
    if isinstance(source, str):
        if source not in PATCH_FEATURES:
            raise ConfigurationError(
                f"features: {source!r} is none of {', '.join(PATCH_FEATURES)}; give a function from waveforms "
                "(batch, samples) to the input of the network"
            )
        return PATCH_FEATURES[source]()  # type: ignore[call-arg]
    function = make_named(source, "features")
    if not callable(function):
        raise ConfigurationError(f"features: expected a name or a function, got {type(function).__name__}")
    features: Callable[[Any], Any] = function
    return features


def features_config(source: PatchSource | None, function: Callable[[Any], Any] | None) -> Any:
    """Return the JSON value that describes features in a model folder; see `make_patch_features`."""
    if source is None or isinstance(source, str):
        return source
    if is_named(source):
        return dict(source)
    return (name_of(function) if function is not None else None) or _UNNAMED


def compute_patches(features: Callable[[Any], Any], waveforms: Tensor) -> Tensor:
    """Return the features of waveforms as a tensor: integers of 8 or 16 bits as they are, else float32.

    Args:
        features: Module, which is given a tensor, or function, which is given a NumPy array.
        waveforms: Waveforms, shape (batch, samples).

    Raises:
        ConfigurationError: The function does not return one array of numbers with a row for each clip.
    """
    result = features(waveforms if isinstance(features, nn.Module) else waveforms.numpy())
    try:
        # a copy, since views of windows cannot be written to, which torch warns of
        values = result.detach().cpu() if isinstance(result, Tensor) else torch.from_numpy(_numbers(result))
        values = values if values.dtype in _INTEGERS else values.float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"features: the result, {type(result).__name__}, is no array of numbers"
        ) from error
    if values.ndim < 2 or len(values) != len(waveforms):
        raise ConfigurationError(
            f"features: expected an array whose first axis is that of the {len(waveforms)} clips, got shape "
            f"{tuple(values.shape)}"
        )
    return values


def _numbers(values: Any) -> np.ndarray:
    array = np.array(values)
    return array if array.dtype.kind in "iu" and array.dtype.itemsize <= 2 else array.astype(np.float32)


def split_windows(values: Tensor, length: int) -> Tensor:
    """Divide clips into windows of one length, without overlap.

    Args:
        values: Clips, shape (batch, ..., time).
        length: Length of the windows.

    Returns:
        Windows, one at least, shape (batch, windows, ..., length). The last is zero-padded if half of it or more is
        covered by the clip, and left out otherwise.

    Example:
        >>> split_windows(torch.arange(1, 7)[None], 4), split_windows(torch.arange(1, 6)[None], 4)
        (tensor([[[1, 2, 3, 4], [5, 6, 0, 0]]]), tensor([[[1, 2, 3, 4]]]))
    """
    count = window_count(values.shape[-1], length)
    values = F.pad(values[..., : count * length], (0, max(0, count * length - values.shape[-1])))
    return values.reshape(*values.shape[:-1], count, length).movedim(-2, 1)


def window_count(samples: int, length: int) -> int:
    """Return the number of windows that `split_windows` divides a clip into."""
    return max(1, (samples + length // 2) // length)


def fit_patches(patches: Tensor, shape: tuple[int | None, ...], path: Path) -> Tensor:
    """Return patches with the axes of a network's input.

    Args:
        patches: Patches, shape (batch, patches, frames, mel bins).
        shape: Size of each axis of the input; None: any size.
        path: File of the network, for messages.

    Raises:
        ConfigurationError: The input has other sizes.
    """
    # without axes of one channel; the first of three or more axes is that of the batch
    sizes = shape if len(shape) <= 2 else shape[1:]
    axes = [i for i, size in enumerate(sizes) if size != 1] if len(sizes) > 2 else list(range(len(sizes)))
    # with free axes, (b, c, frames, mel bins)
    axes = axes[-2:] if all(sizes[i] is None for i in axes) else axes
    expected = patches.shape[2:]
    for candidate in (patches, patches.transpose(-1, -2)):
        if len(axes) == 2 and all(sizes[i] in (None, n) for i, n in zip(axes, candidate.shape[2:], strict=True)):
            for i in sorted(set(range(len(sizes))) - set(axes)):
                candidate = candidate.unsqueeze(2 + i)
            return candidate
    raise ConfigurationError(
        f"features: {path} takes inputs of shape {shown(shape)}, which the features of {expected[0]} frames by "
        f"{expected[1]} mel bins do not fit; give a function as features"
    )


def _mel(frequency_hz: float) -> float:
    return 1127 * float(np.log1p(frequency_hz / 700))
