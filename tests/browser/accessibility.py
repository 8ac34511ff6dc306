"""Accessibility of pages, as axe-core sees it; `make axe` installs it."""

from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parents[2] / "build" / "node" / "node_modules" / "axe-core" / "axe.min.js"


def serious_violations(frame: Any, options: str = "{}") -> list[str]:
    """Return the violations of a page or frame that axe-core calls serious or critical, one line each.

    Args:
        frame: Page or frame, opened with ``bypass_csp``: our policies allow no foreign script, which axe-core is.
        options: Options of its run, as JavaScript.
    """
    if not AXE.is_file():
        pytest.skip("needs axe-core: make axe")
    if not frame.evaluate("'axe' in window"):
        frame.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    return [
        f"{item['id']}: {item['help']}: {item['nodes'][0]['html'][:200]}"
        for item in frame.evaluate(f"async () => (await axe.run({options})).violations")
        if item["impact"] in ("serious", "critical")
    ]


def serious_violations_of_schemes(page: Any) -> list[str]:
    """Return the serious violations of a page in the dark and in the light scheme, the latter with all rules."""
    violations = []
    # Dark differs in colours alone.
    for scheme, options in (("dark", "{runOnly: ['color-contrast']}"), ("light", "{}")):
        page.emulate_media(color_scheme=scheme)
        violations += [f"{scheme}, {line}" for line in serious_violations(page, options)]
    return violations
