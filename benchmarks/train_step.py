"""Times one step of training, and one of evaluation: the reference and ours, in turns, on real clips.

A training step: spectrogram, frozen classifier, interpreter, loss, backward, clipped Adam step. An evaluation
step: the same forward pass and loss, and all scores without controls (the reference knows none).
Reading files, loggers and checkpoints are left out on both sides.
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
from benchmarks import measure

from otoscope.classifiers import Classifier
from otoscope.data import Batch, collate
from otoscope.errors import OtoscopeError
from otoscope.interpreters import Interpreter
from otoscope.training import L2I, LMAC, PIQ

Phase = Literal["train", "evaluate", "both"]
OURS: dict[str, tuple[measure.DecoderName, bool]] = {
    "ours-published": ("published", False),
    "ours-light": ("light", False),
    "ours-light-cached": ("light", True),
    "ours-published-cached": ("published", True),
}
"""Our sides: decoder, and whether the classifier's representations come from the cache."""
SIDES = (measure.REFERENCE, *OURS)
NOTES = [
    "the allocator's setting holds for the whole process, so for both sides",
    "ours-light has another decoder, with other weights; everything else has the same weights on all sides",
    "gradients are clipped on both sides, as in the reference; our recipes do not clip",
    "cached: the first pass, which fills the cache, is not in the time; evaluation still runs the classifier "
    "on evidence and remainder",
    "FLOPs are those really done in matrix products and convolutions, needless ones included",
]
METHOD_NOTES = {
    "piq": measure.METHOD_NOTES["piq"],
    "l2i": [
        *measure.METHOD_NOTES["l2i"],
        "training: the reference interprets every clip anew, one by one, and classifies evidence and remainder, "
        "for scores that it logs; ours scores when it evaluates",
        "training: the reference's loss averages the fidelity over the classes and covers the frames that its "
        "network makes; ours sums it and covers all frames",
    ],
    "lmac": [
        *measure.METHOD_NOTES["lmac"],
        "both classify evidence and remainder in every training step: the loss needs it",
    ],
}


@dataclass
class Options(measure.MethodOptions):
    """Times a step of training and one of evaluation of a method, the reference's and ours in turns.

    Args:
        batch: Clips in a batch.
        phase: What to measure.
        sides: Ours that are measured beside the reference, with commas between; empty: all.
    """

    batch: int = 2
    phase: Phase = "both"
    sides: str = ""

    @property
    def _counts(self) -> list[str]:
        """See `measure.Options._counts`."""
        return [*super()._counts, "batch"]

    @property
    def _ours(self) -> list[str]:
        """The sides that are wanted."""
        return self.sides.split(",") if self.sides else list(OURS)

    def _problem(self) -> str | None:
        """See `measure.Options._problem`."""
        if unknown := set(self._ours) - set(OURS):
            return f"--sides: no {', '.join(sorted(unknown))}; choose from {', '.join(OURS)}"
        return super()._problem()


class Side(ABC):
    """One of the systems that are compared."""

    @abstractmethod
    def prepare(self, batches: Sequence[Batch]) -> None:
        """What happens once, before the steps that are measured."""

    @abstractmethod
    def train(self, batch: Batch) -> None:
        """One training step."""

    @abstractmethod
    def evaluate(self, batch: Batch) -> None:
        """One evaluation step."""

    def step(self, phase: str, batches: Sequence[Batch], repeat: int = 0) -> None:
        """The step of a phase, on the batch whose turn it is."""
        step = self.train if phase == "train" else self.evaluate
        step(batches[repeat % len(batches)])


class Theirs(Side):
    """The reference."""

    def __init__(self, options: Options) -> None:
        self.recipe = measure.make_reference(options)

    def prepare(self, batches: Sequence[Batch]) -> None:
        """Nothing."""

    def train(self, batch: Batch) -> None:
        """See `Side.train`."""
        self.recipe.training_step(batch.waveform, batch.target)

    def evaluate(self, batch: Batch) -> None:
        """See `Side.evaluate`."""
        self.recipe.evaluation_step(batch.waveform, batch.target)


class Unlogged:
    """What makes a brain work without a trainer to log to."""

    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        """Forgets."""


class UnloggedPIQ(Unlogged, PIQ):
    """PIQ without a trainer."""


class UnloggedL2I(Unlogged, L2I):
    """L2I without a trainer."""


class UnloggedLMAC(Unlogged, LMAC):
    """L-MAC without a trainer."""


