"""From records to means, comparisons, CSV and text."""

import csv
import io

import numpy as np
import pytest

from otoscope.evaluation.picture import _rows, draw_curves, draw_table
from otoscope.evaluation.statistics import Sampling
from otoscope.evaluation.table import Block, is_control, is_matched_control, make_table, pairs_csv, table_csv
from otoscope.evaluation.text import format_block, format_sanity

CLIPS = [f"clip{i}" for i in range(30)]
BLOCK = Block("clean", "0.2", "mask")


def _records(drops):
    """Return records of one condition, from the average drop of each method on each clip."""
    return {
        method: {
            clip: {"scores": {"0.2": {"mask": {"AD": value, "MM": 0.2}}, "own": {"mask": {"AD": value}}}}
            for clip, value in zip(CLIPS, values, strict=True)
        }
        for method, values in drops.items()
    }


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    clip = rng.uniform(20, 60, 30)
    drops = {
        "good": clip,
        "nearly": clip + rng.normal(0.2, 3, 30),
        "bad": clip + 5 + rng.normal(0, 1, 30),
        "ideal": clip - 15,
    }
    records = _records(drops)
    records["bad"]["clip0"]["scores"]["0.2"]["mask"]["AD"] = None
    records["bad"]["clip0"]["scores"]["loudest of own"] = {"mask": {"AD": 1.0}}
    return make_table({"clean": records}, {"clean": CLIPS}, Sampling(400, 0))


def test_means_leave_out_undefined_values(table):
    cell = table.estimates[BLOCK]["AD"]
    assert cell["good"].clips == 30
    assert cell["bad"].clips == 29
    assert cell["good"].low < cell["good"].mean < cell["good"].high
    assert table.estimates[BLOCK]["MM"]["good"].mean == pytest.approx(0.2)


def test_matched_control_is_a_row_of_the_block_of_own_masks(table):
    block = Block("clean", "own", "mask")
    assert table.rows(block) == ["good", "nearly", "bad", "loudest as bad", "ideal"]
    assert is_control("loudest as bad")
    assert is_matched_control("random as bad")
    assert not is_matched_control("random")
    assert _rows(table, "clean", 0.2) == ["good", "nearly", "bad", "ideal"]  # the rows of the picture
    assert not is_control("bad")
    assert Block("clean", "loudest of own", "mask") not in table.estimates


def test_better_only_where_the_interval_excludes_zero(table):
    pairs = {(pair.first, pair.second): pair.better for pair in table.pairs[BLOCK]["AD"]}
    assert pairs["good", "nearly"] == ""
    assert pairs["good", "bad"] == "good"  # lower is better, though the intervals of both means overlap
    assert pairs["bad", "ideal"] == "ideal"
    assert "MM" not in table.pairs[BLOCK]


def test_leaders_exclude_the_ideal_mask(table):
    best, alike = table.leaders(BLOCK, "AD")
    assert {best} | alike == {"good", "nearly"}
    assert table.leaders(BLOCK, "MM") == ("", set())


def test_csv_holds_every_number(table):
    rows = list(csv.DictReader(io.StringIO(table_csv(table))))
    assert len(rows) == 4 * 2 + 4 + 1
    (row,) = [line for line in rows if (line["method"], line["mask"], line["score"]) == ("bad", "0.2", "AD")]
    assert float(row["mean"]) == pytest.approx(table.estimates[BLOCK]["AD"]["bad"].mean, rel=1e-5)
    assert row["n"] == "29"
    pairs = list(csv.DictReader(io.StringIO(pairs_csv(table))))
    assert len(pairs) == 6 + 10
    assert {pair["better"] for pair in pairs} >= {"good", "ideal", ""}


def test_text_marks_the_best_and_those_not_different(table):
    lines = format_block(table, BLOCK).splitlines()
    assert lines[0] == "clean, equal area 0.2, masked spectrogram"
    marks = {line.split()[0]: line[-1] for line in lines[2:] if not line.startswith("-")}
    assert sorted(marks[name] for name in ("good", "nearly")) == ["*", "="]
    assert marks["bad"] not in "*="
    assert max(map(len, lines)) < 160


def test_sanity_as_text():
    checks = {
        "IG": {"rank_correlation": {"head": {"mean": 0.5}, "blocks.0": {"mean": float("nan")}}, "verdict": "ok"}
    }
    assert format_sanity(checks).splitlines()[-1].split() == ["IG", "0.50", "-", "ok"]


def test_pictures_are_drawn(table, tmp_path):
    from PIL import Image

    points = {"mean": [0.1, 0.5, 0.9], "low": [0.0, 0.4, 0.8], "high": [0.2, 0.6, 1.0]}
    curves = {"clean": {f"method {i}": {"insertion": points, "deletion": points} for i in range(23)}}
    for path in (
        draw_table(table, 0.2, tmp_path / "table.png"),
        draw_curves(curves, [0, 0.5, 1], tmp_path / "curves.png"),
    ):
        colours = Image.open(path).convert("RGB").getcolors(1 << 20)
        assert len(colours) > 20
