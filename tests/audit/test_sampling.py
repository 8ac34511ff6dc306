"""The stratified sample of clips."""

from pathlib import Path

from otoscope.audit.sampling import recordings_of, sample_clips, targets_of
from otoscope.data.clips import ClipFile, ClipFiles
from otoscope.files.array_cache import ArrayCache


def test_every_class_has_its_number_of_clips():
    targets = [0] * 30 + [1] * 4 + [3] * 12
    chosen = sample_clips(targets, [str(place) for place in range(46)], 10, seed=0)
    assert {target: len(members) for target, members in chosen.items()} == {0: 10, 1: 4, 3: 10}
    for target, members in chosen.items():
        assert members == sorted(set(members))
        assert all(targets[position] == target for position in members)


def test_the_sample_depends_on_the_seed_alone():
    arguments = ([0] * 30, [str(place) for place in range(30)], 10)
    assert sample_clips(*arguments, seed=1) == sample_clips(*arguments, seed=1)
    assert sample_clips(*arguments, seed=1) != sample_clips(*arguments, seed=2)


def test_clips_of_many_recordings_come_before_many_clips_of_one():
    recordings = ["long"] * 50 + [f"short {place}" for place in range(5)]
    chosen = sample_clips([0] * 55, recordings, 6, seed=0)[0]
    assert {recordings[position] for position in chosen} == {*recordings}


def test_preferred_clips_come_first():
    preferred = [place % 3 == 0 for place in range(30)]
    chosen = sample_clips([0] * 30, ["one"] * 30, 12, seed=0, preferred=preferred)[0]
    assert sum(preferred[position] for position in chosen) == 10


def test_files_are_listed_without_decoding_them(tmp_path):
    files = [ClipFile(Path("a.wav"), 1), ClipFile(Path("b.wav"), 0, recording="night")]
    clips = ClipFiles(files, 16_000, ArrayCache(tmp_path))
    assert targets_of(clips) == [1, 0]
    assert recordings_of(clips) == ["a.wav", "night"]
