"""Templates of a report as HTML: pages with a policy that allows their scripts and styles alone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from otoscope.audit.result import VERDICTS
from otoscope.files.json import json_text
from otoscope.metrics import SCORES
from otoscope.player import player_script, player_style
from otoscope.player.fragment import make_environment, read_asset
from otoscope.report.audit_charts import percent, span_text
from otoscope.report.charts import cell_text
from otoscope.report.clips import LEVELS
from otoscope.report.meanings import meaning
from otoscope.version import __version__


@cache
def _environment() -> Environment:
    environment = make_environment("otoscope.report")
    environment.globals.update(
        scores=SCORES,
        meaning=meaning,
        levels=LEVELS,
        verdicts=VERDICTS,
        cell_text=cell_text,
        percent=percent,
        span_text=span_text,
        version=__version__,
    )
    environment.filters["option_text"] = _option_text
    return environment


def _option_text(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def render(template: str, content: dict[str, Any]) -> Markup:
    """Return a template with its content, in which all text is escaped.

    Args:
        template: File in ``report/templates``.
        content: Values by name.
    """
    return Markup(_environment().get_template(template).render(content))


def render_page(
    template: str,
    content: dict[str, Any],
    assets: Sequence[str] = ("report.js",),
    further_scripts: Sequence[Markup] = (),
) -> str:
    """Return a whole page, with a policy that allows its scripts and styles alone and nothing from elsewhere.

    Args:
        template: Page in ``report/templates``.
        content: Values by name.
        assets: Scripts of ``report/assets`` behind that of the players.
        further_scripts: Scripts of other packages, behind all others.
    """
    style = player_style() + read_asset("otoscope.report", "report.css")
    scripts = [player_script(), *(read_asset("otoscope.report", name) for name in assets), *further_scripts]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src {_hash(style)}",
            f"script-src {' '.join(map(_hash, scripts))}",
            "img-src data: blob:",
            "media-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    text: str = (
        _environment()
        .get_template(template)
        .render({**content, "style": style, "scripts": scripts, "policy": policy})
    )
    # Bytes of file names that are no text, which UTF-8 cannot hold, are shown as question marks.
    return text.encode(errors="replace").decode()


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
