"""Measuring tools that the benchmarks share: real clips, equal weights, time in turns, FLOPs, memory, JSON."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import jsonargparse
import torch
from benchmarks.reference import (
    FRAMES,
    TEMPERATURES,
    Reference,
    ReferenceL2I,
    ReferenceLMAC,
    ReferencePIQ,
    backbone_options,
    quantus,
    speechbrain_modules,
)
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from otoscope.audio import Frontend
from otoscope.classifiers import (
    Classifier,
    Cnn14Classifier,
    Conv2dClassifier,
    FocalNetClassifier,
    ViTClassifier,
)
from otoscope.cli.allocator import keep_freed_memory
from otoscope.data import ESC50, Clip
from otoscope.errors import DataError, OtoscopeError
from otoscope.interpreters import Interpreter, L2IInterpreter, LMACInterpreter, PIQInterpreter
from otoscope.nn import NMFDictionary

ROOT = Path(__file__).parents[1]
REFERENCE = "reference"
"""Name of the side that the others are compared with."""
_SAMPLES = 80_000  # 5 s, as every clip of ESC-50
_MATRICES = (2048, 3072, 4096)
_PUBLISHED_WIDTHS = {"conv2d": 256, "cnn14": 64, "focalnet": 128, "vit": 768}
_PUBLISHED_ON = {"piq": ("conv2d", "focalnet", "vit"), "l2i": ("conv2d", "cnn14"), "lmac": ("cnn14",)}
_VIT_HEADS = 12
MethodName = Literal["piq", "l2i", "lmac"]
ClassifierName = Literal["conv2d", "cnn14", "focalnet", "vit"]
DecoderName = Literal["light", "published"]

METHOD_NOTES = {
    "piq": ["on conv2d the reference's masks have 417 of the 431 frames; ours have all"],
    "l2i": [
        "on conv2d the reference's masks have 417 of the 431 frames, the others are zeros; ours have all",
        "ours-light pools by attention over time, where the reference has a learnt weight a frame",
        "the dictionary has random spectra; it is fixed on all sides",
    ],
    "lmac": ["the reference's masks have 425 of the 431 frames; ours have all"],
}
"""What else the numbers of a method depend on."""


@dataclass
class Options:
    """What every benchmark can be told.

    Args:
        clips: Real clips to read; the repeats go through them.
        repeats: Timed runs of each side, in turns.
        threads: Threads of PyTorch.
        data_folder: ESC-50, or a part of it in its layout; by default the environment variable
            OTOSCOPE_ESC10, else ../shared/esc10.
        allocator: ``keep``: freed memory stays in the process (`otoscope.cli.allocator`), for both sides;
            ``default``: as the C library likes.
        only: Measure nothing but the peak memory of this side, in this process, and print it.
        out: JSON file to write, beside the standard output.
    """

    clips: int = 6
    repeats: int = 3
    threads: int = 2
    data_folder: Path = Path(os.environ.get("OTOSCOPE_ESC10") or ROOT.parent / "shared" / "esc10")
    allocator: Literal["keep", "default"] = "default"
    only: str | None = None
    out: Path | None = None

    @property
    def _counts(self) -> list[str]:
        """Names of the options that must be positive."""
        return ["clips", "repeats", "threads"]

    def _problem(self) -> str | None:
        """What is wrong with the options, in words."""
        wrong = [name for name in self._counts if getattr(self, name) < 1]
        return f"{', '.join(wrong)}: must be positive" if wrong else None


@dataclass
class ModelOptions(Options):
    """What the benchmarks that need a classifier can be told besides.

    Args:
        classifier: What is interpreted.
        width: Channels of classifier and interpreter (conv2d); for cnn14 channels of its first block, 1/32 of
            the last one's and of the published interpreter's; for focalnet those of its embedding, 1/8 of the
            last stage's and of the interpreter's; for vit those of a token and of the interpreter, a multiple of
            12. 0: as published, 256, 64, 128 or 768.
        classes: Classes of the classifier.
    """

    classifier: ClassifierName = "conv2d"
    width: int = 0
    classes: int = 50

    def __post_init__(self) -> None:
        """Puts the published width where none is said, so that reports show it."""
        self.width = self.width or _PUBLISHED_WIDTHS[self.classifier]

    @property
    def _counts(self) -> list[str]:
        """See `Options._counts`."""
        return [*super()._counts, "width", "classes"]

    def _problem(self) -> str | None:
        """See `Options._problem`."""
        if self.classifier == "vit" and self.width % _VIT_HEADS:
            return f"--width {self.width}: ViT has {_VIT_HEADS} heads; choose a multiple of it"
        return super()._problem()


@dataclass
class MethodOptions(ModelOptions):
    """What the benchmarks of a method can be told besides.

    Args:
        method: Way of interpreting: PIQ takes conv2d, focalnet and vit, L2I conv2d and cnn14, L-MAC cnn14.
        components: Of L2I's dictionary.
        use_vq: Quantise before decoding (PIQ).
    """

    method: MethodName = "piq"
    components: int = 100
    use_vq: bool = True

    @property
    def _counts(self) -> list[str]:
        """See `ModelOptions._counts`."""
        return [*super()._counts, "components"]

    def _problem(self) -> str | None:
        """See `ModelOptions._problem`."""
        if self.classifier not in _PUBLISHED_ON[self.method]:
            others = " or ".join(name for name, kinds in _PUBLISHED_ON.items() if self.classifier in kinds)
            return f"--classifier {self.classifier}: {self.method} was not published for it; add --method {others}"
        return super()._problem()


AnyOptions = TypeVar("AnyOptions", bound=Options)


class Sample(NamedTuple):
    """One timed run: seconds on the clock, and seconds of work of all cores."""

    seconds: float
    core_seconds: float


def main(kind: type[AnyOptions], sides: Sequence[str], run: Callable[[AnyOptions], dict[str, Any]]) -> int:
    """The command line of a benchmark.

    Args:
        kind: Its options.
        sides: Names that ``--only`` may take.
        run: The benchmark; returns what is printed as JSON.

    Returns:
        Exit code: 0, or 2 for an error that the user can mend.
    """
    options = jsonargparse.auto_cli(kind, as_positional=False)
    if options.only is not None and options.only not in sides:
        return _fail(f"--only {options.only}: choose one of {', '.join(sides)}")
    with contextlib.suppress(ValueError):  # a count of zero is refused below, with the others
        torch.set_num_threads(options.threads)
    if (problem := options._problem()) is not None:
        return _fail(problem)
    if options.allocator == "keep" and not keep_freed_memory():
        return _fail("--allocator keep needs the GNU C library; use --allocator default")
    try:
        if options.only in (None, REFERENCE):
            _require_reference()
        result = run(options)
    except OtoscopeError as error:
        return _fail(str(error))
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None and options.only is None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


def progress(message: str) -> None:
    """Says on the standard error what is going on."""
    print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr, flush=True)


def real_clips(options: Options, cache_folder: Path, count: int | None = None) -> list[Clip]:
    """Clips of fold 1, spread over the classes, cut or padded to 5 s.

    Args:
        options: Where, and how many.
        cache_folder: For the decoded clips.
        count: How many, where it is not ``options.clips``.

    Raises:
        DataError: There are not that many.
    """
    count = count or options.clips
    data = ESC50(options.data_folder, (1,), (2,), (3,), download=False, cache_folder=cache_folder)
    data.setup("fit")
    available = len(data.train_set)  # type: ignore[arg-type]
    if count > available:
        raise DataError(f"{options.data_folder}: {count} clips wanted, fold 1 has {available}")
    clips = [data.train_set[index * available // count] for index in range(count)]
    return [replace(clip, waveform=_five_seconds(clip.waveform)) for clip in clips]


def make_classifier(options: ModelOptions) -> Classifier:
    """A frozen classifier with fixed random weights; a cosine head's scale of 1 is that of the reference's."""
    torch.manual_seed(0)
    labels = [f"class {index}" for index in range(options.classes)]
    if options.classifier == "cnn14":
        return Cnn14Classifier(labels, width=options.width).freeze()
    if options.classifier == "focalnet":
        backbone = backbone_options("focalnet", options.width)
        return FocalNetClassifier(labels, backbone=backbone, scale=1).freeze()
    if options.classifier == "vit":
        return ViTClassifier(labels, backbone=backbone_options("vit", options.width), scale=1).freeze()
    return Conv2dClassifier(labels, width=options.width, scale=1).freeze()


def make_reference(options: MethodOptions) -> Reference[Any]:
    """The reference with random weights."""
    torch.manual_seed(1)
    classifier: Any = options.classifier
    if options.method == "l2i":
        return ReferenceL2I(classifier, options.classes, options.width, options.components)
    if options.method == "lmac":
        return ReferenceLMAC(options.classes, options.width)
    return ReferencePIQ(options.classes, options.width, use_vq=options.use_vq, classifier=classifier)


def method_settings(options: MethodOptions, decoder: DecoderName) -> dict[str, Any]:
    """Settings of our side, for its interpreter or its training.

    With the published decoder L2I's are the published ones; with the light one it pools by attention, the
    default. The dictionary has fixed random spectra.
    """
    if options.method == "piq":
        return {"decoder": decoder, "use_vq": options.use_vq}
    if options.method == "lmac":
        return {"decoder": decoder}
    frontend = Frontend()
    spectra = 0.1 * torch.rand(frontend.bins, options.components, generator=torch.Generator().manual_seed(0))
    return {
        "decoder": decoder,
        "dictionary": NMFDictionary(spectra, frontend),
        "pooling_frames": FRAMES[options.classifier] if decoder == "published" else None,
        "temperature": TEMPERATURES[options.classifier],
    }


def make_interpreter(options: MethodOptions, decoder: DecoderName, classifier: Classifier) -> Interpreter[Any]:
    """One of ours with random weights."""
    torch.manual_seed(1)
    kinds: dict[str, Any] = {"l2i": L2IInterpreter, "lmac": LMACInterpreter, "piq": PIQInterpreter}
    interpreter: Interpreter[Any] = kinds[options.method](classifier, **method_settings(options, decoder))
    return interpreter


@torch.no_grad()
def settle_classifier(classifier: Classifier, waveforms: Tensor) -> None:
    """Gives random weights the statistics of real clips, without which all clips look the same to them."""
    with _taking_statistics(classifier, nn.BatchNorm2d):  # of the few embeddings there is no statistic
        classifier(classifier.frontend.log_magnitude(waveforms))


@torch.no_grad()
def settle_interpreter(interpreter: Interpreter[Any], classifier: Classifier, waveforms: Tensor) -> None:
    """The same for an interpreter: PIQ's codes become vectors of the clips, L2I's model as loud as they are."""
    if isinstance(interpreter, L2IInterpreter | LMACInterpreter):
        _amplify(interpreter)
    spectrogram = classifier.frontend(waveforms, with_phase=False)
    prediction = classifier.predict(spectrogram)
    interpreter.train()
    with _taking_statistics(interpreter, nn.BatchNorm1d, nn.BatchNorm2d):
        decoded = interpreter.decode(spectrogram, prediction)
    interpreter.eval()
    if isinstance(interpreter, L2IInterpreter):
        loudness = (interpreter.dictionary @ decoded.activations).mean()
        *_, weight, bias = interpreter.decoder.parameters()  # of the last layer, before the last ReLU
        for parameter in (weight, bias):
            parameter.mul_(spectrogram.log_magnitude.mean() / loudness)


def share_weights(
    source: Interpreter[Any], others: Sequence[Interpreter[Any]], published: Reference[Any], classifier: Classifier
) -> None:
    """Gives all sides the same weights; what has no counterpart (a light decoder) keeps its own."""
    published.load(classifier, source)
    for other in others:
        own = {name: value.shape for name, value in other.state_dict().items()}
        common = {name: value for name, value in source.state_dict().items() if own.get(name) == value.shape}
        other.load_state_dict(common, strict=False)


@torch.no_grad()
def disagreement(
    published: Reference[Any], classifier: Classifier, interpreter: Interpreter[Any], waveforms: Tensor
) -> float:
    """Largest difference of the two sides' masks, which shows that both compute the same."""
    theirs = published.masks(waveforms)
    log_magnitude = classifier.frontend.log_magnitude(waveforms)
    ours = interpreter.eval()(log_magnitude, classifier(log_magnitude))
    return float((ours[..., : theirs.shape[-1]] - theirs).abs().max())


