"""Results in folders: found at any depth, broken ones skipped."""

import json
from io import BytesIO

import pytest
import soundfile
from tests.report.folders import RATE_HZ, content, save_clip, save_evaluation, save_long, sounds

from otoscope.errors import DataError
from otoscope.explanation.arrays import load_mask
from otoscope.report import read_results
from otoscope.report.clips import MASK, SHARE
from otoscope.report.page import ordered


def test_mixed_results_are_sorted_into_their_kinds(tmp_path):
    save_clip(tmp_path / "a" / "dog" / "1", content("1"))
    save_clip(tmp_path / "a" / "2", content("2"))
    save_long(tmp_path / "b" / "night")
    save_evaluation(tmp_path / "c")
    results = read_results([tmp_path])
    assert [clip.name for clip in results.clips] == ["2", "1"]
    assert [recording.name for recording in results.recordings] == ["night"]
    assert [evaluation.classifier for evaluation in results.evaluations] == ["Conv2dClassifier"]
    assert results.skipped == []


def test_folders_that_are_named_twice_count_once(tmp_path):
    folder = save_clip(tmp_path / "1", content("1"))
    assert len(read_results([tmp_path, folder, folder / "explanation.json"]).clips) == 1


def test_hidden_folders_are_unfinished(tmp_path):
    save_clip(tmp_path / "1", content("1"))
    save_clip(tmp_path / ".2.unfinished", content("2"))
    assert [clip.name for clip in read_results([tmp_path]).clips] == ["1"]


def test_a_folder_without_results_is_an_error(tmp_path):
    (tmp_path / "note.txt").write_text("")
    with pytest.raises(DataError, match="holds no result"):
        read_results([tmp_path])
    with pytest.raises(DataError, match="does not exist"):
        read_results([tmp_path / "absent"])


BROKEN = {
    "no JSON": "{",
    "a list": "[]",
    "no label": json.dumps({"name": "x"}),
    "text for a number": json.dumps(content("x", duration_s="long")),
    "text in numbers": json.dumps(content("x", scores={"AI": "high"})),
    "an unknown level": json.dumps(content("x", verdict={"level": "perfect", "reasons": []})),
    "notes that are no texts": json.dumps(content("x", notes=[1])),
    "a label without probability": json.dumps(content("x", label="dog", probabilities={"cat": 1.0})),
    "a curve of numbers": json.dumps(content("x", curve={"evidence": [1]})),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_explanations_are_skipped_and_named(tmp_path, text):
    save_clip(tmp_path / "good", content("good"))
    folder = save_clip(tmp_path / "bad", content("bad"))
    (folder / "explanation.json").write_text(text)
    results = read_results([tmp_path])
    assert [clip.name for clip in results.clips] == ["good"]
    assert results.broken == 1
    assert "bad/explanation.json" in results.skipped[0]


def test_recordings_that_were_not_explained_are_listed(tmp_path):
    save_clip(tmp_path / "1", content("1"))
    lines = [
        {"file": "a.wav", "status": "failed", "error": "a.wav: is empty"},
        {"file": "1.wav", "status": "explained"},
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    results = read_results([tmp_path])
    assert results.skipped == ["not explained: a.wav: is empty"]
    assert results.broken == 0


def test_player_has_the_sounds_and_the_mask_of_the_folder(tmp_path):
    save_clip(tmp_path, content("x"))
    clip = read_results([tmp_path]).clips[0].clip()
    recording, evidence, remainder = (track.waveform for track in clip.tracks)
    assert recording == pytest.approx(evidence + remainder, abs=1e-6)
    assert (clip.duration_s, clip.mask_title) == (1.0, MASK)
    assert clip.mask.tolist() == load_mask(tmp_path).tolist()


def test_without_a_mask_the_share_of_the_energy_is_shown(tmp_path):
    save_clip(tmp_path, content("x"), with_mask=False)
    clip = read_results([tmp_path]).clips[0].clip()
    assert clip.mask_title == SHARE
    tone = round(1000 / (RATE_HZ / 2) * (clip.mask.shape[0] - 1))
    inside, outside = slice(40, 50), slice(0, 20)
    assert clip.mask[tone, inside].mean() > 0.9
    assert clip.mask[:, outside].mean() < 0.01


def test_explanations_in_shards_are_read_row_by_row(tmp_path):
    pytest.importorskip("pyarrow")
    from otoscope.explanation.shard import COLUMNS, write_shard

    buffer = BytesIO()
    soundfile.write(buffer, sounds()[0], RATE_HZ, format="FLAC", subtype="PCM_24")
    rows = []
    for name in ("a", "b"):
        parts = dict.fromkeys(("recording", "evidence", "remainder"), buffer.getvalue())
        row = {"name": name, "gain": 1.0, "sample_rate_hz": RATE_HZ, "record": json.dumps(content(name)), **parts}
        rows.append({**dict.fromkeys(COLUMNS), **row})
    (tmp_path / "run").mkdir()
    write_shard(rows, tmp_path / "run" / "shard-00000.parquet")
    save_clip(tmp_path / "folder", content("c"))
    results = read_results([tmp_path])
    assert [clip.name for clip in results.clips] == ["c", "a", "b"]
    clip = results.clips[1].clip()
    assert clip.tracks[0].waveform == pytest.approx(sounds()[0], abs=1e-4)
    (tmp_path / "run" / "shard-00001.parquet").write_bytes(b"PAR1")
    assert "shard-00001" in read_results([tmp_path]).skipped[0]


def test_worst_explained_come_first(tmp_path):
    levels = {"good": "supported", "bad": "not supported", "middling": "partly", "worse": "not supported"}
    for name, level in levels.items():
        values = content(name, level=level)
        values["scores"]["p_remainder"] = 0.9 if name == "worse" else 0.2
        save_clip(tmp_path / name, values)
    save_clip(tmp_path / "unscored", content("unscored", verdict=None, scores={}, controls={}))
    clips = read_results([tmp_path]).clips
    assert [clip.name for clip in ordered(clips, "worst")] == ["worse", "bad", "middling", "good", "unscored"]
    assert [clip.name for clip in ordered(clips, "name")] == sorted(clip.name for clip in clips)
