"""Review: judgements, undo, the table, and resuming from it."""

import csv
import io

import pytest

from otoscope.app.review import COLUMNS, Review, Reviewed
from otoscope.errors import ConfigurationError, DataError

NAMES = ("a", 'it\'s "quoted", b', "c\nd")


def explanations(names=NAMES):
    return [Reviewed(name, "dog", "rain", 0.25, "PIQ", "partly") for name in names]


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_judging_moves_to_the_next_without_a_judgement():
    review = Review(explanations())
    assert review.first == 0
    assert review.judge(1, "wrong") == 2
    assert review.judge(2, "right") == 0
    assert review.judge(0, "unsure") == 0  # all are judged
    assert review.counts() == {"right": 1, "wrong": 1, "unsure": 1}
    assert review.first == 0


def test_undo_restores_what_was_there():
    review = Review(explanations())
    review.judge(0, "right")
    review.judge(0, "wrong")
    review.judge(2, "unsure")
    assert (review.undo(), review.judgements) == (2, {0: "wrong"})
    assert (review.undo(), review.judgements) == (0, {0: "right"})
    assert (review.undo(), review.judgements) == (0, {})
    assert review.undo() is None


def test_table_has_a_line_for_each_explanation():
    review = Review(explanations())
    review.judge(1, "wrong")
    table = rows(review.csv())
    assert tuple(table[0]) == COLUMNS
    assert [row["name"] for row in table] == list(NAMES)
    assert [row["judgement"] for row in table] == ["", "wrong", ""]
    assert (table[1]["label"], table[1]["predicted"], table[1]["p"]) == ("dog", "rain", "0.250000")


def test_file_is_written_after_each_judgement_and_resumed(tmp_path):
    path = tmp_path / "review.csv"
    review = Review(explanations(), path)
    assert not path.exists()
    review.judge(0, "right")
    review.judge(2, "unsure")
    resumed = Review(explanations(), path)
    assert resumed.judgements == {0: "right", 2: "unsure"}
    assert resumed.first == 1
    review.undo()
    assert [row["judgement"] for row in rows(path.read_text())] == ["right", "", ""]


def test_file_of_other_explanations_is_not_overwritten(tmp_path):
    path = tmp_path / "review.csv"
    Review(explanations(), path).judge(0, "right")
    before = path.read_text()
    with pytest.raises(ConfigurationError, match="is no table of these explanations"):
        Review(explanations(["other", "b", "c"]), path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        Review(explanations(), path)
    assert "right" in before


@pytest.mark.parametrize(("index", "judgement"), [(3, "right"), (-1, "right"), (0, "perhaps")])
def test_judgement_that_does_not_exist_is_refused(index, judgement):
    with pytest.raises(ConfigurationError, match="there is no explanation"):
        Review(explanations()).judge(index, judgement)
