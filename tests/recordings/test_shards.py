"""Shards: one row per recording, whatever happens."""

import builtins
import json

import pyarrow.parquet
import pytest
import torch

from otoscope.audio import load_audio
from otoscope.errors import ConfigurationError, DataError, MissingExtraError, MissingPartError, OtoscopeError
from otoscope.explanation import Explanation
from otoscope.explanation.shard import COLUMNS, read_row, shards_of, to_row
from otoscope.recordings import explain_recordings, find_recordings, iterate_results, read_manifest
from otoscope.recordings.shards import ShardFolder


def run(explainer, clips, out, **options):
    options = {"batch_size": 2, "in_shards": True, **options}
    return explain_recordings(explainer, find_recordings([str(clips)]), out, **options)


def rows(out):
    return [stored.name for stored in iterate_results(out)]


@pytest.fixture
def explanation(tiny_explainer):
    clip = 0.3 * torch.randn(6000, generator=torch.Generator().manual_seed(1))
    return tiny_explainer.explain(clip, name="clip")


def some_row(explanation, name):
    content = {**explanation.to_dict(), "name": name}
    return to_row(explanation, content, ["recording", "mask"])


def test_a_row_is_a_whole_explanation(tiny_explainer, short_clips, tmp_path):
    outcome = run(
        tiny_explainer, short_clips, tmp_path / "out", keep=["recording", "evidence", "mask", "importance"]
    )
    assert (outcome.explained, len(outcome.failed)) == (6, 1)
    (shard,) = shards_of(tmp_path / "out")
    assert rows(tmp_path / "out") == [f"clip{index}" for index in (0, 1, 3, 4, 5, 6)]
    lines = {line.get("name"): line for line in read_manifest(tmp_path / "out" / "manifest.jsonl")}
    assert {line["shard"] for name, line in lines.items() if name} == {str(shard)}
    restored = Explanation.from_shard(shard, "clip4")
    expected = tiny_explainer.explain_batch(
        [load_audio(short_clips / f"clip{i}.wav") for i in (4, 5)], names=["clip4", "clip5"]
    )[0]
    assert torch.allclose(restored.mask, expected.mask, atol=5e-4)
    for name in ("original", "evidence", "log_magnitude", "importance"):
        assert torch.allclose(getattr(restored, name), getattr(expected, name), atol=2e-6), name
    # It was not kept, so it is made from the rounded mask.
    assert torch.allclose(restored.remainder, expected.remainder, atol=5e-3)
    assert restored.summary() == expected.summary()
    written, was_written = (explanation.to_dict() for explanation in (restored, expected))
    assert written.pop("curve", None) == was_written.pop("curve", None)
    assert written == was_written
    saved = restored.save(tmp_path / "saved", keep=["recording", "mask"])
    assert json.loads((saved / "explanation.json").read_text())["label"] == expected.label
    again = Explanation.load(saved)
    assert torch.equal(again.original, restored.original)


def test_sounds_of_any_level_survive(explanation, tmp_path):
    sixteen_bits = torch.randint(-(2**15), 2**15, (6000,)) / 2**15
    for scale in (1.0, 37.5, 1e-5):
        explanation.original = sixteen_bits * scale
        row = to_row(explanation, explanation.to_dict(), ["recording"])
        with ShardFolder(tmp_path / str(scale)) as shards:
            shards.add(row)
        sound = read_row(tmp_path / str(scale), "clip").sound("recording")
        assert (sound - explanation.original).abs().max() <= 2**-23 * row["gain"]
        if scale == 1:
            assert torch.equal(sound, explanation.original)


def test_parts_that_were_not_kept_are_named(tiny_explainer, short_clips, tmp_path):
    run(tiny_explainer, short_clips, tmp_path / "out", keep=["evidence"])
    row = read_row(tmp_path / "out", "clip0")
    assert row.parts == ("json", "evidence")
    assert row.sound("evidence").shape == (4000,)
    with pytest.raises(MissingPartError, match=r"holds no part 'mask'.*--keep json evidence mask"):
        row.mask()
    with pytest.raises(MissingPartError, match="'recording'"):
        Explanation.restore(row)
    with pytest.raises(DataError, match="did you mean 'clip0'"):
        read_row(tmp_path / "out", "clip00")
    with pytest.raises(ConfigurationError, match="no part 'levelled' in a shard"):
        run(tiny_explainer, short_clips, tmp_path / "out", keep=["levelled"])