def time_in_turns(steps: Mapping[str, Callable[[int], object]], repeats: int) -> dict[str, list[Sample]]:
    """Times every side once per repeat; every second repeat in the opposite order, against drift.

    Args:
        steps: What to time, by side; receives the number of the repeat.
        repeats: Runs of each.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in steps}
    for repeat in range(repeats):
        for name in list(steps) if repeat % 2 == 0 else reversed(list(steps)):
            gc.collect()
            start, core_start = time.perf_counter(), time.process_time()
            steps[name](repeat)
            samples[name].append(Sample(time.perf_counter() - start, time.process_time() - core_start))
            progress(f"repeat {repeat + 1}/{repeats}, {name}: {samples[name][-1].seconds:.2f} s")
    return samples


def count_flops(step: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions that a step really does."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def matmul_peak() -> float:
    """Most GFLOP/s that this process reaches in a square float32 matrix product."""
    best = 0.0
    for size in _MATRICES:
        left, right = torch.rand(size, size), torch.rand(size, size)
        for _ in range(4):  # the first one warms up
            start = time.perf_counter()
            left @ right
            best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def summarize(
    samples: Mapping[str, list[Sample]],
    flops: Mapping[str, int],
    memory: Mapping[str, Any],
    clips_per_step: int,
    peak_gflops: float,
) -> dict[str, Any]:
    """What is reported of each side.

    Args:
        samples: By side, in the order of the repeats.
        flops: Of one step, by side.
        memory: Result of `memory_of`, by side.
        clips_per_step: Clips that one step handles.
        peak_gflops: Result of `matmul_peak`.
    """
    result = {}
    for name, taken in samples.items():
        seconds = [sample.seconds / clips_per_step for sample in taken]
        faster = [theirs.seconds / ours.seconds for theirs, ours in zip(samples[REFERENCE], taken, strict=True)]
        gflop = flops[name] / clips_per_step / 1e9
        rate = gflop / statistics.median(seconds)
        busy = statistics.median(sample.core_seconds / sample.seconds for sample in taken)
        result[name] = {
            "seconds_per_clip": {"median": _short(statistics.median(seconds)), "samples": _short(seconds)},
            "times_as_fast_as_reference": {
                "median": _short(statistics.median(faster)),
                "min": _short(min(faster)),
                "max": _short(max(faster)),
            },
            "peak_memory_mb": memory[name],
            "gflop_per_clip": _short(gflop),
            "gflop_per_second": _short(rate),
            "share_of_matmul_peak": _short(rate / peak_gflops),
            "cores_busy": _short(busy),
        }
    return result


def peak_memory(step: Callable[[], object], times: int) -> dict[str, float]:
    """Peak memory of this process during a step.

    Args:
        step: What to run.
        times: How often: the second training step finds the optimiser's state in memory.

    Returns:
        In MB: ``before`` the step, the ``peak`` (absolute), and their difference, ``step``.
    """
    gc.collect()
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    before = _resident_mb("VmRSS")
    for _ in range(times):
        step()
    peak = _resident_mb("VmHWM")
    return {"before": round(before, 1), "peak": round(peak, 1), "step": round(peak - before, 1)}


def memory_of(side: str, options: Options, **changes: object) -> dict[str, float]:
    """Peak memory of one side, measured by this script in a fresh process.

    Args:
        side: Its name.
        options: Of this run.
        **changes: Options that are different there.

    Raises:
        OtoscopeError: It failed there; its own message is on the standard error.
    """
    progress(f"peak memory of {side} {' '.join(str(value) for value in changes.values())}")
    values = {**asdict(options), "out": None, **changes, "only": side}
    arguments = [f"--{name}={_argument(value)}" for name, value in values.items() if value is not None]
    command = [sys.executable, sys.argv[0], *arguments]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode != 0:
        raise OtoscopeError(f"measuring the memory of {side} failed: {' '.join(command)}")
    result: dict[str, float] = json.loads(finished.stdout)
    return result


def conditions(options: Options, **more: object) -> dict[str, Any]:
    """Everything that the numbers depend on."""
    ignored = ("only", "out", "data_folder")
    return {
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "load_average": _short(list(os.getloadavg())),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "speechbrain": _version("speechbrain"),
        "quantus": _version("quantus"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "dtype": "float32",
        "device": "cpu",
        **{name: value for name, value in asdict(options).items() if name not in ignored},
        "seconds_per_recording": _SAMPLES / 16_000,
        **more,
    }


def _require_reference() -> None:
    try:
        speechbrain_modules()
        quantus()
    except ImportError as error:
        raise OtoscopeError(
            f"the reference system cannot be imported ({error}); install the parity extra: "
            "pip install 'otoscope[parity]'"
        ) from error


def _five_seconds(waveform: Tensor) -> Tensor:
    return nn.functional.pad(waveform, (0, max(0, _SAMPLES - len(waveform))))[:_SAMPLES]


def _amplify(network: nn.Module) -> None:
    """Gives transposed convolutions weights that keep the size of what they get.

    With PyTorch's own, biases are all that is left of the input after the nine layers of CNN14's network.
    """
    for layer in network.modules():
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
            terms = layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)  # of an output
            nn.init.normal_(layer.weight, std=math.sqrt(2 / terms))


@contextlib.contextmanager
def _taking_statistics(network: nn.Module, *kinds: type[nn.BatchNorm1d | nn.BatchNorm2d]) -> Iterator[None]:
    """Batch norms of some kinds take over the statistics of what they see, whole."""
    norms = [module for module in network.modules() if isinstance(module, kinds)]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    yield
    for norm, (training, momentum) in zip(norms, before, strict=True):
        norm.train(training)
        norm.momentum = momentum


def _resident_mb(field: Literal["VmRSS", "VmHWM"]) -> float:
    """Memory of this process; elsewhere than on Linux its peak so far, whatever the field.

    Linux's ru_maxrss is of no use here: a new process inherits the peak of the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _argument(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cpu() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, with ``+`` where files differ from it; None outside a checkout."""
    git = ["git", "--no-optional-locks", "-C", str(ROOT)]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        head, changes = (
            subprocess.run([*git, *arguments], capture_output=True, text=True, check=True).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
        return head + ("+" if changes else "")
    return None


def _short(value: Any) -> Any:
    """Four significant digits."""
    return [_short(item) for item in value] if isinstance(value, list) else float(f"{value:.4g}")


def _fail(message: str) -> int:
    print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr)
    return 2
