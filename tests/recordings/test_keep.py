"""Which parts of an explanation are written, and reading what is there."""

import pytest
import torch

from otoscope.errors import ConfigurationError, DataError, MissingPartError
from otoscope.explanation import DEFAULT_PARTS, PARTS, Explanation, FolderExplanation
from otoscope.recordings import explain_recordings, find_recordings, iterate_results


@pytest.fixture
def explanation(tiny_explainer):
    clip = 0.3 * torch.randn(6000, generator=torch.Generator().manual_seed(1))
    return tiny_explainer.explain(clip, name="clip")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_part_has_its_files(explanation, tmp_path):
    for part, expected in {
        "recording": ["original.wav"],
        "evidence": ["interpretation.wav"],
        "levelled": ["interpretation_levelled.flac", "remainder_levelled.flac"],
        "mask": ["mask.npz"],
        "importance": ["importance.npz"],
    }.items():
        # The same folder: what was there before is removed.
        assert names(explanation.save(tmp_path / "out", keep=[part])) == sorted([*expected, "explanation.json"])
        assert FolderExplanation(tmp_path / "out").parts == tuple(name for name in PARTS if name in ("json", part))


def test_files_of_the_user_stay(explanation, tmp_path):
    explanation.save(tmp_path, keep=["mask", "evidence"])
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "notes.txt").write_text("mine")
    explanation.save(tmp_path, keep=["mask"])
    assert names(tmp_path) == ["components", "explanation.json", "mask.npz", "thesis.txt"]


def test_an_unknown_part_is_named(explanation, tmp_path):
    with pytest.raises(ConfigurationError, match="did you mean 'mask'"):
        explanation.save(tmp_path, keep=["masks"])


def test_a_loaded_explanation_is_the_saved_one(explanation, tmp_path):
    loaded = Explanation.load(explanation.save(tmp_path, keep=["recording", "mask", "importance"]))
    assert torch.equal(loaded.original, explanation.original)
    assert torch.equal(loaded.importance, explanation.importance)
    assert torch.allclose(loaded.mask, explanation.mask, atol=5e-4)
    assert torch.allclose(loaded.evidence, explanation.evidence, atol=5e-3)
    assert torch.allclose(loaded.log_magnitude, explanation.log_magnitude, atol=1e-6)
    assert loaded.to_dict() == explanation.to_dict()
    assert loaded.plot().axes


def test_parts_that_are_missing_or_damaged_are_named(explanation, tmp_path):
    with pytest.raises(DataError, match="holds no explanation"):
        Explanation.load(tmp_path)
    explanation.save(tmp_path, keep=["recording"])
    with pytest.raises(MissingPartError, match=r"'mask'.*--keep json recording mask"):
        Explanation.load(tmp_path)
    explanation.save(tmp_path, keep=["recording", "mask"])
    (tmp_path / "mask.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"mask\.npz: cannot be read"):
        Explanation.load(tmp_path)
    (tmp_path / "explanation.json").write_text("{}")
    with pytest.raises(DataError, match="explain the recording again"):
        Explanation.load(tmp_path)


def test_resuming_needs_the_parts(tiny_explainer, short_clips, tmp_path):
    def run(*parts):
        recordings = find_recordings([str(short_clips)])[:2]
        outcome = explain_recordings(tiny_explainer, recordings, tmp_path / "out", skip_existing=True, keep=parts)
        return outcome.explained

    assert [run("mask"), run("mask"), run("json"), run("mask", "evidence"), run("mask")] == [2, 0, 0, 2, 0]
    assert [stored.name for stored in iterate_results(tmp_path / "out")] == ["clip0", "clip1"]
    assert all(stored.parts == ("json", "evidence", "mask") for stored in iterate_results(tmp_path / "out"))


def test_default_parts_exclude_only_the_importance():
    assert set(PARTS) - set(DEFAULT_PARTS) == {"importance"}
