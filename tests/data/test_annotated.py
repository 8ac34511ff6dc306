"""Recordings with tables of events: clips with boxes for evaluations, and negative examples for trainings."""

import json

import pytest
import torch

from otoscope.audio import Frontend, save_audio
from otoscope.data import AnnotatedRecordings, Annotation, AudioFolder, annotated_bins
from otoscope.data.listed import read_events
from otoscope.errors import ConfigurationError, DataError
from otoscope.recordings import Event
from otoscope.recordings.tables import TABLES, write_table

RATE_HZ = 8000


@pytest.fixture
def field(tmp_path):
    """Two recordings of 12 s and 3 s."""
    for name, duration_s in (("night", 12), ("day", 3)):
        save_audio(tmp_path / f"{name}.wav", torch.rand(duration_s * RATE_HZ), RATE_HZ)
    return tmp_path


@pytest.fixture
def events(field):
    times = [(1.0, 2.5, "dog"), (4.0, 6.0, "owl"), (4.5, 5.5, "dog"), (9.0, 9.5, "dog")]
    return [
        Event(
            str(field / "night.wav"), label, begin_s, end_s, 0.9, 0.8, begin_s, end_s, low_hz=500.0, high_hz=1500.0
        )
        for begin_s, end_s, label in times
    ]


def set_up(folder, **options):
    data = AnnotatedRecordings(folder, sample_rate_hz=RATE_HZ, cache_folder=folder / ".cache", **options)
    data.prepare_data()
    data.setup("test")
    return data


