"""ESC-50: tiny data sets in its layout, malformed ones, and the real ESC-10 where it is installed."""

import os
from pathlib import Path

import pytest
import soundfile
import torch

import otoscope.data.clips
from otoscope.data import ESC50
from otoscope.data.esc50 import read_metadata
from otoscope.errors import AudioError, ConfigurationError, DataError

REPOSITORY = Path(__file__).parents[2]
ESC10 = Path(os.environ.get("OTOSCOPE_ESC10", REPOSITORY.parent / "shared" / "esc10"))


def prepared(folder, **options):
    data = ESC50(folder, download=False, **options)
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture
def decoded(monkeypatch):
    """Names of the decoded files, in order."""
    paths = []
    original = otoscope.data.clips.load_audio

    def load(path, *rest):
        paths.append(Path(path).name)
        return original(path, *rest)

    monkeypatch.setattr(otoscope.data.clips, "load_audio", load)
    return paths


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".aiff"])
def test_a_subset_of_classes_in_any_format(make_esc50, suffix):
    data = prepared(make_esc50(suffix=suffix))
    assert data.labels == ["dog", "sneezing", "helicopter"]  # by target, not by alphabet
    assert [len(part) for part in (data.train_set, data.valid_set, data.test_set)] == [9, 3, 3]
    assert [clip.target for clip in data.test_set] == [0, 1, 2]
    clip = data.train_set[1]
    assert clip.name == "1-1001-A-21"
    assert clip.target == 1
    assert clip.waveform.shape == (1600,)
    assert clip.waveform.dtype == torch.float32
    assert clip.waveform.abs().max().item() == pytest.approx(1)
    assert clip.event is None


def test_other_rates_are_resampled(make_esc50):
    folder = make_esc50(samples=4410, sample_rate_hz=44_100)
    assert prepared(folder).train_set[0].waveform.shape == (1600,)
    assert prepared(folder, sample_rate_hz=8000).train_set[0].waveform.shape == (800,)


def test_folds_are_options(make_esc50):
    data = prepared(make_esc50(), train_folds=[5, 4], valid_folds=[1], test_folds=[2])
    assert {clip.name[0] for clip in data.train_set} == {"4", "5"}
    assert {clip.name[0] for clip in data.valid_set} == {"1"}
    assert {clip.name[0] for clip in data.test_set} == {"2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_folds": [3]}, "valid_folds: fold 3 is in train_folds too; a clip may be in one set only"),
        ({"test_folds": [4]}, "test_folds: fold 4 is in valid_folds too"),
        ({"test_folds": [5, 1]}, "test_folds: fold 1 is in train_folds too"),
        ({"train_folds": [1, 2, 1]}, "train_folds: fold 1 is listed twice"),
        ({"train_folds": [1, 6]}, r"train_folds: there is no fold 6 in .*ESC-50-master, .* \[1, 2, 3, 4, 5\]"),
        ({"valid_folds": []}, r"valid_folds: is empty; give one or more of the folds \[1, 2, 3, 4, 5\]"),
    ],
)
def test_wrong_folds_are_refused(make_esc50, decoded, options, message):
    with pytest.raises(ConfigurationError, match=message):
        prepared(make_esc50(), **options)
    assert decoded == []


def test_a_share_of_the_training_clips_is_held_back(make_esc50):
    options = {"train_folds": [1, 2, 3, 4], "valid_folds": [], "test_folds": [], "valid_share": 0.25}
    folder = make_esc50()
    data = prepared(folder, **options)
    names = [{clip.name for clip in part} for part in (data.train_set, data.valid_set, data.test_set)]
    assert [len(part) for part in names] == [9, 3, 3]
    assert not names[0] & names[1]
    assert names[1] == names[2]
    assert {clip.target for clip in data.valid_set} == {0, 1, 2}
    assert {clip.name for clip in prepared(folder, **options).valid_set} == names[1]
    assert {clip.name for clip in prepared(folder, **options, seed=2).valid_set} != names[1]


