"""Long recordings: memory, speed, events against known borders, and seams.

    python benchmarks/long_recording.py --minutes 60 --out benchmarks/results/long_recording.json

The recordings are clips of ESC-10 joined, 48 kHz stereo and 16 kHz mono. Each measurement runs in a fresh process:
the bare forward pass of the classifier on windows in memory, the predictions of a recording, and its explanation;
the predictions of a sixth of the length too, whose peak memory should be equal. The load of other processes is in
the output.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from benchmarks.joined import Sound, join_clips, match
from benchmarks.memory import peak_memory
from torch import Tensor
from typing_extensions import override

import otoscope
from otoscope.audio import RecordingStream, Spectrogram, WindowPlan, cut_windows
from otoscope.classifiers import Prediction
from otoscope.explain import Explainer
from otoscope.interpreters import Interpreter
from otoscope.recordings import LongOptions, Timeline, explain_long

_ROOT = Path(__file__).parents[1]
_FORMS = {"48 kHz stereo": (48_000, 2), "16 kHz mono": (16_000, 1)}
_SEAM_S = 60.0


class LoudBins(Interpreter[Tensor]):
    """Keeps the bins above a level: a mask that depends on each bin alone, so that only seams can change it."""

    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> Tensor:
        """Return the mask."""
        return (spectrogram.log_magnitude > 0.5).to(spectrogram.log_magnitude.dtype)

    def mask(self, decoded: Tensor, spectrogram: Spectrogram) -> Tensor:
        """Return the mask without the padding."""
        return spectrogram.zero_padding(decoded)

    @override
    def loss(self, decoded: Tensor, spectrogram: Spectrogram, prediction: Prediction) -> dict[str, Tensor]:
        return {}


def main() -> None:
    """Run the benchmark, or one measurement of it."""
    options = _parser().parse_args()
    torch.set_num_threads(options.threads)
    result = _measure(options) if options.only else _run_all(options)
    text = json.dumps(result, indent=None if options.only else 2)
    print(text)
    if options.out and not options.only:
        Path(options.out).write_text(text + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_folder = os.environ.get("OTOSCOPE_ESC10") or str(_ROOT.parent / "shared" / "esc10")
    parser.add_argument("--data_folder", default=data_folder, help="ESC-50, or a part of it in the same layout.")
    parser.add_argument("--model", default=None, help="Source of the model (default: the bundled one).")
    parser.add_argument("--method", default="integrated_gradients", help="Method of explanation.")
    parser.add_argument("--folds", type=int, nargs="+", default=[3], help="Folds that the clips come from.")
    parser.add_argument("--minutes", type=float, default=60.0, help="Length of the recordings.")
    parser.add_argument("--explained_minutes", type=float, default=None, help="Length that is explained as well.")
    parser.add_argument("--forms", nargs="+", choices=list(_FORMS), default=list(_FORMS), help="Recordings.")
    parser.add_argument("--batch_size", type=int, default=4, help="Windows that are explained at once.")
    parser.add_argument("--threads", type=int, default=2, help="Threads of PyTorch.")
    parser.add_argument("--out", default=None, help="JSON file to write in addition to the standard output.")
    parser.add_argument("--only", choices=["forward", "predict", "explain"], help=argparse.SUPPRESS)
    parser.add_argument("--recording", help=argparse.SUPPRESS)
    parser.add_argument("--results", help=argparse.SUPPRESS)
    return parser


def _run_all(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {"conditions": _conditions(options)}
    explained_minutes = options.explained_minutes or options.minutes
    with tempfile.TemporaryDirectory() as folder:
        for form in options.forms:
            rate_hz, channels = _FORMS[form]
            paths = {}
            for minutes in sorted({options.minutes, options.minutes / 6, explained_minutes}):
                paths[minutes] = Path(folder) / f"{rate_hz}-{minutes:g}.wav"
                truth = join_clips(
                    Path(options.data_folder), options.folds, paths[minutes], minutes, rate_hz, channels
                )
            rows = {"forward": _in_process(options, "forward", paths[options.minutes], folder)}
            for minutes in (options.minutes, options.minutes / 6):
                rows[f"predict {minutes:g} min"] = _in_process(options, "predict", paths[minutes], folder)
            rows["explain"] = _in_process(options, "explain", paths[explained_minutes], folder)
            truth = [sound for sound in truth if sound.begin_s < 60 * explained_minutes]
            result[form] = {"measurements": rows, **_ratios(rows, options.minutes)}
            result[form]["events"] = _events(Timeline.load(Path(folder) / "explain"), truth)
            for path in paths.values():
                path.unlink()
        result["seams"] = _seams(options, Path(folder))
    result["conditions"]["load_average_at_end"] = [round(load, 2) for load in os.getloadavg()]
    return result


def _in_process(options: argparse.Namespace, only: str, recording: Path, folder: str) -> dict[str, Any]:
    print(f"long_recording: {only} {recording.name}", file=sys.stderr)
    values = vars(options) | {"only": only, "recording": str(recording), "results": f"{folder}/{only}"}
    arguments: list[str] = []
    for name, value in values.items():
        if value is not None:
            arguments += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    finished = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(finished.stdout))


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    explainer = otoscope.load(options.model, options.method)
    recording = Path(options.recording)
    duration_s = soundfile.info(recording).duration
    actions: dict[str, Callable[[], object]] = {
        "forward": lambda: _forward(explainer, recording, options.batch_size),
        "predict": lambda: explain_long(explainer, recording, options.results, explain="none"),
        "explain": lambda: explain_long(explainer, recording, options.results, batch_size=options.batch_size),
    }
    # One batch before the clock starts: the first one prepares kernels and imports packages.
    seconds: dict[str, float] = {}
    warm_up = _forward(explainer, recording, options.batch_size, 2)

    def timed() -> None:
        wall, processor = time.perf_counter(), time.process_time()
        outcome = actions[options.only]()
        seconds["wall_s"] = time.perf_counter() - wall
        seconds["processor_s"] = time.process_time() - processor
        if isinstance(outcome, Timeline):
            seconds["explained_windows"] = outcome.explained_windows
            seconds["windows"] = len(outcome.window_begins_s)

    memory = peak_memory(timed, 1)
    hours = {
        f"hours_per_hour_{name}": round(duration_s / seconds[f"{name}_s"], 1) for name in ("wall", "processor")
    }
    rounded = {name: round(value, 2) for name, value in seconds.items()}
    return {"duration_s": duration_s, **rounded, **hours, "memory_mb": memory, "warm_up_windows": warm_up}


def _forward(explainer: Explainer, recording: Path, batch_size: int, most: int | None = None) -> int:
    """Run front-end and network on as many windows as the recording has; the same windows again and again."""
    classifier = explainer.classifier
    stream = RecordingStream(recording, explainer.sample_rate_hz, end_s=30.0)
    resolved = LongOptions().resolved(classifier)
    window_s, hop_s = resolved.window_s or 0.0, resolved.hop_s or 0.0
    plan = WindowPlan.of(classifier.frontend, stream.survey.samples, window_s, hop_s)
    clips = list(cut_windows(stream, (plan.span(index) for index in range(plan.count - 1))))
    samples = round(soundfile.info(recording).duration * explainer.sample_rate_hz)
    count = most or WindowPlan.of(classifier.frontend, samples, window_s, hop_s).count
    size = 4 * batch_size
    with torch.no_grad():
        for begin in range(0, count, size):
            batch = [clips[index % len(clips)] for index in range(begin, min(begin + size, count))]
            waveforms = torch.from_numpy(np.stack(batch))
            classifier.probabilities(classifier.hear(waveforms, with_phase=classifier.needs_phase))
    return count


def _ratios(rows: dict[str, dict[str, Any]], minutes: float) -> dict[str, float]:
    """Return memory of the whole length over that of a sixth, and time over that of the bare forward pass."""
    long, short, forward = rows[f"predict {minutes:g} min"], rows[f"predict {minutes / 6:g} min"], rows["forward"]
    return {
        "peak_memory_of_the_length_over_a_sixth": round(long["memory_mb"]["peak"] / short["memory_mb"]["peak"], 3),
        "predict_over_forward_wall": round(long["wall_s"] / forward["wall_s"], 3),
        "predict_over_forward_processor": round(long["processor_s"] / forward["processor_s"], 3),
    }


def _events(timeline: Timeline, truth: Sequence[Sound]) -> dict[str, Any]:
    """Compare events with the borders of the joined clips."""
    scores: dict[str, Any] = {"events": len(timeline.events), "sounds": len(truth)}
    for borders in ("windows", "evidence"):
        events = []
        for event in timeline.events:
            begin_s, end_s = event.windows_begin_s, event.windows_end_s
            if borders == "evidence" and event.evidence_begin_s is not None and event.evidence_end_s is not None:
                begin_s, end_s = event.evidence_begin_s, event.evidence_end_s
            events.append(Sound(event.label, begin_s, end_s))
        for overlap in (0.3, 0.5):
            scores[f"borders of {borders}, IoU {overlap}"] = match(events, truth, overlap)
    return scores


def _seams(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Compare joined sounds of one minute with those of the whole minute, for a mask that depends on bins alone."""
    path = folder / "seams.wav"
    join_clips(Path(options.data_folder), options.folds, path, _SEAM_S / 60, 48_000, 2)
    classifier = otoscope.load(options.model, options.method).classifier
    explainer = Explainer(classifier, LoudBins())
    explain_long(explainer, path, folder / "seams", explain="all", normalize=False, pages=0)
    whole = explainer.explain(str(path), scores=False, normalize=False)
    levels = {}
    for name, expected in (("evidence", whole.evidence.numpy()), ("remainder", whole.remainder.numpy())):
        sound, _ = soundfile.read(folder / "seams" / f"{name}.flac")
        # Clipped samples differ, and are reported by a note.
        inside = np.abs(expected) < 1
        difference = (sound - expected)[inside]
        levels[f"{name}_difference_db"] = round(20 * float(np.log10(difference.std() / expected.std())), 1)
    return levels


def _conditions(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "torch": torch.__version__,
        "soxr": soxr.__version__,
        "folds": options.folds,
        "minutes": options.minutes,
        "model": options.model or "bundled",
        "method": options.method,
        "load_average_at_start": [round(load, 2) for load in os.getloadavg()],
    }


if __name__ == "__main__":
    main()
