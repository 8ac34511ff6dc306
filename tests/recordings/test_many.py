"""Explaining many recordings: unreadable files, batches, resuming."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import soundfile
import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.cli.main import main
from otoscope.errors import ConfigurationError, OtoscopeError
from otoscope.explain import Explainer
from otoscope.explanation import Explanation
from otoscope.interpreters import L2IInterpreter, PIQInterpreter, make_untrained
from otoscope.nn import NMFDictionary
from otoscope.recordings import (
    Outcome,
    PictureOptions,
    batches,
    explain_each,
    explain_recordings,
    find_recordings,
    read_manifest,
)

LABELS = ["dog", "rain"]
UNREADABLE = ["part0/clip1.wav", "part1/clip3.wav", "part1/clip5.wav"]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Pictures take most of the time and are tested elsewhere."""
    monkeypatch.setattr("otoscope.explanation.saving.save_picture", lambda figure, path: path.touch())


@pytest.fixture
def explainer(experienced):
    classifier = experienced(Conv2dClassifier(LABELS, width=4, head_width=5))
    return Explainer(classifier, PIQInterpreter(classifier, codes=8))


@pytest.fixture
def clips(tmp_path):
    """A folder of 12 clips in two folders; three are unreadable, and names occur twice."""
    for index in range(12):
        path = tmp_path / "clips" / f"part{index % 2}" / f"clip{index // 2}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.1 * torch.randn(4000 + 400 * (index % 3))
        soundfile.write(path, samples.numpy(), 16_000)
    empty, text, truncated = (tmp_path / "clips" / name for name in UNREADABLE)
    empty.write_bytes(b"")
    text.write_bytes(b"no sound at all")
    truncated.write_bytes(truncated.read_bytes()[:-500])
    return tmp_path / "clips"


@pytest.fixture
def recordings(clips):
    return find_recordings([str(clips)])


@pytest.fixture
def readable(recordings):
    return [recording for recording in recordings if not str(recording.path).endswith(tuple(UNREADABLE))]


def test_unreadable_files_are_skipped_and_listed(explainer, clips, recordings, tmp_path):
    results = []
    outcome = explain_recordings(explainer, recordings, tmp_path / "out", on_explained=results.append)
    assert (outcome.explained, outcome.skipped) == (9, 0)
    assert list(outcome.failed) == [str(clips / name) for name in UNREADABLE]
    lines = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert len(lines) == 12
    explained = [line for line in lines if line["status"] == "explained"]
    failed = [line for line in lines if line["status"] == "failed"]
    assert [result.line["file"] for result in results] == [line["file"] for line in explained]
    assert [(line["file"], line["error"]) for line in failed] == list(outcome.failed.items())
    for line in explained:
        content = json.loads((tmp_path / "out" / line["name"] / "explanation.json").read_text())
        assert content.items() <= line.items()
    assert outcome.summary().splitlines()[0] == "9 explained, 3 failed"
    assert all(name in outcome.summary() for name in UNREADABLE)


def test_results_come_one_by_one(explainer, readable, tmp_path):
    results = explain_each(explainer, iter(readable), tmp_path, batch_size=2)
    first = next(results)
    assert first.summary.startswith(f"{readable[0].name}: ")
    assert first.line["folder"] == str(tmp_path / readable[0].name)
    assert len(list(tmp_path.glob("part*/*/explanation.json"))) == 1
    assert [result.line["file"] for result in results] == [str(recording.path) for recording in readable[1:]]


def test_to_dict_runs_once_per_recording(explainer, readable, tmp_path, monkeypatch):
    names = []
    to_dict = Explanation.to_dict
    monkeypatch.setattr(Explanation, "to_dict", lambda self: names.append(self.name) or to_dict(self))
    explain_recordings(explainer, readable, tmp_path)
    assert names == [recording.name for recording in readable]


