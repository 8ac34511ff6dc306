"""Results in folders: found at any depth, broken ones skipped."""

import json

import numpy as np
import pytest
from tests.report.folders import RATE_HZ, content, save_clip, save_evaluation, save_long

from otoscope.errors import DataError
from otoscope.explanation.saving import load_mask
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


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY"])
def test_damaged_masks_are_named(tmp_path, data):
    (tmp_path / "mask.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"mask\.npz"):
        load_mask(tmp_path)


def test_masks_of_other_shapes_and_objects_are_refused(tmp_path):
    for mask in (np.zeros(3), np.full((2, 2), np.nan), np.array([{}], dtype=object)):
        np.savez(tmp_path / "mask.npz", mask=mask)
        with pytest.raises(DataError, match=r"mask\.npz"):
            load_mask(tmp_path)


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
