"""The benchmark of long recordings, with tiny durations and every part."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ESC10 = os.environ.get("OTOSCOPE_ESC10", "")


def run(tmp_path, *options):
    command = [sys.executable, "benchmarks/long_recording.py", "--data_folder", ESC10, "--threads", "1"]
    command += ["--method", "saliency", "--top_k", "1", "--out", str(tmp_path / "out.json"), *options]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert finished.returncode == 0, finished.stderr
    return json.loads((tmp_path / "out.json").read_text())


@pytest.mark.skipif(not ESC10, reason="OTOSCOPE_ESC10 names no folder of ESC-10")
def test_each_part_can_be_measured_alone(tmp_path):
    result = run(
        tmp_path,
        "--parts",
        "events",
        "sparse",
        "--minutes",
        "0.5",
        "--forms",
        "16 kHz mono",
        "--sparse_hours",
        "0.02",
        "--sparse_clips",
        "2",
    )
    assert set(result) == {"conditions", "16 kHz mono", "sparse"}
    events = result["16 kHz mono"]["events"]
    assert events["sounds"] >= 5
    causes = events["borders of windows, causes at IoU 0.3"]
    assert sum(causes[f"sounds {cause}"] for cause in ("right", "borders", "label")) == events["sounds"]
    assert result["sparse"]["events"]["sounds"] == 2
    assert result["sparse"]["calculated"]["explained_share"] < 0.5


@pytest.mark.skipif(not ESC10, reason="OTOSCOPE_ESC10 names no folder of ESC-10")
def test_a_killed_command_gives_an_equal_result(tmp_path):
    result = run(tmp_path, "--parts", "kills", "--kills", "1", "--kill_minutes", "0.4")
    assert result["kills"]["kills"] == 1
    assert result["kills"]["equal"], result["kills"]["differ"]
    assert not result["kills"]["remain"]
