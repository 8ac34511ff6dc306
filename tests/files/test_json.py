import json

import pytest

from otoscope.errors import OtoscopeError
from otoscope.files.json import json_values, read_json, write_json


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "file.json"
    write_json(path, {"a": [1, "é"]})
    assert path.read_text(encoding="utf-8") == '{\n  "a": [\n    1,\n    "é"\n  ]\n}\n'
    assert read_json(path) == {"a": [1, "é"]}


def test_content_that_is_no_json_changes_nothing(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"b": object()})
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["file.json"]


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OtoscopeError, match=r"file/a\.json: cannot be written"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_numbers_that_json_cannot_hold_become_null():
    values = json_values({"a": (float("nan"), float("inf"), 1.5, 2), "b": {"c": float("-inf")}})
    assert values == {"a": [None, None, 1.5, 2], "b": {"c": None}}
    assert json.dumps(values, allow_nan=False)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_file_raises_a_value_error(tmp_path, content):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011
        read_json(tmp_path / "file.json")
