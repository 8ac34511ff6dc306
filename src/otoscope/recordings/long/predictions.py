"""Class probabilities and level of every window of a long recording, resumable batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from otoscope.audio import RecordingStream, WindowPlan, cut_windows, prefetched
from otoscope.classifiers import Classifier
from otoscope.files.atomic import replace_file

PREDICTIONS_NAME = "predictions.npy"
_PORTION_S = 0.05
_SILENCE_DB = -200.0
"""Level of digital silence, which would else be minus infinity."""


def window_level_db(samples: np.ndarray, sample_rate_hz: int) -> float:
    """Return the level of a window: the largest RMS of its portions of 50 ms, in dB below full scale.

    The RMS of the whole window would be low for a short sound, and the peak high for a single click of the device.

    Args:
        samples: Samples, shape (samples,), at least one.
        sample_rate_hz: Sample rate.

    Example:
        >>> samples = np.zeros(16_000, np.float32)
        >>> samples[800:2400] = 0.1
        >>> round(window_level_db(samples, 16_000), 2)
        -20.0
    """
    length = min(round(_PORTION_S * sample_rate_hz), len(samples))
    portions = samples[: len(samples) // length * length].reshape(-1, length)
    largest = float(np.einsum("ij,ij->i", portions, portions).max()) / length
    return max(10 * math.log10(largest), _SILENCE_DB) if largest > 0 else _SILENCE_DB


@torch.no_grad()
def classify(classifier: Classifier, windows: list[np.ndarray], normalize: bool) -> np.ndarray:
    """Return the class probabilities of windows of one length. Shape (windows, classes), float32."""
    waveforms = torch.from_numpy(np.stack(windows)).to(classifier.frontend.window.device)
    spectrogram = classifier.hear(waveforms, None, normalize, with_phase=classifier.needs_phase)
    return np.asarray(classifier.probabilities(spectrogram).float().cpu().numpy())


def predict_windows(
    classifier: Classifier,
    stream: RecordingStream,
    plan: WindowPlan,
    folder: Path,
    batch_size: int,
    normalize: bool,
    on_batch: Callable[[int], object],
    observe: Callable[[Iterable[np.ndarray]], Iterable[np.ndarray]] = lambda blocks: blocks,
) -> tuple[np.ndarray, np.ndarray]:
    """Classify every window; what an earlier run has done is kept.

    Args:
        classifier: Classifier.
        stream: Recording.
        plan: Its windows.
        folder: Folder of the intermediate results.
        batch_size: Number of windows that are classified at once.
        normalize: Whether to scale each window to a peak of 1 for the network.
        on_batch: Callback, called with the number of windows of each finished batch.
        observe: Function of the blocks of the recording that returns them again, to use them on their way.

    Returns:
        Probabilities, shape (windows, classes), and levels in dB below full scale, shape (windows,); see
        `window_level_db`. Both float32, memory-mapped.
    """
    table = _open(folder / PREDICTIONS_NAME, (plan.count, len(classifier.labels) + 1))
    # The batches are always the same windows, so that a resumed run gets the same numbers to the last bit.
    batches = list(_batches(plan, batch_size))
    missing = [batch for batch in batches if bool(np.isnan(table[batch.start : batch.stop]).any())]
    on_batch(plan.count - sum(map(len, missing)))
    if missing:
        # Decoding, resampling and what observes them need no network and overlap with it.
        with closing(prefetched(observe(stream))) as blocks:
            windows = cut_windows(blocks, (plan.span(index) for batch in missing for index in batch))
            for batch in missing:
                clips = [next(windows) for _ in batch]
                table[batch.start : batch.stop, :-1] = classify(classifier, clips, normalize)
                table[batch.start : batch.stop, -1] = [
                    window_level_db(clip, stream.sample_rate_hz) for clip in clips
                ]
                on_batch(len(batch))
            for _ in blocks:  # to the end, where faults of the file are noticed
                pass
        table.flush()
    return table[:, :-1], table[:, -1]


def _batches(plan: WindowPlan, size: int) -> list[range]:
    """Return the batches of windows. The last window may be longer than the others and is a batch of its own."""
    regular = plan.count - 1
    return [range(start, min(start + size, regular)) for start in range(0, regular, size)] + [
        range(regular, plan.count)
    ]


def _open(path: Path, shape: tuple[int, int]) -> np.memmap:
    """Open the table of probabilities and levels, NaN where nothing has been computed yet."""
    try:
        table: np.memmap = np.load(path, mmap_mode="r+")
        if table.shape == shape and table.dtype == np.float32:
            return table
    except (OSError, ValueError, EOFError):
        pass
    empty = np.full(shape, np.nan, np.float32)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, empty)

    replace_file(path, write)
    return np.load(path, mmap_mode="r+")  # type: ignore[no-any-return]
