"""Player as HTML: a template for each player, one style and one script for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from otoscope.player.clip import Clip
from otoscope.player.pictures import level_picture, share_picture
from otoscope.player.sounds import encode_sound


def make_environment(package: str) -> Environment:
    """Return an environment for the templates of a package, in which all text is escaped.

    Args:
        package: Package with a folder ``templates``.
    """
    # Every value is escaped, whatever the name of a template ends in; names that do not exist are errors.
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _environment() -> Environment:
    return make_environment("otoscope.player")


def player_html(clip: Clip, heading: str | None = None) -> Markup:
    """Return the player of a clip as a fragment of HTML.

    Without a script, for example in a notebook that is not trusted, the fragment shows the spectrogram in grey and
    the browser's players.

    Args:
        clip: Content.
        heading: Name for screen readers (default: that of the clip).

    Example:
        >>> from otoscope.player import Clip, Track
        >>> import numpy as np
        >>> tracks = [Track(kind, kind.title(), np.zeros(8000)) for kind in ("recording", "evidence")]
        >>> html = player_html(Clip("<b>", 8000, tracks, np.zeros((129, 87))))
        >>> html.count("<audio"), "&lt;b&gt;" in html, "<b>" in html
        (2, True, False)
    """
    reference = clip.tracks[0].waveform
    sounds = [encode_sound(track.waveform, clip.sample_rate_hz, reference) for track in clip.tracks]
    content: dict[str, Any] = {
        "clip": clip,
        "heading": heading or f"Player: {clip.name}",
        "tracks": list(zip(clip.tracks, sounds, strict=True)),
        "levels": level_picture(clip.log_magnitude),
        "mask": None if clip.mask is None else share_picture(clip.mask),
    }
    return Markup(_environment().get_template("player.html.j2").render(content))


def player_style() -> Markup:
    """Return the style sheet of all players, without its element."""
    return read_asset("otoscope.player", "player.css")


def player_script() -> Markup:
    """Return the script of all players, without its element. Running it again starts players that were added."""
    return read_asset("otoscope.player", "player.js")


def standalone_html(clips: Sequence[Clip]) -> Markup:
    """Return players with their style and script, for a notebook or another page.

    Args:
        clips: Content of the players.
    """
    players = Markup("\n").join(player_html(clip) for clip in clips)
    return Markup("<style>{}</style>\n{}\n<script>{}</script>").format(player_style(), players, player_script())


@cache
def read_asset(package: str, name: str) -> Markup:
    """Return a file of a package's folder ``assets``, as markup.

    Args:
        package: Name of the package.
        name: Name of the file.
    """
    return Markup((files(package) / "assets" / name).read_text(encoding="utf-8"))
