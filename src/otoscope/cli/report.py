"""``otoscope report``: results as a page that needs nothing but a browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from otoscope.cli.options import add_shared, make_parser, parse, print_json
from otoscope.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    import jsonargparse

    from otoscope.report import Report


def run(arguments: list[str]) -> int:
    """Run the verb.

    Args:
        arguments: Command line after ``otoscope report``.

    Returns:
        Exit code: 0, or 1 if some of the results cannot be read.

    Raises:
        OtoscopeError: An option is wrong, a folder holds no result, or the report cannot be written.
    """
    options = parse(build_parser(), arguments)
    path = Path(options.output_file)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--output_file {path}: must end in .html")
    if path.is_dir():
        raise ConfigurationError(
            f"--output_file {path}: is a folder; name a file in it, such as {path}/report.html"
        )
    if options.event_sounds < 0:
        raise ConfigurationError(f"--event_sounds {options.event_sounds}: must not be negative")
    if options.suspect_sounds < 0:
        raise ConfigurationError(f"--suspect_sounds {options.suspect_sounds}: must not be negative")
    from otoscope.report import ReportOptions, read_results, write_report

    results = read_results(options.results)
    if results.is_empty:
        raise DataError(results.skipped[0])
    chosen = ReportOptions(options.title, options.order, options.event_sounds, options.suspect_sounds)
    report = write_report(results, path, chosen)
    if options.json:
        print_json({**vars(report), "path": str(path), "pages": report.pages and str(report.pages)})
    else:
        print(_summary(report))
    for reason in report.skipped:
        print(f"  skipped: {' '.join(reason.split())}", file=sys.stderr)
    return 1 if report.broken else 0


def build_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of ``otoscope report``."""
    parser = make_parser(
        "report",
        "Write results as a page that needs nothing but a browser: players that switch between recording, evidence "
        "and remainder at the same instant, spectrograms with the mask, verdicts and scores, tables. Results that "
        "cannot be read are skipped and listed, with exit code 1.",
    )
    parser.add_argument(
        "results",
        nargs="+",
        type=str,
        help="Folders that explain, evaluate or audit wrote, or folders of them.",
    )
    parser.add_argument(
        "--output_file",
        "-o",
        "--out",
        type=str,
        default="report.html",
        help="File to write. For more than 50 clips, a folder beside it holds further pages.",
    )
    parser.add_argument("--title", type=str | None, default=None, help="Title of the report.")
    parser.add_argument(
        "--order",
        type=Literal["given", "name", "worst"],
        default="given",
        help="Order of the clips: as they lie in the folders, by name, or the worst explained first.",
    )
    parser.add_argument(
        "--event_sounds",
        type=int,
        default=20,
        help="Number of events of each long recording whose sounds are embedded, the most confident first.",
    )
    parser.add_argument(
        "--suspect_sounds",
        type=int,
        default=8,
        help="Number of suspects of each audit whose sounds are embedded, the highest ranks first.",
    )
    add_shared(parser, "json")
    return parser


def _summary(report: Report) -> str:
    counts = (
        (report.audits, "audit"),
        (report.clips, "clip"),
        (report.recordings, "long recording"),
        (report.evaluations, "evaluation"),
    )
    parts = [f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts if count]
    pages = f", further pages in {report.pages}" if report.pages else ""
    size_mb = report.path.stat().st_size / 1e6
    return f"{', '.join(parts) or 'nothing'} -> {report.path} ({size_mb:.1f} MB{pages})"
