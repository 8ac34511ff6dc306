"""Time a training step and an evaluation step: the reference and ours, in turns, on real clips.

A training step consists of spectrogram, frozen classifier, interpreter, loss, backward pass and clipped Adam step.
An evaluation step consists of the same forward pass and loss, and all scores without controls (the reference has
none). Neither side reads files, writes logs or saves checkpoints.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from benchmarks import models
from benchmarks.clips import real_batches
from benchmarks.command import REFERENCE, MethodOptions, main, progress
from benchmarks.conditions import conditions
from benchmarks.memory import memory_of, peak_memory
from benchmarks.models import (
    DecoderName,
    disagreement,
    make_classifier,
    make_interpreter,
    make_reference,
    method_settings,
    settle_classifier,
    settle_interpreter,
    share_weights,
)
from benchmarks.timing import Sample, count_flops, matmul_peak, summarize, time_in_turns
from typing_extensions import override

from otoscope.classifiers import Classifier
from otoscope.data import Batch
from otoscope.errors import OtoscopeError
from otoscope.interpreters import Interpreter
from otoscope.training import L2I, LMAC, PIQ

Phase = Literal["train", "evaluate", "both"]
OURS: dict[str, tuple[DecoderName, bool]] = {
    "ours-published": ("published", False),
    "ours-light": ("light", False),
    "ours-light-cached": ("light", True),
    "ours-published-cached": ("published", True),
}
"""Decoder of each of our sides, and whether it reads the classifier's representations from the cache."""
SIDES = (REFERENCE, *OURS)
NOTES = [
    "the setting of the allocator applies to the whole process, so to both sides",
    "ours-light has another decoder with its own weights; all other weights are the same on all sides",
    "gradients are clipped on both sides, as in the reference; our recipes do not clip",
    "cached: the time does not include the first pass, which fills the cache; evaluation still runs the classifier "
    "on evidence and remainder",
    "FLOPs: those of all matrix products and convolutions that a side runs, needed or not",
]
METHOD_NOTES = {
    "piq": models.METHOD_NOTES["piq"],
    "l2i": [
        *models.METHOD_NOTES["l2i"],
        "training: for scores that it logs, the reference interprets every clip again, one by one, and classifies "
        "evidence and remainder; ours computes scores in evaluation only",
        "training: the reference averages the fidelity over the classes, and its loss covers the frames that its "
        "network makes; ours sums the fidelity and covers all frames",
    ],
    "lmac": [
        *models.METHOD_NOTES["lmac"],
        "both sides classify evidence and remainder in every training step, because the loss needs them",
    ],
}


@dataclass
class Options(MethodOptions):
    """Time a training step and an evaluation step of a method, the reference and ours in turns.

    Args:
        batch: Number of clips in a batch.
        phase: Kind of step to measure.
        sides: Our sides to measure beside the reference, separated by commas (default: all).
    """

    batch: int = 2
    phase: Phase = "both"
    sides: str = ""

    @property
    @override
    def _counts(self) -> list[str]:
        return [*super()._counts, "batch"]

    @property
    def _ours(self) -> list[str]:
        """Return the names of our sides that are measured."""
        return self.sides.split(",") if self.sides else list(OURS)

    @override
    def _problem(self) -> str | None:
        if unknown := set(self._ours) - set(OURS):
            return f"--sides: no {', '.join(sorted(unknown))}; choose from {', '.join(OURS)}"
        return super()._problem()


class Side(ABC):
    """System that is compared with the others."""

    @abstractmethod
    def prepare(self, batches: Sequence[Batch]) -> None:
        """Do what happens once, before the measured steps."""

    @abstractmethod
    def train(self, batch: Batch) -> None:
        """Run a training step."""

    @abstractmethod
    def evaluate(self, batch: Batch) -> None:
        """Run an evaluation step."""

    def step(self, phase: str, batches: Sequence[Batch], repeat: int = 0) -> None:
        """Run the step of a phase on the next batch."""
        step = self.train if phase == "train" else self.evaluate
        step(batches[repeat % len(batches)])


class Theirs(Side):
    """The reference system."""

    def __init__(self, options: Options) -> None:
        self.recipe = make_reference(options)

    @override
    def prepare(self, batches: Sequence[Batch]) -> None:
        """Do nothing."""

    @override
    def train(self, batch: Batch) -> None:
        self.recipe.training_step(batch.waveform, batch.target)

    @override
    def evaluate(self, batch: Batch) -> None:
        self.recipe.evaluation_step(batch.waveform, batch.target)


class Unlogged:
    """Mixin for training modules without a trainer, which would receive the logged values."""

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        """Discard the values."""


class UnloggedPIQ(Unlogged, PIQ):
    """PIQ without a trainer."""


class UnloggedL2I(Unlogged, L2I):
    """L2I without a trainer."""


class UnloggedLMAC(Unlogged, LMAC):
    """L-MAC without a trainer."""


