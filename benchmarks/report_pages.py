"""Size of reports, seconds to make them, and seconds until a browser has opened them.

    python -m benchmarks.report_pages --out benchmarks/results/report-pages.json
    python -m benchmarks.report_pages --many 12 --minutes 2 --evaluated 4      # only a test that it runs

Four kinds of result are made by the bundled classifier: a few clips, many clips, a long recording joined from
clips, and an evaluation. The report of each is written by the command line in a new process, so that its time
includes that of importing the package, and opened from disk in headless Chromium. The views of the same results in
a notebook are measured too. Each kind has the conditions of its own run. ``--folder`` keeps the
results, so that a second run makes only what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.joined import join_clips
from benchmarks.machine import commit, cpu_name

import otoscope
from otoscope.allocator import keep_freed_memory
from otoscope.explanation import Explanation, Explanations
from otoscope.views import Shown

PLAYER = "document.querySelector('.otoscope-player')?.otoscope?.values"
"""Whether the first player is ready: its spectrogram is drawn, and its sounds can be played."""
TABLE = "document.querySelector('form.filter:not([hidden])')"
"""Whether the table can be filtered: all scripts have run."""
TABLES = "document.readyState === 'complete' && document.querySelector('table.means')"
_WATCH = """(() => {
    const watch = () => {
        if (%s) window.readyAfterMs = performance.now();
        else requestAnimationFrame(watch);
    };
    requestAnimationFrame(watch);
})()"""
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
KINDS = ("few_clips", "long_recording", "evaluation", "many_clips")
_OPTIONS = {
    "few_clips": ("few", "method"),
    "long_recording": ("minutes", "top_k", "method"),
    "evaluation": ("evaluated",),
    "many_clips": ("many", "method"),
}
_METHODS = ("saliency", "input_x_gradient", "grad_cam")


def main() -> None:
    """Run the benchmark."""
    options = _parser().parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results: dict[str, Any] = {}
        if options.out is not None and options.out.exists():
            results = json.loads(options.out.read_text(encoding="utf-8"))
        # Each is saved at once, so that a run that is ended has whole results.
        for name in options.only:
            _say(name)
            results[name] = _measure(options, name, folder)
            if options.out is not None:
                options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


def _measure(options: argparse.Namespace, name: str, folder: Path) -> dict[str, Any]:
    """Return sizes and seconds of a report and of its view in a notebook, with the conditions of both."""
    source, page = folder / name, folder / "reports" / f"{name}.html"
    _make(options, name, source)
    conditions = _conditions(options, name)
    report = _write_report(source, page)
    seconds, conditions["chromium"] = _open(options, name, page)
    notebook = _view(name, source)
    conditions["load_average_at_end"] = _load()
    return {"conditions": conditions, "report": report | seconds, "notebook": notebook}


def _parser() -> argparse.ArgumentParser:
    data_folder = os.environ.get("OTOSCOPE_ESC10") or Path(__file__).parents[2] / "shared" / "esc10"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_folder", type=Path, default=data_folder, help="ESC-50, or a part of it.")
    parser.add_argument("--few", type=int, default=8, help="Number of the few clips.")
    parser.add_argument("--many", type=int, default=320, help="Number of the many clips.")
    parser.add_argument("--minutes", type=float, default=60, help="Length of the long recording.")
    parser.add_argument("--top_k", type=int, default=1, help="Windows of each label that are explained in it.")
    parser.add_argument("--evaluated", type=int, default=20, help="Clips of the evaluation, of three methods.")
    parser.add_argument("--method", default="saliency", help="Method of explanation.")
    parser.add_argument("--openings", type=int, default=3, help="How often each report is opened.")
    parser.add_argument("--threads", type=int, default=1, help="Threads of PyTorch.")
    parser.add_argument(
        "--only", nargs="+", choices=KINDS, default=list(KINDS), help="Kinds that are measured; the others stay."
    )
    parser.add_argument("--folder", default=None, help="Folder that keeps the results.")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write in addition to the output.")
    return parser


def _say(text: str) -> None:
    print(f"report_pages: {text}", file=sys.stderr, flush=True)


def _make(options: argparse.Namespace, name: str, folder: Path) -> None:
    """Explain clips or a recording, or evaluate, unless an earlier run has."""
    if name == "evaluation":
        _evaluate(options, folder)
    elif name == "long_recording":
        _explain_long(options, folder)
    else:
        count = options.few if name == "few_clips" else options.many
        clips = [str(path) for path in sorted((options.data_folder / "audio").iterdir()) if path.is_file()]
        # Spread over the folder, so that all classes are among them.
        chosen = [clips[index * len(clips) // count] for index in range(min(count, len(clips)))]
        parts = ["--keep", "json", "recording", "evidence", "remainder", "mask", "--skip_existing"]
        _otoscope(options, "explain", *chosen, "--method", options.method, "--out", str(folder), *parts)


def _explain_long(options: argparse.Namespace, folder: Path) -> None:
    if (folder / "timeline.json").exists():
        return
    recording, run = folder.with_suffix(".wav"), folder.with_name(f"{folder.name}_run")
    join_clips(options.data_folder, (1, 2, 3, 4, 5), recording, options.minutes, 16_000, 1)
    windows = [
        "--window_s",
        "5",
        "--hop_s",
        "5",
        "--explain",
        "changes",
        "--top_k",
        str(options.top_k),
        "--pages",
        "0",
    ]
    _otoscope(options, "explain", str(recording), "--method", options.method, "--out", str(run), *windows)
    next(run.rglob("timeline.json")).parent.replace(folder)


def _evaluate(options: argparse.Namespace, folder: Path) -> Any:
    from otoscope.data import ESC50
    from otoscope.evaluation import Conditions, Settings, run_evaluation

    classifier = otoscope.load().classifier
    data = ESC50(options.data_folder, (1, 2), (3,), (4,), download=False)
    few = {"clips": options.evaluated, "sanity_clips": 2, "check_clips": 2, "shuffles": 2, "noisy_inputs": 0}
    methods = {name: name for name in _METHODS}
    return run_evaluation(
        classifier, methods, data, folder, Conditions(wham=None, speech=None), Settings(**few), progress=False
    )


def _otoscope(options: argparse.Namespace, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, "-m", "otoscope", *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"report_pages: {' '.join(command[2:5])} failed: {run.stderr[-2000:]}")
    return run.stdout


def _write_report(source: Path, path: Path) -> dict[str, Any]:
    """Write the report of a folder in a new process, and return its sizes and times."""
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "otoscope", "report", str(source), "--output_file", str(path), "--json"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    written = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    pages = sorted(Path(written["pages"]).iterdir()) if written["pages"] else []
    sizes = [page.stat().st_size for page in pages]
    return {
        "clips": written["clips"],
        "recordings": written["recordings"],
        "evaluations": written["evaluations"],
        "size_mb": round(path.stat().st_size / 1e6, 3),
        "further_pages": len(pages),
        "largest_further_page_mb": round(max(sizes, default=0) / 1e6, 3),
        "all_mb": round((path.stat().st_size + sum(sizes)) / 1e6, 3),
        "make_wall_s": round(wall_s, 2),
        "make_processor_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
    }


def _view(name: str, source: Path) -> dict[str, Any]:
    """Return the size of a view in a notebook, and the processor time that it takes."""
    shown: Shown
    if name == "long_recording":
        shown = otoscope.Timeline.load(source)
    elif name == "evaluation":
        from otoscope.evaluation import Report, Table

        shown = Report(json.loads((source / "results.json").read_text(encoding="utf-8")), Table(), "", source)
    else:
        folders = sorted(path.parent for path in source.rglob("explanation.json"))
        shown = Explanations(Explanation.load(folder) for folder in folders)
    start = time.process_time()
    html = shown._repr_html_()
    return {
        "size_mb": round(len(html.encode()) / 1e6, 3),
        "processor_s": round(time.process_time() - start, 2),
        "players": html.count("data-otoscope-player role"),
        "shortened": "class=&quot;shortened&quot;" in html,
    }


def _open(options: argparse.Namespace, name: str, page: Path) -> tuple[dict[str, Any], str]:
    """Open a report in Chromium, and its first further page; return the seconds and the version of Chromium."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("OTOSCOPE_CHROMIUM") or shutil.which("chromium")
    further = sorted(page.with_name(f"{page.stem}-pages").glob("*.html"))
    ready = TABLE if further else TABLES if name == "evaluation" else PLAYER
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=_ARGUMENTS)
        seconds = {"open_s": opening_s(browser, page, ready, options.openings)}
        if further:
            seconds["open_further_page_s"] = opening_s(browser, further[0], PLAYER, options.openings)
        browser_version = browser.version
        browser.close()
    return seconds, browser_version


