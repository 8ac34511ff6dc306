import json
import os
import signal
import subprocess
import sys
import time

import pytest
import soundfile
import torch

from otoscope.bulk import Manifest, Outcome, explain_recordings, find_recordings, read_manifest
from otoscope.classifiers import Conv2dClassifier
from otoscope.cli import main
from otoscope.errors import AudioError, ConfigurationError, OtoscopeError
from otoscope.explain import Explainer
from otoscope.interpreters import L2IInterpreter, PIQInterpreter
from otoscope.nn import NMFDictionary

LABELS = ["dog", "rain"]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take most of the time, and are no matter of this file."""
    monkeypatch.setattr("otoscope.explanation.save_picture", lambda figure, path: path.touch())


@pytest.fixture
def explainer(experienced):
    classifier = experienced(Conv2dClassifier(LABELS, width=4, head_width=5))
    return Explainer(classifier, PIQInterpreter(classifier, codes=8))


@pytest.fixture
def clips(tmp_path):
    """Two folders with 12 clips, three of them bad; names occur twice."""
    for index in range(12):
        path = tmp_path / "clips" / f"part{index % 2}" / f"clip{index // 2}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.1 * torch.randn(4000 + 400 * (index % 3))
        soundfile.write(path, samples.numpy(), 16_000)
    (tmp_path / "clips" / "part0" / "clip1.wav").write_bytes(b"")
    (tmp_path / "clips" / "part1" / "clip3.wav").write_bytes(b"no sound at all")
    whole = (tmp_path / "clips" / "part1" / "clip5.wav").read_bytes()
    (tmp_path / "clips" / "part1" / "clip5.wav").write_bytes(whole[:-500])
    (tmp_path / "clips" / "notes.txt").write_text("no sound")
    (tmp_path / "clips" / ".hidden.wav").write_bytes(b"")
    return tmp_path / "clips"


BAD = ["part0/clip1.wav", "part1/clip3.wav", "part1/clip5.wav"]


def test_recordings_of_folders_and_files(clips):
    found = find_recordings([str(clips), str(clips / "part0" / "clip0.wav"), "absent/clip0.ogg"])
    assert [one.name for one in found[:2]] == ["part0/clip0", "part0/clip1"]
    assert len(found) == 14
    assert [one.name for one in found[-2:]] == ["clip0", "clip0-2"]
    assert len({one.name for one in found}) == 14
    (clips / "part0" / "clip0.flac").touch()
    assert [one.name for one in find_recordings([str(clips / "part0")])][:2] == ["clip0", "clip0-2"]
    (clips / "empty").mkdir()
    with pytest.raises(AudioError, match=r"empty: holds no sound file"):
        find_recordings([str(clips / "empty")])


def test_bad_files_are_passed_over_and_listed(explainer, clips, tmp_path):
    told = []
    outcome = explain_recordings(
        explainer, find_recordings([str(clips)]), tmp_path / "out", tell=lambda *both: told.append(both)
    )
    assert (outcome.explained, outcome.skipped) == (9, 0)
    assert list(outcome.failed) == [str(clips / name) for name in BAD]
    assert len(told) == 9
    lines = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert len(lines) == 12
    assert [line["file"] for line in lines if line["status"] == "failed"] == list(outcome.failed)
    assert all("error" in line for line in lines if line["status"] == "failed")
    for line in lines:
        if line["status"] == "explained":
            content = json.loads((tmp_path / "out" / line["name"] / "explanation.json").read_text())
            assert content.items() <= line.items()
    assert outcome.summary().splitlines()[0] == "9 explained, 3 failed"
    assert all(name in outcome.summary() for name in BAD)


def test_a_batch_gives_what_each_clip_gives_alone(explainer, clips, tmp_path):
    recordings = [one for one in find_recordings([str(clips)]) if not str(one.path).endswith(tuple(BAD))]
    for size in (1, 4):
        explain_recordings(explainer, recordings, tmp_path / str(size), batch_size=size)
    for one in recordings:
        alone, together = (soundfile.read(tmp_path / size / one.name / "interpretation.wav")[0] for size in "14")
        assert alone.shape == together.shape
        assert abs(alone - together).max() < 1e-5


def test_it_goes_on(explainer, clips, tmp_path, monkeypatch):
    out = tmp_path / "out"
    recordings = find_recordings([str(clips)])
    explain_recordings(explainer, recordings[:7], out)
    manifest = out / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    assert len(lines) == 7
    # as a kill would leave it: one result without its line, one line cut off
    manifest.write_text("\n".join(lines[:5]) + "\n" + lines[5][:30])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("explanation.json")}
    outcome = explain_recordings(explainer, recordings, out, skip_existing=True)
    assert (outcome.explained, outcome.skipped, len(outcome.failed)) == (3, 6, 3)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    found = read_manifest(manifest)
    assert sorted(line["file"] for line in found) == sorted(str(one.path) for one in recordings)
    assert sum(line["status"] == "explained" for line in found) == 9
    again = explain_recordings(explainer, recordings, out, skip_existing=True)
    assert (again.explained, again.skipped, len(again.failed)) == (0, 9, 3)
    assert len(read_manifest(manifest)) == 12
    anew = explain_recordings(explainer, recordings[:2], out)
    assert anew.explained == 1
    assert len(read_manifest(manifest)) == 12, "lines of other files stay"


def test_what_was_explained_otherwise_is_explained_again(explainer, clips, tmp_path):
    recordings = find_recordings([str(clips / "part0" / "clip0.wav")])
    explain_recordings(explainer, recordings, tmp_path)
    found = read_manifest(tmp_path / "manifest.jsonl")[0]["label"]
    other = next(label for label in LABELS if label != found)
    outcome = explain_recordings(explainer, recordings, tmp_path, target=other, skip_existing=True)
    assert (outcome.explained, outcome.skipped) == (1, 0)
    assert explain_recordings(explainer, recordings, tmp_path, target=other, skip_existing=True).skipped == 1
    assert explain_recordings(explainer, recordings, tmp_path, skip_existing=True).skipped == 0


def test_only_the_culprit_of_a_batch_is_lost(explainer, tmp_path):
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
        Explainer, "explain_batch", lambda self, w, *rest: sizes.append(len(w)) or explain(self, w, *rest)
    )
    monkeypatch.setattr("otoscope.bulk._LONGEST_BATCH_S", 0.5)
    for index, seconds in enumerate((0.1, 0.1, 0.1, 0.4, 0.1, 0.1)):
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * torch.randn(int(16_000 * seconds)).numpy(), 16_000)
    explain_recordings(explainer, find_recordings([str(tmp_path)]), tmp_path / "out")
    assert sizes == [3, 1, 2]


def test_mistakes_that_concern_all_stop_at_once(explainer, clips, tmp_path):
    recordings = find_recordings([str(clips)])
    with pytest.raises(ConfigurationError, match="cat"):
        explain_recordings(explainer, recordings, tmp_path / "out", target="cat")
    with pytest.raises(ConfigurationError, match="threshold"):
        explain_recordings(explainer, recordings, tmp_path / "out", threshold=0.5)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OtoscopeError, match="cannot be written"):
        explain_recordings(explainer, recordings, tmp_path / "file")


def test_lines_of_several_processes_stay_whole(tmp_path):
    one, other = Manifest(tmp_path / "manifest.jsonl"), Manifest(tmp_path / "manifest.jsonl")
    for index in range(50):
        (one if index % 2 else other).add({"file": str(index), "value": float("nan"), "text": "ü" * 2000})
    assert [line["file"] for line in read_manifest(tmp_path / "manifest.jsonl")] == [str(i) for i in range(50)]
    assert read_manifest(tmp_path / "absent.jsonl") == []
    assert Outcome(explained=2, skipped=3).summary() == "2 explained, 3 skipped"


@pytest.fixture
def model(explainer, tmp_path):
    return str(explainer.save_pretrained(tmp_path / "model"))


def test_exit_codes(model, clips, tmp_path, capsys):
    common = ["--model", model, "--out", str(tmp_path / "out")]
    assert main(["explain", str(clips), *common]) == 1
    output, errors = capsys.readouterr()
    assert output.count("->") == 9
    assert "9 explained, 3 failed" in errors
    assert main(["explain", str(clips), *common, "--skip-existing"]) == 1
    assert "0 explained, 9 skipped, 3 failed" in capsys.readouterr().err
    good, bad = str(clips / "part0" / "clip0.wav"), str(clips / BAD[0])
    assert main(["explain", good, bad, *common, "--json"]) == 1
    explained, failed = json.loads(capsys.readouterr().out)
    assert (explained["status"], explained["file"], failed["status"], failed["file"]) == (
        "explained",
        good,
        "failed",
        bad,
    )
    assert main(["explain", bad, *common]) == 2
    assert "is empty" in capsys.readouterr().err
    assert main(["explain", good, *common]) == 0
    assert main(["explain", good, *common, "--batch_size", "0"]) == 2


def test_a_killed_run_goes_on(model, clips, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "otoscope", "explain", str(clips), "--model", model, "--out", str(out)]
    command += ["--batch_size", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(read_manifest(out / "manifest.jsonl")) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = len(list(out.rglob("explanation.json")))
    assert 0 < before < 9
    assert main([*command[3:], "--skip-existing"]) == 1
    found = read_manifest(out / "manifest.jsonl")
    assert len(found) == 12
    assert len(list(out.rglob("explanation.json"))) == 9


def test_convert(model, tmp_path, capsys):
    assert main(["convert", model, str(tmp_path / "again"), "--license", "mit"]) == 0
    assert "again" in capsys.readouterr().out
    assert Explainer.from_pretrained(tmp_path / "again").details == {"license": "mit"}
    assert main(["convert", f"{model}/classifier", str(tmp_path / "classifier")]) == 0
    assert Conv2dClassifier.from_pretrained(tmp_path / "classifier").labels == LABELS
    NMFDictionary(torch.rand(513, 3), Explainer.from_pretrained(model).classifier.frontend).save(tmp_path / "nmf")
    assert main(["convert", str(tmp_path / "nmf"), str(tmp_path / "copy")]) == 0
    assert main(["convert", str(tmp_path / "nowhere"), str(tmp_path / "x")]) == 2
