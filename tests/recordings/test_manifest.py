"""``manifest.jsonl``."""

import pytest

from otoscope.errors import OtoscopeError
from otoscope.recordings import Manifest, read_manifest


def test_lines_of_several_processes_do_not_mix(tmp_path):
    path = tmp_path / "manifest.jsonl"
    manifests = Manifest(path), Manifest(path)
    for index in range(50):
        manifests[index % 2].add({"file": str(index), "value": float("nan"), "text": "ü" * 2000})
    assert [line["file"] for line in read_manifest(path)] == [str(index) for index in range(50)]


def test_an_absent_file_has_no_lines(tmp_path):
    assert read_manifest(tmp_path / "absent.jsonl") == []


def test_former_lines_are_kept_or_replaced(tmp_path):
    path = tmp_path / "manifest.jsonl"
    manifest = Manifest(path)
    for file, status in (("a", "explained"), ("b", "failed"), ("c", "failed")):
        manifest.add({"file": file, "status": status})
    assert Manifest(path, {"a", "b"}, finished={"a"}).files == {"a", "c"}
    assert Manifest(path, {"a"}).files == {"c"}
    assert [line["file"] for line in read_manifest(path)] == ["c"]


def test_a_file_in_place_of_the_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OtoscopeError, match=r"manifest.jsonl: cannot be written"):
        Manifest(tmp_path / "file" / "manifest.jsonl")
