"""Line of the answer: printed before the files exist, complete when they do."""

from types import SimpleNamespace

from otoscope.cli.answer import AnswerLine
from otoscope.errors import OtoscopeError

EXPLANATION = SimpleNamespace(summary=lambda: "clip: dog", notes=["quiet"])
RESULT = SimpleNamespace(summary="clip: dog", line={"notes": ["quiet"], "folder": "out/clip"})
WHOLE = "clip: dog (quiet) -> out/clip\n"


def test_answer_comes_first_and_the_folder_when_its_files_exist(capsys):
    with AnswerLine() as line:
        line.begin(EXPLANATION)
        assert capsys.readouterr().out == "clip: dog (quiet)"
        line.complete(RESULT)
    assert capsys.readouterr().out == " -> out/clip\n"


def test_result_alone_prints_the_same_line(capsys):
    line = AnswerLine()
    line.complete(RESULT)
    line.complete(RESULT)
    assert capsys.readouterr().out == WHOLE + WHOLE


def test_line_without_files_ends_without_a_folder(capsys):
    with AnswerLine() as line:
        line.begin(EXPLANATION)
    assert capsys.readouterr().out == "clip: dog (quiet)\n"


def test_files_that_cannot_be_written_are_an_error_after_the_answer(run, monkeypatch, tmp_path):
    from otoscope.explanation import saving
    from otoscope.models import sample_recordings

    def fail(*_):
        raise OtoscopeError("no picture today")

    monkeypatch.setattr(saving, "_save_pictures", fail)
    sample = sample_recordings()[0]
    code, output, error = run("explain", sample.path, "--out", tmp_path, "--method", "saliency")
    assert code == 2
    assert "no picture today" in error
    assert output.endswith("\n")
    assert str(tmp_path) not in output
    assert not list(tmp_path.glob("*/explanation.json"))
