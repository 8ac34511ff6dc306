"""Clips: batches, names, and sound files read through the cache."""

import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from otoscope.data import AudioFolder, Clip, ClipFile, batch_of, collate
from otoscope.data.clips import ClipFiles, fill_cache, unique_names
from otoscope.errors import AudioError
from otoscope.files.array_cache import ArrayCache


def clip(samples, target=0, name="clip", event=False):
    wave = torch.arange(1.0, samples + 1)
    return Clip(wave, target, name, f"{name}-key", event=wave / 2 if event else None)


def test_clips_of_one_length_are_not_padded():
    batch = collate([clip(4, 1, "a"), clip(4, 0, "b")])
    assert batch.waveform.shape == (2, 4)
    assert not batch.padded
    assert batch.target.tolist() == [1, 0]
    assert batch.target.dtype == torch.int64
    assert (batch.name, batch.key) == (["a", "b"], ["a-key", "b-key"])
    assert batch.event is None
    assert len(batch) == 2


def test_names_of_speechbrain():
    batch = collate([clip(4, 1, "a"), clip(2, 0, "b")])
    waveform, shares = batch.sig
    assert torch.equal(waveform, batch.waveform)
    assert shares.tolist() == [1.0, 0.5]
    assert batch.id == ["a", "b"]
    classes, _ = batch.class_string_encoded
    assert classes.tolist() == batch.class_string_encoded.data.tolist() == [[1], [0]]


def test_a_batch_of_speechbrain_becomes_a_batch():
    batch = collate([clip(4, 1, "a"), clip(2, 0, "b")])
    assert batch_of(batch) is batch
    foreign = types.SimpleNamespace(sig=batch.sig, id=batch.id, class_string_encoded=batch.class_string_encoded)
    converted = batch_of(foreign)
    assert converted.lengths.tolist() == [4, 2]
    assert converted.target.tolist() == [1, 0]
    assert converted.padded
    assert batch_of(types.SimpleNamespace(sig=batch.sig)).target.tolist() == [-1, -1]


def test_shorter_clips_are_padded_with_zeros():
    batch = collate([clip(2), clip(4), clip(3)])
    assert batch.padded
    assert batch.lengths.tolist() == [2, 4, 3]
    assert batch.waveform.tolist() == [[1, 2, 0, 0], [1, 2, 3, 4], [1, 2, 3, 0]]


def test_sig_is_the_pair_of_speechbrain():
    waveform, relative = (batch := collate([clip(2), clip(4)])).sig
    assert waveform is batch.waveform
    assert relative.tolist() == [0.5, 1.0]


def test_events_are_kept_where_every_clip_has_one():
    batch = collate([clip(2, event=True), clip(4, event=True)])
    assert torch.equal(batch.event, batch.waveform / 2)
    assert collate([clip(2, event=True), clip(4)]).event is None


def test_clip_files_read_through_the_cache(tmp_path, write_sound, cache_folder):
    paths = [write_sound(tmp_path / f"{number}.wav", seed=number) for number in range(3)]
    clips = ClipFiles([ClipFile(path, 7) for path in paths], 16_000, ArrayCache(cache_folder / "clips"))
    assert clips.missing() == [0, 1, 2]
    assert clips[1].waveform.shape == (1600,)
    assert clips.missing() == [0, 2]
    fill_cache(clips)
    assert clips.missing() == []
    assert clips[2].name == "2"
    assert clips[2].target == 7
    clips[2].waveform[:] = 0  # a copy: the cache does not change
    assert clips[2].waveform.abs().max() == 1
    assert (cache_folder / "clips").is_dir()


def test_fill_cache_names_the_damaged_file(tmp_path, write_sound):
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    files = [write_sound(tmp_path / "good.wav"), tmp_path / "bad.wav"]
    with pytest.raises(AudioError, match=r"bad\.wav"):
        fill_cache(ClipFiles([ClipFile(path, 0) for path in files], 16_000, ArrayCache(tmp_path)), progress=False)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.wav", "b.wav"], ["a", "b"]),
        (["x/dog/a.wav", "y/dog/a.wav"], ["x-dog-a", "y-dog-a"]),
        (["a.wav", "a.flac"], ["a.wav", "a.flac"]),
        (["a.wav", "a.wav"], ["a", "a-2"]),
        ([], []),
    ],
)
def test_names_are_unique_and_short(paths, names):
    assert unique_names([Path(path) for path in paths]) == names


def bad_folder(tmp_path):
    """Two classes of four clips; one file is empty, and one is no sound."""
    for label in ("dog", "rain"):
        for take in range(4):
            path = tmp_path / "clips" / label / f"{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.full(800, 0.1 * (take + 1)), 16_000)
    (tmp_path / "clips" / "dog" / "1.wav").write_bytes(b"")
    (tmp_path / "clips" / "rain" / "2.wav").write_bytes(b"text")
    return tmp_path / "clips"


def test_all_bad_files_are_listed_at_once_or_left_out(tmp_path, capsys):
    options = {"valid_share": 0.25, "test_share": 0.25, "cache_folder": tmp_path / "cache"}
    data = AudioFolder(bad_folder(tmp_path), **options)
    with pytest.raises(AudioError, match=r"2 files cannot be used; .*--data\.skip_bad true") as caught:
        data.prepare_data()
    assert all(name in str(caught.value) for name in ("dog/1.wav: is empty", "rain/2.wav: not a sound file"))
    data = AudioFolder(bad_folder(tmp_path), skip_bad=True, **options)
    data.prepare_data()
    sets = (data.train_set, data.valid_set, data.test_set)
    paths = [str(file.path) for clips in sets for file in clips.files]
    assert len(paths) == 6
    assert not any(path.endswith(("dog/1.wav", "rain/2.wav")) for path in paths)
    assert sum(len(list(clips)) for clips in sets) == 6
    assert "2 files cannot be used and left out" in capsys.readouterr().err
