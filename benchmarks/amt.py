"""Time the evaluation of a batch by AMT: the step of the reference and ours, in turns, on real clips.

The reference runs its classifier four times, on the batch, on the evidence, and on both again for its faithfulness,
and computes three scores. Ours runs it on batch and evidence, on the remainder for the scores that the reference
does not have, and twice more for each control. Neither side reads files or writes logs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from benchmarks.clips import real_batches
from benchmarks.command import REFERENCE, ClassifierName, ModelOptions, main, progress
from benchmarks.conditions import conditions
from benchmarks.memory import memory_of, peak_memory
from benchmarks.models import make_classifier
from benchmarks.reference import ReferenceAMT
from benchmarks.timing import count_flops, matmul_peak, summarize, time_in_turns
from torch import Tensor
from typing_extensions import override

from otoscope.classifiers import Classifier
from otoscope.data import Batch
from otoscope.metrics import score_mask
from otoscope.training import InterpreterESC50Brain

OURS = ("ours", "ours-evidence", "ours-bfloat16", "ours-controls")
SIDES = (REFERENCE, *OURS)
NOTES = [
    "reference: accuracy, Fid-In and its faithfulness, which is computed from the evidence: our p - p_evidence",
    "ours: all scores of a validation step; conditions.scores_of_each_side lists them",
    "ours-evidence: all scores except FF and p_remainder, which need the remainder; with remainder=False",
    "ours-bfloat16: under autocast, as with --trainer.precision bf16-mixed; see largest_score_difference",
    "ours-controls: a complete test step, with all scores of the controls all-pass, random and loudest",
    "FLOPs: those of all matrix products and convolutions that a side runs, needed or not",
]


@dataclass
class Options(ModelOptions):
    """Time the evaluation of a batch by AMT, the reference and ours in turns.

    Args:
        classifier: Classifier that is explained, focalnet or vit.
        batch: Number of clips in a batch.
    """

    classifier: ClassifierName = "focalnet"
    batch: int = 2

    @property
    @override
    def _counts(self) -> list[str]:
        return [*super()._counts, "batch"]

    @override
    def _problem(self) -> str | None:
        if self.classifier not in ("focalnet", "vit"):
            return f"--classifier {self.classifier}: it has no activation maps; choose focalnet or vit"
        return super()._problem()


class Unlogged(InterpreterESC50Brain):
    """AMT without a trainer, which would receive the logged values."""

    @override
    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        """Discard the values."""


def run(options: Options) -> dict[str, Any]:
    """Run the benchmark, or with ``--only`` measure the memory of one side."""
    with tempfile.TemporaryDirectory() as name:
        batches = real_batches(options, Path(name), options.batch)
        if options.only is not None:
            step = build_one(options, options.only)
            return peak_memory(partial(step, batches[0]), times=1)
        memory = {side: memory_of(side, options, clips=options.batch) for side in SIDES}
        return measure_all(options, memory, batches)


def measure_all(options: Options, memory: dict[str, Any], batches: Sequence[Batch]) -> dict[str, Any]:
    """Time all sides in this process."""
    progress("making networks with equal weights")
    classifier = make_classifier(options)
    theirs = make_reference(options)
    theirs.load(classifier, Unlogged(classifier).interpreter)
    steps = {REFERENCE: their_step(theirs)}
    steps |= {name: our_step(classifier, name) for name in OURS}
    progress("warming up")
    flops = {name: count_flops(partial(step, batches[0])) for name, step in steps.items()}
    peak = matmul_peak()
    turns = {name: partial(in_turn, step, batches) for name, step in steps.items()}
    samples = time_in_turns(turns, options.repeats)
    peak = max(peak, matmul_peak())
    facts = {
        "clip_names": [name for batch in batches for name in batch.name],
        "matmul_peak_gflop_per_second": round(peak, 1),
        **compare(classifier, theirs, steps, batches[0]),
    }
    return {
        "benchmark": "amt",
        "conditions": conditions(options, **facts),
        "notes": NOTES,
        "phases": {"evaluate": summarize(samples, flops, memory, options.batch, peak)},
    }


@torch.no_grad()
def compare(
    classifier: Classifier,
    theirs: ReferenceAMT,
    steps: dict[str, Callable[[Batch], dict[str, float]]],
    batch: Batch,
) -> dict[str, Any]:
    """Compare the sides on the same batch: masks, scores, and the effect of a lower precision."""
    spectrogram = classifier.frontend(batch.waveform, with_phase=False)
    mask = Unlogged(classifier).interpreter(spectrogram, classifier.predict(spectrogram))
    scores = {name: step(batch) for name, step in steps.items()}
    exact, rounded = scores["ours"], scores["ours-bfloat16"]
    return {
        "mask_bins": mask.numel(),
        "mask_bins_that_differ": int((mask != theirs.masks(batch.waveform)).sum()),
        "scores_of_each_side": {name: sorted(values) for name, values in scores.items()},
        "largest_score_difference": {name: abs(exact[name] - rounded[name]) for name in exact},
    }


def make_reference(options: Options) -> ReferenceAMT:
    """Return the reference with random weights."""
    return ReferenceAMT("vit" if options.classifier == "vit" else "focalnet", options.classes, options.width)


def their_step(theirs: ReferenceAMT) -> Callable[[Batch], dict[str, float]]:
    """Return a function that evaluates a batch with the reference."""
    return lambda batch: theirs.evaluation_step(batch.waveform, batch.target)


def our_step(classifier: Classifier, side: str) -> Callable[[Batch], dict[str, float]]:
    """Return a function that evaluates a batch with ours: a test step with controls, a validation step without."""
    brain = Unlogged(classifier).eval()

    def evaluate(batch: Batch) -> dict[str, float]:
        if side == "ours-controls":
            brain.on_test_epoch_start()
            brain.test_step(batch, 0)
            rows = brain.report(Path())["scores"]
            return {f"{name} {score}": value for name, row in rows.items() for score, value in row.items()}
        if side == "ours-evidence":
            return scores_of_evidence(brain, batch)
        brain.validation_step(batch, 0)
        means = {name: float(value) for name, value in brain._valid_scores.compute().items()}
        brain._valid_scores.reset()
        return means

    @torch.no_grad()
    def step(batch: Batch) -> dict[str, float]:
        with torch.autocast("cpu", torch.bfloat16, enabled=side == "ours-bfloat16"):
            return evaluate(batch)

    return step


def scores_of_evidence(brain: InterpreterESC50Brain, batch: Batch) -> dict[str, float]:
    """Return the means of the scores that do not need the remainder."""
    forward = brain.forward_pass(batch, "valid")
    spectrogram, whole = forward.spectrogram, forward.prediction.probabilities
    mask = brain.interpreter.mask(forward.decoded, spectrogram)

    def classify(log_magnitude: Tensor, frames: Tensor | None) -> Tensor:
        return brain.classifier.probabilities(spectrogram.with_log_magnitude(log_magnitude))

    frames = spectrogram.frames
    scores = score_mask(classify, spectrogram.log_magnitude, mask, whole, frames, remainder=False)
    return {name: float(value.mean()) for name, value in scores.items()}


def build_one(options: Options, side: str) -> Callable[[Batch], dict[str, float]]:
    """Return a side with its own random weights; for its memory they need not equal those of the other sides."""
    torch.manual_seed(1)
    if side == REFERENCE:
        return their_step(make_reference(options))
    return our_step(make_classifier(options), side)


def in_turn(step: Callable[[Batch], dict[str, float]], batches: Sequence[Batch], repeat: int) -> None:
    """Evaluate the next batch."""
    step(batches[repeat % len(batches)])


if __name__ == "__main__":
    sys.exit(main(Options, SIDES, run))