def test_held_back_clips_join_the_validation_folds(make_esc50):
    data = prepared(make_esc50(), train_folds=[1, 2, 3], valid_folds=[4], valid_share=0.3)
    assert [len(part) for part in (data.train_set, data.valid_set, data.test_set)] == [6, 6, 3]
    with pytest.raises(ConfigurationError, match=r"valid_share: 1.0 must lie in \[0, 1\)"):
        ESC50("nowhere", valid_share=1.0)


def test_clips_name_the_recording_that_they_were_cut_from(make_esc50):
    folder = make_esc50()
    table = folder / "meta" / "esc50.csv"
    assert [clip.recording for clip in prepared(folder).test_set] == ["1012", "1013", "1014"]
    # other data in this layout may lack the column: each clip is then a recording
    table.write_text(table.read_text().replace("src_file", "note"))
    without = prepared(folder).test_set
    assert [clip.recording for clip in without] == [file.path.name for file in without.files]


def test_labels_of_chosen_classes_are_contiguous(make_esc50):
    data = prepared(make_esc50(), classes=["helicopter", "dog"])
    assert data.labels == ["dog", "helicopter"]
    assert sorted(clip.target for clip in data.train_set) == [0, 0, 0, 1, 1, 1]


def test_unknown_classes_are_refused(make_esc50):
    with pytest.raises(ConfigurationError, match=r"classes: dragon not in .*; there are dog, helicopter, sneezing"):
        prepared(make_esc50(), classes=["dog", "dragon"])


def test_each_clip_is_decoded_once(make_esc50, decoded):
    folder = make_esc50()
    data = prepared(folder)
    first = data.train_set[0]
    assert len(decoded) == 15
    again = prepared(folder)
    assert len(decoded) == 15
    assert torch.equal(again.train_set[0].waveform, first.waveform)
    assert again.train_set[0].key == first.key


def test_a_changed_file_is_decoded_again_and_its_old_array_removed(make_esc50, decoded, write_sound, cache_folder):
    folder = make_esc50()
    old = prepared(folder).train_set[0]
    write_sound(folder / "audio" / "1-1000-A-0.wav", seed=77, samples=800)
    decoded.clear()
    new = prepared(folder).train_set[0]
    assert decoded == ["1-1000-A-0.wav"]
    assert new.key != old.key
    assert new.waveform.shape == (800,)
    assert len(list((cache_folder / "clips").iterdir())) == 15


def test_cache_folder_is_an_option(make_esc50, tmp_path, cache_folder):
    prepared(make_esc50(), cache_folder=tmp_path / "elsewhere")
    assert len(list((tmp_path / "elsewhere" / "clips").iterdir())) == 15
    assert not cache_folder.exists()


def test_setup_alone_is_enough_in_another_process(make_esc50):
    data = ESC50(make_esc50())
    data.setup("fit")
    assert len(data.train_set) == 9


