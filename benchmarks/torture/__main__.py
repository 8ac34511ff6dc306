"""Hostile inputs and kills: runs each module of this folder, and prints the counts of all as one JSON object.

    python -m benchmarks.torture [MODULE ...] [--cases MODULE=NUMBER ...] [--seed 0]

A module has a function ``main(cases, seed)`` that returns its counts. The exit code is 1 if any count of
`FAULTS` is not 0.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

FAULTS = ("raw_exceptions", "hangs", "code_run", "lost_results", "leftovers")
"""Counts that must be 0."""
CASES = {"configs": 10_000, "speechbrain_folders": 2_000, "sounds": 50_000, "kills": 40}
"""Number of cases of each module by default; 100 for modules that are not listed."""


def run(names: list[str], cases: dict[str, int], seed: int) -> dict[str, dict[str, Any]]:
    """Run modules, and return the counts of each.

    Args:
        names: Names of the modules; without any, all that have a function ``main``.
        cases: Number of cases where it is not that of `CASES`.
        seed: Seed of everything random.
    """
    counts = {}
    for name in names or sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")):
        module = importlib.import_module(f"benchmarks.torture.{name}")
        if not hasattr(module, "main"):
            continue
        start = time.monotonic()
        print(f"torture: {name} ...", file=sys.stderr, flush=True)
        counts[name] = module.main(cases.get(name, CASES.get(name, 100)), seed)
        counts[name]["seconds"] = round(time.monotonic() - start, 1)
    return counts


def main() -> int:
    """Run the command line, and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture")
    parser.add_argument("modules", nargs="*", help="Modules to run (default: all).")
    parser.add_argument("--cases", action="append", default=[], metavar="MODULE=NUMBER", help="Number of cases.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cases = {name: int(number) for name, _, number in (text.partition("=") for text in options.cases)}
    counts = run(options.modules, cases, options.seed)
    faults = sum(int(module.get(name, 0)) for module in counts.values() for name in FAULTS)
    print(json.dumps({**counts, "faults": faults}, indent=2))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
