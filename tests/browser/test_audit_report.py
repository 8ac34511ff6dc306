"""The report of an audit in a browser."""

import pytest
from tests.browser.accessibility import serious_violations_of_schemes
from tests.report.folders import HOSTILE, save_audit

from otoscope.cli.main import main


@pytest.fixture(scope="module")
def page(open_shared_page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    save_audit(folder / "planted", label=HOSTILE)
    save_audit(folder / "clean", "clean")
    assert main(["report", str(folder), "-o", str(folder / "r.html")]) == 0
    return open_shared_page(folder / "r.html", bypass_csp=True)  # for axe alone


def test_the_verdict_and_the_first_suspect_are_seen_without_scrolling(page):
    # the folders are read in the order of their names: clean, planted
    planted = page.locator("#audit-2 .lead")
    planted.scroll_into_view_if_needed()
    assert planted.locator(".lead-title").inner_text().startswith("✕ shortcut Shortcut found in 1 of 2 classes")
    assert HOSTILE in planted.inner_text()
    assert page.locator("#audit-1 .lead-title").inner_text() == "✓ clean No shortcut found"
    assert page.locator("#audit-1 .lead").bounding_box()["y"] < 300
    assert page.locator("img[src=x]").count() == 0


def test_the_sentence_leads_to_the_suspect_whose_sounds_switch(page):
    page.locator("#audit-2 .lead a").first.click()
    assert page.evaluate("location.hash") == "#audit-2-suspect-1"
    players = page.locator("#audit-2-suspect-1 .otoscope-player")
    assert players.count() == 2
    assert players.nth(0).locator(".otoscope-track").all_inner_texts() == [
        "1Original",
        "2Cue removed",
        "3The cue alone",
    ]
    players.nth(1).locator(".otoscope-play").click()
    playing = "document.querySelectorAll('#audit-2-suspect-1 .otoscope-player')[1].otoscope"
    page.wait_for_function(f"{playing}.currentTime > 0.1")
    players.nth(1).get_by_role("button", name="Cue transplanted").click()
    assert page.evaluate(f"{playing}.track") == 1
    assert players.nth(0).locator("img.otoscope-mask").get_attribute("alt").endswith("white belongs to the cue")


def test_a_folded_table_holds_all_tested_cues(page):
    page.locator("#audit-2 summary", has_text="All tested cues (2)").click()
    rows = page.locator("#audit-2-tested tbody tr")
    assert rows.count() == 2
    page.locator("#audit-2-tested thead button", has_text="removed").click()
    assert rows.first.locator("td").nth(2).inner_text() == "92 % → 31 %"


@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_the_screen(page, width):
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_figures_have_names_for_screen_readers(page):
    names = page.eval_on_selector_all("#audit-2 svg[role=img]", "(all) => all.map((svg) => svg.ariaLabel)")
    assert len(names) == 4  # two effects and two profiles
    assert names[0].startswith("Cue removed. clips of")
    assert "half of the evidence lies in 900 Hz–1.1 kHz" in names[2]


def test_everything_is_printed(page):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator(".effect-bar").first.is_visible()
    assert not page.locator(".otoscope-controls").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")


def test_axe_finds_no_serious_violation(page):
    assert serious_violations_of_schemes(page) == []