def test_a_batch_gives_the_same_sounds_as_each_clip_alone(explainer, readable, tmp_path):
    for size in (1, 4):
        explain_recordings(explainer, readable, tmp_path / str(size), batch_size=size)
    for recording in readable:
        paths = (tmp_path / size / recording.name / "interpretation.wav" for size in "14")
        alone, in_batch = (soundfile.read(path)[0] for path in paths)
        assert alone.shape == in_batch.shape
        assert abs(alone - in_batch).max() < 1e-5


def test_an_interrupted_run_resumes(explainer, recordings, tmp_path):
    out = tmp_path / "out"
    explain_recordings(explainer, recordings[:7], out)
    manifest = out / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    assert len(lines) == 7
    # the state after a kill: one result lacks its line, and the last line is cut off
    manifest.write_text("\n".join(lines[:5]) + "\n" + lines[5][:30])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("explanation.json")}
    outcome = explain_recordings(explainer, recordings, out, skip_existing=True)
    assert (outcome.explained, outcome.skipped, len(outcome.failed)) == (3, 6, 3)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    complete = read_manifest(manifest)
    assert sorted(line["file"] for line in complete) == sorted(str(recording.path) for recording in recordings)
    assert sum(line["status"] == "explained" for line in complete) == 9


def test_a_complete_run_has_nothing_to_resume(explainer, recordings, tmp_path):
    explain_recordings(explainer, recordings, tmp_path)
    again = explain_recordings(explainer, recordings, tmp_path, skip_existing=True)
    assert (again.explained, again.skipped, len(again.failed)) == (0, 9, 3)
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 12


def test_lines_of_other_recordings_stay(explainer, recordings, tmp_path):
    explain_recordings(explainer, recordings[:4], tmp_path)
    assert explain_recordings(explainer, recordings[:2], tmp_path).explained == 1
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 4


def test_an_explanation_for_another_target_is_not_skipped(explainer, readable, tmp_path):
    recordings = readable[:1]
    explain_recordings(explainer, recordings, tmp_path)
    predicted = read_manifest(tmp_path / "manifest.jsonl")[0]["label"]
    other = next(label for label in LABELS if label != predicted)
    outcome = explain_recordings(explainer, recordings, tmp_path, target=other, skip_existing=True)
    assert (outcome.explained, outcome.skipped) == (1, 0)
    assert explain_recordings(explainer, recordings, tmp_path, target=other, skip_existing=True).skipped == 1
    assert explain_recordings(explainer, recordings, tmp_path, skip_existing=True).skipped == 0


def test_one_bad_recording_does_not_fail_its_batch(explainer, tmp_path):
    """The published pooling takes clips of one length only; shorter ones fail in the networks, not in the file."""
    dictionary = NMFDictionary(torch.rand(513, 6), explainer.classifier.frontend)
    interpreter = L2IInterpreter(explainer.classifier, dictionary, decoder="published", pooling_frames=40)
    for index, samples in enumerate((8000, 2000, 9000)):
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * torch.randn(samples).numpy(), 16_000)
    outcome = explain_recordings(
        Explainer(explainer.classifier, interpreter), find_recordings([str(tmp_path)]), tmp_path / "out"
    )
    assert outcome.explained == 2
    assert list(outcome.failed) == [str(tmp_path / "1.wav")]
    assert "made for 40 frames or more" in outcome.failed[str(tmp_path / "1.wav")]


def test_long_recordings_make_small_batches(explainer, tmp_path, monkeypatch):
    sizes = []
    explain = Explainer.explain_batch
    monkeypatch.setattr(
        Explainer,
        "explain_batch",
        lambda self, waves, *rest, **named: sizes.append(len(waves)) or explain(self, waves, *rest, **named),
    )
    monkeypatch.setattr("otoscope.recordings.batches._LONGEST_BATCH_S", 0.5)
    for index, seconds in enumerate((0.1, 0.1, 0.1, 0.4, 0.1, 0.1)):
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * torch.randn(int(16_000 * seconds)).numpy(), 16_000)
    explain_recordings(explainer, find_recordings([str(tmp_path)]), tmp_path / "out")
    assert sizes == [3, 1, 2]


