"""Long recordings: memory, speed, events against known borders, seams, a sparse recording, and kills.

    python benchmarks/long_recording.py --minutes 60 --out benchmarks/results/long_recording.json
    python benchmarks/long_recording.py --parts memory speed --minutes 60 --forms "16 kHz mono"
    python benchmarks/long_recording.py --parts sparse kills --sparse_hours 12
    python benchmarks/long_recording.py --parts seams --out benchmarks/results/long_recording.json --section seams

The recordings are clips of ESC-10 joined, 48 kHz stereo and 16 kHz mono. Each measurement runs in a fresh process:
the bare forward pass of the classifier on windows in memory, the predictions of a recording, and its explanation;
the predictions of a sixth of the length too, whose peak memory should be equal. The load of other processes is in
the output.

| Part | Content |
|---|---|
| `memory` | peak memory of the predictions of the whole length over that of a sixth |
| `speed` | hours of audio per hour: bare forward pass, predictions, and explanations |
| `overhead` | processor and elapsed time of predictions over those of the bare pass, alternating in one process |
| `events` | events against the borders of the clips: precision, recall, and why they are wrong |
| `seams` | joined sounds of 60 s against those of the whole file |
| `sparse` | hours of faint noise with a few clips, in FLAC: time, memory, events, and sizes by calculation |
| `kills` | kill -9 at random moments: the result against that of a run without kills |
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
from benchmarks.joined import Sound, causes, join_clips, match, sparse_clips
from benchmarks.long_kills import kill_again_and_again
from benchmarks.memory import peak_memory
from torch import Tensor
from typing_extensions import override

import otoscope
from otoscope.allocator import keep_freed_memory
from otoscope.audio import RecordingStream, Spectrogram, WindowPlan, cut_windows
from otoscope.classifiers import Prediction
from otoscope.explain import Explainer
from otoscope.interpreters import Interpreter
from otoscope.recordings import LongOptions, Timeline, explain_long

_ROOT = Path(__file__).parents[1]
_FORMS = {"48 kHz stereo": (48_000, 2), "16 kHz mono": (16_000, 1)}
_SEAM_S = 60.0
_PARTS = ("memory", "speed", "overhead", "events", "seams", "sparse", "kills")


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
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(options.threads)
    result = _measure(options) if options.only else _run_all(options)
    text = json.dumps(result, indent=None if options.only else 2)
    print(text)
    if options.out and not options.only:
        path = Path(options.out)
        if options.section:
            content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            text = json.dumps(content | {options.section: result}, indent=2)
        path.write_text(text + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_folder = os.environ.get("OTOSCOPE_ESC10") or str(_ROOT.parent / "shared" / "esc10")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS), help="Measurements to make.")
    parser.add_argument("--data_folder", default=data_folder, help="ESC-50, or a part of it in the same layout.")
    parser.add_argument("--model", default=None, help="Source of the model (default: the bundled one).")
    parser.add_argument("--method", default="integrated_gradients", help="Method of explanation.")
    parser.add_argument("--folds", type=int, nargs="+", default=[3], help="Folds that the clips come from.")
    parser.add_argument("--minutes", type=float, default=60.0, help="Length of the recordings.")
    parser.add_argument("--explained_minutes", type=float, default=None, help="Length that is explained as well.")
    parser.add_argument("--forms", nargs="+", choices=list(_FORMS), default=list(_FORMS), help="Recordings.")
    parser.add_argument("--batch_size", type=int, default=4, help="Windows that are explained at once.")
    parser.add_argument("--threads", type=int, default=2, help="Threads of PyTorch.")
    parser.add_argument("--top_k", type=int, default=None, help="Most explained windows of a label.")
    parser.add_argument("--seam_s", type=float, default=_SEAM_S, help="Length of the recording of `seams`.")
    parser.add_argument("--sparse_hours", type=float, default=12.0, help="Length of the recording of `sparse`.")
    parser.add_argument("--sparse_clips", type=int, default=40, help="Number of clips in it.")
    parser.add_argument("--kills", type=int, default=10, help="Number of kills.")
    parser.add_argument("--kill_minutes", type=float, default=3.0, help="Length of the recording of `kills`.")
    parser.add_argument("--out", default=None, help="JSON file to write in addition to the standard output.")
    parser.add_argument("--section", default=None, help="Section of this file to replace; others are kept.")
    parser.add_argument("--repeats", type=int, default=3, help="Runs of each side of `overhead`.")
    parser.add_argument("--only", choices=["forward", "predict", "explain", "overhead"], help=argparse.SUPPRESS)
    parser.add_argument("--recording", help=argparse.SUPPRESS)
    parser.add_argument("--results", help=argparse.SUPPRESS)
    return parser


def _run_all(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {"conditions": _conditions(options)}
    parts = set(options.parts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if parts & {"memory", "speed", "overhead", "events"}:
            result |= {form: _form(options, parts, folder, *_FORMS[form]) for form in options.forms}
        if "seams" in parts:
            result["seams"] = _seams(options, folder)
        if "sparse" in parts:
            result["sparse"] = _sparse(options, folder)
        if "kills" in parts:
            result["kills"] = _kills(options, folder)
    result["conditions"]["load_average_at_end"] = [round(load, 2) for load in os.getloadavg()]
    return result


def _form(
    options: argparse.Namespace, parts: set[str], folder: Path, rate_hz: int, channels: int
) -> dict[str, Any]:
    """Return the measurements of recordings of one form."""
    explained_minutes = options.explained_minutes or options.minutes
    paths: dict[float, Path] = {}
    truth: dict[float, list[Sound]] = {}

    def path_of(minutes: float) -> Path:
        if minutes not in paths:
            paths[minutes] = folder / f"{rate_hz}-{minutes:g}.wav"
            place = (Path(options.data_folder), options.folds, paths[minutes])
            truth[minutes] = join_clips(*place, minutes, rate_hz, channels)
        return paths[minutes]

    rows = {}
    if "speed" in parts:
        rows["forward"] = _in_process(options, "forward", path_of(options.minutes), folder)
    for minutes in (options.minutes, *([options.minutes / 6] if "memory" in parts else [])):
        if parts & {"memory", "speed"}:
            rows[f"predict {minutes:g} min"] = _in_process(options, "predict", path_of(minutes), folder)
    result: dict[str, Any] = {"measurements": rows}
    if "overhead" in parts:
        result["overhead"] = _in_process(options, "overhead", path_of(options.minutes), folder)
    if parts & {"speed", "events"}:
        rows["explain"] = _in_process(options, "explain", path_of(explained_minutes), folder)
        if "events" in parts:
            result["events"] = _events(Timeline.load(folder / "explain"), truth[explained_minutes])
    for path in paths.values():
        path.unlink()
    return result | _ratios(rows, options.minutes)


def _in_process(options: argparse.Namespace, only: str, recording: Path, folder: Path) -> dict[str, Any]:
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
    if options.only == "overhead":
        return _overhead(options, explainer, recording)
    duration_s = soundfile.info(recording).duration
    actions: dict[str, Callable[[], object]] = {
        "forward": lambda: _forward(explainer, recording, options.batch_size),
        "predict": lambda: explain_long(explainer, recording, options.results, explain="none"),
        "explain": lambda: explain_long(
            explainer, recording, options.results, batch_size=options.batch_size, top_k=options.top_k
        ),
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


def _overhead(options: argparse.Namespace, explainer: Explainer, recording: Path) -> dict[str, Any]:
    """Return the seconds of bare pass and predictions, one after the other, and the ratios of the smallest."""

    def predict(end_s: float | None = None) -> object:
        return explain_long(explainer, recording, options.results, explain="none", end_s=end_s)

    sides: dict[str, Callable[[], object]] = {
        "forward": lambda: _forward(explainer, recording, options.batch_size),
        "predict": predict,
    }
    _forward(explainer, recording, options.batch_size, 2)
    predict(end_s=15.0)  # imports what draws the picture, and finds the fonts
    # The thread that runs the network: with one thread of PyTorch, and a core for each of the two threads, this is
    # the elapsed time, also where other processes take the cores away.
    clocks = {"wall": time.perf_counter, "processor": time.process_time, "network_thread": time.thread_time}
    seconds: dict[str, list[float]] = {f"{side}_{clock}_s": [] for side in sides for clock in clocks}
    for _ in range(options.repeats):
        for side, action in sides.items():
            begins = {name: clock() for name, clock in clocks.items()}
            action()
            for name, clock in clocks.items():
                seconds[f"{side}_{name}_s"].append(round(clock() - begins[name], 2))
    ratios = {
        f"predict_over_forward_{name}": round(
            min(seconds[f"predict_{name}_s"]) / min(seconds[f"forward_{name}_s"]), 3
        )
        for name in clocks
    }
    return {**seconds, **ratios, "load_average": [round(load, 2) for load in os.getloadavg()]}


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
    ratios = {}
    predict = rows.get(f"predict {minutes:g} min")
    if predict and (short := rows.get(f"predict {minutes / 6:g} min")):
        peaks = predict["memory_mb"]["peak"], short["memory_mb"]["peak"]
        ratios["peak_memory_of_the_length_over_a_sixth"] = round(peaks[0] / peaks[1], 3)
    if predict and (forward := rows.get("forward")):
        for clock in ("wall", "processor"):
            ratios[f"predict_over_forward_{clock}"] = round(predict[f"{clock}_s"] / forward[f"{clock}_s"], 3)
    return ratios


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
            scores[f"borders of {borders}, causes at IoU {overlap}"] = causes(events, truth, overlap)
        # Windows lie on the grid of the STFT, so that half a window is shorter than half a clip by up to a frame.
        for hops in (1, 1.5):
            tolerance_s = hops * timeline.hop_s + 0.02
            scores[f"borders of {borders}, within {tolerance_s:.2f} s"] = match(
                events, truth, tolerance_s=tolerance_s
            )
    return scores


def _sparse(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Explain a recording of many hours in which little happens, and calculate what a full one takes."""
    path = folder / "sparse.flac"
    place = (Path(options.data_folder), options.folds, path)
    truth = sparse_clips(*place, options.sparse_hours, 16_000, options.sparse_clips)
    size_mb = path.stat().st_size / 1e6
    row = _in_process(options, "explain", path, folder)
    timeline = Timeline.load(folder / "explain")
    size = sum(file.stat().st_size for file in (folder / "explain").rglob("*") if file.is_file())
    path.unlink()
    windows = len(timeline.window_begins_s)
    calculated = {
        "windows": windows,
        "table_of_probabilities_mb": round(4 * windows * len(timeline.labels) / 1e6, 2),
        "seconds_per_window": round(row["processor_s"] / windows, 5),
        "explained_share": round(timeline.explained_windows / windows, 5),
    }
    events = _events(timeline, truth)
    return {
        "hours": options.sparse_hours,
        "file_mb": round(size_mb, 1),
        "results_mb": round(size / 1e6, 1),
        "measurement": row,
        "calculated": calculated,
        "events": events,
    }


def _kills(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Kill the explanation of a recording again and again."""
    path = folder / "killed.wav"
    join_clips(Path(options.data_folder), options.folds, path, options.kill_minutes, 16_000, 1)
    command = ["--method", options.method, "--top_k", str(options.top_k or 2), "--pages", "2", "--segments"]
    if options.model:
        command += ["--model", options.model]
    (folder / "kills").mkdir()
    return kill_again_and_again(path, folder / "kills", command, options.kills, seed=0)


def _seams(options: argparse.Namespace, folder: Path) -> dict[str, float | str]:
    """Compare joined sounds of one minute with those of the whole minute, for a mask that depends on bins alone."""
    path = folder / "seams.wav"
    join_clips(Path(options.data_folder), options.folds, path, options.seam_s / 60, 48_000, 2)
    classifier = otoscope.load(options.model, options.method).classifier
    explainer = Explainer(classifier, LoudBins())
    explain_long(explainer, path, folder / "seams", explain="all", normalize=False, pages=0)
    whole = explainer.explain(str(path), scores=False, normalize=False)
    levels: dict[str, float | str] = {"seconds": options.seam_s, "mask": "depends on single bins alone"}
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
