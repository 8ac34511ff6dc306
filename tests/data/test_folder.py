"""The user's own recordings: three layouts, and errors about malformed ones."""

import pytest

from otoscope.data import AudioFolder
from otoscope.errors import AudioError, ConfigurationError, DataError


def prepared(folder, **options):
    data = AudioFolder(folder, **options)
    data.prepare_data()
    data.setup("fit")
    return data


def names(clips):
    return [file.path.relative_to(file.path.parents[1]).as_posix() for file in clips.files]


@pytest.fixture
def by_class(tmp_path, write_sound):
    for label in ("wren", "owl"):
        for number in range(6):
            write_sound(tmp_path / "birds" / label / f"{number}.wav", seed=number)
    (tmp_path / "birds" / "owl" / "notes.txt").write_text("no sound")
    write_sound(tmp_path / "birds" / "owl" / ".hidden.wav")
    write_sound(tmp_path / "birds" / ".trash" / "0.wav")
    return tmp_path / "birds"


def test_class_folders_are_divided_by_class_and_seed(by_class):
    data = prepared(by_class)
    assert data.labels == ["owl", "wren"]
    sets = (data.train_set, data.valid_set, data.test_set)
    assert [len(part) for part in sets] == [8, 2, 2]
    assert all({file.target for file in part.files} == {0, 1} for part in sets)
    everything = [name for part in sets for name in names(part)]
    assert sorted(everything) == sorted(f"{label}/{n}.wav" for label in ("owl", "wren") for n in range(6))
    assert names(prepared(by_class).train_set) == names(data.train_set)
    assert names(prepared(by_class, seed=7).train_set) != names(data.train_set)


def test_shares_are_options(by_class):
    data = prepared(by_class, valid_share=0.34, test_share=0.5)
    assert [len(part) for part in (data.train_set, data.valid_set, data.test_set)] == [2, 4, 6]


def test_clips_carry_their_sound(by_class):
    clip = prepared(by_class).train_set[0]
    assert clip.waveform.shape == (1600,)
    assert clip.waveform.abs().max().item() == pytest.approx(1)


def test_folders_named_after_the_splits(tmp_path, write_sound):
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        for label in ("wren", "owl"):
            for number in range(count):
                write_sound(tmp_path / "birds" / split / label / "site" / f"{number}.flac", seed=number)
    data = prepared(tmp_path / "birds")
    assert data.labels == ["owl", "wren"]
    assert [len(part) for part in (data.train_set, data.valid_set, data.test_set)] == [6, 4, 2]


def test_a_test_set_alone_is_enough_for_a_test(tmp_path, write_sound):
    for label in ("wren", "owl"):
        write_sound(tmp_path / "birds" / "test" / label / "0.flac")
    data = AudioFolder(tmp_path / "birds")
    data.prepare_data()
    data.setup("test")
    assert data.labels == ["owl", "wren"]
    assert len(data.test_set) == 2
    with pytest.raises(DataError, match="birds: there are no clips for train, valid"):
        data.setup("fit")


def test_a_class_may_be_called_test(tmp_path, write_sound):
    for label in ("test", "owl"):
        for number in range(3):
            write_sound(tmp_path / "birds" / label / f"{number}.flac", seed=number)
    assert prepared(tmp_path / "birds").labels == ["owl", "test"]


@pytest.fixture
def listed(tmp_path, write_sound):
    """Create recordings in one folder, and return a function that writes a list of them."""
    folder = tmp_path / "recordings"
    for number in range(6):
        write_sound(folder / "2024" / f"{number}.wav", seed=number)

    def write(header, *cells, name="list.csv"):
        lines = [f"2024/{n}.wav,{'owl' if n % 2 else 'wren'}{cell}" for n, cell in enumerate(cells)]
        (folder / name).write_text("\n".join([header, *lines]) + "\n")
        return folder

    return write