def test_resuming_gives_one_row_per_recording(tiny_explainer, short_clips, tmp_path):
    out = tmp_path / "out"
    run(tiny_explainer, short_clips, out)
    assert run(tiny_explainer, short_clips, out, skip_existing=True).skipped == 6
    # Fewer parts are there already; more parts are not.
    assert run(tiny_explainer, short_clips, out, skip_existing=True, keep=["mask"]).skipped == 6
    more = ["json", "recording", "mask", "importance"]
    assert run(tiny_explainer, short_clips, out, skip_existing=True, keep=more).explained == 6
    # A changed recording is explained again, in place of its former row.
    (short_clips / "clip5.wav").write_bytes((short_clips / "clip6.wav").read_bytes())
    outcome = run(tiny_explainer, short_clips, out, skip_existing=True, keep=more)
    assert (outcome.explained, outcome.skipped) == (1, 5)
    assert sorted(rows(out)) == [f"clip{index}" for index in (0, 1, 3, 4, 5, 6)]
    assert len(read_manifest(out / "manifest.jsonl")) == 7


def test_another_recording_of_the_same_name_gets_a_row_of_its_own(tiny_explainer, short_clips, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "clip0.wav").write_bytes((short_clips / "clip1.wav").read_bytes())
    for folder in (short_clips, tmp_path / "other", short_clips):
        run(tiny_explainer, folder, tmp_path / "out", skip_existing=True, keep=["json"])
    assert sorted(rows(tmp_path / "out"))[:3] == ["clip0", "clip0-2", "clip1"]
    assert len(rows(tmp_path / "out")) == 7


@pytest.mark.parametrize("moment", ["row cut off", "shard written", "journal rewritten"])
def test_a_kill_at_any_moment_loses_and_doubles_no_row(explanation, tmp_path, moment):
    folder = tmp_path / "out"
    shards = ShardFolder(folder, rows_per_shard=3)
    for name in "abcde":
        shards.add(some_row(explanation, name))
    # What a killed process leaves: the journal is not closed, and the lock is free.
    shards._lock.release()
    journal = folder / ".shard-00001.unfinished"
    expected = "abcde"
    if moment == "row cut off":
        journal.write_bytes(journal.read_bytes()[:-100])
        expected = "abcd"
    if moment == "shard written":
        copy = journal.read_bytes()
        shards.finish()
        journal.write_bytes(copy)
    if moment == "journal rewritten":
        journal.with_suffix(".rewritten").write_bytes(b"half")
    with ShardFolder(folder, rows_per_shard=3) as again:
        assert sorted(again.rows) == list(expected)
        again.add(some_row(explanation, "f"))
        again.add(some_row(explanation, "a"))
    shards._close_journal()  # of the process that was killed
    assert sorted(rows(folder)) == sorted({*expected, "f"})
    assert {path.suffix for path in folder.iterdir()} == {".parquet"}


def test_shards_have_the_documented_columns_and_size(explanation, tmp_path):
    with ShardFolder(tmp_path, rows_per_shard=2) as shards:
        names = [shards.add(some_row(explanation, name)) for name in "abc"]
    assert names == ["shard-00000.parquet", "shard-00000.parquet", "shard-00001.parquet"]
    tables = [pyarrow.parquet.read_table(path) for path in shards_of(tmp_path)]
    assert [table.num_rows for table in tables] == [2, 1]
    assert tables[0].column_names == list(COLUMNS)
    assert tables[0].column("label").to_pylist() == [explanation.label] * 2


def test_two_runs_do_not_write_shards_in_one_folder(explanation, tmp_path, monkeypatch):
    monkeypatch.setattr("otoscope.recordings.shards._PATIENCE_S", 0.0)
    with ShardFolder(tmp_path), pytest.raises(OtoscopeError, match="another process"):
        ShardFolder(tmp_path)


def test_damaged_shards_are_named(tmp_path):
    (tmp_path / "shard-00000.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"shard-00000\.parquet: cannot be read"):
        rows(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        rows(tmp_path / "absent")


def test_without_pyarrow_the_extra_is_named(tiny_explainer, short_clips, tmp_path, monkeypatch):
    original = builtins.__import__

    def refuse(name, *arguments):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"otoscope\[tables\]"):
        run(tiny_explainer, short_clips, tmp_path / "out")
