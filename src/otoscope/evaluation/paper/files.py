"""Files for papers in the folder of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otoscope.evaluation.paper.figure import paper_figure
from otoscope.evaluation.paper.latex import latex_table
from otoscope.evaluation.paper.markdown import markdown_table
from otoscope.evaluation.paper.selection import PaperTable
from otoscope.files.atomic import replace_text
from otoscope.plots import save_picture

TABLE_NAME, FIGURE_NAME = "paper_table", "paper_figure"
"""Names of the files, without their endings."""


def write_paper(folder: Path, paper: PaperTable, figures: Sequence[str]) -> list[Path]:
    """Write the tables and the figure to a folder.

    Args:
        folder: Folder.
        paper: What they show.
        figures: Formats of the figure, ``pdf`` or ``svg``. Without any block, there is no figure.

    Returns:
        Paths of the files.

    Raises:
        OtoscopeError: A file cannot be written.
    """
    texts = {".tex": latex_table(paper), ".md": markdown_table(paper)}
    paths = [replace_text(folder / f"{TABLE_NAME}{end}", text) for end, text in texts.items()]
    if paper.blocks and figures:
        figure = paper_figure(paper)
        paths += [save_picture(figure, folder / f"{FIGURE_NAME}.{end}") for end in figures]
    return paths
