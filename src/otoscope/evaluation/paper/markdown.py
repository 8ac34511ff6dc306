"""Table in Markdown, as GitHub and most other programs read it."""

from __future__ import annotations

import re

from otoscope.evaluation.paper.selection import PaperCell, PaperTable, heading

_ARROWS = {"higher": " ↑", "lower": " ↓", "neither": ""}


def markdown_text(text: str) -> str:
    r"""Return a text with all characters that mean something to Markdown or HTML escaped.

    Example:
        >>> print(markdown_text("a|b *c* <img src=x>"))
        a\|b \*c\* \<img src=x\>
    """
    return re.sub(r"([\\`*_\[\]<>|~$&^])", r"\\\1", " ".join(text.split()))


def markdown_table(paper: PaperTable) -> str:
    """Return a table in Markdown for each block, and the caption.

    Args:
        paper: What it shows.
    """
    heads = ["method", *(_head(score) for score in paper.scores)]
    lines: list[str] = []
    for block in paper.blocks:
        lines += [
            f"**{markdown_text(block.title)}**",
            "",
            _line(heads),
            _line([":--", *["--:"] * len(paper.scores)]),
        ]
        for row in block.rows:
            name = f"*{markdown_text(row.name)}*" if row.is_control else markdown_text(row.name)
            lines.append(_line([name, *(_cell(paper, row.cells.get(score), score) for score in paper.scores)]))
        lines.append("")
    return "\n".join([*lines, markdown_text(paper.caption), ""])


def _head(score: str) -> str:
    name, unit, better = heading(score)
    return markdown_text(name) + (f" ({unit})" if unit else "") + _ARROWS[better]


def _cell(paper: PaperTable, cell: PaperCell | None, score: str) -> str:
    if cell is None:
        return "–"
    mean, half = paper.text(cell, score)
    mean = mean.replace("-", "−")
    mean = f"**{mean}**" if cell.mark == "best" else mean
    return mean + (f" ± {half}" if half else "") + (" =" if cell.mark == "equal" else "")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
