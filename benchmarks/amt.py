"""Times the evaluation of a batch by AMT: the reference's step and ours, in turns, on real clips.

The reference runs its classifier four times: on the batch, on the evidence, and both again for what it calls
faithfulness, and has three scores. Ours runs it on batch and evidence, and on the remainder for the scores that the
reference has not; for each control twice more. Reading files and loggers are left out on both sides.
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
from torch import Tensor
from benchmarks import measure
from benchmarks.reference import ReferenceAMT

from otoscope.classifiers import Classifier
from otoscope.data import Batch, collate
from otoscope.metrics import score_mask
from otoscope.training import InterpreterESC50Brain

OURS = ("ours", "ours-evidence", "ours-bfloat16", "ours-controls")
SIDES = (measure.REFERENCE, *OURS)
NOTES = [
    "reference: accuracy, Fid-In and its faithfulness, which is that of the evidence: p - p_evidence of ours",
    "ours: all scores, a validation step; conditions.scores_of_each_side lists them",
    "ours-evidence: all but FF and p_remainder, for which the remainder must be classified; with remainder=False",
    "ours-bfloat16: under autocast, as with --trainer.precision bf16-mixed; see largest_score_difference",
    "ours-controls: a test step as users run it, the controls all-pass, random and loudest with all scores too",
    "FLOPs are those really done in matrix products and convolutions, needless ones included",
]


@dataclass
class Options(measure.ModelOptions):
    """Times the evaluation of a batch by AMT, the reference's and ours in turns.

    Args:
        classifier: focalnet or vit.
        batch: Clips in a batch.
    """

    classifier: measure.ClassifierName = "focalnet"
    batch: int = 2

    @property
    def _counts(self) -> list[str]:
        """See `measure.Options._counts`."""
        return [*super()._counts, "batch"]

    def _problem(self) -> str | None:
        """See `measure.Options._problem`."""
        if self.classifier not in ("focalnet", "vit"):
            return f"--classifier {self.classifier}: it has no activation map; choose focalnet or vit"
        return super()._problem()


class Unlogged(InterpreterESC50Brain):
    """AMT without a trainer to log to."""

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        """Forgets."""


def run(options: Options) -> dict[str, Any]:
    """The whole benchmark, or, with ``--only``, the memory of one side."""
    with tempfile.TemporaryDirectory() as name:
        batches = read_batches(options, Path(name))
        if options.only is not None:
            step = build_one(options, options.only)
            return measure.peak_memory(partial(step, batches[0]), times=1)
        memory = {side: measure.memory_of(side, options, clips=options.batch) for side in SIDES}
        return measure_all(options, memory, batches)


def measure_all(options: Options, memory: dict[str, Any], batches: Sequence[Batch]) -> dict[str, Any]:
    """Times all sides in this process."""
    measure.progress("making networks with equal weights")
    classifier = measure.make_classifier(options)
    theirs = make_reference(options)
    theirs.load(classifier, Unlogged(classifier).interpreter)
    steps = {measure.REFERENCE: their_step(theirs)}
    steps |= {name: our_step(classifier, name) for name in OURS}
    measure.progress("warming up")
    flops = {name: measure.count_flops(partial(step, batches[0])) for name, step in steps.items()}
    peak = measure.matmul_peak()
    turns = {name: partial(in_turn, step, batches) for name, step in steps.items()}
    samples = measure.time_in_turns(turns, options.repeats)
    peak = max(peak, measure.matmul_peak())
    facts = {
        "clip_names": [name for batch in batches for name in batch.name],
        "matmul_peak_gflop_per_second": round(peak, 1),
        **compare(classifier, theirs, steps, batches[0]),
    }
    return {
        "benchmark": "amt",
        "conditions": measure.conditions(options, **facts),
        "notes": NOTES,
        "phases": {"evaluate": measure.summarize(samples, flops, memory, options.batch, peak)},
    }


@torch.no_grad()
def compare(
    classifier: Classifier,
    theirs: ReferenceAMT,
    steps: dict[str, Callable[[Batch], dict[str, float]]],
    batch: Batch,
) -> dict[str, Any]:
    """What the sides say of the same batch: bins of masks that differ, scores, and what less precision costs."""
    log_magnitude = classifier.frontend.log_magnitude(batch.waveform)
    mask = Unlogged(classifier).interpreter(log_magnitude, classifier(log_magnitude))
    scores = {name: step(batch) for name, step in steps.items()}
    exact, rounded = scores["ours"], scores["ours-bfloat16"]
    return {
        "mask_bins": mask.numel(),
        "mask_bins_that_differ": int((mask != theirs.masks(batch.waveform)).sum()),
        "scores_of_each_side": {name: sorted(values) for name, values in scores.items()},
        "largest_score_difference": {name: abs(exact[name] - rounded[name]) for name in exact},
    }


def make_reference(options: Options) -> ReferenceAMT:
    """The reference with random weights."""
    return ReferenceAMT("vit" if options.classifier == "vit" else "focalnet", options.classes, options.width)


def their_step(theirs: ReferenceAMT) -> Callable[[Batch], dict[str, float]]:
    """The reference's evaluation of a batch."""
    return lambda batch: theirs.evaluation_step(batch.waveform, batch.target)


def our_step(classifier: Classifier, side: str) -> Callable[[Batch], dict[str, float]]:
    """Our evaluation of a batch: a test step with controls, a validation step without."""
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
    """The scores for which the remainder need not be classified."""
    forward = brain.compute_forward(batch, "valid")
    spectrogram, whole = forward.spectrogram, forward.prediction.probabilities
    mask = brain.interpreter.mask(forward.decoded, spectrogram)

    def classify(log_magnitude: Tensor, frames: Tensor | None) -> Tensor:
        return brain.classifier.probabilities(spectrogram.with_log_magnitude(log_magnitude))

    frames = spectrogram.frames
    scores = score_mask(classify, spectrogram.log_magnitude, mask, whole, frames, remainder=False)
    return {name: float(value.mean()) for name, value in scores.items()}


def build_one(options: Options, side: str) -> Callable[[Batch], dict[str, float]]:
    """A side with weights of its own."""
    torch.manual_seed(1)
    if side == measure.REFERENCE:
        return their_step(make_reference(options))
    return our_step(measure.make_classifier(options), side)


def in_turn(step: Callable[[Batch], dict[str, float]], batches: Sequence[Batch], repeat: int) -> None:
    """Evaluates the batch whose turn it is."""
    step(batches[repeat % len(batches)])


def read_batches(options: Options, folder: Path) -> list[Batch]:
    """The clips in whole batches."""
    size, count = options.batch, max(options.clips, options.batch)
    clips = measure.real_clips(options, folder, count)
    return [collate(clips[start : start + size]) for start in range(0, count - size + 1, size)]


if __name__ == "__main__":
    sys.exit(measure.main(Options, SIDES, run))
