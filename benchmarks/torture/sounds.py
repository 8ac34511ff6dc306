"""Mutated sound files of every format: each gives finite sound or an `AudioError`, in less than five seconds.

    python -m benchmarks.torture.sounds --cases 50000 --seed 0

Each hundredth file that can be read goes through a whole explanation.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import soundfile
import torch

from otoscope.audio import Frontend, read_recording
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import OtoscopeError
from otoscope.explain import Explainer
from otoscope.interpreters import make_untrained

LIMIT_S = 5
PROCESSES = 2
CASES_PER_TASK = 250
CASES_PER_EXPLANATION = 100
_RATES_HZ = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000, 384_000)
_SIZES = (
    0,
    1,
    7,
    8,
    255,
    2**15,
    2**16,
    2**20,
    0x7FFFF000,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_SPECIAL_SAMPLES = (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 1e300)
_GARBAGE = (
    b"",
    b"RIFF",
    b"fLaC",
    b"OggS",
    b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
    b"\xff\xfb\x90\x64",
    b"FORM",
    b".snd",
    b"caff",
)


def main(cases: int, seed: int) -> dict[str, Any]:
    """Read mutated files in two processes, and return the counts.

    Args:
        cases: Number of files.
        seed: Seed of all mutations.
    """
    counts: Counter[str] = Counter(raw_exceptions=0, hangs=0, non_finite=0)
    starts = list(range(0, cases, CASES_PER_TASK))
    while starts:
        # A process that dies takes the pool with it; the tasks that are left go to a new one.
        with ProcessPoolExecutor(PROCESSES) as pool:
            tasks = {
                start: pool.submit(run_cases, start, min(start + CASES_PER_TASK, cases), seed) for start in starts
            }
            for start, task in tasks.items():
                try:
                    counts += task.result()
                except BrokenProcessPool:
                    counts["raw_exceptions"] += 1
                    print(f"cases from {start}: the process died", flush=True)
                    starts = starts[starts.index(start) + 1 :]
                    break
            else:
                starts = []
    counts["cases"] = cases
    return {name: counts[name] for name in sorted({*counts, "raw_exceptions", "hangs", "non_finite"})}


def run_cases(start: int, end: int, seed: int) -> Counter[str]:
    """Read the files of some cases, and count what happened."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _stop)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in range(start, end):
            draw = random.Random(f"{seed}-{case}")
            path = Path(folder) / f"case{draw.choice(('.wav', '.flac', '.mp3', '.aiff', '.bin', ''))}"
            path.write_bytes(mutated(draw))
            outcome = _outcome(path, draw, case % CASES_PER_EXPLANATION == 0)
            counts.update(outcome)
            path.unlink()
    return counts


class _TookTooLongError(Exception):
    pass


def _stop(signum: int, frame: FrameType | None) -> None:
    raise _TookTooLongError


def _outcome(path: Path, draw: random.Random, explain: bool) -> Iterator[str]:
    """Read a file, explain it if that is asked for, and yield what happened."""
    rate_hz = 16_000 if explain else draw.choice(_RATES_HZ)
    channel = draw.choice((None, None, None, 0, 1))
    signal.alarm(LIMIT_S)
    try:
        recording = read_recording(path, rate_hz, channel)
        yield "read"
        if recording.notes:
            yield "with_notes"
        if not bool(recording.samples.isfinite().all()) or not len(recording.samples):
            yield "non_finite"
        if explain:
            signal.alarm(4 * LIMIT_S)  # a long recording takes its time
            explanation = _explainer().explain(recording.samples[: 2 * rate_hz])
            sounds = torch.cat([explanation.evidence, explanation.remainder, explanation.mask.flatten()])
            yield "explained" if bool(sounds.isfinite().all()) else "non_finite"
    except OtoscopeError as error:
        yield "refused"
        if "\n" in str(error) or str(path) not in str(error):
            yield "unclear_messages"
    except _TookTooLongError:
        yield "hangs"
    except Exception:  # what must not happen
        traceback.print_exc()
        yield "raw_exceptions"
    finally:
        signal.alarm(0)


