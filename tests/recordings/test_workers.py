"""Explaining recordings in several processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.recordings.written import contents

from otoscope.errors import OtoscopeError
from otoscope.explain import Explainer
from otoscope.pool import Pool
from otoscope.recordings import batches, explain_recordings, find_recordings, read_manifest, sharing_note

FAST = ["json", "recording", "evidence", "mask"]
BROKEN = "clip2.wav"


def run(explainer, clips, out, **options):
    options = {"batch_size": 2, "keep": FAST, **options}
    return explain_recordings(explainer, find_recordings([str(clips)]), out, **options)


def test_results_are_equal_whatever_the_number_of_processes(tiny_explainer, short_clips, tmp_path):
    outcomes = [run(tiny_explainer, short_clips, tmp_path / str(workers), workers=workers) for workers in (1, 2)]
    assert [outcome.explained for outcome in outcomes] == [6, 6]
    assert [list(outcome.failed) for outcome in outcomes] == [[str(short_clips / BROKEN)]] * 2
    expected = contents(tmp_path / "1")
    assert len(expected) == 6 * 4 + 1
    assert contents(tmp_path / "2") == expected


def test_a_network_that_cannot_be_shared_runs_here(tiny_explainer, short_clips, tmp_path, monkeypatch):
    run(tiny_explainer, short_clips, tmp_path / "1")
    assert sharing_note(tiny_explainer, 2) is None
    monkeypatch.setattr(type(tiny_explainer.classifier), "survives_fork", False)
    assert "cannot be shared" in sharing_note(tiny_explainer, 2)
    processes = set()
    explain = Explainer.explain_batch
    monkeypatch.setattr(
        Explainer, "explain_batch", lambda *args, **named: processes.add(os.getpid()) or explain(*args, **named)
    )
    run(tiny_explainer, short_clips, tmp_path / "2", workers=2)
    assert processes == {os.getpid()}
    assert contents(tmp_path / "2") == contents(tmp_path / "1")


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_process_that_is_killed_costs_its_recording_at_most(
    tiny_explainer, short_clips, tmp_path, monkeypatch, deaths
):
    """The process of clip 3 is killed, once or whenever it is explained."""
    explain = Explainer.explain_batch
    counter = tmp_path / "deaths"
    counter.touch()

    def die(self, waves, target, scores, names, *rest, **named):
        if "clip3" in names and counter.stat().st_size < deaths:
            with counter.open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)
        return explain(self, waves, target, scores, names, *rest, **named)

    monkeypatch.setattr(Explainer, "explain_batch", die)
    outcome = run(tiny_explainer, short_clips, tmp_path / "out", workers=2)
    assert outcome.explained == 7 - deaths
    assert len(outcome.failed) == deaths
    if deaths == 2:
        assert "SIGKILL" in outcome.failed[str(short_clips / "clip3.wav")]
    assert len(read_manifest(tmp_path / "out" / "manifest.jsonl")) == 7
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_a_full_disk_ends_the_run_and_its_processes(tiny_explainer, short_clips, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OtoscopeError("full") from OSError(28, "No space left on device")

    pools = []
    start = Pool._start
    monkeypatch.setattr(Pool, "_start", lambda self: (start(self), pools.append(list(self._workers)))[0])
    monkeypatch.setattr("otoscope.explanation.Explanation.save", fail)
    with pytest.raises(OtoscopeError, match="full"):
        run(tiny_explainer, short_clips, tmp_path / "out", workers=2)
    assert len(pools[-1]) == 2
    assert not any(worker.process.is_alive() for worker in pools[-1])


def test_a_batch_that_does_not_fit_is_halved_and_later_ones_start_smaller(
    tiny_explainer, short_clips, tmp_path, monkeypatch
):
    sizes = []
    explain = Explainer.explain_batch

    def limited(self, waves, *rest, **named):
        sizes.append(len(waves))
        if len(waves) > 2:
            raise MemoryError
        return explain(self, waves, *rest, **named)

    monkeypatch.setattr(Explainer, "explain_batch", limited)
    for index in (0, *range(2, 12)):
        (short_clips / f"clip{index}.wav").write_bytes((short_clips / "clip1.wav").read_bytes())
    outcome = run(tiny_explainer, short_clips, tmp_path / "out", batch_size=4)
    assert (outcome.explained, len(outcome.failed)) == (12, 0)
    # Four do not fit; later batches are halved before they are tried.
    assert sizes == [4, 2, 2, 2, 2, 2, 2]


def test_a_memory_limit_never_stops_a_single_recording():
    limit = batches.MemoryLimit()
    limit.samples = 0
    assert not limit.is_exceeded_by([batches.Sound(None, None, {})])


def processes_of(text):
    """Ids of the processes with a text in their command line, by parent."""
    result = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "cmdline").read_bytes():
                status = (folder / "stat").read_text().rpartition(")")[2].split()
                if status[0] != "Z":
                    result[int(folder.name)] = int(status[1])
        except OSError:
            continue
    return result


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_stays_when_a_run_is_ended_and_it_resumes(tiny_explainer, short_clips, tmp_path, number):
    model, out = str(tiny_explainer.save_pretrained(tmp_path / "model")), tmp_path / "out"
    for index in range(10, 60):  # enough for the run to be ended in the middle
        (short_clips / f"clip{index}.wav").write_bytes((short_clips / "clip1.wav").read_bytes())
    arguments = ["explain", str(short_clips), "--model", model, "--out", str(out), "--batch_size", "2"]
    arguments += ["--workers", "2", "--shards", "--keep", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "otoscope", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while len(read_manifest(out / "manifest.jsonl")) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGSTOP)  # or it could finish all recordings while its processes are counted
    assert len(processes_of(str(out))) == 3
    os.kill(process.pid, number)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(60) == (-number if number == signal.SIGKILL else 130)
    while processes_of(str(out)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not processes_of(str(out))
    outcome = run(tiny_explainer, short_clips, out, skip_existing=True, keep=["json"], in_shards=True, workers=2)
    assert outcome.skipped >= 2
    assert outcome.explained + outcome.skipped == 56
    lines = read_manifest(out / "manifest.jsonl")
    assert len(lines) == len({line["file"] for line in lines}) == 57
    assert {path.suffix for path in out.iterdir()} == {".jsonl", ".parquet"}
