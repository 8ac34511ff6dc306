"""Kill -9 at random moments of train, explain and evaluate, and inside each write of a checkpoint.

    python -m benchmarks.torture.kills --cases 40 --aimed 10 --seed 0

After each kill the same command runs again. In the end its results must equal those of a run that was never killed,
and no temporary file may remain. Where the machine has two file systems, the results lie on another one than the
folder of temporary files. The processes are forks of this one, so that a run does not take the time of its imports.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported: a fork loses the threads of a pool

import numpy as np
import soundfile
import torch

from otoscope.audio import save_audio
from otoscope.cli import evaluate, explain, train  # noqa: F401, imported once for all forks
from otoscope.cli.main import main as run_command
from otoscope.files import atomic
from otoscope.training import checkpoints

EPOCHS = 4
RECORDINGS = 8
LONGEST_RUN_S = 180.0
OTHER_DISK = Path("/dev/shm")
STAGES = ("half-written", "before the flush", "before the rename", "after the rename")
_KILLED = -signal.SIGKILL


@dataclass
class Verb:
    """A command that is killed and run again.

    Attributes:
        name: Name of the verb.
        arguments: Its command line.
        output: Folder of its results.
        compared: Function from the folder to what must be equal in the end, by name.
    """

    name: str
    arguments: list[str]
    output: Path
    compared: Callable[[Path], dict[str, str]]


class Torture:
    """Chains of killed runs in a work folder, and their counts.

    Args:
        work: Folder of the data and of the results.
        temporary: Folder of temporary files of the runs.
        seed: Seed of the moments of the kills.
    """

    def __init__(self, work: Path, temporary: Path, seed: int) -> None:
        self.work = work
        self.temporary = temporary
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter(
            dict.fromkeys(("runs", "kills", "aimed_kills", "chains", "raw_exceptions", "hangs"), 0)
            | dict.fromkeys(("lost_results", "leftovers", "damaged_checkpoints"), 0)
        )
        self.faults: list[str] = []

    def chain(self, verb: Verb, kills: int) -> None:
        """Kill a verb at random moments and run it again; results must be those of a run without kills."""
        expected, duration_s = self._reference(verb)
        for _ in range(4 * kills):  # some runs end before they are killed
            if kills == 0:
                break
            code = self._run(verb, kill_after_s=self.random.uniform(0, 1.1 * duration_s))
            if code == _KILLED:
                kills -= 1
                self.counts["kills"] += 1
            else:
                self._finish(verb, expected, code)
        self._finish(verb, expected)

    def aim(self, verb: Verb, file: str, kills: int) -> None:
        """Kill a training inside the writes of a checkpoint, each time at another stage."""
        expected, _ = self._reference(verb)
        killed = 0
        for _ in range(4 * kills):  # a run that has few epochs left may not come to the write
            if killed == kills:
                break
            stage = STAGES[killed % len(STAGES)]
            count = self.random.randint(1, 2)
            code = self._run(verb, prepare=functools.partial(_kill_inside, file, count, stage))
            if code == _KILLED:
                killed += 1
                self.counts["aimed_kills"] += 1
            for path in filter(_is_damaged, self._checkpoints(verb)):
                self.counts["damaged_checkpoints"] += 1
                self._fault("lost_results", f"{path.name} is damaged after a kill {stage}")
            if code != _KILLED:
                self._finish(verb, expected, code)
        self._finish(verb, expected)

    def _reference(self, verb: Verb) -> tuple[dict[str, str], float]:
        """Return what an uninterrupted run gives, and its duration; the folder is empty afterwards."""
        start = time.monotonic()
        if (code := self._run(verb)) != 0:
            raise SystemExit(
                f"torture: {verb.name} fails without a kill (exit code {code}): {self._error_output()}"
            )
        duration_s = time.monotonic() - start
        expected = verb.compared(verb.output)
        shutil.rmtree(verb.output)
        return expected, duration_s

    def _finish(self, verb: Verb, expected: dict[str, str], code: int | None = None) -> None:
        """Compare the results of a chain, after its last run, and remove them."""
        code = self._run(verb) if code is None else code
        self.counts["chains"] += 1
        results = verb.compared(verb.output) if code == 0 else {}
        if different := sorted(
            name for name in expected.keys() | results if expected.get(name) != results.get(name)
        ):
            self._fault("lost_results", f"{verb.name}: {', '.join(different[:5])} differ")
        folders = (verb.output, self.temporary, self.work / "cache")
        for path in (
            path for folder in folders for path in folder.rglob("*") if _is_leftover(path, self.temporary)
        ):
            self._fault("leftovers", f"{verb.name}: {path}")
        shutil.rmtree(verb.output, ignore_errors=True)

    def _run(
        self, verb: Verb, kill_after_s: float | None = None, prepare: Callable[[], None] = lambda: None
    ) -> int:
        """Run a verb in a fork, and return its exit code; the negative signal if it was killed."""
        self.counts["runs"] += 1
        process = os.fork()
        if process == 0:
            self._child(verb, prepare)
        limit_s = LONGEST_RUN_S if kill_after_s is None else kill_after_s
        ended = _wait(process, limit_s)
        if ended is None:
            os.kill(process, signal.SIGKILL)
            ended = _wait(process, LONGEST_RUN_S)
            if kill_after_s is None:
                self._fault("hangs", f"{verb.name}: no end after {limit_s:.0f} s")
        code = 0 if ended is None else ended
        if code not in (0, _KILLED):
            self._fault("raw_exceptions", f"{verb.name}: exit code {code}: {self._error_output()}")
        return code

    def _child(self, verb: Verb, prepare: Callable[[], None]) -> None:
        code = 99
        try:
            with (self.work / "log.txt").open("w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            os.environ |= {"TMPDIR": str(self.temporary), "OTOSCOPE_CACHE": str(self.work / "cache")}
            tempfile.tempdir = None
            torch.set_num_threads(1)
            prepare()
            code = run_command(verb.arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _checkpoints(self, verb: Verb) -> list[Path]:
        return sorted((verb.output / "checkpoints").glob("[!.]*.ckpt"))

    def _error_output(self) -> str:
        return (self.work / "log.txt").read_text(errors="replace").strip()[-300:]

    def _fault(self, count: str, text: str) -> None:
        self.counts[count] += 1
        self.faults.append(text)
        print(f"kills: {count}: {text}", file=sys.stderr, flush=True)


def main(cases: int, seed: int, aimed: int = 10) -> dict[str, Any]:
    """Kill and resume, and return the counts.

    Args:
        cases: Number of kills at random moments, divided among train, explain and evaluate.
        seed: Seed of the moments.
        aimed: Number of kills inside the writes of each of the two checkpoints.
    """
    build = Path(__file__).parents[2] / "build"
    build.mkdir(exist_ok=True)
    elsewhere = OTHER_DISK if OTHER_DISK.is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=build, prefix="kills-") as work,
        tempfile.TemporaryDirectory(dir=elsewhere, prefix="kills-tmp-") as temporary,
    ):
        torture = Torture(Path(work), Path(temporary), seed)
        verbs = _make_verbs(torture)
        torture.chain(verbs[0], cases - 2 * (cases // 3))
        for file in (checkpoints.BEST_NAME, checkpoints.LAST_NAME):
            torture.aim(verbs[0], file, aimed)
        torture._run(verbs[0])  # the classifier that is explained
        for verb in verbs[1:]:
            torture.chain(verb, cases // 3)
        disks = len({Path(path).stat().st_dev for path in (work, temporary)})
    return {"cases": cases, **torture.counts, "file_systems": disks, "faults": torture.faults}


def _make_verbs(torture: Torture) -> list[Verb]:
    data, work = torture.work / "data", torture.work
    generator = np.random.default_rng(0)
    seconds = np.arange(8000) / 16_000
    for pitch, label in ((300, "low"), (1500, "middle"), (5000, "high")):
        for number in range(RECORDINGS):
            wave = 0.5 * np.sin(2 * np.pi * pitch * seconds * generator.uniform(0.9, 1.1))
            wave += 0.05 * generator.standard_normal(8000)
            save_audio(data / label / f"{label}{number}.wav", torch.from_numpy(wave).float(), 16_000)
    # no progress bars, and the CPU
    model, quiet = work / "train" / "model", ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    source = ["--data=otoscope.data.AudioFolder", f"--data.data_folder={data}", "--data.batch_size=4"]
    quiet += [f"--trainer.max_epochs={EPOCHS}"]
    classifier = ["--model=otoscope.training.ClassifierTraining", "--model.classifier=otoscope.Conv2dClassifier"]
    classifier += ["--model.classifier.width=6", "--model.time_shift=true"]
    # One recording at a time: a batch with fewer of them, as after a kill, gives other rounding errors.
    explaining = ["--method=saliency", "--area=0.2", "--batch_size=1", "--skip_existing"]
    evaluating = ['--methods={"saliency": "saliency", "input x gradient": "input_x_gradient"}', "--batch_size=2"]
    evaluating += ["--check_clips=3", "--shuffles=2", "--noisy_inputs=0"]
    evaluating += ["--sanity=false", "--areas=[0.1]", "--conditions.wham=null", "--conditions.speech=null"]
    return [
        Verb(
            "train",
            ["train", *classifier, *source, *quiet, f"--output_folder={work / 'train'}"],
            work / "train",
            _trained,
        ),
        Verb(
            "explain",
            ["explain", str(data / "low"), f"--model={model}", *explaining, f"--out={work / 'explain'}"],
            work / "explain",
            _explained,
        ),
        Verb(
            "evaluate",
            ["evaluate", f"--classifier={model}", *evaluating, *source, f"--output_folder={work / 'evaluate'}"],
            work / "evaluate",
            _evaluated,
        ),
    ]


def _trained(folder: Path) -> dict[str, str]:
    """Return digests of all files of a training; of checkpoints, of the weights and the optimiser's state."""
    digests = _files(folder, lambda path: path.suffix != ".ckpt")
    for path in folder.glob("checkpoints/*.ckpt"):
        content = torch.load(path, weights_only=True)
        digests[path.name] = _digest(repr(_plain([content["state_dict"], content["optimizer_states"]])).encode())
    return digests


