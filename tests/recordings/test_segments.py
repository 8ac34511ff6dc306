"""Events cut out of recordings."""

import numpy as np
import pytest
import soundfile

from otoscope.data import AudioFolder
from otoscope.recordings import Event
from otoscope.recordings import segments as segments_module
from otoscope.recordings.segments import cut_segments


def event(label, begin_s, end_s):
    return Event("night.wav", label, begin_s, end_s, 0.9, 0.9, begin_s, end_s)


@pytest.fixture
def events():
    return [event("dog", 0.1, 0.35), event("hen", 0.2, 0.9), event("dog", 0.5, 0.5), event("dog", 0.8, 2.0)]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("block", [1000, 100_000])
def test_clips_are_copies_of_the_recording(tmp_path, monkeypatch, events, subtype, block):
    monkeypatch.setattr(segments_module, "_BLOCK_FRAMES", block)
    path = tmp_path / "night.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, (44_100, 2)), 44_100, subtype=subtype)
    cut_segments(path, events, tmp_path)
    recording, _ = soundfile.read(path, always_2d=True)
    for item in events:
        clip, rate_hz = soundfile.read(tmp_path / item.segment, always_2d=True)
        begin, end = (
            round(item.begin_s * rate_hz),
            max(round(item.end_s * rate_hz), round(item.begin_s * rate_hz) + 1),
        )
        np.testing.assert_array_equal(clip, recording[begin:end])
        assert soundfile.info(tmp_path / item.segment).subtype == subtype
    assert events[0].segment == "segments/dog/0001_dog_0.90_00h00m00.10s.wav"


def test_clips_of_compressed_recordings(tmp_path, events):
    path = tmp_path / "night.ogg"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 44_100), 44_100)
    cut_segments(path, events[:1], tmp_path)
    info = soundfile.info(tmp_path / events[0].segment)
    assert (info.subtype, info.frames) == ("PCM_24", round(0.25 * 44_100))


def test_clips_are_a_data_set(tmp_path):
    path = tmp_path / "night.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 4), 16_000)
    events = [event(label, 0.1 * index, 0.1 * index + 0.3) for index, label in enumerate(["dog", "hen"] * 10)]
    cut_segments(path, events, tmp_path / "out")
    data = AudioFolder(str(tmp_path / "out" / "segments"), cache_folder=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup("fit")
    assert data.labels == ["dog", "hen"]
    assert len(data.train_set) + len(data.valid_set) + len(data.test_set) == 20
