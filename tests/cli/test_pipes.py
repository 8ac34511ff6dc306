"""Readers that leave early, and terminals that lack characters."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from otoscope.models import sample_recordings

COMMAND = [sys.executable, "-m", "otoscope"]


def environment(**variables):
    return {**os.environ, "OMP_NUM_THREADS": "1", **variables}


@pytest.mark.skipif(os.name == "nt", reason="needs pipes of POSIX")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["explain", "--help"], ["nonsense"]])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(arguments, buffered):
    reading, writing = os.pipe()
    os.close(reading)  # the reader has gone before the first line
    finished = subprocess.run(
        [*COMMAND, *arguments],
        stdout=writing,
        stderr=writing if arguments == ["nonsense"] else subprocess.PIPE,
        env=environment(PYTHONUNBUFFERED=buffered),
        timeout=120,
        check=False,
    )
    os.close(writing)
    # argparse itself may ignore the error
    assert finished.returncode == 141 or arguments == ["explain", "--help"]
    assert not finished.stderr


@pytest.mark.parametrize(("encoding", "extra"), [("ascii", ["--json"]), ("cp1252", [])])
def test_terminals_without_some_characters(tmp_path, encoding, extra):
    recording = tmp_path / "犬と雨 ø.wav"
    shutil.copy(sample_recordings()[0].path, recording)
    options = ["--method", "saliency", "--area", "0.2", "--out", str(tmp_path / "out")]
    finished = subprocess.run(
        [*COMMAND, "explain", str(recording), *options, *extra],
        capture_output=True,
        env=environment(PYTHONIOENCODING=encoding, PYTHONWARNINGS="default"),
        timeout=300,
        check=False,
    )
    error = finished.stderr.decode(encoding)
    assert finished.returncode == 0, error
    assert "Error" not in error
    assert "Glyph" not in error
    output = finished.stdout.decode(encoding)
    if extra:
        assert json.loads(output)[0]["file"] == str(recording)
    else:
        assert "\\u72ac" in output


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_errors_are_printed_to_every_terminal(encoding):
    finished = subprocess.run(
        [*COMMAND, "犬"], capture_output=True, env=environment(PYTHONIOENCODING=encoding), timeout=60, check=False
    )
    assert finished.returncode == 2
    assert "\\u72ac" in finished.stderr.decode(encoding)
