"""Options and command line that the benchmarks share."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import jsonargparse
import torch
from benchmarks.reference import quantus, speechbrain_modules
from typing_extensions import override

from otoscope.allocator import keep_freed_memory
from otoscope.errors import OtoscopeError

ROOT = Path(__file__).parents[1]
REFERENCE = "reference"
"""Name of the side that the others are compared with."""
_PUBLISHED_WIDTHS = {"conv2d": 256, "cnn14": 64, "focalnet": 128, "vit": 768}
_PUBLISHED_ON = {"piq": ("conv2d", "focalnet", "vit"), "l2i": ("conv2d", "cnn14"), "lmac": ("cnn14",)}
_VIT_HEADS = 12
MethodName = Literal["piq", "l2i", "lmac"]
ClassifierName = Literal["conv2d", "cnn14", "focalnet", "vit"]


@dataclass
class Options:
    """Options of every benchmark.

    Args:
        clips: Number of real clips; the repeats take them in turn.
        repeats: Number of timed runs of each side.
        threads: Number of threads of PyTorch.
        data_folder: ESC-50, or a part of it in the same layout; by default the environment variable
            OTOSCOPE_ESC10, else ../shared/esc10.
        allocator: ``keep``: freed memory stays in the process (`otoscope.allocator`), for both sides;
            ``default``: the settings of the C library.
        only: Side whose peak memory is measured in this process and printed, without any timing.
        out: JSON file to write in addition to the standard output.
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
        """Return the names of the options that must be positive."""
        return ["clips", "repeats", "threads"]

    def _problem(self) -> str | None:
        """Return a description of the first invalid option, or None."""
        wrong = [name for name in self._counts if getattr(self, name) < 1]
        return f"{', '.join(wrong)}: must be positive" if wrong else None


@dataclass
class ModelOptions(Options):
    """Further options of the benchmarks with a classifier.

    Args:
        classifier: Classifier that is explained.
        width: Number of channels of classifier and interpreter (conv2d). For cnn14, that of its first block; the
            last block and the published interpreter have 32 times as many. For focalnet, channels of the
            embedding; the last stage and the interpreter have 8 times as many. For vit, dimension of its tokens
            and of the interpreter, a multiple of 12. 0: as published, 256, 64, 128 or 768.
        classes: Number of classes of the classifier.
    """

    classifier: ClassifierName = "conv2d"
    width: int = 0
    classes: int = 50

    def __post_init__(self) -> None:
        """Replace the default width by the published one, so that reports contain it."""
        self.width = self.width or _PUBLISHED_WIDTHS[self.classifier]

    @property
    @override
    def _counts(self) -> list[str]:
        return [*super()._counts, "width", "classes"]

    @override
    def _problem(self) -> str | None:
        if self.classifier == "vit" and self.width % _VIT_HEADS:
            return f"--width {self.width}: ViT has {_VIT_HEADS} heads; choose a multiple of {_VIT_HEADS}"
        return super()._problem()


@dataclass
class MethodOptions(ModelOptions):
    """Further options of the benchmarks of a trained method.

    Args:
        method: Method of explanation: PIQ takes conv2d, focalnet and vit, L2I conv2d and cnn14, L-MAC cnn14.
        components: Number of components of L2I's dictionary.
        use_vq: Quantise before decoding (PIQ).
    """

    method: MethodName = "piq"
    components: int = 100
    use_vq: bool = True

    @property
    @override
    def _counts(self) -> list[str]:
        return [*super()._counts, "components"]

    @override
    def _problem(self) -> str | None:
        if self.classifier not in _PUBLISHED_ON[self.method]:
            others = " or ".join(name for name, kinds in _PUBLISHED_ON.items() if self.classifier in kinds)
            return f"--classifier {self.classifier}: {self.method} was not published for it; add --method {others}"
        return super()._problem()


AnyOptions = TypeVar("AnyOptions", bound=Options)


def main(kind: type[AnyOptions], sides: Sequence[str], run: Callable[[AnyOptions], dict[str, Any]]) -> int:
    """Run a benchmark from the command line.

    Args:
        kind: Class of its options.
        sides: Names that ``--only`` may take.
        run: Function that measures and returns the content of the JSON output.

    Returns:
        Exit code: 0, or 2 for an error that the user can fix.
    """
    options = jsonargparse.auto_cli(kind, as_positional=False)
    if options.only is not None and options.only not in sides:
        return _fail(f"--only {options.only}: choose one of {', '.join(sides)}")
    with contextlib.suppress(ValueError):  # `_problem` reports a number of threads below 1
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
    """Print a message about the progress on the standard error."""
    print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr, flush=True)


def _require_reference() -> None:
    try:
        speechbrain_modules()
        quantus()
    except ImportError as error:
        raise OtoscopeError(
            f"the reference system cannot be imported ({error}); install the parity extra: "
            "pip install 'otoscope[parity]'"
        ) from error


def _fail(message: str) -> int:
    print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr)
    return 2
