"""All clips of a data folder, whatever its layout."""

import pytest
import torch

from otoscope.audio import save_audio
from otoscope.audit.data import read_clips
from otoscope.errors import ConfigurationError


def test_all_folds_of_esc50_or_some(esc50, tmp_path):
    every = read_clips(esc50, 16_000, cache_folder=tmp_path)
    assert len(every.clips) == 30
    assert sorted(every.labels) == ["dog", "helicopter", "rain"]
    some = read_clips(esc50, 16_000, folds=[2, 3], cache_folder=tmp_path)
    assert sorted({some.clips[index].name[0] for index in range(len(some.clips))}) == ["2", "3"]
    with pytest.raises(ConfigurationError, match=r"9 not in .* 1, 2, 3, 4, 5"):
        read_clips(esc50, 16_000, folds=[9], cache_folder=tmp_path)


def test_folders_and_tables(tmp_path):
    data = tmp_path / "data"
    for label in ("bird", "frog"):
        for number in range(3):
            save_audio(data / label / f"{label}{number}.wav", 0.1 * torch.randn(800))
    assert len(read_clips(data, 16_000, cache_folder=tmp_path / "cache").clips) == 6
    rows = [f"{label}/{label}{n}.wav,{label},{n + 1}" for label in ("bird", "frog") for n in range(3)]
    (data / "table.csv").write_text("\n".join(["filename,label,fold", *rows]))
    listed = read_clips(data, 16_000, "table.csv", cache_folder=tmp_path / "cache")
    assert len(listed.clips) == 6
    assert len(read_clips(data, 16_000, "table.csv", [1], cache_folder=tmp_path / "cache").clips) == 2
    with pytest.raises(ConfigurationError, match="no folds"):
        read_clips(data, 16_000, folds=[1], cache_folder=tmp_path / "cache")


def test_annotated_recordings_are_cut_into_clips(tmp_path):
    data = tmp_path / "data"
    save_audio(data / "night.wav", 0.1 * torch.randn(32_000))
    (data / "night.txt").write_text("0.2\t0.6\tbird\n1.1\t1.9\tfrog\n")
    clips = read_clips(data, 16_000, annotations="night.txt", clip_s=1.0, cache_folder=tmp_path / "cache")
    assert clips.labels == ["bird", "frog"]
    assert [clips.clips[index].annotations[0].label for index in range(2)] == ["bird", "frog"]