def opening_s(browser: Any, path: Path, ready: str, openings: int) -> dict[str, Any]:
    """Return the seconds from the begin of the navigation until a page is ready.

    Args:
        browser: Browser of playwright; each opening has a context of its own, without a cache.
        path: Page.
        ready: Expression that is true when it is ready.
        openings: Number of openings.

    Returns:
        Median of all, and all of them.
    """
    seconds = []
    for _ in range(openings):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.add_init_script(_WATCH % ready)
        page.goto(path.resolve().as_uri())
        page.wait_for_function("() => window.readyAfterMs !== undefined")
        seconds.append(page.evaluate("window.readyAfterMs") / 1000)
        context.close()
    return {"median": round(statistics.median(seconds), 3), "all": [round(value, 3) for value in seconds]}


def _conditions(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return what the numbers of a kind depend on."""
    values = vars(options)
    used = ["openings", "threads", *_OPTIONS[name]]
    return {
        "cpu": cpu_name(),
        "cores_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "commit": commit(),
        "load_average": _load(),
        "data": "ESC-10, clips of 5 s, at 16 kHz",
        "classifier": type(otoscope.load().classifier).__name__,
        **{option: values[option] for option in used},
    }


def _load() -> Sequence[float]:
    return [round(load, 2) for load in os.getloadavg()]


if __name__ == "__main__":
    main()
