"""Recall and false alarms of the audit on planted and clean classifiers, as JSON and as a table.

    python -m benchmarks.audit --folder runs/audit --data_folder ESC-50-master --quick [--seed 41] [--clean 6]

Classes, frequencies, levels and trainings are drawn from the seed. Seeds below 10 were used to develop the audit.
Cues are planted into classes with twelve recordings or more. A planted classifier that does not rely on its cue, as
planting and leaving it out shows, is drawn again: it does not cheat, so that nothing can be found. A stopped run
resumes: trained classifiers, answers of audits, and finished cases are kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from benchmarks.audit.cases import KINDS, Case, is_right, make_cases
from benchmarks.audit.classifiers import audit_clips, labels_to_plant, make_source, trained, use_of_cue

from otoscope.allocator import keep_freed_memory
from otoscope.audit.result import AuditResult
from otoscope.audit.run import run_audit
from otoscope.audit.settings import AuditSettings
from otoscope.classifiers import Classifier
from otoscope.data import ESC50
from otoscope.files.json import write_json

TURNED, LOST = 0.5, 0.25
"""Share of other clips that the cue must turn, and of the accuracy that its absence must cost, for a classifier to
count as one that cheats: a training may ignore the cue, or learn the sound of the class beside it."""


def run_case(draws: Sequence[Case], source: ESC50, options: argparse.Namespace) -> dict[str, Any]:
    """Train classifiers until one relies on its cue, and audit it, unless its result is there.

    Args:
        draws: Draws of a case, see `drawn`.
        source: Clips without cues.
        options: Options of the command line.
    """
    case, classifier, use = drawn(draws, source, options)
    folder = options.folder / case.name
    path = folder / f"case-{'quick' if options.quick else 'full'}.json"
    if path.is_file():
        content: dict[str, Any] = json.loads(path.read_text())
        return content
    settings = AuditSettings(clips_per_class=options.clips_per_class, quick=options.quick, seed=case.seed)
    clips = audit_clips(case, source)
    result = run_audit(classifier, clips, source.labels, folder / "audit", settings, workers=options.workers)
    content = {
        "case": case.name,
        "seed": case.seed,
        "label": case.label,
        "cue": None if case.cue is None else asdict(case.cue),
        "draws": draws.index(case) + 1,
        "use": use,
        **_outcome(case, result),
    }
    write_json(path, content)
    return content


def drawn(
    draws: Sequence[Case], source: ESC50, options: argparse.Namespace
) -> tuple[Case, Classifier, dict[str, float]]:
    """Train classifiers until one relies on its cue; return it and how far it does so.

    Args:
        draws: Draws of a case; the last one is returned if no classifier relies on its cue.
        source: Clips without cues.
        options: Options of the command line.
    """
    for case in draws:
        classifier = trained(case, options.folder / case.name, options.data_folder, options.width, options.epochs)
        use = use_of_cue(case, classifier, source)
        if case.cue is None or cheats(use):
            break
    return case, classifier, use


def _outcome(case: Case, result: AuditResult) -> dict[str, Any]:
    """Return what the audit found, and whether it is right."""
    shortcuts = result.shortcuts
    unclear = [suspect for suspect in result.suspects if suspect.verdict == "unclear"]
    return {
        "accuracy": result.conditions["accuracy"],
        "clips": result.conditions["clips"],
        "answers": result.conditions["answers"],
        "seconds_per_clip": result.conditions["seconds_per_clip"],
        "found": any(is_right(suspect, case) for suspect in shortcuts),
        "unclear_but_right": any(is_right(suspect, case) for suspect in unclear),
        "other_shortcuts": sum(not is_right(suspect, case) for suspect in shortcuts),
        "sentences": [suspect.sentence for suspect in shortcuts],
        "unclear": [suspect.sentence for suspect in unclear],
    }


def cheats(use: dict[str, float]) -> bool:
    """Return whether a classifier relies on its cue, see `use_of_cue`."""
    turned, lost = use.get("turned", 0.0), use.get("with_cue", 0.0) - use.get("without_cue", 0.0)
    return turned >= TURNED and lost >= LOST


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return recall over planted classifiers, over those that rely on their cue, and false alarms.

    Args:
        rows: Results of all cases.
    """
    planted = [row for row in rows if row["cue"] is not None]
    clean = [row for row in rows if row["cue"] is None]
    cheating = [row for row in planted if cheats(row["use"])]
    return {
        "planted": len(planted),
        "found": sum(row["found"] for row in planted),
        "cheating": len(cheating),
        "trained": sum(row["draws"] for row in planted),
        "found_of_those": sum(row["found"] for row in cheating),
        "right_but_unclear": sum(row["unclear_but_right"] and not row["found"] for row in planted),
        "other_shortcuts_in_planted": sum(row["other_shortcuts"] for row in planted),
        "clean": len(clean),
        "clean_with_a_shortcut": sum(row["other_shortcuts"] > 0 for row in clean),
        "seconds_per_clip": round(sum(row["seconds_per_clip"] for row in rows) / max(len(rows), 1), 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all cases, write JSON, and print a table."""
    parser = argparse.ArgumentParser(description="Recall and false alarms of otoscope audit.")
    parser.add_argument("--folder", type=Path, required=True, help="folder of the classifiers and results")
    parser.add_argument("--data_folder", type=Path, required=True, help="ESC-50, or clips of it in the same layout")
    parser.add_argument("--seed", type=int, default=41, help="seed of classes, frequencies and trainings")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), help="kinds of cues")
    parser.add_argument("--clean", type=int, default=6, help="number of clean classifiers")
    parser.add_argument("--clips_per_class", type=int, default=16)
    parser.add_argument("--quick", action="store_true", help="as otoscope audit --quick does")
    parser.add_argument("--width", type=int, default=16, help="channels of the classifiers")
    parser.add_argument("--train_only", action="store_true", help="train the classifiers and audit none")
    parser.add_argument("--epochs", type=int, default=18, help="epochs of their training")
    parser.add_argument("--workers", type=int, default=1, help="processes of the audits")
    parser.add_argument("--out", type=Path, help="file of the JSON (default: audit.json in the folder)")
    options = parser.parse_args(arguments)
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(options.workers)
    source = make_source(options.data_folder)
    source.prepare_data()
    source.setup("test")
    start_s, rows = time.perf_counter(), list[dict[str, Any]]()
    cases = make_cases(options.seed, labels_to_plant(source), options.clean, options.kinds)
    if options.train_only:
        for draws in cases:
            case, _, use = drawn(draws, source, options)
            print(case.name, case.label or "", use, flush=True)
        return
    for draws in cases:
        row = run_case(draws, source, options)
        rows.append(row)
        outcome_of_cue = "found" if row["found"] else "unclear" if row["unclear_but_right"] else "not found"
        outcome = outcome_of_cue if row["cue"] else "clean"
        print(
            f"{row['case']:16} {row['label'] or '':15} {outcome:10} other shortcuts: {row['other_shortcuts']}, "
            f"accuracy {row['accuracy']:.2f}, use {row['use']}, {row['seconds_per_clip']:.2f} s per clip",
            flush=True,
        )
        for sentence in row["sentences"]:
            print(f"    {sentence}", flush=True)
    conditions: dict[str, Any] = {name: str(value) for name, value in vars(options).items() if name != "folder"}
    conditions.pop("data_folder")
    conditions |= {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    conditions["seconds"] = round(time.perf_counter() - start_s, 1)
    summary = summarise(rows)
    write_json(
        options.out or options.folder / "audit.json", {"conditions": conditions, "summary": summary, "cases": rows}
    )
    print(json.dumps(summary, indent=1))
    print("finished", file=sys.stderr)


if __name__ == "__main__":
    main()