@cache
def _explainer() -> Explainer:
    torch.manual_seed(0)
    frontend = Frontend(16_000, n_fft=256, window_ms=16, hop_ms=8)
    classifier = Conv2dClassifier(["dog", "rain", "siren"], frontend, width=4, depth=2, head_width=8)
    return Explainer(classifier, make_untrained("saliency", classifier))


def mutated(draw: random.Random) -> bytes:
    """Return the content of a sound file after none to three mutations."""
    content = bytearray(_sound(draw))
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        content = _mutate(content, draw)
    return bytes(content)


@cache
def _kinds() -> tuple[tuple[str, str], ...]:
    return tuple((kind, subtype) for kind in soundfile.available_formats() for subtype in _subtypes(kind))


def _subtypes(kind: str) -> list[str]:
    # RAW has no header; the header of SD2 is in a file beside it, which libsndfile writes into the current folder.
    return [] if kind in ("RAW", "SD2") else list(soundfile.available_subtypes(kind))


def _sound(draw: random.Random) -> bytes:
    """Return the content of a sound file of some format, subtype, rate, length and number of channels."""
    noise = np.random.default_rng(draw.randrange(2**32))
    if draw.random() < 0.03:
        return draw.choice(_GARBAGE) + noise.bytes(draw.randrange(4000))
    while True:
        kind, subtype = draw.choice(_kinds())
        channels = draw.choice((1, 1, 1, 2, 2, 3, 6, 16))
        samples = 0.3 * noise.standard_normal((draw.choice((0, 1, 3, 100, 2000, 9000)), channels))
        samples[:, 1:] = -samples[:, :1] if draw.random() < 0.1 else samples[:, 1:]
        if subtype in ("FLOAT", "DOUBLE") and len(samples) and draw.random() < 0.2:
            with np.errstate(over="ignore"):
                samples[draw.randrange(len(samples))] = draw.choice(_SPECIAL_SAMPLES)
        # The encoder of Vorbis in libsndfile 1.2.2 crashes at other rates.
        rates_hz = [rate for rate in _RATES_HZ if rate <= 48_000] if kind == "OGG" else _RATES_HZ
        endian = draw.choice(("FILE", "FILE", "LITTLE", "BIG"))
        buffer = io.BytesIO()
        try:
            soundfile.write(buffer, samples, draw.choice(rates_hz), subtype, endian, kind)
        except (soundfile.LibsndfileError, ValueError, TypeError):  # this format has no such file
            continue
        return buffer.getvalue()


def _mutate(content: bytearray, draw: random.Random) -> bytearray:
    """Return the content after one mutation."""
    size = len(content)
    header = min(size, 120)
    place = draw.randrange(header) if header else 0
    kind = draw.randrange(8)
    if kind == 0:  # cut off
        return content[: draw.randrange(size + 1)]
    if kind == 1:  # bytes of the header
        for _ in range(draw.randrange(1, 8)):
            if header:
                content[draw.randrange(header)] = draw.randrange(256)
    elif kind == 2:  # bytes anywhere
        for _ in range(draw.randrange(1, 30)):
            if size:
                content[draw.randrange(size)] = draw.randrange(256)
    elif kind == 3:  # a size of the header, at its likely places
        width, order = draw.choice((2, 4, 4, 8)), draw.choice(("little", "big"))
        names = [content.find(name) for name in (b"data", b"SSND", b"fmt ", b"COMM", b"ds64", b"BODY")]
        at = draw.choice([place, *(name + 4 for name in names if name >= 0)])
        content[at : at + width] = (draw.choice(_SIZES) % 256**width).to_bytes(width, order)
    elif kind == 4:  # something behind the end
        content += draw.choice((bytes(5000), b"LIST\x04\0\0\0abcd", b"TAG" + bytes(125), bytes(content)))
    elif kind == 5:  # a piece that is missing
        del content[place : place + draw.randrange(1, 64)]
    elif kind == 6:  # a piece that occurs twice
        content[place:place] = content[place : place + draw.randrange(1, 64)]
    else:  # a piece of zeros
        at = draw.randrange(size + 1)
        content[at : at + 500] = bytes(len(content[at : at + 500]))
    return content


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(main(options.cases, options.seed), indent=2))
