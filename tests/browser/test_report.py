"""A whole report in a browser: tables, timelines, untrusted text, accessibility."""

import pytest
from tests.browser.accessibility import serious_violations_of_schemes
from tests.report.folders import HOSTILE, content, save_clip, save_evaluation, save_long

from otoscope.cli.main import main

QUOTED = """it's "quoted" & <b>bold</b>"""


@pytest.fixture(scope="module")
def report_file(tmp_path_factory):
    """A report of three clips, a long recording and an evaluation."""
    folder = tmp_path_factory.mktemp("report")
    save_clip(folder / "results" / "1", content("zebra", "dog", "supported", 0.9), seed=1)
    save_clip(folder / "results" / "2", content(QUOTED, HOSTILE, "not supported", 0.5), seed=2)
    save_clip(folder / "results" / "3", content("alpha", "dog", "partly", 0.7), with_mask=False, seed=3)
    save_long(folder / "night", HOSTILE)
    save_evaluation(folder / "evaluation")
    sources = [str(folder / name) for name in ("results", "night", "evaluation")]
    assert main(["report", *sources, "-o", str(folder / "r.html"), "--event_sounds", "2"]) == 0
    return folder / "r.html"


@pytest.fixture(scope="module")
def page(open_shared_page, report_file):
    # The policy of a report allows no foreign script, which axe is; it is bypassed for axe alone.
    return open_shared_page(report_file, bypass_csp=True)


def names(page, table="clips-table"):
    return page.eval_on_selector_all(
        f"#{table} tbody tr", "(rows) => rows.filter((row) => !row.hidden).map((row) => row.dataset.name)"
    )


def test_untrusted_text_is_shown_as_text(page):
    assert page.locator("section.clip h3", has_text=QUOTED).first.inner_text() == QUOTED
    assert page.locator("#clips-table td", has_text=HOSTILE).first.inner_text() == HOSTILE
    assert page.locator("li", has_text="alert(2)").first.inner_text().startswith("a note </script>")
    assert page.locator("img[src=x], section b").count() == 0
    page.wait_for_timeout(200)  # a script that was smuggled in would have had time to run; see `open_page`


def test_every_clip_plays_in_the_report(page):
    players = page.locator("#clips .otoscope-play")
    assert players.count() == 3
    for index in range(3):
        players.nth(index).click()
        page.wait_for_function(
            "(i) => document.querySelectorAll('#clips .otoscope-player')[i].otoscope.currentTime > 0.1", arg=index
        )


def test_tables_are_sorted_by_text_and_number_in_both_directions(page):
    assert names(page) == ["zebra", QUOTED, "alpha"]
    head = page.locator("#clips-table thead button")
    head.get_by_text("name").click()
    assert names(page) == ["alpha", QUOTED, "zebra"]
    head.get_by_text("confidence").click()
    assert names(page) == [QUOTED, "alpha", "zebra"]
    head.get_by_text("confidence").focus()
    page.keyboard.press("Enter")
    assert names(page) == ["zebra", "alpha", QUOTED]
    assert page.locator("#clips-table th[aria-sort=descending]").inner_text().startswith("confidence")
    head.get_by_text("verdict").click()
    assert names(page)[0] == QUOTED  # the one that is not supported


def test_tables_are_filtered_with_their_sections(page):
    page.fill("[data-filter=clips-table] [name=text]", "DOG")
    assert sorted(names(page)) == ["alpha", "zebra"]
    page.select_option("[data-filter=clips-table] [name=level]", "partly")
    assert names(page) == ["alpha"]
    assert page.locator("section.clip h3:visible", has_text="zebra").count() == 0
    assert page.locator("[data-filter=clips-table] output").inner_text() == "1 of 3 shown"
    page.select_option("[data-filter=clips-table] [name=level]", "")
    page.fill("[data-filter=clips-table] [name=text]", "")
    page.fill("[data-filter=clips-table] [name=confidence]", "0.6")
    assert sorted(names(page)) == ["alpha", "zebra"]
    page.fill("[data-filter=clips-table] [name=confidence]", "0")
    assert len(names(page)) == 3


