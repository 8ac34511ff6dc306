"""``otoscope report``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from tests.report.folders import content, save_clip


def test_writes_a_page_and_prints_one_line(run, tmp_path):
    save_clip(tmp_path / "in", content("x"))
    code, output, error = run(
        "report", tmp_path / "in", "-o", tmp_path / "out" / "r.html", "--title", "Mine & yours"
    )
    assert (code, error) == (0, "")
    assert output.startswith(f"1 clip -> {tmp_path / 'out' / 'r.html'}")
    assert "<title>Mine &amp; yours</title>" in (tmp_path / "out" / "r.html").read_text()


def test_prints_json(run, tmp_path):
    save_clip(tmp_path / "in", content("x"))
    code, output, _ = run("report", tmp_path / "in", "-o", tmp_path / "r.html", "--json")
    assert code == 0
    values = json.loads(output)
    assert (values["path"], values["pages"], values["clips"]) == (str(tmp_path / "r.html"), None, 1)


def test_broken_results_are_listed_with_code_1(run, tmp_path):
    save_clip(tmp_path / "good", content("x"))
    (save_clip(tmp_path / "bad", content("y")) / "explanation.json").write_text("{")
    code, _, error = run("report", tmp_path, "-o", tmp_path / "r.html")
    assert code == 1
    assert error.count("\n") == 1
    assert "bad/explanation.json" in error
    assert (tmp_path / "r.html").is_file()


def test_errors_are_one_line_with_code_2(assert_error, tmp_path):
    assert_error(["report", tmp_path / "absent"], "absent", "does not exist")
    assert_error(["report", tmp_path, "-o", tmp_path / "r.html"], "holds no result", "--out")
    save_clip(tmp_path / "in", content("x"))
    assert_error(["report", tmp_path / "in", "-o", tmp_path / "r.pdf"], "--output_file", ".html")
    assert_error(["report", tmp_path / "in", "--event_sounds", "-1"], "--event_sounds")
    (tmp_path / "in" / "explanation.json").write_text("{")
    assert_error(["report", tmp_path / "in", "-o", tmp_path / "r.html"], "explanation.json", "cannot be read")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.skipif("OTOSCOPE_ESC10" not in os.environ, reason="needs real clips: OTOSCOPE_ESC10")
def test_a_real_clip_is_explained_and_reported(run, tmp_path):
    clip = sorted((Path(os.environ["OTOSCOPE_ESC10"]) / "audio").glob("*-A-1.*"))[0]
    name = tmp_path / "a 'quoted' <clip>.wav"
    sound, rate_hz = soundfile.read(clip)
    soundfile.write(name, sound[: 2 * rate_hz], rate_hz)
    assert run("explain", name, "--method", "saliency", "--area", "0.2", "--out", tmp_path / "in")[0] == 0
    # in another process, which imports nothing but what a report needs
    command = [sys.executable, "-m", "otoscope", "report", tmp_path / "in", "-o", tmp_path / "r.html"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    assert "a &#39;quoted&#39; &lt;clip&gt;" in page
    assert page.count("<audio") == 3
    assert "otoscope-opacity" in page  # the mask was saved
