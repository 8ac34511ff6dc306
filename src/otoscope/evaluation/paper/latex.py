r"""Table in LaTeX, which needs the package ``booktabs`` alone."""

from __future__ import annotations

import re
import unicodedata

from otoscope.evaluation.paper.selection import PaperCell, PaperRow, PaperTable, heading

_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "neither": ""}
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # the character itself may be a command of a language
    "`": r"\textasciigrave{}",
    "[": "{[}",  # at the begin of a row it would be an option of the line break before it
    "*": "{*}",
}


_INVISIBLE = ("Cc", "Cf", "Cs")
"""Unicode categories of control, format and surrogate characters: TeX stops at most of them."""


def latex_text(text: str) -> str:
    r"""Return a text with all characters that mean something to LaTeX escaped, and without invisible ones.

    Letters beyond ASCII stay. pdfLaTeX knows those of European languages; others need LuaLaTeX or XeLaTeX.

    Example:
        >>> print(latex_text("50 % of A_1 & B\n{x}"))
        50 \% of A\_1 \& B \{x\}
    """
    visible = "".join(
        character for character in text if character.isspace() or unicodedata.category(character) not in _INVISIBLE
    )
    escaped = "".join(_ESCAPES.get(character, character) for character in " ".join(visible.split()))
    return re.sub("-(?=-)", "-{}", escaped)  # two hyphens would become a dash


def latex_table(paper: PaperTable) -> str:
    r"""Return the table in LaTeX, with a rule and a title for each block.

    Args:
        paper: What it shows.
    """
    count = len(paper.scores) + 1
    heads = [_head(score) for score in paper.scores]
    lines = [
        r"% Needs \usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(paper.caption)}}}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * len(heads)}@{{}}}}",
        r"\toprule",
        rf"{' & '.join(['method', *heads])} \\",
    ]
    for block in paper.blocks:
        lines += [r"\midrule", rf"\multicolumn{{{count}}}{{@{{}}l}}{{\emph{{{latex_text(block.title)}}}}} \\"]
        lines += [_row(paper, row) for row in block.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _head(score: str) -> str:
    name, unit, better = heading(score)
    return latex_text(f"{name} ({unit})" if unit else name) + _ARROWS[better]


def _row(paper: PaperTable, row: PaperRow) -> str:
    name = rf"\textit{{{latex_text(row.name)}}}" if row.is_control else latex_text(row.name)
    cells = [_cell(paper, row.cells.get(score), score) for score in paper.scores]
    return rf"{' & '.join([name, *cells])} \\"


def _cell(paper: PaperTable, cell: PaperCell | None, score: str) -> str:
    if cell is None:
        return "--"
    mean, half = paper.text(cell, score)
    mean = mean.replace("-", "$-$")
    mean = rf"\textbf{{{mean}}}" if cell.mark == "best" else mean
    # of no width, so that the numbers of a column stay aligned
    mark = r"\rlap{$^{=}$}" if cell.mark == "equal" else ""
    return mean + (rf" {{\scriptsize$\pm${half}}}" if half else "") + mark