def test_csv_with_a_split(listed):
    folder = listed("filename,label,split", ",train", ",train", ",valid", ",val", ",test", ",validation")
    data = prepared(folder, csv_file="list.csv")
    assert data.labels == ["owl", "wren"]
    assert names(data.train_set) == ["2024/0.wav", "2024/1.wav"]
    assert names(data.valid_set) == ["2024/2.wav", "2024/3.wav", "2024/5.wav"]
    assert names(data.test_set) == ["2024/4.wav"]


def test_csv_with_folds(listed):
    folder = listed("filename,label,fold", ",1", ",1", ",2", ",2", ",3", ",3")
    options = {"train_folds": [1], "valid_folds": [2], "test_folds": [3]}
    data = prepared(folder, csv_file=folder / "list.csv", **options)
    assert names(data.valid_set) == ["2024/2.wav", "2024/3.wav"]
    with pytest.raises(ConfigurationError, match=r"train_folds: there is no fold 4 in .*list\.csv"):
        prepared(folder, csv_file="list.csv", **{**options, "train_folds": [4]})


def test_csv_alone_is_divided_at_random(listed):
    data = prepared(listed("filename,label", *[""] * 6), csv_file="list.csv")
    assert [len(part) for part in (data.train_set, data.valid_set, data.test_set)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("header", "cells", "message"),
    [
        (
            "name,label",
            [""],
            r"has no column filename; it has name, label \(filename may also be called file, path",
        ),
        ("filename,kind", [""], r"has no column label; it has filename, kind \(label may also be called category"),
        ("filename,label", [], "lists no clips"),
        ("filename,label,split", [",train", ",later"], "line 3: split is 'later', expected train, valid or test"),
        ("filename,label,split", [",train", ""], "line 3: split is None"),
        ("filename,label,split", [",train", ",train"], "there are no clips for valid, test"),
        ("filename,label,fold", [",1", ",x"], "line 3: fold is 'x', expected a whole number"),
        ("filename,label,fold", [",1", ",\u00b2"], "line 3: fold is '\u00b2', expected a whole number"),
        (
            "filename,label",
            [""] * 7,
            r"line 8: there is no .*2024/6\.wav; filenames must be relative",
        ),
    ],
)
def test_error_names_the_line_of_a_malformed_csv(listed, header, cells, message):
    folder = listed(header, *cells)
    with pytest.raises(DataError, match=rf"list\.csv.*{message}"):
        prepared(folder, csv_file="list.csv")


def test_csv_with_a_missing_label(listed):
    folder = listed("filename,label")
    (folder / "list.csv").write_text("filename,label\n2024/0.wav,\n")
    with pytest.raises(DataError, match=r"line 2: filename or label is missing"):
        prepared(folder, csv_file="list.csv")


def test_absent_folders_and_files_are_named(tmp_path, listed):
    with pytest.raises(DataError, match="nowhere: no such data folder; check data_folder"):
        prepared(tmp_path / "nowhere")
    folder = listed("filename,label")
    with pytest.raises(DataError, match=r"absent\.csv: cannot be read"):
        prepared(folder, csv_file="absent.csv")


def test_folder_without_sounds(tmp_path):
    (tmp_path / "empty" / "owl").mkdir(parents=True)
    with pytest.raises(DataError, match="empty: no sound files in class-named folders"):
        prepared(tmp_path / "empty")


def test_a_class_with_too_few_clips(by_class, write_sound):
    write_sound(by_class / "kiwi" / "0.wav")
    with pytest.raises(DataError, match="class 'kiwi' has 1 clips; at least three are needed"):
        prepared(by_class)


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.5, 0.5), (0.1, -0.1)])
def test_shares_must_leave_clips_to_train_on(by_class, shares):
    with pytest.raises(ConfigurationError, match="valid_share, test_share"):
        prepared(by_class, valid_share=shares[0], test_share=shares[1])