def test_mistakes_that_concern_every_recording_are_raised_at_once(explainer, recordings, tmp_path):
    with pytest.raises(ConfigurationError, match="cat"):
        explain_recordings(explainer, recordings, tmp_path / "out", target="cat")
    with pytest.raises(ConfigurationError, match="threshold"):
        explain_recordings(explainer, recordings, tmp_path / "out", threshold=0.5)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OtoscopeError, match="cannot be written"):
        explain_recordings(explainer, recordings, tmp_path / "file")


def write_sound(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(seed))
    soundfile.write(path, samples.numpy(), 16_000)
    return find_recordings([str(path)])


def explain_again(explainer, recordings, tmp_path, **options):
    outcome = explain_recordings(explainer, recordings, tmp_path / "out", skip_existing=True, **options)
    assert not outcome.failed
    return outcome.explained


def test_an_explanation_of_another_recording_is_neither_skipped_nor_overwritten(explainer, tmp_path):
    first, second = (write_sound(tmp_path / part / "clip.wav", seed=1) for part in "ab")
    assert explain_again(explainer, first, tmp_path) == 1
    assert explain_again(explainer, second, tmp_path) == 1
    assert [explain_again(explainer, each, tmp_path) for each in (first, second)] == [0, 0]
    for name, part in (("clip", "a"), ("clip-2", "b")):
        content = json.loads((tmp_path / "out" / name / "explanation.json").read_text())
        assert content["source"]["recording"]["path"] == str(tmp_path / part / "clip.wav")


def test_what_an_explanation_depends_on_is_compared(explainer, experienced, tmp_path):
    path = tmp_path / "clip.wav"
    recordings = write_sound(path)
    assert explain_again(explainer, recordings, tmp_path) == 1
    status = path.stat()
    write_sound(path, seed=1)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time
    assert explain_again(explainer, recordings, tmp_path) == 1
    os.utime(path, (0, 0))
    assert explain_again(explainer, recordings, tmp_path) == 0
    assert explain_again(explainer, recordings, tmp_path, pictures=PictureOptions(axis="mel")) == 1
    other = Explainer(explainer.classifier, PIQInterpreter(explainer.classifier, codes=8))  # other weights
    assert explain_again(other, recordings, tmp_path) == 1
    for threshold in (0.1, 0.2, 0.2, None):
        masks = Explainer(explainer.classifier, make_untrained("saliency", explainer.classifier))
        expected = 0 if threshold == 0.2 and (tmp_path / "seen").exists() else 1
        if threshold == 0.2:
            (tmp_path / "seen").touch()
        assert explain_again(masks, recordings, tmp_path, threshold=threshold) == expected
    areas = Explainer(explainer.classifier, make_untrained("saliency", explainer.classifier, area=0.3))
    assert explain_again(areas, recordings, tmp_path) == 1
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["clip"]


def test_folders_of_the_user_are_never_replaced(explainer, tmp_path):
    recordings = write_sound(tmp_path / "clip.wav")
    (tmp_path / "out" / "clip").mkdir(parents=True)
    (tmp_path / "out" / "clip" / "thesis.txt").write_text("mine")
    assert explain_again(explainer, recordings, tmp_path) == 1
    assert [path.name for path in (tmp_path / "out" / "clip").iterdir()] == ["thesis.txt"]
    assert (tmp_path / "out" / "clip-2" / "explanation.json").exists()


FAILURES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
    ZeroDivisionError("division by zero"),
    RecursionError(),
    OSError(36, "File name too long"),
]


