"""Segments that Raven and Audacity label: cut out of their recordings."""

import pytest
import torch

from otoscope.audio import load_audio, save_audio
from otoscope.data import AudioFolder
from otoscope.data.segments import load_segment, read_segments
from otoscope.errors import AudioError, DataError

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\n"


@pytest.fixture
def morning(tmp_path):
    """Create a recording of 4 s whose samples rise, so that each shows where it was cut."""
    save_audio(tmp_path / "morning.wav", torch.linspace(0, 1, 32_000), 8000)
    return tmp_path


def prepared(folder, **options):
    data = AudioFolder(folder, sample_rate_hz=8000, cache_folder=folder / ".cache", **options)
    data.prepare_data()
    data.setup("fit")
    return data


def test_labels_of_audacity_are_cut_out(morning):
    rows = [f"{0.5 * n:.6f}\t{0.5 * n + 0.25:.6f}\t{'owl' if n % 2 else 'wren'}" for n in range(8)]
    rows.insert(1, "\\\t200.0\t900.0")  # frequencies of the label above
    rows.append("3.9\t3.9\tpoint")
    (morning / "morning.txt").write_text("\n".join(rows) + "\n")
    (morning / "notes.txt").write_text("what we heard\n")
    data = prepared(morning)
    assert data.labels == ["owl", "wren"]
    clips = [clip for part in (data.train_set, data.valid_set, data.test_set) for clip in part]
    assert sorted(clip.name for clip in clips)[:2] == ["morning-0.000-0.250", "morning-0.500-0.750"]
    assert len(clips) == 8
    assert {len(clip.waveform) for clip in clips} == {2000}
    assert len({clip.key for clip in clips}) == 8


def test_selections_of_raven_are_cut_out(morning):
    rows = [
        f"{n + 1}\t{view}\t1\t{0.5 * n}\t{0.5 * n + 0.25}\t100\t900\t{'owl' if n % 2 else 'wren'}"
        for n in range(8)
        for view in ("Waveform 1", "Spectrogram 1")  # Raven writes each selection once for each view
    ]
    (morning / "morning.Table.1.selections.txt").write_text(RAVEN + "\n".join(rows))
    data = prepared(morning, csv_file="morning.Table.1.selections.txt")
    clips = [file for part in (data.train_set, data.valid_set, data.test_set) for file in part.files]
    assert sorted((file.begin_s, file.end_s, data.labels[file.target]) for file in clips) == [
        (0.5 * n, 0.5 * n + 0.25, "owl" if n % 2 else "wren") for n in range(8)
    ]
    assert prepared(morning).labels == ["owl", "wren"]  # found beside its recording


def test_raven_tables_of_several_sounds_count_from_each_sound(morning):
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tFile Offset (s)\tSpecies\n"
    (morning / "all.txt").write_text(header + "1\t100.5\t101.0\tC:\\sounds\\morning.wav\t0.5\twren\n")
    (segment,) = read_segments(morning / "all.txt")
    assert (segment.begin_s, segment.end_s, segment.filename) == (0.5, 1.0, "morning.wav")


def test_a_segment_equals_that_part_of_the_recording(morning):
    segment = load_segment(morning / "morning.wav", 1.0, 1.5, 8000)
    torch.testing.assert_close(segment, load_audio(morning / "morning.wav", 8000)[8000:12_000])
    assert len(load_segment(morning / "morning.wav", 1.0, 1.5, 16_000)) == 8000


def test_a_csv_may_have_segments(morning):
    rows = [f"morning.wav;{n / 2};{n / 2 + 0.2};{'owl' if n % 2 else 'wren'}" for n in range(6)]
    (morning / "list.csv").write_text("\n".join(["file;start;end;label", *rows]))
    data = prepared(morning)
    assert {len(clip.waveform) for part in (data.train_set, data.valid_set, data.test_set) for clip in part} == {
        1600
    }


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (
            RAVEN.replace("\tAnnotation", "") + "1\tW\t1\t0\t1\t0\t1\n",
            DataError,
            "has no column label; it has Selection",
        ),
        (RAVEN + "1\tW\t1\t2.0\t1.0\t0\t1\twren\n", DataError, "line 2: begins at 2 s and ends at 1 s"),
        (RAVEN + "1\tW\t1\tx\t1.0\t0\t1\twren\n", DataError, "line 2: begin_s is 'x', expected a number"),
        (
            "3.5\t4.5\twren\n3.6\t4.6\twren\n3.7\t4.7\twren\n",
            AudioError,
            r"ends at 4\.5 s, but the recording at 4\.00 s",
        ),
    ],
)
def test_errors_name_the_line(morning, content, error, message):
    (morning / "morning.txt").write_text(content)
    with pytest.raises(error, match=message):
        prepared(morning, csv_file="morning.txt")


def test_a_label_file_needs_its_recording(morning):
    (morning / "evening.txt").write_text("0.5\t1.0\twren\n")
    with pytest.raises(DataError, match=r"evening\.txt: names no recording.*call it like its recording"):
        prepared(morning, csv_file="evening.txt")