def test_absent_folder_without_download(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such data folder, and download is off"):
        prepared(tmp_path / "nowhere")


def test_absent_folder_is_downloaded_once(tmp_path, make_esc50, monkeypatch):
    fetched = []

    def fetch(folder):
        fetched.append(folder)
        make_esc50(name=Path(folder).name)

    monkeypatch.setattr(otoscope.data.esc50, "fetch_esc50", fetch)
    data = ESC50(tmp_path / "fetched")
    data.prepare_data()
    assert fetched == [tmp_path / "fetched"]
    data.prepare_data()
    assert len(fetched) == 1


def test_a_folder_with_other_files_is_not_written_to(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("mine")
    with pytest.raises(
        DataError, match=r"thesis: has no meta/esc50.csv; give the folder that holds meta and audio"
    ):
        ESC50(tmp_path / "thesis").prepare_data()
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.txt"]


def test_listed_audio_that_does_not_exist(make_esc50):
    folder = make_esc50()
    (folder / "audio" / "3-1006-A-0.wav").unlink()
    with pytest.raises(DataError, match=r"3-1006-A-0\.wav: listed in meta/esc50.csv, but missing"):
        prepared(folder)


def test_audio_that_is_deleted_after_preparation(make_esc50):
    folder = make_esc50()
    data = prepared(folder)
    (folder / "audio" / "1-1000-A-0.wav").unlink()
    with pytest.raises(DataError, match=r"1-1000-A-0\.wav: listed in the data set, but cannot be read"):
        data.train_set[0]


@pytest.mark.parametrize("content", [b"", b"RIFF without content"], ids=["empty", "not audio"])
def test_corrupt_audio_names_the_file(make_esc50, content):
    folder = make_esc50()
    (folder / "audio" / "4-1010-A-21.wav").write_bytes(content)
    with pytest.raises(AudioError, match=r"4-1010-A-21\.wav"):
        prepared(folder)


def metadata(tmp_path, text, **options):
    path = tmp_path / "esc50.csv"
    path.write_text(text, **options)
    return read_metadata(path)


HEADER = "filename,fold,target,category\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no clips"),
        (HEADER, "lists no clips"),
        ("filename,target,category\na.wav,0,dog\n", "has no column fold"),
        ("name\na.wav\n", "has no column category, filename, fold, target"),
        (HEADER + "a.wav,1,0,dog\nb.wav,first,0,dog\n", "line 3: filename, fold, target or category"),
        (HEADER + "a.wav,1,-2,dog\n", "line 2"),
        (HEADER + "a.wav,1,\u00b2,dog\n", "line 2"),
        (HEADER + "a.wav,1\n", "line 2"),
        (HEADER + ",1,0,dog\n", "line 2"),
        (HEADER + "a.wav,1,0,\n", "line 2"),
        (HEADER + "a.wav,1,0\n", "line 2"),
    ],
)
def test_error_names_the_line_of_malformed_metadata(tmp_path, text, message):
    with pytest.raises(DataError, match=rf"esc50\.csv.*{message}"):
        metadata(tmp_path, text)


def test_metadata_of_spreadsheets_is_read(tmp_path):
    rows = metadata(tmp_path, "\ufeff" + HEADER + "a.wav,1,0,chien é\n", encoding="utf-8")
    assert rows == [{"filename": "a.wav", "fold": "1", "target": "0", "category": "chien é"}]


def test_metadata_that_is_not_text(tmp_path):
    (tmp_path / "esc50.csv").write_bytes(b"RIFF\x00\x80")
    with pytest.raises(DataError, match=r"esc50\.csv: cannot be read"):
        read_metadata(tmp_path / "esc50.csv")


@pytest.mark.skipif(
    not (ESC10 / "meta" / "esc50.csv").is_file(), reason=f"no ESC-10 in {ESC10}; set OTOSCOPE_ESC10"
)
def test_real_esc10(decoded, cache_folder):
    folds = {"train_folds": [1, 2], "valid_folds": [3], "test_folds": [4]}
    data = prepared(ESC10, **folds)
    sets = (data.train_set, data.valid_set, data.test_set)
    assert [len(part) for part in sets] == [160, 80, 80]
    assert len(data.labels) == 10
    assert data.labels[:3] == ["dog", "rooster", "rain"]
    assert len(decoded) == 320
    for part, count in zip(sets, (16, 8, 8), strict=True):
        targets = [file.target for file in part.files]
        assert [targets.count(target) for target in range(10)] == [count] * 10
    info = [soundfile.info(str(file.path)) for part in sets for file in part.files]
    expected = [round(header.frames * 16_000 / header.samplerate) for header in info]
    lengths = [len(clip.waveform) for part in sets for clip in part]
    assert max(abs(length - other) for length, other in zip(lengths, expected, strict=True)) <= 1
    assert sum(80_000 <= length < 80_100 for length in lengths) > 300  # the others are shorter or longer
    for batch in data.test_dataloader():
        assert batch.waveform.shape[-1] == batch.lengths.max()
        assert batch.waveform.abs().amax(-1).max() <= 1
        assert batch.waveform.isfinite().all()
    prepared(ESC10, **folds)
    assert len(decoded) == 320
