"""Long recordings in reports: which sounds are embedded, and from where."""

import json

import numpy as np
import pytest
import soundfile
from tests.report.folders import RATE_HZ, save_long

from otoscope.errors import DataError
from otoscope.recordings.identity import recording_identity
from otoscope.report.recording import open_recording_result


@pytest.fixture
def folder(tmp_path):
    return save_long(tmp_path / "night")


def set_source(folder, identity):
    path = folder / "timeline.json"
    values = json.loads(path.read_text())
    values["source"] = {"recording": identity, "options": {"channel": None}}
    path.write_text(json.dumps(values))


def test_most_confident_events_are_embedded(folder):
    result = open_recording_result(folder)
    assert [event.number for event in result.embedded(2)] == [2, 3]
    assert result.embedded(0) == []


def test_no_method_is_named_where_none_has_run(folder):
    path = folder / "timeline.json"
    values = json.loads(path.read_text())
    assert open_recording_result(folder).method == values["method"]
    path.write_text(json.dumps(values | {"explained_windows": 0}))
    assert open_recording_result(folder).method == "predictions alone"


def test_players_hold_the_part_of_the_event(folder):
    result = open_recording_result(folder)
    evidence, _ = soundfile.read(folder / "evidence.flac", dtype="float32")
    (event, clip), *_ = result.clips(result.embedded(2))
    begin = round(clip.start_s * RATE_HZ)
    assert clip.start_s == pytest.approx(event.begin_s - 0.3)
    assert clip.duration_s == pytest.approx(event.end_s - event.begin_s + 0.6)
    track = clip.tracks[1].waveform
    assert track == pytest.approx(evidence[begin : begin + len(track)])


def test_events_of_a_target_have_its_sounds(folder):
    target = folder / "targets" / "dog"
    target.mkdir(parents=True)
    for name in ("evidence.flac", "remainder.flac"):
        soundfile.write(target / name, np.full(30 * RATE_HZ, 0.25), RATE_HZ)
    clips = {
        event.label: clip
        for event, clip in open_recording_result(folder).clips(open_recording_result(folder).events)
    }
    assert clips["dog"].tracks[1].waveform == pytest.approx(0.25, abs=1e-3)
    assert np.abs(clips["cat"].tracks[1].waveform).max() != pytest.approx(0.25, abs=1e-3)


def test_the_recording_is_embedded_only_while_it_is_the_same(folder):
    path = folder.parent / "night.wav"
    set_source(folder, recording_identity(path))
    clip = next(iter(open_recording_result(folder).clips(open_recording_result(folder).embedded(1))))[1]
    assert clip.tracks[0].title == "Recording"
    # Another file of the same length at this path is not what was explained.
    sound, rate_hz = soundfile.read(path)
    soundfile.write(path, sound[::-1], rate_hz)
    clip = next(iter(open_recording_result(folder).clips(open_recording_result(folder).embedded(1))))[1]
    assert clip.tracks[0].title == "Evidence + remainder"
    assert clip.tracks[0].waveform == pytest.approx(clip.tracks[1].waveform + clip.tracks[2].waveform)


def test_timeline_shows_the_labels_with_most_events_first(folder):
    picture = open_recording_result(folder).picture()
    assert picture.labels == ["cat", "dog"]
    assert picture.levels.data.startswith(b"\x89PNG")


def test_results_without_evidence_embed_nothing(folder):
    (folder / "evidence.flac").unlink()
    assert open_recording_result(folder).embedded(5) == []


@pytest.mark.parametrize(
    "change", [{"events": 3}, {"duration_s": 0}, {"labels": ["cat"]}, {"sample_rate_hz": "16 kHz"}]
)
def test_damaged_timelines_are_named(folder, change):
    path = folder / "timeline.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=r"timeline\.json"):
        open_recording_result(folder)


def test_arrays_that_do_not_fit_are_named(folder):
    result = open_recording_result(folder)
    with np.load(folder / "timeline.npz") as stored:
        arrays = {**stored, "probabilities": np.zeros((3, 2))}
    np.savez(folder / "timeline.npz", **arrays)
    with pytest.raises(DataError, match="probabilities"):
        result.picture()