class Ours(Side):
    """Training module of Otoscope, called as by a Lightning trainer."""

    def __init__(self, name: str, classifier: Classifier, options: Options, folder: Path) -> None:
        torch.manual_seed(1)
        decoder, self.cached = OURS[name]
        kinds = {"l2i": UnloggedL2I, "lmac": UnloggedLMAC, "piq": UnloggedPIQ}
        self.brain = kinds[options.method](
            classifier,
            **method_settings(options, decoder),
            cache_representations=self.cached,
            cache_folder=folder,
            schedule="constant",
        )
        self.optimizer: torch.optim.Optimizer = self.brain.configure_optimizers()

    @property
    def interpreter(self) -> Interpreter[Any]:
        """Network that is trained."""
        interpreter: Interpreter[Any] = self.brain.interpreter
        return interpreter

    @override
    @torch.no_grad()
    def prepare(self, batches: Sequence[Batch]) -> None:
        """Fill the cache of representations."""
        self.brain.eval()
        for batch in batches if self.cached else ():
            self.brain.compute_forward(batch, "train")

    @override
    def train(self, batch: Batch) -> None:
        self.brain.train()
        loss = self.brain.training_step(batch, 0)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        torch.nn.utils.clip_grad_norm_(self.brain.parameters(), 5.0)
        self.optimizer.step()

    @override
    @torch.no_grad()
    def evaluate(self, batch: Batch) -> None:
        self.brain.eval()
        self.brain.validation_step(batch, 0)


def run(options: Options) -> dict[str, Any]:
    """Run the benchmark, or with ``--only`` measure the memory of one side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only is not None:
            return measure_one(options, folder)
        sides = (REFERENCE, *options._ours)
        phases = ("train", "evaluate") if options.phase == "both" else (options.phase,)
        memory = {
            phase: {side: memory_of(side, options, phase=phase, clips=options.batch) for side in sides}
            for phase in phases
        }
        return measure_all(options, memory, folder)


def measure_all(options: Options, memory: dict[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Time all sides in this process."""
    batches = real_batches(options, folder, options.batch)
    progress("making networks with equal weights")
    sides, difference = build_all(options, batches[0], folder)
    for side in sides.values():
        side.prepare(batches)
    peak = matmul_peak()
    measured = {phase: measure_phase(phase, sides, batches, options.repeats) for phase in memory}
    peak = max(peak, matmul_peak())
    facts = {
        "clip_names": [name for batch in batches for name in batch.name],
        "matmul_peak_gflop_per_second": round(peak, 1),
        "largest_mask_difference": difference,
    }
    return {
        "benchmark": "train_step",
        "conditions": conditions(options, **facts),
        "notes": NOTES + METHOD_NOTES[options.method],
        "phases": {phase: summarize(*measured[phase], memory[phase], options.batch, peak) for phase in memory},
    }


def measure_phase(
    phase: str, sides: dict[str, Side], batches: Sequence[Batch], repeats: int
) -> tuple[dict[str, list[Sample]], dict[str, int]]:
    """Return samples and FLOPs of each side in a phase."""
    flops = {}
    # Counting the FLOPs runs each side once, which also warms it up.
    for name, side in sides.items():
        progress(f"{phase}: warming up {name}")
        flops[name] = count_flops(partial(side.step, phase, batches))
    progress(f"{phase}: timing")
    steps = {name: partial(side.step, phase, batches) for name, side in sides.items()}
    return time_in_turns(steps, repeats), flops


def build_all(options: Options, batch: Batch, folder: Path) -> tuple[dict[str, Side], float]:
    """Return all sides with the same weights, and the largest difference between their masks."""
    classifier = make_classifier(options)
    settle_classifier(classifier, batch.waveform)
    theirs = Theirs(options)
    ours = {name: Ours(name, classifier, options, folder) for name in options._ours}
    published = next((side.interpreter for name, side in ours.items() if OURS[name][0] == "published"), None)
    source = published or make_interpreter(options, "published", classifier)
    others = [side.interpreter for side in ours.values() if side.interpreter is not source]
    for interpreter in (source, *others):
        settle_interpreter(interpreter, classifier, batch.waveform)
    share_weights(source, others, theirs.recipe, classifier)
    difference = disagreement(theirs.recipe, classifier, source, batch.waveform)
    return {REFERENCE: theirs, **ours}, difference


def measure_one(options: Options, folder: Path) -> dict[str, float]:
    """Return the peak memory of one side in this process."""
    assert options.only is not None
    phase = "train" if options.phase == "both" else options.phase
    batch = real_batches(options, folder, options.batch)[0]
    if options.only in OURS and OURS[options.only][1]:
        # Another process runs the classifier, so that its memory does not count here.
        process = multiprocessing.get_context("spawn").Process(target=fill_cache, args=(options, folder, batch))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise OtoscopeError("filling the cache of representations failed")
    side = build_one(options, folder)
    return peak_memory(partial(side.step, phase, [batch]), times=2 if phase == "train" else 1)


def fill_cache(options: Options, folder: Path, batch: Batch) -> None:
    """Write the representations of a batch to the cache."""
    build_one(options, folder).prepare([batch])


def build_one(options: Options, folder: Path) -> Side:
    """Return the side of ``--only`` with its own random weights."""
    if options.only is None or options.only == REFERENCE:
        return Theirs(options)
    return Ours(options.only, make_classifier(options), options, folder)


if __name__ == "__main__":
    sys.exit(main(Options, SIDES, run))
