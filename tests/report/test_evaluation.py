"""Evaluations in reports."""

import json

import pytest
from tests.report.folders import save_evaluation

from otoscope.errors import DataError
from otoscope.evaluation import mask_scores
from otoscope.evaluation.table import is_control
from otoscope.metrics import SCORES
from otoscope.metrics.control_rows import MATCHED_CONTROLS
from otoscope.report import evaluation
from otoscope.report.charts import curve_charts, score_figures
from otoscope.report.evaluation import Cell, open_evaluation
from otoscope.report.meanings import meaning
from otoscope.scoring import CONTROLS


@pytest.fixture
def result(tmp_path):
    return open_evaluation(save_evaluation(tmp_path) / "results.json")


def test_names_are_those_of_the_evaluation():
    assert (evaluation.OWN, evaluation.MAP) == (mask_scores.OWN, mask_scores.MAP)
    assert set(mask_scores.MATCHED_CONTROLS.values()) == set(MATCHED_CONTROLS)
    assert evaluation.CONTROLS == CONTROLS


def test_tables_hold_means_intervals_and_leaders(result):
    block = result.blocks[0]
    assert block.title == "clean: own mask, heard"
    assert block.scores == ["AI", "FF"]
    cells = {row.name: row.cells["AI"] for row in block.rows}
    assert cells["B"] == Cell(0.9, 0.8, 1.0, 8, "best")
    assert cells["A"].mark == "equal"
    assert [other.title for other in result.blocks[1:]] == [
        "clean: equal area 0.2, seen",
        "clean: equal area 0.2, heard",
    ]


def test_equal_controls_are_one_row(result):
    rows = result.blocks[0].rows
    assert [row.name for row in rows] == ["A", "random as A, B", "B", "loudest as B"]
    assert [row.control for row in rows] == [is_control(row.name) for row in rows] == [False, True, False, True]


def test_equal_controls_are_one_row_if_one_of_them_is_the_best(tmp_path):
    leader = {"best": "random as B", "not_told_from_it": ["random as A", "loudest as B"]}
    rows = open_evaluation(save_evaluation(tmp_path, leader) / "results.json").blocks[0].rows
    marks = {row.name: row.cells["AI"].mark for row in rows}
    assert marks == {"A": "", "random as A, B": "best", "B": "", "loudest as B": "equal"}


def test_figures_show_seen_and_heard(result):
    (figure,) = score_figures(result)
    assert figure.rows == ["A", "B", "random"]
    (panel, _) = figure.panels
    assert panel.score == "AI"
    assert {(dot.row, dot.domain) for dot in panel.dots} == {
        (row, domain) for row in range(3) for domain in ("mask", "heard")
    }
    assert all(0 <= dot.low <= dot.x <= dot.high <= 1 for dot in panel.dots)
    charts = curve_charts(result)
    assert [chart.title.split(":")[0] for chart in charts] == ["clean, insertion", "clean, deletion"]
    assert charts[0].lines[0].points == [(0.0, 0.1), (0.5, 0.5), (1.0, 0.9)]


def test_skipped_methods_and_checks_are_listed(result):
    assert result.skipped == ["method C: its folder is missing"]
    assert result.verdicts == ["sanity, A: passes"]


def test_every_score_has_a_meaning():
    for name, score in SCORES.items():
        assert meaning(name).endswith(".")
        has_direction = meaning(name).endswith((" Higher is better.", " Lower is better."))
        assert has_direction == (score.better != "neither")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"conditions": {}, "scores": {"clean": {"own": {"heard": {"A": {"AI": {"mean": "high"}}}}}}},
        {"conditions": 3, "scores": {}},
    ],
)
def test_damaged_results_are_named(tmp_path, values):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"results\.json"):
        open_evaluation(path)
