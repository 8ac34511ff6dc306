"""The app in a browser, against a server that its command line starts: explain, compare, review, download."""

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest
from tests.app.running import running, save_model
from tests.browser.accessibility import serious_violations
from tests.report.folders import HOSTILE, content, save_clip

from otoscope.models import sample_recordings

# Its recorder of sounds prints this; no page is wrong because of it.
HARMLESS = ("Method not implemented.",)


@pytest.fixture(scope="module")
def server(tmp_path_factory, browser):
    """The app with two small models and three explanations to review."""
    folder = tmp_path_factory.mktemp("app")
    models = [str(save_model(folder / name, seed)) for seed, name in enumerate(("first", "second"))]
    save_clip(folder / "reviewed" / "1", content("alpha", "dog"))
    save_clip(folder / "reviewed" / "2", content(HOSTILE, HOSTILE), seed=1)
    save_clip(folder / "reviewed" / "3", content("gamma", "dog"), seed=2)
    options = ["--model", models[0], "--method", "saliency", "--second_model", models[1]]
    with running(folder, *options, "--review", str(folder / "reviewed"), "--max_duration_s", "6") as server:
        yield server
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def open_app(browser, server):
    """Function that opens the app; at the end, no page may have reported an error or asked another host."""
    contexts, problems = [], []

    def note_message(message):
        if message.type in ("error", "warning") and message.text not in HARMLESS:
            problems.append(message.text)

    def open_it(width=1280, **settings):
        # The policy of the app allows no foreign script, which axe is; it is bypassed for axe alone.
        context = browser.new_context(viewport={"width": width, "height": 900}, bypass_csp=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        allowed = (server.address, "data:", "blob:")
        page.on("request", lambda sent: sent.url.startswith(allowed) or problems.append(f"request: {sent.url}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", note_message)
        page.goto(server.address)
        page.locator("#explain-button").wait_for()
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def page(open_app):
    return open_app()


def upload(page, name="dog.wav", content=None):
    """Upload a sample, or another content, under a name."""
    sample = next(sample for sample in sample_recordings() if sample.name == "dog")
    file = {"name": name, "mimeType": "audio/wav", "buffer": content or sample.path.read_bytes()}
    page.locator("input[type=file]").first.set_input_files([file])
    # The player of the uploaded file appears when the server has it.
    page.locator("[data-testid='waveform-Recording'], button.playback").first.wait_for()


def choose(page, label, option):
    page.get_by_label(label, exact=True).locator("visible=true").click()
    page.get_by_role("option", name=option, exact=True).click()
    # The list fades out. Until then, options of a second list would be found twice.
    page.get_by_role("option").first.wait_for(state="detached")


def result(page, place="#explain-result"):
    """Return the frame of a result when its player is ready."""
    frame = page.frame_locator(f"{place} iframe")
    frame.locator(".otoscope-ready .otoscope-play").wait_for()
    return frame


def test_upload_is_explained_played_and_downloaded(page):
    upload(page, "my 'dog' & <b>.wav")
    page.locator("#explain-button").click()
    frame = result(page)
    assert frame.locator("section.clip h3").inner_text().startswith("my 'dog'")
    frame.locator(".otoscope-play").click()
    player = frame.locator(".otoscope-player").element_handle()
    player.owner_frame().wait_for_function("player => player.otoscope.currentTime > 0.2", arg=player)
    frame.locator(".otoscope-view").press("2")
    assert frame.locator(".otoscope-evidence").get_attribute("aria-pressed") == "true"
    # The frame is as high as its page, so that nothing scrolls in it.
    height = page.locator("#explain-result iframe").evaluate("frame => frame.getBoundingClientRect().height")
    inner = frame.locator("html").evaluate("html => [html.scrollHeight, html.scrollWidth, html.clientWidth]")
    assert inner[0] <= height
    assert inner[1] <= inner[2]
    with page.expect_download() as report:
        page.get_by_text("Download the report").click()
    text = Path(report.value.path()).read_text()
    assert report.value.suggested_filename == "report.html"
    assert "data-otoscope-player" in text
    with page.expect_download() as folder:
        page.get_by_text("Download the folder").click()
    with zipfile.ZipFile(folder.value.path()) as archive:
        names = [Path(name).name for name in archive.namelist()]
    assert {"explanation.json", "interpretation.wav", "original.wav"} <= set(names)


def test_result_has_no_access_to_the_app(page):
    choose(page, "Sample, if nothing is uploaded", "dog")
    page.locator("#explain-button").click()
    result(page)
    frame = page.locator("#explain-result iframe").element_handle().content_frame()
    assert frame.evaluate("window.origin") == "null"
    assert frame.evaluate("() => { try { return parent.document.title } catch { return 'refused' } }") == "refused"


def test_target_and_contrast(page):
    choose(page, "Sample, if nothing is uploaded", "rooster")
    choose(page, "Explain", "rain")
    choose(page, "Rather than", "dog")
    page.get_by_label("sufficient").check()
    page.locator("#explain-button").click()
    frame = result(page)
    classes = frame.locator("section.clip table.bars").first.locator("tbody th").all_inner_texts()
    assert sorted(classes) == ["dog", "rain"]
    assert frame.locator(".decision strong").first.inner_text() == "rain"


def test_refusal_is_shown_in_one_line(page):
    page.locator("#explain-button").click()
    toast = page.locator(".toast-body")
    toast.wait_for()
    assert "Upload or record a sound first" in toast.inner_text()


def test_two_models_side_by_side(page):
    page.get_by_role("tab", name="Compare two models").click()
    choose(page, "Sample, if nothing is uploaded", "dog")
    choose(page, "Explain (a class of both models)", "dog")
    page.locator("#compare-button").click()
    first, second = result(page, "#compare-result-1"), result(page, "#compare-result-2")
    assert first.locator(".decision strong").first.inner_text() == "dog"
    assert first.locator(".decision").inner_text() != second.locator(".decision").inner_text()
    boxes = [page.locator(f"#compare-result-{number} iframe").bounding_box() for number in (1, 2)]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


def wait_for_status(page, text):
    page.locator("#review-status", has_text=text).wait_for()


def test_review_by_keys_with_undo_and_table(page, server):
    page.get_by_role("tab", name="Review").click()
    wait_for_status(page, "1 of 3: not judged yet")
    result(page, "#review-clip")
    page.keyboard.press("y")
    wait_for_status(page, "2 of 3: not judged yet")
    frame = result(page, "#review-clip")
    frame.locator("section.clip h3", has_text=HOSTILE).wait_for()
    # The keys work too while the player has the focus.
    frame.locator(".otoscope-view").press("n")
    wait_for_status(page, "3 of 3: not judged yet")
    page.locator("#review-unsure").click()
    wait_for_status(page, "3 of 3: unsure. Judged: 3 of 3 (1 right, 1 wrong, 1 unsure)")
    page.locator("body").press("z")
    wait_for_status(page, "3 of 3: not judged yet. Judged: 2 of 3")
    page.locator("body").press(",")
    wait_for_status(page, "2 of 3: wrong")
    with page.expect_download() as table:
        page.get_by_text("Download the table").click()
    rows = list(csv.DictReader(io.StringIO(Path(table.value.path()).read_text())))
    assert [row["judgement"] for row in rows] == ["right", "wrong", ""]
    assert rows[1]["name"] == HOSTILE


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_no_serious_violation_and_the_page_fits(open_app, width):
    page = open_app(width)
    choose(page, "Sample, if nothing is uploaded", "dog")
    page.locator("#explain-button").click()
    result(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    serious = []
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", scheme == "dark")
        page.wait_for_timeout(500)  # colours change by a transition
        # The pages in frames are those of reports, which have such a test.
        serious += [f"{scheme}, {line}" for line in serious_violations(page, "{iframes: false}")]
    assert serious == []


def test_api_is_described_without_addresses_of_files(server):
    status, text = server.ask("/gradio_api/info")
    assert status == 200
    assert set(json.loads(text)["named_endpoints"]) == {"/explain", "/compare"}
