"""Views in notebooks: at most 3 MB, with a note of what is left out, and nothing but text from untrusted names."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
import torch
from tests.report.folders import HOSTILE, RATE_HZ, content, save_clip, save_evaluation, save_long, sounds

from otoscope.evaluation import KnownUseReport, Report, Table
from otoscope.explanation import Explanation, Explanations, FolderExplanation
from otoscope.interpreters import Components
from otoscope.recordings import Timeline
from otoscope.report.notebook import frame
from otoscope.views import VIEWS, Shown


def explanation(name="clip", seconds=1.0, label="dog", seed=0, **changes):
    """Return an explanation without a model."""
    recording, evidence, remainder = map(torch.from_numpy, sounds(seconds, seed))
    mask = torch.zeros(513, round(86 * seconds) + 1)
    mask[50:80, : mask.shape[1] // 2] = 1
    scores = {"AI": 0.0, "FF": 0.6, "Fid-In": 1.0, "MM": 0.1, "p_evidence": 0.7, "p_remainder": 0.2}
    values = {
        "label": label,
        "predicted": label,
        "probabilities": {label: 0.8, "cat": 0.2},
        "mask": mask,
        "original": recording,
        "evidence": evidence,
        "remainder": remainder,
        "log_magnitude": torch.rand(mask.shape),
        "sample_rate_hz": RATE_HZ,
        "method": "saliency",
        "scores": scores,
        "controls": {"random": scores},
        "name": name,
    }
    return Explanation(**{**values, **changes})


def page_of(html):
    """Return the page in the frame of an output."""
    return unescape(re.search(r'srcdoc="([^"]*)"', html)[1])


def note_of(html):
    match = re.search(r'<p class="shortened">(.*?)</p>', page_of(html))
    return match and match[1]


@pytest.fixture
def small(monkeypatch):
    """Outputs of at most 200 kB; scripts and styles take about half of these."""
    monkeypatch.setattr(frame, "MOST_BYTES", 200_000)
    return 200_000


def test_every_view_exists():
    import importlib

    for path in VIEWS.values():
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
    shown = {Explanation, Explanations, FolderExplanation, Timeline, Report, KnownUseReport}
    assert {kind.view for kind in shown} | {"explainer"} == set(VIEWS)
    assert all(issubclass(kind, Shown) for kind in shown)


def test_an_explanation_has_player_verdict_and_scores():
    html = explanation(HOSTILE, label=HOSTILE)._repr_html_()
    assert html.count("\n") == 0  # programs that read line by line leave it alone
    page = page_of(html)
    assert page.count("data:audio/ogg") == 3
    assert "not supported" in page
    assert "Heard scores beside controls" in page
    assert HOSTILE not in page
    assert HOSTILE not in html
    assert note_of(html) is None
    assert "Content-Security-Policy" in page
    assert len(html.encode()) < frame.MOST_BYTES


def test_the_frame_holds_a_summary_for_notebooks_that_are_not_trusted():
    html = explanation()._repr_html_()
    text = re.sub(r"<[^>]*>", "", html)  # as a sanitiser leaves it
    assert text.startswith("clip: dog (p = 0.80). Not supported")
    assert text.endswith("(To listen, trust the notebook and run it.)")


def test_a_long_explanation_is_cut(small):
    html = explanation(seconds=20.0)._repr_html_()
    assert len(html) <= small
    note = note_of(html)
    shown, rest = map(float, re.search(r"first ([\d.]+) s are shown, the other ([\d.]+) s", note).groups())
    assert 0.5 < shown < 20
    assert shown + rest == pytest.approx(20, abs=0.11)
    assert "explanation.save(folder)" in note
    assert float(re.search(r'data-duration="([\d.]+)"', page_of(html))[1]) == pytest.approx(shown, abs=0.06)


def test_components_are_left_out_before_time_is(small):
    # A dictionary with one component for each quarter of the frequencies, all of them relevant.
    dictionary = torch.eye(4).repeat_interleave(129, 0)[:513]
    components = Components(dictionary, torch.ones(4, 173), torch.tensor([1.0, 0.9, 0.8, 0.7]), 0.2)
    with_components = explanation(seconds=2.0, mask=torch.ones(513, 173), components=components)
    html = with_components._repr_html_()
    assert page_of(html).count("<audio") == 3
    assert note_of(html).startswith("The sounds of the components are left out, to keep")
    assert len(html) <= small


def test_a_list_is_a_table_with_players():
    page = page_of(Explanations([explanation("a"), explanation("b", seed=1)])._repr_html_())
    assert page.count("data-otoscope-player") - page.count("[data-otoscope-player]") == 2
    assert re.findall(r'<a href="#clip-\d">(\w)</a>', page) == ["a", "b"]
    assert Explanations()._repr_html_() == "<p>No explanations.</p>"


def test_a_long_list_has_as_many_players_as_fit(small):
    many = Explanations([explanation(f"clip {i}", seed=i) for i in range(8)])
    html = many._repr_html_()
    assert len(html) <= small
    shown = len(re.findall(r'<section class="clip"', page_of(html)))
    assert 1 <= shown < 8
    assert note_of(html).startswith(f"Shown are the sounds of {shown} of 8 explanations: {8 - shown} are left out")
    assert f"explanations[{shown}:{2 * shown}]" in note_of(html)
    assert len(re.findall(r'<tr data-name="clip', page_of(html))) == 8
    assert len(re.findall(r'<a href="#clip-\d', page_of(html))) == shown
    # The rest of the list has room for as many.
    assert note_of(many[shown : 2 * shown]._repr_html_()) is None


def test_a_stored_explanation_shows_itself(tmp_path):
    stored = FolderExplanation(save_clip(tmp_path / "clip", content("stored", HOSTILE)))
    assert page_of(stored._repr_html_()).count("<audio") == 3
    assert "parts json, recording, evidence, remainder, mask" in repr(stored)
    (tmp_path / "clip" / "original.wav").unlink()
    assert "holds no part 'recording'" in unescape(page_of(stored._repr_html_()))


def test_a_timeline_shows_events_and_the_most_confident_sounds(tmp_path, small):
    timeline = Timeline.load(save_long(tmp_path / "night", HOSTILE))
    assert repr(timeline).startswith("Timeline(night: 3 events (cat 2, <img")
    html = timeline._repr_html_()
    page = page_of(html)
    assert len(html) <= small
    assert HOSTILE not in page
    assert "3 events in 30.0 s" in page
    shown = len(re.findall('<section class="clip event"', page))
    assert shown < 3
    assert f"sounds of {3 - shown} events are left out" in note_of(html)
    assert f"otoscope report {timeline.folder} --event_sounds 3" in note_of(html)


def test_a_timeline_without_its_files_still_has_its_picture(tmp_path):
    timeline = Timeline.load(save_long(tmp_path / "night"))
    timeline.folder = tmp_path / "removed"
    page = page_of(timeline._repr_html_())
    assert "No sounds are embedded" in page
    assert page.count('<tr data-number="') == 3
    (tmp_path / "night" / "evidence.flac").write_bytes(b"damaged")
    timeline.folder = tmp_path / "night"
    assert "evidence.flac: cannot be read" in note_of(timeline._repr_html_())


def test_a_timeline_with_many_events_has_the_most_confident(tmp_path, small):
    timeline = Timeline.load(save_long(tmp_path / "night"))
    timeline.folder = tmp_path / "removed"
    event = timeline.events[0]
    timeline.events = [replace(event, confidence=0.5 + i / 4000) for i in range(1000)]
    html = timeline._repr_html_()
    assert len(html) <= small
    rows = int(re.search(r"the (\d+) most confident of 1000 events are shown, (\d+) are", note_of(html).lower())[1])
    confidences = list(map(float, re.findall(r'data-confidence="([\d.]+)"', page_of(html))))
    assert len(confidences) == rows
    assert min(confidences) >= sorted((event.confidence for event in timeline.events), reverse=True)[rows]


def evaluation(tmp_path):
    results = json.loads((save_evaluation(tmp_path / "evaluation") / "results.json").read_text())
    return Report(results, Table(), "", tmp_path / "evaluation")


def test_an_evaluation_has_its_tables(tmp_path):
    page = page_of(evaluation(tmp_path)._repr_html_())
    assert page.count('<table class="sortable means">') == 3
    assert "random as A, B" in page


def test_an_evaluation_of_many_tables_is_shortened(tmp_path, small):
    report = evaluation(tmp_path)
    domains = report.results["scores"]["clean"]["0.2"]
    report.results["scores"]["clean"] |= {str(area / 100): domains for area in range(1, 90)}
    html = report._repr_html_()
    assert len(html) <= small
    shown = page_of(html).count('<table class="sortable means">')
    assert note_of(html).startswith(f"Shown are {shown} of {3 + 2 * 88} tables")


def test_numbers_that_json_lacks_are_no_problem(tmp_path):
    report = evaluation(tmp_path)
    report.results["scores"]["clean"]["own"]["heard"]["A"]["AI"]["mean"] = float("nan")
    assert "<table" in page_of(report._repr_html_())


def test_a_text_is_shown_as_text():
    report = KnownUseReport({"scores": {"g": {}}, "means": {"m": {}}}, f"{HOSTILE}\n  a  b", None)
    assert report._repr_html_() == "<pre>&lt;img src=x onerror=alert(1)&gt;\n  a  b</pre>\n"
    assert repr(report) == "KnownUseReport(m on g; files in None)"


def test_masks_of_other_types_are_shown():
    soft = torch.from_numpy(np.linspace(0, 1, 513 * 87, dtype=np.float32).reshape(513, 87))
    assert "data:image/png" in page_of(explanation(mask=soft)._repr_html_())
