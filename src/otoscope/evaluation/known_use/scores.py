"""Scores of explanations against the bins that a classifier is known to use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.evaluation.known_use.cases import Case, Question
from otoscope.interpreters import Interpreter
from otoscope.metrics import intersection_over_union, mask_auroc, random_importance, si_sdr
from otoscope.metrics.known_use import (
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    target_swap_consistency,
    temporal_overlap,
)
from otoscope.metrics.ranking import neutral_order, rank_bins

SCORES: dict[str, str] = {
    "mass": "relevance mass accuracy",
    "rank": "relevance rank accuracy",
    "AUROC": "area under the ROC curve",
    "IoU": "intersection over union at the area of the truth",
    "pointing": "pointing game",
    "tIoU": "intersection over union of frames",
    "tF1": "F1 of frames",
    "swap": "target-swap consistency, where two cues are present",
    "SI-SDR": "SI-SDR of the heard evidence to the cue, in dB",
}
"""Known-use scores by the name of their column; higher is better for all."""
RANKED = ("rank", "AUROC", "pointing", "swap")
"""Scores that rank methods. ``IoU`` is a function of ``rank``; maps of ranks have no ``mass``."""
BASELINES = ("loudest", "random", "truth")
"""Maps that know nothing of the classifier, and the truth itself, which has the best score."""

Explain = Callable[[Spectrogram, Question, str], Tensor]
"""Function from a spectrogram of one clip, a question and a name to a map, shape (1, frequency, time)."""


def explain_with(interpreter: Interpreter[Any], classifier: Classifier) -> Explain:
    """Return the map of a method, shifted so that 0 means no relevance."""

    def explain(spectrogram: Spectrogram, question: Question, name: str) -> Tensor:
        with torch.no_grad():
            target = torch.tensor([question.target], device=spectrogram.log_magnitude.device)
            prediction = classifier.predict(spectrogram).towards(target)
            importance = interpreter.output(interpreter.decode(spectrogram, prediction), spectrogram)
        neutral = importance.amin() if interpreter.neutral is None else interpreter.neutral
        return importance - neutral

    return explain


def baseline(name: Literal["loudest", "random", "truth"] | str, seed: int) -> Explain:
    """Return one of `BASELINES`."""

    def explain(spectrogram: Spectrogram, question: Question, clip: str) -> Tensor:
        if name == "truth":
            return question.truth[None].to(spectrogram.log_magnitude)
        if name == "random":
            return random_importance(spectrogram.log_magnitude, [clip], seed)
        return spectrogram.log_magnitude

    return explain


def score_case(case: Case, classifier: Classifier, explain: Explain, seed: int) -> list[dict[str, float]]:
    """Return the scores of each question of a clip, and the seconds that its explanation took.

    Args:
        case: Clip.
        classifier: Classifier that is explained.
        explain: Method.
        seed: Seed of the order of bins of equal value.
    """
    device = classifier.frontend.window.device
    spectrogram = classifier.hear(case.waveform[None].to(device))
    maps, results = [], []
    for question in case.questions:
        start = time.perf_counter()
        importance = explain(spectrogram, question, case.name)
        seconds = time.perf_counter() - start
        maps.append(importance.cpu())
        results.append(score_map(maps[-1], question, spectrogram, classifier, case.name, seed))
        results[-1]["seconds"] = seconds
    if len(maps) == 2:
        truths = [question.truth[None] for question in case.questions]
        swap = float(target_swap_consistency(maps[0], maps[1], truths[0], truths[1]))
        for scores in results:
            scores["swap"] = swap
    return results


@torch.no_grad()
def score_map(
    importance: Tensor, question: Question, spectrogram: Spectrogram, classifier: Classifier, name: str, seed: int
) -> dict[str, float]:
    """Return the scores of one map.

    Args:
        importance: Map in which 0 means no relevance, on the CPU. Shape (1, frequency, time).
        question: Class and truth.
        spectrogram: Spectrogram of the clip, with its phase.
        classifier: Classifier that is explained.
        name: Name of the clip, for the order of bins of equal value.
        seed: Seed of that order.
    """
    truth = question.truth[None]
    ranking = rank_bins(importance, neutral_order(importance, [name], seed))
    mask = ranking.mask_of(truth.flatten(1).sum(1))
    frames = temporal_overlap(mask, truth)
    scores = {
        "mass": relevance_mass_accuracy(importance, truth),
        "rank": relevance_rank_accuracy(ranking, truth),
        "AUROC": mask_auroc(importance, truth.float()),
        "IoU": intersection_over_union(mask, truth.float()),
        "pointing": pointing_game(ranking, truth),
        "tIoU": frames["temporal_iou"],
        "tF1": frames["temporal_f1"],
    }
    if question.cue is not None and not mask.isnan().any():
        evidence = classifier.frontend.inverse(spectrogram.masked(mask.to(spectrogram.log_magnitude)))
        scores["SI-SDR"] = si_sdr(evidence.cpu(), question.cue[None])
    return {name: float(value) for name, value in scores.items()}