@pytest.mark.parametrize("stage", ["explain_batch", "read_recording", "save"])
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_any_failure_of_a_recording_is_its_own(explainer, tmp_path, monkeypatch, stage, error):
    for name in "abc":
        write_sound(tmp_path / "in" / f"{name}.wav")
    owner, attribute, is_bad = {
        "explain_batch": (Explainer, "explain_batch", lambda self, waves, target, scores, names, *_: "b" in names),
        "read_recording": (batches, "read_recording", lambda path, *_: path.name == "b.wav"),
        "save": (Explanation, "save", lambda self, folder, *_: folder.name == "b"),
    }[stage]
    original = getattr(owner, attribute)

    def fail(*arguments, **named):
        if is_bad(*arguments):
            raise error
        return original(*arguments, **named)

    monkeypatch.setattr(owner, attribute, fail)
    outcome = explain_recordings(explainer, find_recordings([str(tmp_path / "in")]), tmp_path / "out")
    assert outcome.explained == 2
    (message,) = outcome.failed.values()
    assert message.startswith(f"{tmp_path / 'in' / 'b.wav'}: ")
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate" in str(error)
    assert ("memory does not suffice" in message) == is_memory


def test_a_full_disk_ends_the_run(explainer, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OtoscopeError("full") from OSError(28, "No space left on device")

    monkeypatch.setattr(Explanation, "save", fail)
    with pytest.raises(OtoscopeError, match="full"):
        explain_recordings(explainer, write_sound(tmp_path / "clip.wav"), tmp_path / "out")


def test_odd_names_from_the_command_line(explainer, tmp_path):
    """A real process: names that are no text, mathematics of matplotlib, dots, a name that is too long."""
    model = str(explainer.save_pretrained(tmp_path / "model"))
    folder = tmp_path / "in"
    write_sound(folder / "clip.wav")
    for name in (b"caf\xe9.wav", b"$_$.wav", b"$$.wav", rb"$\frac$.wav"):
        shutil.copy(folder / "clip.wav", os.fsencode(folder) + b"/" + name)
    shutil.copy(folder / "clip.wav", folder / "...wav")
    out = folder / "out"
    arguments = ["explain", str(folder), str(folder / "...wav"), "x" * 300 + ".wav", "--model", model]
    before = {path.name for path in tmp_path.iterdir()}
    for count in (6, 0):
        process = subprocess.run(
            [sys.executable, "-m", "otoscope", *arguments, "--out", str(out), "--skip_existing"],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
        assert process.returncode == 1, process.stderr
        assert f"{count} explained".encode() in process.stderr
        assert b"1 failed" in process.stderr
        assert b"Traceback" not in process.stderr
    names = {path.parent.name for path in out.rglob("explanation.json")}
    assert names == {"caf%E9", "$_$", "$$", "$_frac$", "__", "clip"}
    assert {path.name for path in tmp_path.iterdir()} == before
    files = {line["file"] for line in read_manifest(out / "manifest.jsonl")}
    assert os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav") in files


def test_summary_of_an_outcome():
    assert Outcome(explained=2, skipped=3).summary() == "2 explained, 3 skipped"
    assert Outcome(failed={"a": "first\nline"}).summary() == "0 explained, 1 failed\n  first line"


def test_a_killed_run_resumes(explainer, clips, tmp_path):
    model = str(explainer.save_pretrained(tmp_path / "model"))
    out = tmp_path / "out"
    arguments = ["explain", str(clips), "--model", model, "--out", str(out), "--batch_size", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "otoscope", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while len(read_manifest(out / "manifest.jsonl")) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < len(list(out.rglob("explanation.json"))) < 9
    assert main([*arguments, "--skip_existing"]) == 1
    assert len(read_manifest(out / "manifest.jsonl")) == 12
    assert len(list(out.rglob("explanation.json"))) == 9


class Terminal(io.StringIO):
    """Error output that takes itself for a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("count", [1, 3])
def test_progress_of_several_recordings_on_a_terminal(explainer, readable, tmp_path, monkeypatch, count):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    explain_recordings(explainer, readable[:count], tmp_path, batch_size=1)
    shown = re.findall(r"(\d+/\d+) \([\d:?]+ left\)", terminal.getvalue())
    assert (shown[0], shown[-1]) == ("0/3", "3/3") if count == 3 else not terminal.getvalue()


def test_no_progress_without_a_terminal(explainer, readable, tmp_path, capsys):
    explain_recordings(explainer, readable[:2], tmp_path)
    assert capsys.readouterr() == ("", "")