def test_timeline_zooms_and_jumps_to_events(page):
    timeline = page.locator(".timeline-ready")
    timeline.wait_for()
    view = "document.querySelector('[data-timeline]').timeline.view"
    assert page.evaluate(view) == [0, 30]
    timeline.locator("[data-do=in]").click()
    assert page.evaluate(view) == pytest.approx([7.5, 22.5])
    timeline.press("ArrowLeft")
    assert page.evaluate(view)[0] == pytest.approx(7.5 - 15 / 8)
    timeline.press("0")
    timeline.press("n")
    assert "Event 1: cat, 2.00 s to 4.00 s" in timeline.locator(".timeline-event").inner_text()
    begin, end = page.evaluate(view)
    assert begin < 2 < 4 < end
    timeline.locator("[data-do=next]").click()
    line = timeline.locator(".timeline-event")
    assert line.inner_text().startswith(f"Event 2: {HOSTILE}")
    line.locator("a").click()
    assert page.evaluate("location.hash") == "#recording-1-event-2"
    page.locator("[data-show-event='3']").click()
    assert page.locator("tr.selected").get_attribute("data-number") == "3"


def test_click_on_the_timeline_selects_an_event(page):
    page.locator(".timeline-ready").wait_for()
    page.locator("[data-timeline]").press("0")
    page.locator("[data-show-event='1']").click()
    page.locator("[data-timeline]").press("0")
    lanes = page.locator(".timeline-lanes")
    size = lanes.bounding_box()
    # "cat" with two events has the upper lane
    lanes.click(position={"x": size["width"] * 12.5 / 30, "y": size["height"] * 0.25})
    assert page.locator("tr.selected").get_attribute("data-number") == "1"
    lanes.click(position={"x": size["width"] * 12.5 / 30, "y": size["height"] * 0.75})
    assert page.locator("tr.selected").get_attribute("data-number") == "2"
    page.locator(".timeline-view").click(position={"x": size["width"] * 20.5 / 30, "y": 50})
    assert page.locator("tr.selected").get_attribute("data-number") == "3"


def test_scores_explain_themselves_on_hover_and_focus(page):
    tip = page.locator("#clips .meaning").first
    assert not tip.is_visible()
    page.locator("#clips .term-name").first.hover()
    assert tip.is_visible()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.mouse.move(0, 0)
    page.locator("#clips .term-name").first.focus()
    assert tip.is_visible()
    assert "Average increase" in tip.inner_text()


def test_evaluation_table_is_sorted_by_means(page):
    table = page.locator("table.means").first
    table.locator("thead button", has_text="AI").click()
    rows = table.locator("tbody th").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["random", "loudest", "A", "B"]
    assert rows[0].startswith("random as A, B")  # equal controls are one row


def test_axe_finds_no_serious_violation_of_clips_timeline_and_evaluation(page):
    page.locator(".timeline-ready").wait_for()
    assert serious_violations_of_schemes(page) == []


def test_page_fits_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_everything_that_is_folded_is_printed(page):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator(".otoscope-controls").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator("details:not([open])").count() > 0


@pytest.fixture(scope="module")
def index_file(tmp_path_factory):
    """An index of five clips, with pages of two beside it."""
    folder = tmp_path_factory.mktemp("many")
    for index in range(5):
        save_clip(folder / "many" / f"{index}", content(f"clip {index}"), with_mask=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otoscope.report.page.MOST_CLIPS_ON_A_PAGE", 3)
        patch.setattr("otoscope.report.page.CLIPS_PER_PAGE", 2)
        assert main(["report", str(folder / "many"), "-o", str(folder / "r.html")]) == 0
    return folder / "r.html"


def test_axe_finds_no_serious_violation_of_an_index_and_its_pages(open_page, index_file):
    page = open_page(index_file, bypass_csp=True)
    assert serious_violations_of_schemes(page) == []
    page.get_by_role("link", name="clip 3", exact=True).click()
    page.locator("#clip-4 .otoscope-play").wait_for()
    assert serious_violations_of_schemes(page) == []


def test_pages_of_many_clips_link_to_each_other(open_page, index_file):
    page = open_page(index_file)  # under the policy of the page
    assert len(names(page)) == 5
    page.get_by_role("link", name="clip 3", exact=True).click()
    assert page.url.endswith("r-pages/clips-002.html#clip-4")
    page.locator("#clip-4 .otoscope-play").click()
    # As a function: an expression would be evaluated as a string, which the policy forbids.
    page.wait_for_function("() => document.querySelector('#clip-4 .otoscope-player').otoscope.currentTime > 0.1")
    page.get_by_role("link", name="3", exact=True).click()
    assert page.locator("section.clip").count() == 1
    page.get_by_role("link", name="Table of all clips").click()
    assert page.url.endswith("r.html")
