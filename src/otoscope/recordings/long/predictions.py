"""Class probabilities and level of every window of a long recording, resumable batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from otoscope.audio import (
    Frontend,
    OverlappingWindows,
    RecordingStream,
    Spectrogram,
    WindowPlan,
    cut_windows,
    prefetched,
)
from otoscope.classifiers import Classifier
from otoscope.files.atomic import replace_file
from otoscope.plots import PooledSpectrogram

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
def classify(classifier: Classifier, windows: OverlappingWindows, normalize: bool) -> np.ndarray:
    """Return the class probabilities of windows of one length. Shape (windows, classes), float32."""
    log_magnitude = windows.log_magnitude(normalize) if _shares_frames(classifier) else None
    if log_magnitude is None:
        spectrogram = classifier.hear(windows.waveforms, None, normalize, with_phase=classifier.needs_phase)
    else:
        spectrogram = Spectrogram(log_magnitude, length=windows.waveforms.shape[1], normalized=normalize)
    return np.asarray(classifier.probabilities(spectrogram).float().cpu().numpy())


def _shares_frames(classifier: Classifier) -> bool:
    """Return whether a classifier takes the log magnitude of the front-end, and nothing else."""
    is_own = type(classifier).hear is not Classifier.hear or type(classifier.frontend) is not Frontend
    return not (is_own or classifier.needs_phase)


def predict_windows(
    classifier: Classifier,
    stream: RecordingStream,
    plan: WindowPlan,
    folder: Path,
    batch_size: int,
    normalize: bool,
    on_batch: Callable[[int], object],
    picture: PooledSpectrogram | None = None,
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
        picture: Picture that the spectrogram of the recording is added to, also where an earlier run has classified
            the windows.

    Returns:
        Probabilities, shape (windows, classes), and levels in dB below full scale, shape (windows,); see
        `window_level_db`. Both float32, memory-mapped.
    """
    table = _open(folder / PREDICTIONS_NAME, (plan.count, len(classifier.labels) + 1))
    # The batches are always the same windows, so that a resumed run gets the same numbers to the last bit.
    batches = list(_batches(plan, batch_size))
    missing = [batch for batch in batches if bool(np.isnan(table[batch.start : batch.stop]).any())]
    on_batch(plan.count - sum(map(len, missing)))
    pending, unknown = missing if picture is None else batches, set(missing)
    if pending:
        frontend = classifier.frontend
        spans = (OverlappingWindows.span(frontend, plan, batch) for batch in pending)
        # Decoding and resampling overlap with the network: the next batch is cut while one is classified.
        with closing(prefetched(_parts(stream, spans), ahead=1)) as parts:
            for batch in pending:
                windows = OverlappingWindows(frontend, plan, batch, next(parts))
                if picture is not None:
                    frame, power = windows.frames()
                    picture.add(frame, power.numpy(), None)
                if batch in unknown:
                    table[batch.start : batch.stop, :-1] = classify(classifier, windows, normalize)
                    table[batch.start : batch.stop, -1] = [
                        window_level_db(clip, stream.sample_rate_hz) for clip in windows.clips
                    ]
                    on_batch(len(batch))
            for _ in parts:  # to the end, where faults of the file are noticed
                pass
        table.flush()
    return table[:, :-1], table[:, -1]


def _parts(stream: RecordingStream, spans: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Yield parts of a recording, and read it to its end."""
    blocks = iter(stream)
    yield from cut_windows(blocks, spans)
    for _ in blocks:
        pass


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