@pytest.mark.parametrize("kind", list(TABLES))
def test_the_tables_that_explain_writes_come_back(field, events, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    # Labels of Audacity name no recording; they lie beside it.
    name = "night.txt" if kind == "audacity" else TABLES[kind].name
    write_table(events, field / name, kind, RATE_HZ / 2)
    entries = read_events(field / name, field)
    assert {entry.path for entry in entries} == {field / "night.wav"}
    assert [(entry.label, entry.begin_s, entry.end_s, entry.low_hz, entry.high_hz) for entry in entries] == [
        (event.label, event.begin_s, event.end_s, 500.0, 1500.0) for event in events
    ]
    # They are labels of a training too.
    assert len(AudioFolder(field, csv_file=name).recordings()) == len(events)


def test_recordings_are_cut_into_clips_with_the_events_inside(field, events):
    write_table(events, field / "events.csv", "csv", 4000)
    data = set_up(field, tables="events.csv", clip_s=5)
    assert data.labels == ["dog", "owl"]
    clips = [data.test_set[index] for index in range(len(data.test_set))]
    assert [clip.name for clip in clips] == ["night-0.000-5.000", "night-5.000-10.000", "night-7.000-12.000"]
    assert [data.labels[clip.target] for clip in clips] == ["dog"] * 3
    box = (500.0, 1500.0)
    assert clips[0].annotations == (
        Annotation("dog", 1.0, 2.5, *box),
        Annotation("owl", 4.0, 5.0, *box),
        Annotation("dog", 4.5, 5.0, *box),
    )
    assert clips[2].annotations == (Annotation("dog", 2.0, 2.5, *box),)
    assert {clip.recording for clip in clips} == {str(field / "night.wav")}
    assert {len(clip.waveform) for clip in clips} == {5 * RATE_HZ}


def test_clips_have_the_length_of_those_of_the_model(field, events):
    write_table(events, field / "events.csv", "csv", 4000)
    data = AnnotatedRecordings(field, sample_rate_hz=RATE_HZ, cache_folder=field / ".cache")
    data.take_clip_length(2.0)
    data.setup("test")
    assert [file.end_s - file.begin_s for file in data.test_set.files] == [2.0] * 4
    chosen = AnnotatedRecordings(field, clip_s=3)
    chosen.take_clip_length(2.0)
    assert chosen.clip_s == 3


def test_labels_of_audacity_may_have_frequencies(field):
    (field / "day.txt").write_text(
        "0.5\t1.0\towl\n\\\t300.0\t900.0\n1.5\t2.0\twren\n2.0\t2.5\towl\n\\\t-1.0\t2000.0\n"
    )
    data = set_up(field)
    (clip,) = data.test_set
    assert [(event.label, event.low_hz, event.high_hz) for event in clip.annotations] == [
        ("owl", 300.0, 900.0),
        ("wren", None, None),
        ("owl", None, 2000.0),
    ]
    assert len(set_up(field, classes=["wren"]).test_set[0].annotations) == 1


def test_mistakes_are_reported(field, events):
    with pytest.raises(DataError, match="no table of events"):
        set_up(field)
    write_table(events, field / "events.csv", "csv", 4000)
    with pytest.raises(DataError, match="AudioFolder"):
        AnnotatedRecordings(field).setup("fit")
    with pytest.raises(ConfigurationError, match="clip_s"):
        AnnotatedRecordings(field, clip_s=0)
    (field / "late.csv").write_text("file,label,begin_s,end_s\nday.wav,owl,1,4\n")
    with pytest.raises(DataError, match=r"day.wav: an annotated event ends at 4 s, but the recording at 3.00 s"):
        set_up(field, tables="late.csv")
    (field / "turned.csv").write_text("file,label,begin_s,end_s,low_hz,high_hz\nday.wav,owl,1,2,900,300\n")
    with pytest.raises(DataError, match="line 2: low_hz is 900, high_hz 300"):
        set_up(field, tables="turned.csv")
    (field / "whole.csv").write_text("file,label\nday.wav,owl\n")
    with pytest.raises(DataError, match="begin_s, end_s"):
        set_up(field, tables="whole.csv")
    for name, text, message in (
        ("torn.jsonl", '{"file": "day.wav",', "line 1: is no JSON"),
        ("list.jsonl", "[1]\n", "line 1: expected an object"),
        ("empty.jsonl", "\n", "lists no clips"),
        ("few.jsonl", json.dumps({"file": "day.wav"}), "no column begin_s, end_s, label"),
    ):
        (field / name).write_text(text)
        with pytest.raises(DataError, match=message):
            set_up(field, tables=name)


def test_a_box_covers_the_bins_whose_centres_lie_in_it():
    frontend = Frontend()
    covered = annotated_bins([Annotation("dog", 0.1, 0.2, 1000, 2000)], "dog", frontend, 100)
    times = torch.nonzero(covered.any(0)).flatten() * frontend.hop_length / frontend.sample_rate_hz
    pitches = torch.nonzero(covered.any(1)).flatten() * frontend.sample_rate_hz / frontend.n_fft
    assert 0.1 <= float(times[0]) < 0.12
    assert 0.18 <= float(times[-1]) < 0.2
    assert 1000 <= float(pitches[0]) <= float(pitches[-1]) <= 2000
    # An event between two centres covers the nearest bin, and one behind the end none.
    point = annotated_bins([Annotation("dog", 0.1001, 0.1002, 1001, 1002)], "dog", frontend, 100)
    assert int(point.sum()) == 1
    assert not annotated_bins([Annotation("dog", 50.0, 51.0)], "dog", frontend, 100).any()
    assert not annotated_bins([Annotation("cat", 0.1, 0.2)], "dog", frontend, 100).any()


def test_negative_examples_are_cut_between_the_events(field, events):
    write_table(events, field / "events.csv", "csv", 4000)
    entries = AudioFolder(field, csv_file="events.csv", background="nothing").recordings()
    negatives = [entry for entry in entries if entry.label == "nothing"]
    # The median length, and as many as there are dogs.
    assert [round(entry.end_s - entry.begin_s, 6) for entry in negatives] == [1.25] * 3
    for entry in negatives:
        assert all(entry.end_s <= event.begin_s or entry.begin_s >= event.end_s for event in events)
    assert len({entry.begin_s for entry in negatives}) == 3
    assert len(entries) == len(events) + 3


def test_negative_examples_belong_to_the_part_of_their_recording(field):
    rows = [
        f"{name}.wav,owl,{begin},{begin + 0.5},{part}"
        for name, part in (("night", "train"), ("day", "test"))
        for begin in (0, 1)
    ]
    (field / "events.csv").write_text("file,label,begin_s,end_s,split\n" + "\n".join(rows) + "\n")
    data = AudioFolder(field, csv_file="events.csv", background="nothing", sample_rate_hz=RATE_HZ)
    data.setup("test")
    for clips, name in ((data.train_set, "night"), (data.test_set, "day")):
        assert {file.path.stem for file in clips.files} == {name}
    assert sum(data.labels[file.target] == "nothing" for file in (*data.train_set.files, *data.test_set.files)) == 4
    for background, message in (("owl", "'owl' is the label of annotated segments too"),):
        with pytest.raises(DataError, match=message):
            AudioFolder(field, csv_file="events.csv", background=background).recordings()
    (field / "full.csv").write_text("file,label,begin_s,end_s\nday.wav,owl,0,3\n")
    with pytest.raises(DataError, match="no part without events"):
        AudioFolder(field, csv_file="full.csv", background="nothing").recordings()
