"""Comparison of explanation methods under equal conditions: same clips, same areas, controls, intervals."""

from otoscope.evaluation.conditions import Conditions, NoiseSource
from otoscope.evaluation.known_use import KnownUseReport, run_known_use
from otoscope.evaluation.paper import PaperOptions, PaperTable, latex_table, markdown_table, paper_figure
from otoscope.evaluation.report import Report
from otoscope.evaluation.run import run_evaluation
from otoscope.evaluation.settings import Settings
from otoscope.evaluation.statistics import Estimate
from otoscope.evaluation.table import Block, Pair, Table

__all__ = [
    "Block",
    "Conditions",
    "Estimate",
    "KnownUseReport",
    "NoiseSource",
    "Pair",
    "PaperOptions",
    "PaperTable",
    "Report",
    "Settings",
    "Table",
    "latex_table",
    "markdown_table",
    "paper_figure",
    "run_evaluation",
    "run_known_use",
]
