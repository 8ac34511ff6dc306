"""Selection tables of Raven and label files of Audacity, read as crowsetta reads them."""

import random

import pytest

from otoscope.data.segments import read_segments

# crowsetta uses options of pandas that newer versions are about to remove
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

LABELS = ["wren", "owl, tawny", "Großtrappe", "call 2"]
RAVEN_COLUMNS = [
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
]


@pytest.fixture
def crowsetta():
    return pytest.importorskip("crowsetta", reason="crowsetta is not installed: pip install otoscope[parity]")


@pytest.fixture
def rows():
    """Begin, end, lowest and highest frequency, and label of forty segments, which overlap as calls do."""
    generator = random.Random(0)
    begins = sorted(round(generator.uniform(0, 600), 6) for _ in range(40))
    return [
        (
            begin,
            round(begin + generator.uniform(0.01, 5), 6),
            round(generator.uniform(100, 900), 3),
            round(generator.uniform(1000, 8000), 3),
            generator.choice(LABELS),
        )
        for begin in begins
    ]


def read(path):
    return [(segment.begin_s, segment.end_s, segment.label) for segment in read_segments(path)]


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def boxes(annotation):
    return [(float(box.onset), float(box.offset), box.label) for box in annotation.to_annot().bboxes]


@pytest.mark.parametrize("column", ["Annotation", "Species", "Call Type"])
@pytest.mark.parametrize("views", [("Spectrogram 1",), ("Waveform 1", "Spectrogram 1")])
def test_raven(crowsetta, rows, tmp_path, column, views):
    lines = ["\t".join([*RAVEN_COLUMNS, column])]
    for number, (begin, end, low, high, label) in enumerate(rows, start=1):
        lines += [f"{number}\t{view}\t1\t{begin}\t{end}\t{low}\t{high}\t{label}" for view in views]
    path = write(tmp_path / "morning.Table.1.selections.txt", lines)
    expected = boxes(crowsetta.formats.by_name("raven").from_file(path, annot_col=column))
    # crowsetta returns the row of each view, we one segment for each selection
    assert read(path) == expected[:: len(views)]
    assert len(expected) == len(rows) * len(views)


def test_audacity(crowsetta, rows, tmp_path):
    path = write(tmp_path / "morning.txt", [f"{begin:.6f}\t{end:.6f}\t{label}" for begin, end, *_, label in rows])
    sequence = crowsetta.formats.by_name("aud-seq").from_file(path).to_seq(round_times=False)
    expected = [(float(part.onset_s), float(part.offset_s), part.label) for part in sequence.segments]
    assert read(path) == expected == [(begin, end, label) for begin, end, *_, label in rows]


def test_audacity_with_frequencies(crowsetta, rows, tmp_path):
    lines = []
    for begin, end, low, high, label in rows:
        lines += [f"{begin:.6f}\t{end:.6f}\t{label}", f"\\\t{low:.6f}\t{high:.6f}"]
    path = write(tmp_path / "morning.txt", lines)
    assert read(path) == boxes(crowsetta.formats.by_name("aud-bbox").from_file(path))
