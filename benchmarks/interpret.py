"""Times the interpretation of one clip of 5 s, waveform to the sound of the evidence: the reference and ours.

Ours returns more: the sound of the remainder too, and masks of all frames.
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
from benchmarks import measure
from torch import Tensor

from otoscope.classifiers import Classifier
from otoscope.explain import Explainer
from otoscope.interpreters import Interpreter

OURS: dict[str, measure.DecoderName] = {"ours-published": "published", "ours-light": "light"}
SIDES = (measure.REFERENCE, *OURS)
NOTES = [
    "the allocator's setting holds for the whole process, so for both sides",
    "ours makes the sound of evidence and of remainder, the reference that of the evidence alone",
    "ours-light has another decoder, with other weights; everything else has the same weights on all sides",
    "FLOPs are those really done in matrix products and convolutions; Fourier transforms are not counted",
]


@dataclass
class Options(measure.MethodOptions):
    """Times the interpretation of one clip of 5 s, the reference's and ours in turns."""

    repeats: int = 5


def run(options: Options) -> dict[str, Any]:
    """The whole benchmark, or, with ``--only``, the memory of one side."""
    with tempfile.TemporaryDirectory() as name:
        if options.only is not None:
            waveform = measure.real_clips(options, Path(name), 1)[0].waveform
            return measure.peak_memory(partial(build_one(options), waveform), times=1)
        memory = {side: measure.memory_of(side, options, clips=1) for side in SIDES}
        return measure_all(options, memory, Path(name))


def measure_all(options: Options, memory: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Times all sides in this process."""
    clips = measure.real_clips(options, folder)
    waveforms = [clip.waveform for clip in clips]
    measure.progress("making networks with equal weights")
    sides, difference = build_all(options, torch.stack(waveforms[:2]))
    measure.progress("warming up")
    flops = {name: measure.count_flops(partial(interpret, waveforms[0])) for name, interpret in sides.items()}
    peak = measure.matmul_peak()
    steps = {name: partial(interpret_in_turn, interpret, waveforms) for name, interpret in sides.items()}
    samples = measure.time_in_turns(steps, options.repeats)
    peak = max(peak, measure.matmul_peak())
    facts = {
        "clip_names": [clip.name for clip in clips],
        "matmul_peak_gflop_per_second": round(peak, 1),
        "largest_mask_difference": difference,
    }
    return {
        "benchmark": "interpret",
        "conditions": measure.conditions(options, **facts),
        "notes": NOTES + measure.METHOD_NOTES[options.method],
        "phases": {"interpret": measure.summarize(samples, flops, memory, 1, peak)},
    }


def interpret_in_turn(interpret: Callable[[Tensor], Tensor], waveforms: Sequence[Tensor], repeat: int) -> None:
    """Interprets the clip whose turn it is."""
    interpret(waveforms[repeat % len(waveforms)])


def build_all(options: Options, waveforms: Tensor) -> tuple[dict[str, Callable[[Tensor], Tensor]], float]:
    """All sides with the same weights, and by how much their masks differ nevertheless."""
    classifier = measure.make_classifier(options)
    measure.settle_classifier(classifier, waveforms)
    theirs = measure.make_reference(options)
    source, *others = (measure.make_interpreter(options, decoder, classifier) for decoder in OURS.values())
    for interpreter in (source, *others):
        measure.settle_interpreter(interpreter, classifier, waveforms)
    measure.share_weights(source, others, theirs, classifier)
    difference = measure.disagreement(theirs, classifier, source, waveforms)
    sides = [theirs.interpret, *(evidence_of(classifier, interpreter) for interpreter in (source, *others))]
    return dict(zip(SIDES, sides, strict=True)), difference


def build_one(options: Options) -> Callable[[Tensor], Tensor]:
    """The side that ``--only`` names, with weights of its own."""
    if options.only is None or options.only == measure.REFERENCE:
        return measure.make_reference(options).interpret
    classifier = measure.make_classifier(options)
    return evidence_of(classifier, measure.make_interpreter(options, OURS[options.only], classifier))


def evidence_of(classifier: Classifier, interpreter: Interpreter[Any]) -> Callable[[Tensor], Tensor]:
    """From a waveform to the sound of its evidence."""
    explainer = Explainer(classifier, interpreter)
    return lambda waveform: explainer.explain(waveform, scores=False).evidence


if __name__ == "__main__":
    sys.exit(measure.main(Options, SIDES, run))
