"""Pages of a report as files."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from tests.report.folders import HOSTILE, content, save_clip, save_evaluation, save_long

from otoscope.errors import ConfigurationError
from otoscope.report import ReportOptions, read_results, write_report

QUOTED = 'it\'s "quoted" </script><script>alert(3)</script>'


class Page(HTMLParser):
    """Elements and the content of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.raw, self._open = [], {"script": [], "style": []}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open = tag if tag in self.raw else None

    def handle_data(self, data):
        if self._open:
            self.raw[self._open].append(data)
            self._open = None


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    save_clip(folder / "results" / "1", content(QUOTED, HOSTILE))
    save_clip(folder / "results" / "2", content("clip"))
    save_long(folder / "night", HOSTILE)
    save_evaluation(folder / "evaluation")
    write_report(read_results([folder]), folder / "r.html")
    return (folder / "r.html").read_text(encoding="utf-8")


def test_the_shares_that_decide_stand_below_their_curve(page):
    assert page.count("Smallest share that keeps the decision by itself: 5 %.") == 2
    assert page.count("Smallest share whose removal loses it: 12.5 %.") == 2
    assert page.count("Share that does both: 12.5 %.") == 2


def test_nothing_is_loaded_from_elsewhere(page):
    for tag, attributes in Page(page).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:", "#")), f"<{tag} {name}={value[:80]}>"


def test_policy_allows_the_scripts_of_the_page_alone(page):
    parsed = Page(page)
    policy = next(attributes["content"] for _, attributes in parsed.elements if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for text in (*parsed.raw["script"], *parsed.raw["style"]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert len(parsed.raw["script"]) == 2
    # Styles and handlers in attributes would be refused by the policy.
    assert not any(
        name == "style" or name.startswith("on") for _, attributes in parsed.elements for name in attributes
    )


def test_untrusted_text_makes_no_element(page):
    parsed = Page(page)
    assert not any(attributes.get("src") == "x" for _, attributes in parsed.elements)
    assert not any("alert(" in text for text in parsed.raw["script"])
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_addresses_within_the_page_exist_once(page):
    elements = Page(page).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for tag, attributes in elements if tag == "a"}
    described = {attributes["aria-describedby"] for _, attributes in elements if "aria-describedby" in attributes}
    assert links <= set(ids)
    assert described <= set(ids)


def test_a_clip_of_five_seconds_takes_less_than_300_kilobytes(tmp_path):
    save_clip(tmp_path / "1", content("one second of noise"))
    write_report(read_results([tmp_path / "1"]), tmp_path / "r.html")
    sounds = re.findall(r"data:audio/ogg;base64,([^\"]+)", (tmp_path / "r.html").read_text())
    assert len(sounds) == 3
    assert sum(map(len, sounds)) * 5 < 200_000


def test_the_same_results_make_the_same_report(tmp_path):
    save_clip(tmp_path / "1", content("1"))
    results = read_results([tmp_path / "1"])
    first, second = (tmp_path / name for name in ("a.html", "b.html"))
    for path in (first, second):
        write_report(results, path)
    # Vorbis numbers its streams at random.
    texts = [re.sub(r"data:audio/ogg;base64,[^\"]+", "", path.read_text()) for path in (first, second)]
    assert texts[0] == texts[1]


def test_clips_whose_sounds_are_missing_are_skipped(tmp_path):
    save_clip(tmp_path / "good", content("good"))
    folder = save_clip(tmp_path / "bad", content("bad"))
    (folder / "original.wav").unlink()
    report = write_report(read_results([tmp_path]), tmp_path / "r.html", ReportOptions(order="worst"))
    assert (report.clips, report.broken) == (1, 1)
    assert "bad: holds no part 'recording'" in report.skipped[0]
    assert "bad: holds no part" in (tmp_path / "r.html").read_text()


def test_many_clips_get_pages_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("otoscope.report.page.MOST_CLIPS_ON_A_PAGE", 2)
    monkeypatch.setattr("otoscope.report.page.CLIPS_PER_PAGE", 2)
    for number in range(3):
        save_clip(tmp_path / "in" / str(number), content(f"clip {number}"), with_mask=False)
    results = read_results([tmp_path / "in"])
    report = write_report(results, tmp_path / "r.html")
    assert sorted(path.name for path in report.pages.iterdir()) == ["clips-001.html", "clips-002.html"]
    links = re.findall(r'href="(r-pages/[^"]+)"', (tmp_path / "r.html").read_text())
    assert links == [
        "r-pages/clips-001.html#clip-1",
        "r-pages/clips-001.html#clip-2",
        "r-pages/clips-002.html#clip-3",
    ]
    for link in links:
        name, _, anchor = link.partition("#")
        assert f'id="{anchor}"' in (tmp_path / name).read_text()
    (report.pages / "mine.txt").write_text("")
    with pytest.raises(ConfigurationError, match="something else"):
        write_report(results, tmp_path / "r.html")
    assert (report.pages / "mine.txt").exists()
