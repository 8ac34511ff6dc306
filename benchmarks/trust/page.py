"""Write the tables of docs/results/trust.md from the results in benchmarks/results/trust.

    python -m benchmarks.trust.page

The text above the line ``<!-- tables -->`` is written by hand and stays; everything below it is made again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.trust.summary import markdown, standing

_ROOT = Path(__file__).parents[2]
_RESULTS = _ROOT / "benchmarks/results/trust"
_PAGE = _ROOT / "docs/results/trust.md"
MARK = "<!-- tables -->"
_ORDER = ("esc10", "synthetic", "planted", "designed")


def tables(folder: Path) -> str:
    """Return the tables of the results in a folder: a file for each place, and files of ``seconds``.

    Args:
        folder: Folder of the JSON files of `benchmarks.trust` and `benchmarks.trust.seconds`.
    """
    results: dict[str, Any] = {}
    seconds: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        (seconds if path.name.startswith("seconds") else results).update(content["results"])
    places = sorted(results, key=lambda place: (_ORDER.index(place.partition(":")[2]), place))
    results = {place: results[place] for place in places}
    return markdown({"results": results, "standing": standing(results)}, seconds)


def main() -> None:
    """Write the page."""
    text, mark, _ = _PAGE.read_text(encoding="utf-8").partition(MARK)
    if not mark:
        raise SystemExit(f"{_PAGE}: has no line {MARK}")
    _PAGE.write_text(f"{text}{mark}\n\n{tables(_RESULTS)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