class Ours(Side):
    """Otoscope's brain, driven as a Lightning trainer drives it."""

    def __init__(self, name: str, classifier: Classifier, options: Options, folder: Path) -> None:
        torch.manual_seed(1)
        decoder, self.cached = OURS[name]
        kinds = {"l2i": UnloggedL2I, "lmac": UnloggedLMAC, "piq": UnloggedPIQ}
        self.brain = kinds[options.method](
            classifier,
            **measure.method_settings(options, decoder),
            cache_representations=self.cached,
            cache_folder=folder,
            schedule="constant",
        )
        self.optimizer: torch.optim.Optimizer = self.brain.configure_optimizers()

    @property
    def interpreter(self) -> Interpreter[Any]:
        """The network that is trained."""
        interpreter: Interpreter[Any] = self.brain.interpreter
        return interpreter

    @torch.no_grad()
    def prepare(self, batches: Sequence[Batch]) -> None:
        """Fills the cache."""
        self.brain.eval()
        for batch in batches if self.cached else ():
            self.brain.compute_forward(batch, "train")

    def train(self, batch: Batch) -> None:
        """See `Side.train`."""
        self.brain.train()
        loss = self.brain.training_step(batch, 0)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        torch.nn.utils.clip_grad_norm_(self.brain.parameters(), 5.0)
        self.optimizer.step()

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> None:
        """See `Side.evaluate`."""
        self.brain.eval()
        self.brain.validation_step(batch, 0)


def run(options: Options) -> dict[str, Any]:
    """The whole benchmark, or, with ``--only``, the memory of one side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only is not None:
            return measure_one(options, folder)
        sides = (measure.REFERENCE, *options._ours)
        phases = ("train", "evaluate") if options.phase == "both" else (options.phase,)
        memory = {
            phase: {side: measure.memory_of(side, options, phase=phase, clips=options.batch) for side in sides}
            for phase in phases
        }
        return measure_all(options, memory, folder)


def measure_all(options: Options, memory: dict[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Times all sides in this process."""
    batches = read_batches(options, folder)
    measure.progress("making networks with equal weights")
    sides, difference = build_all(options, batches[0], folder)
    for side in sides.values():
        side.prepare(batches)
    peak = measure.matmul_peak()
    found = {phase: measure_phase(phase, sides, batches, options.repeats) for phase in memory}
    peak = max(peak, measure.matmul_peak())
    facts = {
        "clip_names": [name for batch in batches for name in batch.name],
        "matmul_peak_gflop_per_second": round(peak, 1),
        "largest_mask_difference": difference,
    }
    return {
        "benchmark": "train_step",
        "conditions": measure.conditions(options, **facts),
        "notes": NOTES + METHOD_NOTES[options.method],
        "phases": {phase: measure.summarize(*found[phase], memory[phase], options.batch, peak) for phase in memory},
    }


def measure_phase(
    phase: str, sides: dict[str, Side], batches: Sequence[Batch], repeats: int
) -> tuple[dict[str, list[measure.Sample]], dict[str, int]]:
    """Times and FLOPs of a phase; counting them is also what warms up."""
    flops = {}
    for name, side in sides.items():
        measure.progress(f"{phase}: warming up {name}")
        flops[name] = measure.count_flops(partial(side.step, phase, batches))
    measure.progress(f"{phase}: timing")
    steps = {name: partial(side.step, phase, batches) for name, side in sides.items()}
    return measure.time_in_turns(steps, repeats), flops


def build_all(options: Options, batch: Batch, folder: Path) -> tuple[dict[str, Side], float]:
    """All sides with the same weights, and by how much their masks differ nevertheless."""
    classifier = measure.make_classifier(options)
    measure.settle_classifier(classifier, batch.waveform)
    theirs = Theirs(options)
    ours = {name: Ours(name, classifier, options, folder) for name in options._ours}
    published = next((side.interpreter for name, side in ours.items() if OURS[name][0] == "published"), None)
    source = published or measure.make_interpreter(options, "published", classifier)
    others = [side.interpreter for side in ours.values() if side.interpreter is not source]
    for interpreter in (source, *others):
        measure.settle_interpreter(interpreter, classifier, batch.waveform)
    measure.share_weights(source, others, theirs.recipe, classifier)
    difference = measure.disagreement(theirs.recipe, classifier, source, batch.waveform)
    return {measure.REFERENCE: theirs, **ours}, difference


def read_batches(options: Options, folder: Path) -> list[Batch]:
    """The clips in whole batches."""
    size, count = options.batch, max(options.clips, options.batch)
    clips = measure.real_clips(options, folder, count)
    return [collate(clips[start : start + size]) for start in range(0, count - size + 1, size)]


def measure_one(options: Options, folder: Path) -> dict[str, float]:
    """Peak memory of one side in this process."""
    assert options.only is not None
    phase = "train" if options.phase == "both" else options.phase
    batch = read_batches(options, folder)[0]
    if options.only in OURS and OURS[options.only][1]:
        # in a process of its own, which takes the memory of the classifier's run with it
        process = multiprocessing.get_context("spawn").Process(target=fill_cache, args=(options, folder, batch))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise OtoscopeError("filling the cache of representations failed")
    side = build_one(options, folder)
    return measure.peak_memory(partial(side.step, phase, [batch]), times=2 if phase == "train" else 1)


def fill_cache(options: Options, folder: Path, batch: Batch) -> None:
    """Leaves the representations of a batch in the cache."""
    build_one(options, folder).prepare([batch])


def build_one(options: Options, folder: Path) -> Side:
    """The side that ``--only`` names, with weights of its own."""
    if options.only is None or options.only == measure.REFERENCE:
        return Theirs(options)
    return Ours(options.only, measure.make_classifier(options), options, folder)


if __name__ == "__main__":
    sys.exit(measure.main(Options, SIDES, run))
