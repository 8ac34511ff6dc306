"""Pages of a report: one file, or an index with pages of clips beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from otoscope.errors import ConfigurationError, OtoscopeError
from otoscope.files.atomic import replace_folder, replace_text
from otoscope.player import Clip, player_html
from otoscope.report.audit_page import audit_parts
from otoscope.report.charts import curve_charts, score_figures, sufficiency_chart
from otoscope.report.clips import ClipResult
from otoscope.report.evaluation import EvaluationResult
from otoscope.report.recording import EventFacts, RecordingResult, TimelinePicture
from otoscope.report.rendering import render, render_page
from otoscope.report.results import Results
from otoscope.report.summary import probability_rows, score_rows, summarise

Order = Literal["given", "name", "worst"]
MOST_CLIPS_ON_A_PAGE = 50
"""Number of clips from which on they are divided among pages."""
CLIPS_PER_PAGE = 25
_PAGE_NAME = "clips-{:03d}.html"


@dataclass(frozen=True)
class ReportOptions:
    """Options of a report.

    Attributes:
        title: Title (default: a title that names the results).
        order: Order of the clips: as they were given, by name, or the worst explained first.
        event_sounds: Number of events of each long recording whose sounds are embedded, the most confident first.
        suspect_sounds: Number of suspects of each audit whose sounds are embedded, the highest ranks first.
        scripts: Further scripts, for pages that are shown in a frame of another one.
    """

    title: str | None = None
    order: Order = "given"
    event_sounds: int = 20
    suspect_sounds: int = 8
    scripts: Sequence[Markup] = ()


@dataclass
class Report:
    """Report that was written.

    Attributes:
        path: File to open.
        pages: Folder of further pages; None: there are none.
        clips: Number of clips.
        recordings: Number of long recordings.
        evaluations: Number of evaluations.
        audits: Number of audits.
        skipped: Results that could not be read, and recordings that were not explained, with the reason.
        broken: Number of results among ``skipped``.
    """

    path: Path
    pages: Path | None = None
    clips: int = 0
    recordings: int = 0
    evaluations: int = 0
    audits: int = 0
    skipped: list[str] = field(default_factory=list)
    broken: int = 0


@dataclass(frozen=True)
class Entry:
    """Clip of a report with its number and the address of its section."""

    number: int
    clip: ClipResult
    address: str

    @property
    def anchor(self) -> str:
        return f"clip-{self.number}"


def write_report(results: Results, output_file: Path, options: ReportOptions | None = None) -> Report:
    """Write a report.

    Args:
        results: What it shows.
        output_file: File to write. For more than 50 clips, a folder beside it holds further pages.
        options: Options.

    Raises:
        ConfigurationError: The folder for further pages holds something else.
        OtoscopeError: A file cannot be written.
    """
    options = options or ReportOptions()
    report = Report(output_file, skipped=list(results.skipped), broken=results.broken)
    clips = ordered(results.clips, options.order)
    title = options.title or _title(results)
    if len(clips) > MOST_CLIPS_ON_A_PAGE:
        report.pages = output_file.with_name(f"{output_file.stem}-pages")
        entries = _write_pages(clips, report, report.pages, title, output_file.name)
        sections: list[Markup] = []
    else:
        rendered = list(_sections(_entries(clips, lambda number: ""), report))
        entries, sections = [entry for entry, _ in rendered], [section for _, section in rendered]
    recordings = list(_recordings(results.recordings, options.event_sounds, report))
    content = {
        "title": title,
        "comparisons": results.comparisons,
        "audits": list(audit_parts(results.audits, options.suspect_sounds)),
        "entries": entries,
        "classes": summarise([entry.clip for entry in entries]),
        "sections": sections,
        "recordings": recordings,
        "evaluations": [evaluation_part(result) for result in results.evaluations],
        "skipped": report.skipped,
    }
    report.clips, report.recordings = len(entries), len(recordings)
    report.evaluations, report.audits = len(results.evaluations), len(results.audits)
    replace_text(output_file, render_page("report.html.j2", content, further_scripts=options.scripts))
    return report


def ordered(clips: Sequence[ClipResult], order: Order) -> list[ClipResult]:
    """Return clips in an order.

    Args:
        clips: Clips.
        order: ``given``, ``name`` or ``worst``: see `ClipResult.badness`.
    """
    if order == "name":
        return sorted(clips, key=lambda clip: clip.name)
    return sorted(clips, key=lambda clip: clip.badness) if order == "worst" else list(clips)


def _title(results: Results) -> str:
    parts = [
        (len(results.audits), "audit"),
        (len(results.clips), "clip"),
        (len(results.recordings), "long recording"),
        (len(results.evaluations), "evaluation"),
    ]
    return "Otoscope: " + ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in parts if count)


def _entries(clips: Sequence[ClipResult], page_of: Any) -> list[Entry]:
    return [Entry(number, clip, f"{page_of(number)}#clip-{number}") for number, clip in enumerate(clips, start=1)]


def _sections(entries: Sequence[Entry], report: Report) -> Iterator[tuple[Entry, Markup]]:
    """Yield the section of each clip; one whose files cannot be read is noted as skipped."""
    for entry in entries:
        try:
            clip = entry.clip.clip()
        except OtoscopeError as error:
            report.skipped.append(str(error))
            report.broken += 1
            continue
        yield entry, clip_section(entry, clip)


def clip_section(entry: Entry, clip: Clip) -> Markup:
    """Return the section of a clip: player, verdict, probabilities, scores, notes.

    Args:
        entry: Clip with its number.
        clip: Content of its player.
    """
    result = entry.clip
    content = {
        "entry": entry,
        "clip": result,
        "player": player_html(clip),
        "probabilities": probability_rows(result),
        "scores": score_rows(result),
        "chart": sufficiency_chart(result.curve, result.scores.get("MM")),
    }
    return render("clip.html.j2", content)


def evaluation_part(result: EvaluationResult) -> dict[str, Any]:
    """Return what the template of an evaluation shows: its result and the geometry of its figures."""
    return {"result": result, "figures": score_figures(result), "curves": curve_charts(result)}


def _write_pages(clips: Sequence[ClipResult], report: Report, folder: Path, title: str, index: str) -> list[Entry]:
    """Write pages of clips into a folder beside the index, and return the entries of the index."""
    _require_place(folder)
    count = -(-len(clips) // CLIPS_PER_PAGE)
    names = [_PAGE_NAME.format(page) for page in range(1, count + 1)]
    entries = _entries(clips, lambda number: f"{folder.name}/{names[(number - 1) // CLIPS_PER_PAGE]}")
    shown: list[Entry] = []

    def write(target: Path) -> None:
        for page, name in enumerate(names):
            part = entries[page * CLIPS_PER_PAGE : (page + 1) * CLIPS_PER_PAGE]
            rendered = list(_sections(part, report))
            shown.extend(entry for entry, _ in rendered)
            content = {
                "title": f"{title}, page {page + 1} of {count}",
                "sections": [section for _, section in rendered],
                "index": f"../{index}",
                "pages": names,
                "page": page,
            }
            (target / name).write_bytes(render_page("clips.html.j2", content).encode())

    replace_folder(folder, write)
    return shown


def _require_place(folder: Path) -> None:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    others = [name for name in names if not (name.startswith("clips-") and name.endswith(".html"))]
    if others or (folder.exists() and not folder.is_dir()):
        raise ConfigurationError(
            f"{folder}: holds something else than pages of a report; choose another --output_file"
        )


def _recordings(
    recordings: Sequence[RecordingResult], event_sounds: int, report: Report
) -> Iterator[dict[str, Any]]:
    for result in recordings:
        try:
            yield recording_part(result, result.picture(), result.embedded(event_sounds))
        except OtoscopeError as error:
            report.skipped.append(str(error))
            report.broken += 1


def recording_part(
    result: RecordingResult, picture: TimelinePicture, embedded: Sequence[EventFacts]
) -> dict[str, Any]:
    """Return what the template of a long recording shows.

    Args:
        result: Recording.
        picture: Its timeline.
        embedded: Events whose sounds are embedded.

    Raises:
        OtoscopeError: A sound file is missing or damaged.
    """
    return {
        "result": result,
        "count": len(result.events),
        "picture": picture,
        "players": [(event, player_html(clip)) for event, clip in result.clips(embedded)],
        "embedded": {event.number for event in embedded},
        "has_recording": bool(embedded) and result.recording_path() is not None,
    }
