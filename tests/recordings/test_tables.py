"""Tables of events, read back by our own reader of labels and by packages that others use."""

import csv
import json
import sys

import pytest

from otoscope.data.segments import is_audacity_labels, is_raven_table, read_segments
from otoscope.errors import MissingExtraError
from otoscope.recordings import TABLES, Event, write_table
from otoscope.recordings.tables import DEFAULT_TABLES, check_tables

HIGHEST_HZ = 8000.0
LABELS = ["dog", "großer Brachvogel, Ruf", 'dog "alarm" call']


@pytest.fixture
def table(tmp_path, events):
    """Function that writes a kind of table and returns its path."""
    return lambda kind: write_table(events, tmp_path / TABLES[kind].name, kind, HIGHEST_HZ)


@pytest.mark.parametrize("kind", ["raven", "audacity"])
def test_labels_can_be_trained_on(table, events, kind):
    segments = read_segments(table(kind))
    assert [segment.label for segment in segments] == LABELS
    for segment, event in zip(segments, events, strict=True):
        assert segment.begin_s == pytest.approx(event.begin_s, abs=1e-5)
        assert segment.end_s == pytest.approx(event.end_s, abs=1e-5)
        assert segment.filename == ("night 1.wav" if kind == "raven" else "")


def test_tables_are_recognised(table):
    assert is_raven_table(table("raven").read_text(encoding="utf-8"))
    assert is_audacity_labels(table("audacity").read_text(encoding="utf-8"))


def test_csv(table, events):
    with table("csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [event.label for event in events]
    assert {name: rows[0][name] for name in ("file", "begin_s", "low_hz", "confidence", "area", "verdict")} == {
        "file": "field/night 1.wav",
        "begin_s": "12.5",
        "low_hz": "210.4",
        "confidence": "0.974",
        "area": "0.031",
        "verdict": "supported",
    }
    assert (rows[1]["low_hz"], rows[1]["p_evidence"], rows[1]["verdict"]) == ("", "", "")


def test_json_lines(table, events):
    lines = [json.loads(line) for line in table("jsonl").read_text(encoding="utf-8").splitlines()]
    assert [Event(**line) for line in lines] == events


def test_parquet(table, events):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    columns = parquet.read_table(table("parquet")).to_pylist()
    assert columns == [event.row() for event in events]
    empty = write_table([], table("csv").with_name("empty.parquet"), "parquet", HIGHEST_HZ)
    assert parquet.read_table(empty).schema.names == list(events[0].row())


def test_parquet_without_pyarrow_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_tables(DEFAULT_TABLES)
    with pytest.raises(MissingExtraError, match=r"otoscope\[tables\]"):
        check_tables(["csv", "parquet"])


@pytest.mark.filterwarnings("ignore")  # crowsetta calls what pandas deprecates
def test_raven_is_read_by_crowsetta(table, events):
    crowsetta = pytest.importorskip("crowsetta", reason="crowsetta is not installed")
    boxes = crowsetta.formats.bbox.Raven.from_file(table("raven"), annot_col="Annotation").to_bbox()
    assert [box.label for box in boxes] == LABELS
    assert [box.onset for box in boxes] == pytest.approx([event.begin_s for event in events], abs=1e-5)
    assert [box.low_freq for box in boxes] == [210.4, 0, 0]
    assert [box.high_freq for box in boxes] == [1500, HIGHEST_HZ, 1500]


@pytest.mark.filterwarnings("ignore")
def test_audacity_labels_are_read_by_crowsetta(table, events):
    crowsetta = pytest.importorskip("crowsetta", reason="crowsetta is not installed")
    boxes = crowsetta.formats.bbox.AudBBox.from_file(table("audacity")).to_bbox()
    assert [box.label for box in boxes] == LABELS
    assert [box.offset for box in boxes] == pytest.approx([event.end_s for event in events], abs=1e-5)
    assert [box.high_freq for box in boxes] == [1500, HIGHEST_HZ, 1500]


@pytest.mark.parametrize("kind", DEFAULT_TABLES)
def test_without_events_there_is_a_table(tmp_path, kind):
    text = write_table([], tmp_path / "empty", kind, HIGHEST_HZ).read_text()
    assert text.count("\n") == (kind in ("raven", "csv"))


def test_names_of_bytes_that_are_no_text(tmp_path):
    event = Event("n\udcff.wav", "dog", 0, 1, 0.9, 0.9, 0, 1)
    for kind in DEFAULT_TABLES:
        assert b"ff" in write_table([event], tmp_path / kind, kind, HIGHEST_HZ).read_bytes() or kind == "audacity"


@pytest.mark.parametrize(
    "name", ["a b.wav", 'it\'s "q".wav', "größe 鸟.wav", "two\nlines.wav", "tab\tx,;.wav", "=1+1.wav"]
)
def test_one_event_is_one_row_whatever_the_file_is_called(tmp_path, name):
    event = Event(name, "dog", 1.0, 2.0, 0.9, 0.9, 1.0, 2.0)
    paths = {kind: write_table([event], tmp_path / table.name, kind, HIGHEST_HZ) for kind, table in TABLES.items()}
    with paths["csv"].open(encoding="utf-8", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [name]
    assert [json.loads(line)["file"] for line in paths["jsonl"].read_text(encoding="utf-8").splitlines()] == [name]
    with paths["raven"].open(encoding="utf-8", newline="") as file:  # cells of Raven hold no tabs and no line ends
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["Begin File"] for row in rows] == [" ".join(name.split())]
    assert len(paths["audacity"].read_text(encoding="utf-8").splitlines()) == 2
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert parquet.read_table(paths["parquet"]).column("file").to_pylist() == [name]


@pytest.mark.parametrize("label", ["a/b", "..", "x" * 300, "dog\n", "犬"])
def test_names_of_files_are_one_part_of_a_path(tmp_path, label):
    name = Event("a.wav", label, 1, 2, 0.9, 0.9, 1, 2).name(1)
    (tmp_path / f"{name}.png").touch()
    assert name.startswith("0001_")
    assert name.endswith("_0.90_00h00m01.00s")
