"""Frame of an output: a page within the page of the notebook."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from otoscope.files.json import json_text
from otoscope.report.contents import Content
from otoscope.report.rendering import render_page

MOST_BYTES = 3_000_000
"""Largest size of an output."""
_HEIGHT = 700
"""Height of a frame in pixels until its script has measured its content."""


def framed(title: str, summary: str, content: dict[str, Any]) -> str:
    """Return a page as a frame, which keeps its names, styles and keys apart from the notebook and other outputs.

    Args:
        title: Title for screen readers.
        summary: Text that is shown where frames are not, as in notebooks that are not trusted.
        content: Values of the template of notebooks.
    """
    nothing: dict[str, Any] = {"entries": [], "classes": [], "sections": [], "recordings": [], "evaluations": []}
    texts = {"heading": "", "shortened": "", "skipped": []}
    page = render_page("notebook.html.j2", {**nothing, **texts, "title": title, **content}, _ASSETS)
    # Line breaks as references: programs that read notebooks line by line see one line.
    document = html.escape(page).replace("\n", "&#10;")
    style = f"width: 100%; height: {_HEIGHT}px; border: 0"
    instead = html.escape(f"{summary} (To listen, trust the notebook and run it.)")
    return f'<iframe title="{html.escape(title)}" srcdoc="{document}" style="{style}">{instead}</iframe>'


_ASSETS = ("report.js", "notebook.js")


def size_of(text: str) -> int:
    """Return the number of bytes that HTML takes within a frame.

    Example:
        >>> size_of("<p>é</p>") - size_of("")
        21
    """
    return len(html.escape(text).replace("\n", "&#10;").encode(errors="replace"))


def shortened_to_fit(make: Callable[[int], str], count: int) -> str:
    """Return an output with as many items as fit into `MOST_BYTES`.

    Args:
        make: Function that makes the output with a number of items.
        count: Number of all items.
    """
    output = make(count)
    while count > 0 and (size := len(output.encode(errors="replace"))) > MOST_BYTES:
        # In proportion to the size, which items share unevenly: some less than that, at least one less.
        count = max(min(count - 1, int(0.95 * count * MOST_BYTES / size)), 0)
        output = make(count)
    return output


def content_of(place: str, values: dict[str, Any]) -> Content:
    """Return values as the JSON that they are in a file.

    Args:
        place: What messages name instead of a file.
        values: Values, which may hold NaN and tuples.
    """
    return Content(Path(place), json.loads(json_text(values)))
