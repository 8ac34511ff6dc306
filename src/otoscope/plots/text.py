"""Names and labels as matplotlib can draw them: no missing characters, no mathematics, no control characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry

LONGEST = 48
"""Characters of a name or label that are drawn; longer ones are shortened in the middle."""

_LEFT_TO_RIGHT = "\u200e"

_UNSUITABLE_FONTS = ("Last Resort", "cm", "STIXNonUnicode", "STIXSize")
"""First letters of fonts that ship with matplotlib and map characters to boxes or to other signs."""


def readable(text: str, longest: int = LONGEST) -> str:
    r"""Return a text in which every character can be drawn, shortened in the middle if it is long.

    Control characters, and characters that no installed font has, are shown as Python escapes. Invisible format
    characters, such as those that reverse the direction of writing, are removed.

    Args:
        text: Name of a recording, label, title.
        longest: Largest number of characters of the result, at least 3.

    Example:
        >>> readable("dog\n"), readable("a_very_long_name_of_a_recording", longest=13)
        ('dog\\n', 'a_very…ording')
    """
    # Combining accents become part of their letter: more fonts have the composed characters.
    text = unicodedata.normalize("NFC", str(text))
    # A name may be a whole page; only its ends can be drawn, so that only they are looked up in fonts.
    pieces = [_drawable(character) for character in _shortened(list(text), longest)]
    shown = "".join(_shortened(pieces, longest))
    if any(unicodedata.bidirectional(character) in ("R", "AL") for character in shown):
        # A line that begins in a script written from the right would be laid out from the right as a whole, with
        # its escapes and the texts behind it. The mark is invisible.
        return _LEFT_TO_RIGHT * (_family(_LEFT_TO_RIGHT) is not None) + shown
    return shown


def literal(*texts: str) -> dict[str, Any]:
    """Return the properties that draw texts as they are: fonts that have their characters, and no mathematics.

    Args:
        *texts: Results of `readable` that are drawn with the same properties, such as all labels of an axis.

    Returns:
        Keyword arguments of `matplotlib.text.Text` and of the functions that make one.
    """
    # usetex too: a user may have switched LaTeX on for figures of their own, where "_" is an error
    properties: dict[str, Any] = {"parse_math": False, "usetex": False}
    families = {_family(character) for text in texts for character in text} - {None, ""}
    if families:
        # Matplotlib takes each character from the first family that has it.
        properties["fontfamily"] = [*_default_families(), *sorted(str(family) for family in families)]
    return properties


def _shortened(pieces: list[str], longest: int) -> list[str]:
    """Replace the middle of a list of pieces by an ellipsis, so that their total length is at most ``longest``."""
    if sum(map(len, pieces)) <= longest:
        return pieces
    head, tail = longest // 2, (longest - 1) // 2
    return [*_fitting(pieces, head), "…", *reversed(_fitting(reversed(pieces), tail))]


def _fitting(pieces: Iterable[str], length: int) -> list[str]:
    """Return the first pieces whose total length is at most ``length``."""
    fitting: list[str] = []
    for piece in pieces:
        length -= len(piece)
        if length < 0:
            break
        fitting.append(piece)
    return fitting


@lru_cache(maxsize=4096)
def _drawable(character: str) -> str:
    category = unicodedata.category(character)
    if (
        category == "Cf" or 0xFE00 <= ord(character) <= 0xFE0F
    ):  # the latter select a variant, such as a colour emoji
        return ""
    if category == "Zs":
        return " "
    # controls, line and paragraph separators, and bytes of a file name that are no text
    if category in ("Cc", "Cs", "Zl", "Zp") or _family(character) is None:
        return character.encode("unicode_escape").decode("ascii")
    return character


@lru_cache(maxsize=4096)
def _family(character: str) -> str | None:
    """Return the font family that has a character: "" for the default one, None if no installed font has it."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    code = ord(character)
    # Fonts are only opened for characters that the default font lacks, so that most pictures open no other.
    if _has_glyph(findfont(FontProperties()), code):
        return ""
    for font in sorted(filter(_is_suitable, fontManager.ttflist), key=_preference):
        if _has_glyph(font.fname, code):
            return font.name
    return None


def _is_suitable(font: FontEntry) -> bool:
    return font.style == "normal" and not font.name.startswith(_UNSUITABLE_FONTS)


def _preference(font: FontEntry) -> tuple[bool, bool, bool, str, str]:
    """Return the sort key of a font: upright text fonts of regular weight and without serifs come first."""
    is_regular = font.weight in (400, "normal", "regular", "book")
    return not is_regular, "Mono" in font.name, "Serif" in font.name, font.name, font.fname


def _has_glyph(path: str, code: int) -> bool:
    from matplotlib.font_manager import get_font

    return code >> 8 in _pages(path) and bool(get_font(path).get_char_index(code))


@cache
def _pages(path: str) -> frozenset[int]:
    """Return the pages of 256 characters in which a font has any; empty if matplotlib cannot draw with it.

    A machine may have hundreds of fonts and none for a script. The pages are read once for each font, so that a
    list of names in that script does not open all fonts again for each character.
    """
    from matplotlib.font_manager import get_font

    try:
        font = get_font(path)
        # Fonts of bitmaps, as of colour emoji, cannot be drawn at any size.
        return frozenset(code >> 8 for code in font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):  # removed since matplotlib listed it, or of an unknown format
        return frozenset()


def _default_families() -> list[str]:
    from matplotlib import rcParams

    families = rcParams["font.family"]
    return [families] if isinstance(families, str) else list(families)
