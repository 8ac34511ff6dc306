"""A notebook that was executed and converted by nbconvert, in a browser: every output plays and stays by itself."""

import json

import pytest
from tests.browser.accessibility import serious_violations
from tests.report.folders import HOSTILE, content, save_clip, save_evaluation, save_long

pytestmark = pytest.mark.filterwarnings("ignore")  # the kernel's client warns of its own matters
CELLS = [
    "import json, pathlib, torch, otoscope\n"
    "from otoscope.evaluation import Report, Table\n"
    "from otoscope.explanation import FolderExplanation\n"
    "from otoscope.interpreters import make_untrained\n"
    "folder = pathlib.Path({folder!r})\n"
    "torch.manual_seed(0)\n"
    "classifier = otoscope.Conv2dClassifier([{label!r}, 'cat'], width=4, head_width=4).freeze()\n"
    "explainer = otoscope.Explainer(classifier, make_untrained('input_x_gradient', classifier))\n"
    "noise = [0.1 * torch.randn(24_000) for _ in range(2)]\n"
    "explainer",
    "explainer.explain(noise[0], target={label!r}, name='alone', scores=False)",
    "explainer.explain_batch(noise, target={label!r}, scores=False)",
    "FolderExplanation(folder / 'clip')",
    "otoscope.Timeline.load(folder / 'night')",
    "Report(json.loads((folder / 'evaluation' / 'results.json').read_text()), Table(), '', folder / 'evaluation')",
]
ALONE, LIST, STORED, NIGHT, EVALUATION = range(5)
"""Frames in the order of the outputs; that of the explainer is no frame."""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """An executed notebook that shows an object of each kind."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    folder = tmp_path_factory.mktemp("notebook")
    save_clip(folder / "clip", content("stored", HOSTILE))
    save_long(folder / "night", HOSTILE)
    save_evaluation(folder / "evaluation")
    cells = [cell.format(folder=str(folder), label=HOSTILE) for cell in CELLS]
    executed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(executed, timeout=120, kernel_name="python3").execute()
    return executed


@pytest.fixture(scope="module")
def page_of(notebook, tmp_path_factory):
    """Function that makes the page of the notebook in a theme."""
    nbconvert = pytest.importorskip("nbconvert", reason="needs nbconvert: pip install 'otoscope[test]'")

    def convert(theme):
        # The page of nbconvert itself would load these.
        scripts = {"require_js_url": "data:,", "mathjax_url": "", "jquery_url": "data:,"}
        html, _ = nbconvert.HTMLExporter(theme=theme, **scripts).from_notebook_node(notebook)
        path = tmp_path_factory.mktemp("page") / f"{theme}.html"
        path.write_text(html, encoding="utf-8")
        return path

    return convert


@pytest.fixture(scope="module")
def page(open_shared_page, page_of):
    return open_shared_page(page_of("light"))


@pytest.fixture
def frames(page):
    """Frames of the outputs, with all players at their begin."""
    page.wait_for_function("document.querySelectorAll('iframe').length === 5")
    frames = page.frames[1:]
    for frame in frames:
        frame.evaluate(
            """() => {
                for (const { otoscope } of document.querySelectorAll(".otoscope-player")) {
                    otoscope.pause();
                    otoscope.seek(0);
                    otoscope.select(0);
                }
            }"""
        )
    return frames


def result_of(cell):
    """Return the output of a cell; the kernel may also have written warnings."""
    (output,) = [output for output in cell["outputs"] if output["output_type"] == "execute_result"]
    return output


def player(frame, index=0):
    return frame.evaluate_handle("(i) => document.querySelectorAll('.otoscope-player')[i].otoscope", index)


def wait_until(frame, expression, index=0):
    of_index = "const player = document.querySelectorAll('.otoscope-player')[i].otoscope"
    frame.wait_for_function(f"(i) => {{ {of_index}; return {expression}; }}", arg=index)


def test_outputs_are_small_and_need_nothing(notebook):
    for cell in notebook.cells:
        output = result_of(cell)
        html = output["data"]["text/html"]
        assert len(html.encode()) < 1_000_000  # those that are longer are tested in tests/report
        assert "://" not in html
        assert "object at 0x" not in output["data"]["text/plain"]


@pytest.mark.parametrize("number", [ALONE, LIST, STORED, NIGHT])
def test_sounds_play_and_switching_keeps_the_instant(frames, number):
    frame = frames[number]
    frame.locator(".otoscope-loop").first.check()  # on a busy machine, a short sound would end meanwhile
    frame.locator(".otoscope-play").first.click()
    wait_until(frame, "player.currentTime > 0.2")
    before, after, elapsed, track = frame.evaluate(
        """() => {
            const player = document.querySelector(".otoscope-player").otoscope;
            const begin = performance.now();
            const before = player.currentTime;
            player.select(1);
            return [before, player.currentTime, (performance.now() - begin) / 1000, player.track];
        }"""
    )
    assert track == 1
    assert after - before == pytest.approx(elapsed, abs=0.05)
    wait_until(frame, f"Math.abs(player.currentTime - {after}) > 0.1")
    frame.locator(".otoscope-loop").first.uncheck()


def test_one_output_is_heard_at_a_time(frames):
    frames[ALONE].locator(".otoscope-play").first.click()
    wait_until(frames[ALONE], "player.isPlaying && player.currentTime > 0.05")
    frames[LIST].locator(".otoscope-play").nth(1).click()
    wait_until(frames[LIST], "player.isPlaying", 1)
    wait_until(frames[ALONE], "!player.isPlaying")
    assert player(frames[LIST], 1).evaluate("(player) => player.isPlaying")


def test_keys_act_only_where_the_focus_is(page, frames):
    frames[LIST].locator(".otoscope-view").nth(1).press("ArrowRight")
    frames[LIST].locator(".otoscope-view").nth(1).press("2")
    states = [
        [(root["time"], root["track"]) for root in frame.evaluate(
            "[...document.querySelectorAll('.otoscope-player')].map(({ otoscope }) =>"
            " ({ time: otoscope.offset, track: otoscope.track }))"
        )]
        for frame in (frames[STORED], frames[LIST])
    ]  # fmt: skip
    assert states[1][1] == (0.25, 1)
    assert states[1][0][1] == 0
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    page.keyboard.press("3")
    assert player(frames[LIST], 1).evaluate("(player) => player.track") == 1


def test_labels_are_shown_as_text(page, frames):
    shown = [frame for frame in frames[:4] if frame.get_by_text(HOSTILE).count()]
    assert len(shown) == 4
    assert page.locator("td", has_text=HOSTILE).count() == 1  # the classes of the explainer
    assert sum(frame.locator("img[src=x]").count() for frame in page.frames) == 0


def test_frames_are_as_high_as_their_content(page, frames):
    heights = page.evaluate(
        """() => [...document.querySelectorAll("iframe")].map((frame) =>
            [frame.clientHeight, frame.contentDocument.documentElement.scrollHeight, frame.clientWidth,
             frame.contentDocument.documentElement.scrollWidth])"""
    )
    for height, content_height, width, content_width in heights:
        assert 0 <= height - content_height + 1 <= 2
        assert content_width <= width
    ids = [frame.evaluate("[...document.querySelectorAll('[id]')].map(({ id }) => id)") for frame in frames]
    assert all(len(names) == len(set(names)) for names in ids)


def test_links_stay_within_their_output(page, frames):
    address = page.url
    frames[LIST].locator("#clips-table a").nth(1).click()
    assert frames[LIST].evaluate("document.activeElement.id") == "clip-2"
    assert (page.url, frames[LIST].url) == (address, "about:srcdoc")
    frames[NIGHT].get_by_role("link", name="Listen to event 2").click()
    assert frames[NIGHT].evaluate("document.activeElement.id") == "recording-1-event-2"


def test_tables_and_timelines_work(frames):
    table = frames[EVALUATION].locator("table.means").first
    table.locator("thead button", has_text="AI").click()
    assert [row.split()[0] for row in table.locator("tbody th").all_inner_texts()] == [
        "random",
        "loudest",
        "A",
        "B",
    ]
    frames[NIGHT].get_by_role("button", name="Next event").click()
    assert frames[NIGHT].locator("tr.selected").get_attribute("data-number") == "1"


def test_colours_follow_the_notebook(open_page, page_of, page, frames):
    scheme = "document.documentElement.dataset.scheme"
    assert {frame.evaluate(scheme) for frame in frames} == {"light"}
    dark = open_page(page_of("dark"))
    dark.wait_for_function("document.querySelectorAll('iframe').length === 5")
    dark.wait_for_timeout(100)
    paper = "getComputedStyle(document.body).backgroundColor"
    assert {frame.evaluate(scheme) for frame in dark.frames[1:]} == {"dark"}
    assert {frame.evaluate(paper) for frame in dark.frames[1:]} == {"rgb(20, 24, 29)"}
    button = "getComputedStyle(document.querySelector('.otoscope-track[aria-pressed=false]')).color"
    assert dark.frames[1].evaluate(button) == "rgb(230, 237, 243)"


def test_axe_finds_no_serious_violation(open_page, page_of):
    page = open_page(page_of("light"), bypass_csp=True)
    page.wait_for_function("document.querySelectorAll('iframe').length === 5")
    assert [line for frame in page.frames[1:] for line in serious_violations(frame)] == []


def test_a_saved_notebook_holds_the_outputs(notebook, tmp_path):
    import nbformat

    nbformat.write(notebook, tmp_path / "saved.ipynb")
    cells = json.loads((tmp_path / "saved.ipynb").read_text())["cells"]
    assert sum("srcdoc" in "".join(result_of(cell)["data"]["text/html"]) for cell in cells) == 5
