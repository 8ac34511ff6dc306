"""Lines stay readable after a kill and while several processes append."""

import os

import pytest

from otoscope.errors import OtoscopeError
from otoscope.files.json_lines import JsonLines


@pytest.fixture
def lines(tmp_path):
    return JsonLines(tmp_path / "new" / "records.jsonl")


def test_what_is_appended_is_read(lines):
    assert lines.read() == []
    lines.append({"clip": "a", "score": float("nan")})
    lines.append({"clip": "ü\u2028"}, {"clip": "c"})
    assert lines.read() == [{"clip": "a", "score": None}, {"clip": "ü\u2028"}, {"clip": "c"}]
    assert JsonLines(str(lines.path)).read() == lines.read()


def test_rows_are_appended_by_one_system_call(lines, monkeypatch):
    calls = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: calls.append(data) or write(handle, data))
    lines.append({"text": "x" * 100_000}, {"text": "y"})
    assert len(calls) == 1
    assert len(lines.read()) == 2


def test_two_writers_do_not_mix(lines):
    other = JsonLines(lines.path)
    for index in range(50):
        (lines if index % 2 else other).append({"index": index, "text": "ü" * 2000})
    assert [row["index"] for row in lines.read()] == list(range(50))


@pytest.mark.parametrize("end", [b'{"cl', b'{"clip": "c"}', b"\xc3"])
def test_a_last_line_that_was_cut_off_is_ignored_and_removed(lines, end):
    lines.append({"clip": "a"}, {"clip": "b"})
    whole = lines.path.read_bytes()
    lines.path.write_bytes(whole + end)
    assert lines.read() == lines.read(skip_damaged=True) == [{"clip": "a"}, {"clip": "b"}]
    assert lines.path.read_bytes() == whole + end, "reading changes nothing"
    lines.repair()
    assert lines.path.read_bytes() == whole
    lines.append({"clip": "c"})
    assert len(lines.read()) == 3


def test_repairing_a_whole_or_missing_file_changes_nothing(lines):
    lines.repair()
    assert not lines.path.exists()
    lines.append({"clip": "a"})
    lines.repair()
    assert lines.read() == [{"clip": "a"}]


@pytest.mark.parametrize("damage", ["{nonsense", "[1]", ""])
def test_a_damaged_line_is_reported_or_skipped(lines, damage):
    lines.append({"clip": "a"})
    lines.path.write_text(f"{lines.path.read_text()}{damage}\n" + '{"clip": "b"}\n')
    with pytest.raises(ValueError, match="line 2"):
        lines.read()
    assert lines.read(skip_damaged=True) == [{"clip": "a"}, {"clip": "b"}]


def test_rewriting_replaces_all_lines(lines):
    lines.append({"clip": "a"}, {"clip": "b"})
    lines.rewrite(row for row in lines.read() if row["clip"] == "b")
    assert lines.read() == [{"clip": "b"}]
    assert [path.name for path in lines.path.parent.iterdir()] == ["records.jsonl"]


def test_a_write_that_fails_is_reported(lines, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for call in (lambda blocked: blocked.append({}), lambda blocked: blocked.rewrite([{}])):
        with pytest.raises(OtoscopeError, match=r"file/a\.jsonl: cannot be written"):
            call(JsonLines(tmp_path / "file" / "a.jsonl"))
    monkeypatch.setattr(os, "write", lambda handle, data: len(data) - 1)
    with pytest.raises(OtoscopeError, match="only a part was written"):
        lines.append({"clip": "a"})
