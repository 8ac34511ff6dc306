"""Names of any script are drawn without boxes, warnings, or mathematics."""

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from otoscope.plots import text
from otoscope.plots.text import literal, readable

# Private characters of a plane that no font on a machine is likely to have.
ABSENT, ADDED = "\U000f1234", "\U000f5678"


@pytest.fixture
def font(tmp_path):
    """A font that has the character ADDED, known to matplotlib during a test."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(ADDED): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Otoscope Test", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    path = tmp_path / "test.ttf"
    builder.save(path)
    before = list(fontManager.ttflist)
    forget()
    fontManager.addfont(path)
    yield "Otoscope Test"
    fontManager.ttflist[:] = before
    forget()


def forget():
    for function in (text._family, text._drawable, text._pages):
        function.cache_clear()
    fontManager._findfont_cached.cache_clear()


@pytest.fixture
def dark_pixels(pixels_of):
    """Function that draws a text and counts its pixels."""

    def count(shown):
        figure = Figure(figsize=(4, 1), dpi=50)
        figure.text(0.1, 0.4, shown, **literal(shown))
        return int((pixels_of(figure) < 128).sum())

    return count


def test_characters_without_a_font_are_escaped():
    assert readable(f"a{ABSENT}b") == "a\\U000f1234b"
    assert "fontfamily" not in literal(readable(ABSENT))


def test_an_installed_font_with_the_character_is_used(font, dark_pixels):
    shown = readable(f"x{ADDED}")
    assert shown == f"x{ADDED}"
    assert literal(shown)["fontfamily"][-1] == font
    # A square of 0.7 em at 10 points and 50 dots per inch is about 5 pixels wide; a warning would be an error.
    assert dark_pixels(ADDED) >= 16


@pytest.mark.parametrize("name", ["犬の声", "собака", "كلب", "🐶", "naïve", "한국어", "\udcff", "\ufffe", "हिन्दी"])
def test_every_script_is_drawn_without_a_warning(name, dark_pixels):
    assert dark_pixels(readable(name)) > 0


@pytest.mark.parametrize("name", ["собака", "naïve", "Ωλ"])
def test_scripts_of_the_default_font_are_not_escaped(name):
    assert readable(name) == name


def test_accents_are_composed():
    assert readable("nai\u0308ve") == "naïve"


@pytest.mark.parametrize("name", ["$_$", "$$", "$\\frac$", "a$b", "\\$x$", "x^2_3", "100 %"])
def test_no_mathematics(name):
    """Text that matplotlib would take for mathematics is as wide as its characters."""
    shown = readable(name)
    assert shown == name
    figure = Figure()
    drawn = figure.text(0, 0, shown, **literal(shown))
    # "$" and "0" are equally wide in the default font.
    plain = figure.text(0, 0, shown.replace("$", "0"), parse_math=False)
    figure.draw_without_rendering()
    assert drawn.get_window_extent().width == pytest.approx(plain.get_window_extent().width, abs=2)


def test_control_characters_are_visible_and_format_characters_removed():
    assert readable("a\nb\x07\u2028") == "a\\nb\\x07\\u2028"
    assert readable("\u202egpj.exe\u200b\ufe0f") == "gpj.exe"
    assert readable("a\u00a0b") == "a b"


def test_scripts_from_the_right_keep_the_order_of_the_line():
    assert readable("كلب 1.wav") == "\u200eكلب 1.wav"
    assert readable("1.wav") == "1.wav"


def test_long_names_are_shortened_in_the_middle():
    assert readable("a" * 30 + "b" * 30, longest=9) == "aaaa…bbbb"
    assert len(readable("x" * 10_000)) == 48
    # An escape is not cut in two.
    assert readable(ABSENT * 60, longest=25) == "\\U000f1234…\\U000f1234"


def test_a_font_that_cannot_be_opened_is_skipped(font):
    broken = next(entry for entry in fontManager.ttflist if entry.name == font)
    with open(broken.fname, "wb") as file:  # noqa: PTH123
        file.write(b"no font")
    assert readable(ADDED) == "\\U000f5678"