def test_damaged_recording_is_named(by_class):
    (by_class / "owl" / "3.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"owl/3\.wav"):
        prepared(by_class)


def test_a_list_of_test_clips_alone_is_enough_for_a_test(listed):
    data = AudioFolder(listed("filename,label,split", *[",test"] * 6), csv_file="list.csv")
    data.prepare_data()
    data.setup("test")
    assert len(data.test_set) == 6


@pytest.mark.parametrize(
    ("header", "separator", "encoding"),
    [
        ("filename,label,fold", ",", "utf-8"),
        ("file_name;class;fold", ";", "utf-8-sig"),
        ("Path\tCategory\tFold", "\t", "utf-16"),
        ("File Name,species,fold", ",", "cp1252"),
    ],
)
def test_lists_as_spreadsheets_and_pandas_write_them(tmp_path, write_sound, header, separator, encoding):
    lines = [header]
    for number in range(6):
        write_sound(tmp_path / "birds" / "audio" / f"{number}.wav", seed=number)
        label = "\u00e9toile" if number % 2 else "yes"
        lines.append(separator.join([f"{number}.wav", label, f"{number // 2 + 1}.0"]))
    (tmp_path / "birds" / "list.csv").write_text("\r\n".join(lines), encoding=encoding)
    # The only table of a folder without class-named folders needs no option.
    data = prepared(tmp_path / "birds", train_folds=[1], valid_folds=[2], test_folds=[3])
    assert data.labels == ["yes", "\u00e9toile"]
    assert [file.path.name for file in data.test_set.files] == ["4.wav", "5.wav"]
    again = prepared(tmp_path / "birds" / "list.csv", train_folds=[3], valid_folds=[2], test_folds=[1])
    assert [file.path.name for file in again.test_set.files] == ["0.wav", "1.wav"]


def test_a_broken_line_is_named(listed):
    folder = listed("filename,label", "", ",one,too,many")
    with pytest.raises(DataError, match=r"list\.csv, line 3: has more cells than the header"):
        prepared(folder, csv_file="list.csv")


def test_words_that_yaml_reads_as_other_values_are_labels(tmp_path, write_sound):
    words = ("0", "1.0", "no", "null", "on", "yes")
    for label in words:
        for number in range(3):
            write_sound(tmp_path / "answers" / label / f"{number}.wav", seed=number)
    assert prepared(tmp_path / "answers").labels == list(words)
    # What YAML makes of [no, 0, 1.0, null, owl] without quotes.
    assert prepared(tmp_path / "answers", classes=[False, 0, 1.0, None]).labels == ["0", "1.0", "no", "null"]
    with pytest.raises(ConfigurationError, match="classes: true may be on or yes; put the name in quotes"):
        prepared(tmp_path / "answers", classes=[True])
    with pytest.raises(ConfigurationError, match=r"classes: owl not in .*answers; there are 0, 1\.0, no"):
        prepared(tmp_path / "answers", classes=["owl"])


def test_the_rate_of_the_model_is_adopted_or_refused_before_decoding(by_class):
    (by_class / "owl" / "3.wav").write_bytes(b"no sound")  # decoding would report it
    data = AudioFolder(by_class, sample_rate_hz=16_000)
    with pytest.raises(ConfigurationError, match=r"are to have 16000 Hz, but the model's front-end takes 8000 Hz"):
        data.take_rate(8000)
    data = AudioFolder(by_class, skip_bad=True)
    data.take_rate(8000)
    data.prepare_data()
    assert data.train_set.sample_rate_hz == 8000


def test_clips_name_the_recording_that_they_were_cut_from(listed):
    folder = listed("filename,label,split,fsID", ",test,7", ",test,7", ",test,", ",test,8", ",test,", ",test,8")
    data = AudioFolder(folder, csv_file="list.csv", sample_rate_hz=16_000, cache_folder=folder / ".cache")
    data.prepare_data()
    data.setup("test")
    # a clip without one is the recording itself
    paths = [str(folder / "2024" / name) for name in ("2.wav", "4.wav")]
    assert [clip.recording for clip in data.test_set] == ["7", "7", paths[0], "8", paths[1], "8"]
