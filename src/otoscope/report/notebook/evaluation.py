"""Evaluations in notebooks: figures and tables of a report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otoscope.report.evaluation import evaluation_result
from otoscope.report.notebook.frame import content_of, framed, shortened_to_fit
from otoscope.report.page import evaluation_part

if TYPE_CHECKING:
    from otoscope.evaluation import Report


def show_evaluation(report: Report) -> str:
    """Return the view of an evaluation, with as many of its tables as fit."""
    result = evaluation_result(content_of(str(report.folder / "results.json"), report.results))
    part, count = evaluation_part(result), len(result.blocks)

    def show(blocks: int) -> str:
        shortened = ""
        if blocks < count:
            shortened = (
                f"Shown are {blocks} of {count} tables: {count - blocks} are left out, to keep the output below "
                f"3 MB. `otoscope report {report.folder}` writes a page with all of them; table.txt and table.csv "
                "in that folder hold them too."
            )
        shown = {**part, "result": replace(result, blocks=result.blocks[:blocks])}
        return framed("Evaluation", repr(report), {"evaluations": [shown], "shortened": shortened})

    return shortened_to_fit(show, count)
