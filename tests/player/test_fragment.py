"""Player as a fragment of HTML."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from otoscope.player import Clip, Track, player_html, player_script, player_style, standalone_html

HOSTILE = "\"'><img src=x onerror=alert(1)></script><script>alert(2)</script>"


class Elements(HTMLParser):
    """Elements of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def make_clip(mask=True, name="clip"):
    sound = np.zeros(1600, np.float32)
    tracks = [Track("recording", name, sound), Track("evidence", "Evidence", sound)]
    return Clip(name, 16_000, tracks, np.zeros((513, 9)), np.zeros((513, 9)) if mask else None, f"mask of {name}")


def test_untrusted_text_stays_text():
    parsed = Elements(player_html(make_clip(name=HOSTILE)))
    tags = [tag for tag, _ in parsed.elements]
    assert "script" not in tags
    images = [attributes for tag, attributes in parsed.elements if tag == "img"]
    assert len(images) == 2
    assert all(attributes["src"].startswith("data:image/png;base64,") for attributes in images)
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    # what a reader sees is the text itself
    assert parsed.elements[0][1]["aria-label"] == f"Player: {HOSTILE}"


def test_player_without_a_mask_has_no_controls_of_it():
    assert "otoscope-opacity" in player_html(make_clip())
    assert "otoscope-opacity" not in player_html(make_clip(mask=False))


def test_several_players_share_style_and_script():
    page = standalone_html([make_clip(), make_clip()])
    assert page.count("<style>") == page.count("<script>") == 1
    assert page.count("data-otoscope-player role") == 2


@pytest.mark.parametrize("text", [player_script(), player_style()])
def test_assets_load_nothing_and_end_nowhere(text):
    assert not re.search(r"https?:|@import|url\(|</(script|style)|fetch\(|XMLHttpRequest|import\(|eval\(", text)


def test_styles_concern_players_alone():
    selectors = re.findall(r"^\s*([.#a-z*][^{}@]*)\{", player_style(), re.MULTILINE)
    assert len(selectors) > 20
    assert all(part.strip().startswith(".otoscope-") for selector in selectors for part in selector.split(","))