def _plain(value: Any) -> Any:
    """Return nested states with lists in place of tensors."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _explained(folder: Path) -> dict[str, str]:
    """Return digests of all files; of the manifest, the recordings that it lists."""
    digests = _files(folder, lambda path: path.name != "manifest.jsonl")
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return {**digests, "manifest.jsonl": repr(sorted({str(row.get("file")) for row in rows}))}


def _evaluated(folder: Path) -> dict[str, str]:
    """Return digests of the tables, of the scores and of the checks."""
    digests = _files(folder, lambda path: path.suffix == ".csv")
    results = json.loads((folder / "results.json").read_text())
    return {**digests, **{part: repr(results[part]) for part in ("scores", "randomisation", "stability")}}


def _files(folder: Path, chosen: Callable[[Path], bool]) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and chosen(path))
    return {str(path.relative_to(folder)): _digest(_content(path)) for path in paths}


def _content(path: Path) -> bytes:
    """Return the content of a file; of a sound the samples, since libsndfile writes the time into the header."""
    if path.suffix not in (".wav", ".flac"):
        return path.read_bytes()
    samples, sample_rate_hz = soundfile.read(path)
    return bytes(samples.tobytes()) + str(sample_rate_hz).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_damaged(path: Path) -> bool:
    return isinstance(checkpoints._epoch_or_damage(path), str)


def _is_leftover(path: Path, temporary: Path) -> bool:
    return (
        temporary in path.parents
        or atomic._TEMPORARY.match(path.name) is not None
        or path.name.startswith(".former-")
    )


def _kill_inside(file: str, count: int, stage: str) -> None:
    """Make this process kill itself inside the n-th write of a checkpoint."""
    save = checkpoints.AtomicCheckpointIO.save_checkpoint
    remaining = count

    def kill(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write_half(path: Path, content: Any) -> None:
        with path.open("wb") as output:
            output.write(content[: len(content) // 2])
            output.flush()
            kill()

    def save_and_die(self: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        nonlocal remaining
        remaining -= Path(path).name == file
        if remaining == 0:
            places: dict[str, tuple[Any, str, Any]] = {
                "half-written": (Path, "write_bytes", write_half),
                "before the flush": (os, "fsync", kill),
                "before the rename": (Path, "replace", kill),
                "after the rename": (atomic, "_sync_folder", kill),
            }
            setattr(*places[stage])
        save(self, checkpoint, path, storage_options)

    setattr(checkpoints.AtomicCheckpointIO, "save_checkpoint", save_and_die)  # noqa: B010, mypy refuses a method


def _wait(process: int, limit_s: float) -> int | None:
    """Return the exit code of a process; None if it still runs after a time."""
    end = time.monotonic() + limit_s
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.005)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=40, help="Number of kills at random moments.")
    parser.add_argument("--aimed", type=int, default=10, help="Number of kills inside the writes of a checkpoint.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(main(options.cases, options.seed, options.aimed), indent=2))
