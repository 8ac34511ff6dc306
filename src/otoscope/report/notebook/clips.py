"""Explanations of clips in notebooks: one, or a table with as many players as fit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from markupsafe import Markup
from torch import Tensor

from otoscope.errors import OtoscopeError
from otoscope.explanation import Explanation, StoredExplanation
from otoscope.explanation.arrays import mask_arrays
from otoscope.explanation.stored import component_title
from otoscope.report.clips import LONGEST_S, ClipResult
from otoscope.report.notebook import frame
from otoscope.report.notebook.frame import content_of, framed, size_of
from otoscope.report.page import Entry, clip_section
from otoscope.report.summary import summarise

_MOST_ROWS = 300
_SHORTEST_S = 0.5
_SHRINKING = 0.95


class HeldExplanation(StoredExplanation):
    """Explanation in memory with the interface of stored ones.

    Args:
        explanation: Explanation.
    """

    def __init__(self, explanation: Explanation) -> None:
        super().__init__(explanation.name, explanation.to_dict())
        self.explanation = explanation

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts."""
        return ("json", "recording", "evidence", "remainder", "mask")

    def sound(self, part: str) -> Tensor:
        """Return a sound; see `StoredExplanation.sound`."""
        sounds = {"recording": self.explanation.original}
        sounds |= {name: getattr(self.explanation, name) for name in ("evidence", "remainder")}
        return sounds[part]

    def arrays(self, part: str) -> dict[str, np.ndarray]:
        """Return the arrays of the mask; see `StoredExplanation.arrays`."""
        return mask_arrays(self.explanation)

    def component_sounds(self) -> list[tuple[str, Tensor]]:
        """Return the sounds of components; see `StoredExplanation.component_sounds`."""
        return [
            (component_title(part.index, part.centroid_hz), part.waveform)
            for part in self.explanation.top_components()
        ]


def show_explanation(explanation: Explanation) -> str:
    """Return the view of an explanation."""
    return _show_clip(_result_of(explanation), explanation.summary())


def show_stored(stored: StoredExplanation) -> str:
    """Return the view of a stored explanation."""
    result = ClipResult.of(content_of(stored.place, stored.content), lambda: stored)
    return _show_clip(result, f"{result.name}: {result.label} (p = {result.confidence:.2f})")


def show_explanations(explanations: Sequence[Explanation]) -> str:
    """Return the view of several explanations: a table, and the sections of as many as fit."""
    if len(explanations) == 1:
        return show_explanation(explanations[0])
    if not explanations:
        return "<p>No explanations.</p>"
    results = [_result_of(explanation) for explanation in explanations]
    count, summary = len(results), f"{len(results)} explanations"
    rows = results[:_MOST_ROWS]
    entries = [Entry(number, result, f"#clip-{number}") for number, result in enumerate(rows, start=1)]
    content = {
        "entries": entries,
        "classes": summarise(results)[:_MOST_ROWS],
        "shortened": _note(count, 0, len(rows)),
    }
    room = frame.MOST_BYTES - len(framed(summary, summary, content).encode(errors="replace"))
    sections: list[Markup] = []
    for entry in entries:
        section = _section_of(entry)
        room -= size_of(section)
        if room < 0:
            break
        sections.append(section)
    shown = len(sections)
    linked = [entry if entry.number <= shown else Entry(entry.number, entry.clip, "") for entry in entries]
    content |= {"entries": linked, "sections": sections, "shortened": _note(count, shown, len(rows))}
    return framed(summary, summary, content)


def _note(count: int, shown: int, rows: int) -> str:
    """Return what is left out of a view of several explanations, and what to do; empty if nothing is."""
    if shown == rows == count:
        return ""
    table = "" if rows == count else f" The table has the first {rows}."
    others = f"others as a part of the list, such as explanations[{shown}:{2 * shown}]" if shown else "each alone"
    return (
        f"Shown are the sounds of {shown} of {count} explanations: {count - shown} are left out, to keep the "
        f"output below 3 MB.{table} Show {others}, or save all and write pages with `otoscope report`."
    )


def _result_of(explanation: Explanation) -> ClipResult:
    return ClipResult.of(content_of(explanation.name, explanation.to_dict()), partial(HeldExplanation, explanation))


def _section_of(entry: Entry) -> Markup:
    try:
        return clip_section(entry, entry.clip.clip(longest_s=LONGEST_S))
    except OtoscopeError as error:
        return Markup("<p>{}</p>").format(str(error))


def _show_clip(result: ClipResult, summary: str) -> str:
    """Return the view of one explanation, cut at its end until it fits."""
    entry = Entry(1, result, "")
    components = bool(result.components)
    longest_s = min(result.duration_s, LONGEST_S)
    while True:
        try:
            section = clip_section(entry, result.clip(longest_s, components))
        except OtoscopeError as error:
            return framed(result.name, summary, {"skipped": [str(error)]})
        shortened = _shortened(result, longest_s, components)
        output = framed(f"Explanation of {result.name}", summary, {"sections": [section], "shortened": shortened})
        size = len(output.encode(errors="replace"))
        if size <= frame.MOST_BYTES or longest_s <= _SHORTEST_S:
            return output
        if components:
            components = False
        else:
            longest_s = max(_SHRINKING * longest_s * frame.MOST_BYTES / size, _SHORTEST_S)


def _shortened(result: ClipResult, longest_s: float, components: bool) -> str:
    """Return what is left out of a view, and what to do; empty if nothing is."""
    parts = []
    if result.components and not components:
        parts.append("the sounds of the components are left out")
    if longest_s < result.duration_s:
        rest_s = result.duration_s - longest_s
        parts.append(f"the first {longest_s:.1f} s are shown, the other {rest_s:.1f} s are left out")
    if not parts:
        return ""
    text = "; ".join(parts)
    return (
        f"{text[:1].upper()}{text[1:]}, to keep the output below 3 MB. `explanation.save(folder)` writes all of "
        "it; long recordings are explained in windows (`otoscope.explain_long`)."
    )
