"""Timelines of long recordings in notebooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from otoscope.errors import OtoscopeError
from otoscope.recordings import Timeline
from otoscope.report.notebook import frame
from otoscope.report.notebook.frame import content_of, framed, shortened_to_fit
from otoscope.report.page import recording_part
from otoscope.report.recording import EventFacts, RecordingResult, TimelinePicture, recording_result

_MOST_SOUNDS = 20
_MOST_ROWS = 500


def show_timeline(timeline: Timeline) -> str:
    """Return the view of a timeline: as many events, and sounds of them, as fit; the most confident ones."""
    result = recording_result(content_of(timeline.name, timeline.to_dict()), timeline.folder)
    picture = result.picture_of(timeline)
    ranked = sorted(result.events, key=lambda event: (-event.confidence, event.number))
    try:
        embedded = result.embedded(_MOST_SOUNDS)
        part = recording_part(result, picture, embedded)
        problem = ""
    except OtoscopeError as error:
        part, problem = recording_part(result, picture, []), str(error)
    players = part["players"]

    def show(rows: int, sounds: int) -> str:
        content = _content(result, picture, ranked[:rows], part, sounds)
        content["shortened"] = " ".join(filter(None, (problem, _note(timeline, rows, sounds, len(players)))))
        return framed(f"Timeline of {timeline.name}", timeline.summary(), content)

    rows = _rows_that_fit(show, min(len(ranked), _MOST_ROWS))
    return shortened_to_fit(lambda count: show(rows, count), len(players))


def _rows_that_fit(show: Callable[[int, int], str], rows: int) -> int:
    """Return the number of events whose rows take at most a third of the room of rows and sounds."""
    others = len(show(0, 0).encode(errors="replace"))
    while rows > 1 and len(show(rows, 0).encode(errors="replace")) - others > (frame.MOST_BYTES - others) / 3:
        rows //= 2
    return rows


def _content(
    result: RecordingResult, picture: TimelinePicture, events: list[EventFacts], part: dict[str, Any], sounds: int
) -> dict[str, Any]:
    """Return the values of the template with some of the events and sounds, in the order of their begins."""
    numbers = {event.number for event in events}
    ranked = sorted(part["players"], key=lambda player: (-player[0].confidence, player[0].number))[:sounds]
    embedded = {event.number for event, _ in ranked} & numbers
    players = [player for player in part["players"] if player[0].number in embedded]
    shown = replace(result, events=[event for event in result.events if event.number in numbers])
    return {"recordings": [{**part, "result": shown, "picture": picture, "players": players, "embedded": embedded}]}


def _note(timeline: Timeline, rows: int, sounds: int, available: int) -> str:
    """Return what is left out of a view, and what to do; empty if nothing is."""
    count, parts = len(timeline.events), []
    if rows < count:
        parts.append(f"the {rows} most confident of {count} events are shown, {count - rows} are left out")
    if available and sounds < count:
        parts.append(f"the sounds of {count - sounds} events are left out")
    if not parts:
        return ""
    text = "; ".join(parts)
    return (
        f"{text[:1].upper()}{text[1:]}, to keep the output below 3 MB. `otoscope report {timeline.folder} "
        f"--event_sounds {count}` writes a page with all of them."
    )
