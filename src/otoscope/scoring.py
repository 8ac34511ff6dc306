"""One batch, one mask, all the numbers: the method beside its controls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.metrics import (
    all_pass,
    ideal_mask,
    loudest_of_equal_area,
    random_of_equal_area,
    score_mask,
    score_sound,
)

CONTROLS = ("all-pass", "random", "loudest", "ideal")


@torch.no_grad()
def score_against_controls(
    classifier: Classifier,
    spectrogram: Spectrogram,
    prediction: Prediction,
    masks: dict[str, Tensor],
    names: Sequence[str],
    waveform: Tensor | None = None,
    event: Tensor | None = None,
    lengths: Tensor | None = None,
    controls: bool = True,
    seed: int = 1234,
) -> dict[str, dict[str, Tensor]]:
    """Scores masks on one batch, and the controls of equal area beside them.

    Args:
        classifier: The classifier that is explained.
        spectrogram: Of the batch.
        prediction: The classifier's, for the batch.
        masks: By method. The controls have the area of the first one. Shape each (batch, frequency, time).
        names: Name of each clip; the random and loudest controls depend on it.
        waveform: The batch as sound, needed with ``event``. Shape (batch, samples).
        event: What truly belongs to the label, where known; adds IoU, AUROC and SI-SDRi and the control
            ``ideal``. Shape (batch, samples).
        lengths: Samples of each clip, where clips were padded. Shape (batch,).
        controls: Score the controls too.
        seed: Seed of the controls; ``otoscope evaluate`` gives a clip the same ones by the same seed.

    Returns:
        Per method and control, the scores of `otoscope.metrics.score_mask`, each of shape (batch,).
    """
    frames, log_magnitude = spectrogram.frames, spectrogram.log_magnitude
    ideal = None
    if event is not None and waveform is not None:
        analyse = classifier.frontend.log_magnitude
        ideal = ideal_mask(analyse(event), analyse(waveform - event), frames=frames)
    masks = dict(masks)
    if controls:
        area = next(iter(masks.values()))
        masks["all-pass"] = all_pass(area, frames)
        masks["random"] = random_of_equal_area(area, names, seed, frames)
        masks["loudest"] = loudest_of_equal_area(area, log_magnitude, names, seed, frames)
        if ideal is not None:
            masks["ideal"] = ideal
    probabilities = prediction.probabilities
    classify = partial(classifier.probabilities, phase=spectrogram.phase)
    results = {}
    for name, mask in masks.items():
        scores = score_mask(classify, log_magnitude, mask, probabilities, frames, prediction.target, ideal)
        if event is not None and waveform is not None:
            ragged = None if frames is None else lengths
            evidence = classifier.frontend.inverse(spectrogram.masked(mask), ragged)
            scores |= score_sound(evidence, waveform, event, lengths)
        results[name] = scores
    return results


def format_table(rows: dict[str, dict[str, float]], columns: list[str] | None = None) -> str:
    """A table for the terminal, one line a method; NaN is shown as a dash.

    Example:
        >>> print(format_table({"PIQ": {"AI": 25.0, "FF": 0.5}, "random": {"AI": 3.0, "FF": 0.12}}))
                        AI        FF
        PIQ         25.000     0.500
        random       3.000     0.120
    """
    columns = columns or list(next(iter(rows.values()), {}))
    width = max([len(name) for name in rows] + [8])
    wide = max([len(column) + 2 for column in columns] + [10])
    lines = [" " * width + "".join(f"{column:>{wide}}" for column in columns)]
    for name, values in rows.items():
        cells = [values.get(column, float("nan")) for column in columns]
        lines.append(
            f"{name:<{width}}" + "".join(f"{'-' if cell != cell else f'{cell:.3f}':>{wide}}" for cell in cells)
        )
    return "\n".join(lines)
