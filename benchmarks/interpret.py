"""Time the interpretation of a clip of 5 s, from the waveform to the sound of the evidence: the reference and ours.

Ours also returns the sound of the remainder, and its masks cover all frames.
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
from benchmarks.clips import real_clips
from benchmarks.command import REFERENCE, MethodOptions, main, progress
from benchmarks.conditions import conditions
from benchmarks.memory import memory_of, peak_memory
from benchmarks.models import (
    METHOD_NOTES,
    DecoderName,
    disagreement,
    make_classifier,
    make_interpreter,
    make_reference,
    settle_classifier,
    settle_interpreter,
    share_weights,
)
from benchmarks.timing import count_flops, matmul_peak, summarize, time_in_turns
from torch import Tensor

from otoscope.classifiers import Classifier
from otoscope.explain import Explainer
from otoscope.interpreters import Interpreter

OURS: dict[str, DecoderName] = {"ours-published": "published", "ours-light": "light"}
SIDES = (REFERENCE, *OURS)
NOTES = [
    "the setting of the allocator applies to the whole process, so to both sides",
    "ours computes the sounds of evidence and remainder, the reference only that of the evidence",
    "ours-light has another decoder with its own weights; all other weights are the same on all sides",
    "FLOPs: those of all matrix products and convolutions that a side runs; Fourier transforms are not counted",
]


@dataclass
class Options(MethodOptions):
    """Time the interpretation of a clip of 5 s, the reference and ours in turns."""

    repeats: int = 5


def run(options: Options) -> dict[str, Any]:
    """Run the benchmark, or with ``--only`` measure the memory of one side."""
    with tempfile.TemporaryDirectory() as name:
        if options.only is not None:
            waveform = real_clips(options, Path(name), 1)[0].waveform
            return peak_memory(partial(build_one(options), waveform), times=1)
        memory = {side: memory_of(side, options, clips=1) for side in SIDES}
        return measure_all(options, memory, Path(name))


def measure_all(options: Options, memory: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Time all sides in this process."""
    clips = real_clips(options, folder)
    waveforms = [clip.waveform for clip in clips]
    progress("making networks with equal weights")
    sides, difference = build_all(options, torch.stack(waveforms[:2]))
    progress("warming up")
    flops = {name: count_flops(partial(interpret, waveforms[0])) for name, interpret in sides.items()}
    peak = matmul_peak()
    steps = {name: partial(interpret_in_turn, interpret, waveforms) for name, interpret in sides.items()}
    samples = time_in_turns(steps, options.repeats)
    peak = max(peak, matmul_peak())
    facts = {
        "clip_names": [clip.name for clip in clips],
        "matmul_peak_gflop_per_second": round(peak, 1),
        "largest_mask_difference": difference,
    }
    return {
        "benchmark": "interpret",
        "conditions": conditions(options, **facts),
        "notes": NOTES + METHOD_NOTES[options.method],
        "phases": {"interpret": summarize(samples, flops, memory, 1, peak)},
    }


def interpret_in_turn(interpret: Callable[[Tensor], Tensor], waveforms: Sequence[Tensor], repeat: int) -> None:
    """Interpret the next clip."""
    interpret(waveforms[repeat % len(waveforms)])


def build_all(options: Options, waveforms: Tensor) -> tuple[dict[str, Callable[[Tensor], Tensor]], float]:
    """Return all sides with the same weights, and the largest difference between their masks."""
    classifier = make_classifier(options)
    settle_classifier(classifier, waveforms)
    theirs = make_reference(options)
    source, *others = (make_interpreter(options, decoder, classifier) for decoder in OURS.values())
    for interpreter in (source, *others):
        settle_interpreter(interpreter, classifier, waveforms)
    share_weights(source, others, theirs, classifier)
    difference = disagreement(theirs, classifier, source, waveforms)
    sides = [theirs.interpret, *(evidence_of(classifier, interpreter) for interpreter in (source, *others))]
    return dict(zip(SIDES, sides, strict=True)), difference


def build_one(options: Options) -> Callable[[Tensor], Tensor]:
    """Return the side of ``--only`` with its own random weights."""
    if options.only is None or options.only == REFERENCE:
        return make_reference(options).interpret
    classifier = make_classifier(options)
    return evidence_of(classifier, make_interpreter(options, OURS[options.only], classifier))


def evidence_of(classifier: Classifier, interpreter: Interpreter[Any]) -> Callable[[Tensor], Tensor]:
    """Return a function from a waveform to the sound of its evidence."""
    explainer = Explainer(classifier, interpreter)
    return lambda waveform: explainer.explain(waveform, scores=False).evidence


if __name__ == "__main__":
    sys.exit(main(Options, SIDES, run))
