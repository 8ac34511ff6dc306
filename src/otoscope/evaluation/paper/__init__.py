"""Tables and a figure for papers: chosen areas, domains and methods of an evaluation."""

from otoscope.evaluation.paper.figure import paper_figure
from otoscope.evaluation.paper.files import write_paper
from otoscope.evaluation.paper.latex import latex_table
from otoscope.evaluation.paper.markdown import markdown_table
from otoscope.evaluation.paper.options import PaperOptions
from otoscope.evaluation.paper.selection import PaperTable, select

__all__ = ["PaperOptions", "PaperTable", "latex_table", "markdown_table", "paper_figure", "select", "write_paper"]
