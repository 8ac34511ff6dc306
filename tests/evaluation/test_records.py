"""Records survive a kill, and are refused if they belong to another evaluation."""

import json

import pytest

from otoscope.errors import ConfigurationError, DataError
from otoscope.evaluation.records import Records


def _line(clip, value=1.0):
    return {"clip": clip, "scores": {"AD": value}}


def test_records_are_read_again(tmp_path):
    Records(tmp_path, {"seed": 1}).add("clean", "L-MAC / λ", [_line("a"), _line("b", float("nan"))])
    records = Records(tmp_path, {"seed": 1}).of("clean", "L-MAC / λ")
    assert records == {"a": _line("a"), "b": _line("b", None)}
    assert Records(tmp_path, {"seed": 1}).of("clean", "L-MAC") == {}


def test_methods_named_like_paths_stay_in_the_folder(tmp_path):
    records = Records(tmp_path / "records", {})
    records.add("clean", "../../escape", [_line("a")])
    assert records.of("clean", "../../escape")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records"]


def test_a_torn_last_line_is_removed(tmp_path):
    Records(tmp_path, {}).add("clean", "IG", [_line("a"), _line("b")])
    path = tmp_path / "clean" / "IG.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    records = Records(tmp_path, {})
    assert set(records.of("clean", "IG")) == {"a"}
    records.add("clean", "IG", [_line("b", 5.0)])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [_line("a"), _line("b", 5.0)]


def test_the_last_record_of_a_clip_counts(tmp_path):
    records = Records(tmp_path, {})
    records.add("clean", "IG", [_line("a", 1.0)])
    records.add("clean", "IG", [_line("a", 2.0), _line("b", 3.0)])
    for opened in (records, Records(tmp_path, {})):
        by_clip = opened.of("clean", "IG")
        assert {clip: record["scores"]["AD"] for clip, record in by_clip.items()} == {"a": 2.0, "b": 3.0}


def test_other_settings_are_refused_by_name(tmp_path):
    Records(tmp_path, {"seed": 1, "areas": (0.1,)}).add("clean", "IG", [_line("a")])
    Records(tmp_path, {"seed": 1, "areas": [0.1]})
    with pytest.raises(ConfigurationError, match=r"seed was 1, is 2.*choose another"):
        Records(tmp_path, {"seed": 2, "areas": (0.1,)})


def test_records_without_a_precision_are_in_float32(tmp_path):
    Records(tmp_path / "full", {}).add("clean", "IG", [_line("a")])
    Records(tmp_path / "full", {"precision": "float32"})
    with pytest.raises(ConfigurationError, match="precision was float32, is bfloat16"):
        Records(tmp_path / "full", {"precision": "bfloat16"})
    Records(tmp_path / "low", {"precision": "bfloat16"}).add("clean", "IG", [_line("a")])
    Records(tmp_path / "low", {"precision": "bfloat16"})
    with pytest.raises(ConfigurationError, match="precision was bfloat16, is float32"):
        Records(tmp_path / "low", {})


@pytest.mark.parametrize("condition", ["clean", "tone (dog)", "50 % / WHAM!"])
def test_another_method_of_the_same_name_is_refused(tmp_path, condition):
    records = Records(tmp_path, {})
    records.expect("IG", "steps 20")
    records.add(condition, "IG", [_line("a")])
    again = Records(tmp_path, {})
    again.expect("IG", "steps 20")
    again.expect("new", "x")
    with pytest.raises(ConfigurationError, match=r"methods\.IG was steps 20, is steps 50"):
        again.expect("IG", "steps 50")


def test_a_method_without_records_may_change(tmp_path):
    records = Records(tmp_path, {})
    records.expect("could not explain", "steps 20")
    records.add("clean", "IG", [_line("a")])
    again = Records(tmp_path, {})
    again.expect("could not explain", "steps 50")
    again.add("clean", "could not explain", [_line("a")])
    with pytest.raises(ConfigurationError, match="was steps 50, is steps 20"):
        Records(tmp_path, {}).expect("could not explain", "steps 20")


def test_settings_that_differ_by_rounding_are_the_same(tmp_path):
    Records(tmp_path, {"answer": [0.1, 0.9]}).add("clean", "IG", [_line("a")])
    Records(tmp_path, {"answer": [0.1000001, 0.9]})
    with pytest.raises(ConfigurationError, match="answer was"):
        Records(tmp_path, {"answer": [0.2, 0.8]})


def test_damaged_files_and_occupied_paths_are_reported(tmp_path):
    Records(tmp_path / "a", {}).add("clean", "IG", [_line("a")])
    (tmp_path / "a" / "clean" / "IG.jsonl").write_text("{nonsense\n")
    with pytest.raises(DataError, match=r"IG\.jsonl: is damaged"):
        Records(tmp_path / "a", {}).of("clean", "IG")
    (tmp_path / "a" / "index.json").write_text("")
    with pytest.raises(DataError, match=r"index\.json: is damaged"):
        Records(tmp_path / "a", {})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="--output_folder"):
        Records(tmp_path / "file" / "records", {})
