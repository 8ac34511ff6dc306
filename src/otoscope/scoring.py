"""Scores of masks on one batch of clips: the method beside its controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.metrics import (
    all_pass,
    ideal_mask,
    loudest_of_equal_area,
    random_of_equal_area,
    score_answers,
    score_mask,
    score_sound,
)

CONTROLS = ("all-pass", "random", "loudest", "ideal")


@torch.no_grad()
def score_against_controls(
    classifier: Classifier,
    spectrogram: Spectrogram,
    prediction: Prediction,
    masks: Mapping[str, Tensor],
    names: Sequence[str],
    waveform: Tensor | None = None,
    event: Tensor | None = None,
    controls: bool = True,
    seed: int = 1234,
    probabilities: Mapping[str, Tensor] | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Score masks on one batch by the masked spectrograms, together with controls of equal area.

    Args:
        classifier: Classifier that is explained.
        spectrogram: Spectrogram of the clips, with its phase.
        prediction: Prediction of the classifier for the clips.
        masks: Masks by method, shape of each (batch, frequency, time). The controls have the area of the first.
        names: Name of each clip; the random and loudest controls depend on it.
        waveform: Waveform of the clips, needed with ``event``. Shape (batch, samples).
        event: Part of the waveform that belongs to the label, where it is known. It adds IoU, AUROC and SI-SDRi,
            and the control ``ideal``. Shape (batch, samples).
        controls: Whether to score the controls too.
        seed: Seed of the controls; ``otoscope evaluate`` gives a clip the same controls for the same seed.
        probabilities: Class probabilities of evidence and remainder, for masks whose masked spectrograms have been
            classified already, by method. Shape of each (2, batch, classes).

    Returns:
        Scores of `otoscope.metrics.score_mask` by method and control, then by name, each of shape (batch,).
    """
    frames, ideal = spectrogram.frames, None
    if event is not None and waveform is not None:
        log_magnitude_of = classifier.frontend.log_magnitude
        # magnitudes do not add, so the rest is analysed as a sound and not as a difference of spectrograms
        ideal = ideal_mask(log_magnitude_of(event), log_magnitude_of(waveform - event), frames=frames)
    scored = dict(masks)
    if controls:
        scored |= control_masks(next(iter(masks.values())), spectrogram, names, seed)
        if ideal is not None:
            scored["ideal"] = ideal
    probabilities = probabilities or {}
    results = {}
    for name, mask in scored.items():
        scores = score_prediction(classifier, spectrogram, prediction, mask, ideal, probabilities.get(name))
        if event is not None and waveform is not None:
            evidence = classifier.frontend.inverse(spectrogram.masked(mask))
            scores |= score_sound(evidence, waveform, event, spectrogram.lengths)
        results[name] = scores
    return results


def control_masks(
    mask: Tensor, spectrogram: Spectrogram, names: Sequence[str], seed: int = 1234
) -> dict[str, Tensor]:
    """Return the controls of a mask by name: all-pass, and random and loudest bins of the same area.

    Args:
        mask: Mask whose area the controls have, shape (batch, frequency, time).
        spectrogram: Spectrogram of the clips.
        names: Name of each clip; the random and loudest controls depend on it.
        seed: Seed of the controls; ``otoscope evaluate`` gives a clip the same controls for the same seed.
    """
    frames = spectrogram.frames
    # a larger mask scores better by its size alone: random and loudest bins are compared at the same area
    return {
        "all-pass": all_pass(mask, frames),
        "random": random_of_equal_area(mask, names, seed, frames),
        "loudest": loudest_of_equal_area(mask, spectrogram.log_magnitude, names, seed, frames),
    }


@torch.no_grad()
def hear_parts(
    classifier: Classifier, spectrogram: Spectrogram, mask: Tensor, normalize: bool | None = None
) -> Tensor:
    """Classify the sounds of evidence and remainder as recordings, as they can be saved.

    Args:
        classifier: Classifier that is explained.
        spectrogram: Spectrogram of the clips, with its phase.
        mask: Mask in [0, 1], shape (batch, frequency, time).
        normalize: Whether to scale each sound to a peak of 1; see `Classifier.hear`.

    Returns:
        Class probabilities of the evidence and of the remainder, shape (2, batch, classes). With them,
        `score_prediction` returns heard scores.
    """
    parts = torch.cat([mask, spectrogram.zero_padding(1 - mask)])
    probabilities = classifier.hear_masked(spectrogram.repeat(2), parts, normalize)
    return probabilities.view(2, len(mask), -1)


@torch.no_grad()
def score_prediction(
    classifier: Classifier,
    spectrogram: Spectrogram,
    prediction: Prediction,
    mask: Tensor,
    ideal: Tensor | None = None,
    probabilities: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the scores of one mask per clip, each of shape (batch,); see `otoscope.metrics.score_mask`.

    Args:
        classifier: Classifier that is explained.
        spectrogram: Spectrogram of the clips.
        prediction: Prediction of the classifier for the clips.
        mask: Mask in [0, 1], shape (batch, frequency, time).
        ideal: Ideal mask, if the truth is known. Shape (batch, frequency, time).
        probabilities: Class probabilities of evidence and remainder, if the masked spectrograms have been
            classified already. Shape (2, batch, classes).
    """
    whole, frames, target = prediction.probabilities, spectrogram.frames, prediction.target
    multi_label = prediction.multi_label
    if probabilities is not None:
        # the classifier has seen the masked spectrograms already, for example in L-MAC's loss
        evidence, remainder = probabilities
        return score_answers(mask, whole, evidence, remainder, frames, target, ideal, multi_label)

    def classify(log_magnitude: Tensor, frames: Tensor | None) -> Tensor:
        return classifier.probabilities(spectrogram.with_log_magnitude(log_magnitude))

    return score_mask(
        classify, spectrogram.log_magnitude, mask, whole, frames, target, ideal, multi_label=multi_label
    )


def format_table(rows: dict[str, dict[str, float]], columns: list[str] | None = None) -> str:
    """Format scores as a table for the terminal, one line per method; NaN is shown as a dash.

    Args:
        rows: Scores by method, then by name.
        columns: Names of the scores to show (default: those of the first row).

    Example:
        >>> print(format_table({"PIQ": {"AI": 25.0, "FF": 0.5}, "random": {"AI": 3.0, "FF": 0.12}}))
                        AI        FF
        PIQ         25.000     0.500
        random       3.000     0.120
    """
    columns = columns or list(next(iter(rows.values()), {}))
    name_width = max([len(name) for name in rows] + [8])
    width = max([len(column) + 2 for column in columns] + [10])
    lines = [" " * name_width + "".join(f"{column:>{width}}" for column in columns)]
    for name, values in rows.items():
        numbers = [values.get(column, float("nan")) for column in columns]
        cells = ["-" if number != number else f"{number:.3f}" for number in numbers]
        lines.append(f"{name:<{name_width}}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)
