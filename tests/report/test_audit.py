"""Audits in a report."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.report.folders import HOSTILE, class_evidence, content, save_audit, save_clip, save_evaluation
from tests.report.test_page import Page

from otoscope.audio import save_audio
from otoscope.audit.result import AuditResult, ClassFigures
from otoscope.errors import DataError
from otoscope.report import ReportOptions, read_results, write_report
from otoscope.report.audit import facts_of, lead_of, open_audit
from otoscope.report.audit_charts import (
    effect_bars,
    evidence_sentences,
    place_of,
    profile_charts,
    short_text,
    span_text,
)
from otoscope.report.typed import fault_of


def figures(label, verdict):
    return ClassFigures(label, 20, 20, 0.9, 0.0, verdict, f"{label}: {verdict}")


def result_of(**verdicts):
    return AuditResult({"candidates": 120}, [figures(label, verdict) for label, verdict in verdicts.items()], [])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    save_audit(folder / "audit", label=HOSTILE)
    save_audit(folder / "clean", "clean")
    save_clip(folder / "clip", content("clip"))
    save_evaluation(folder / "evaluation")
    report = write_report(read_results([folder]), folder / "r.html")
    assert (report.audits, report.clips, report.evaluations, report.skipped) == (2, 1, 1, [])
    return (folder / "r.html").read_text(encoding="utf-8")


def test_the_verdict_stands_before_everything_else(page):
    lead = page.index('class="lead lead-bad"')
    assert lead < page.index("audit-1-suspect-1-name") < page.index('id="audit-1-classes"')
    assert page.index('id="audit-2"') < page.index('id="clips"') < page.index('id="evaluation-1"')
    assert 'class="lead lead-good"' in page
    assert "No shortcut found" in page


def test_untrusted_names_make_no_element(page):
    parsed = Page(page)
    assert not any(attributes.get("src") == "x" for _, attributes in parsed.elements)
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_addresses_within_the_page_exist_once(page):
    elements = Page(page).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for tag, attributes in elements if tag == "a"} <= set(ids)
    assert not any(name == "style" or name.startswith("on") for _, attrs in elements for name in attrs)


def test_a_suspect_can_be_heard_without_its_cue_and_transplanted(tmp_path):
    save_audit(tmp_path)
    reading = open_audit(tmp_path)
    players = list(reading.clips_of(reading.ranked[0]))
    headings = ["A clip of rain: one", "A clip of another class, pictured with the cue: three"]
    assert [heading for heading, _ in players] == headings
    titles = [[track.title for track in clip.tracks] for _, clip in players]
    assert titles == [["Original", "Cue removed", "The cue alone"], ["Original", "Cue transplanted"]]
    for _, clip in players:
        # the cue is a tone at 1 kHz from 0.3 to 0.6 s
        rows, columns = clip.mask.shape
        tone = round(1000 / 8000 * rows)
        assert clip.mask[tone - 1 : tone + 2, columns * 4 // 10 : columns * 5 // 10].mean() > 0.6
        assert clip.mask[rows // 2 :, columns * 7 // 10 :].mean() < 0.1


def test_sounds_of_low_ranks_are_not_embedded(tmp_path):
    save_audit(tmp_path / "audit")
    sizes = []
    for count in (0, 1):
        write_report(read_results([tmp_path]), tmp_path / "r.html", ReportOptions(suspect_sounds=count))
        sizes.append((tmp_path / "r.html").read_text().count("<audio"))
    assert sizes == [3, 8]  # the sounds of an example, and five of the suspect


def test_missing_sounds_are_reported_beside_their_suspect(tmp_path):
    save_audit(tmp_path)
    (tmp_path / "clip.wav").unlink()
    report = write_report(read_results([tmp_path]), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "clip.wav: is missing; audit again" in page
    assert "examples/absent: holds no explanation" in page
    assert (report.audits, report.broken) == (1, 0)


@pytest.mark.parametrize("path", ["../secret.wav", "/etc/secret.wav", "sounds/../../secret.wav"])
def test_paths_out_of_the_folder_are_refused(tmp_path, path):
    folder = save_audit(tmp_path / "audit")
    result = AuditResult.load(folder)
    suspect = replace(result.suspects[0], sounds={"clip": path, "without the cue": path})
    reading = open_audit(folder)
    with pytest.raises(DataError, match="leads out of the folder"):
        list(reading.clips_of(suspect))


BROKEN = {
    "a text for a number": ("classes", 0, {"accuracy": "high"}),
    "an unknown verdict": ("classes", 0, {"verdict": "fine"}),
    "a list for a text": ("classes", 0, {"sentence": []}),
    "effects without numbers": ("suspects", 0, {"removal": {"before": None}}),
    "sounds that are no texts": ("suspects", 0, {"sounds": {"clip": 3}}),
    "no evidence": ("classes", 0, {"evidence": {"label": "rain", "frequency": {}}}),
    "evidence of texts": ("classes", 0, {"evidence": {"label": "rain", "clips": "many"}}),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_damaged_results_are_skipped_with_a_reason(tmp_path, change):
    folder = save_audit(tmp_path / "audit")
    values = json.loads((folder / "audit.json").read_text())
    part, index, values_of = change
    values[part][index] |= values_of
    (folder / "audit.json").write_text(json.dumps(values))
    results = read_results([tmp_path])
    assert (results.audits, results.broken) == ([], 1)
    assert "audit" in results.skipped[0]


@pytest.mark.parametrize(
    ("result", "title", "more"),
    [
        (result_of(a="clean", b="clean"), "No shortcut found", "None of the 120 cues"),
        (result_of(a="shortcut", b="clean"), "Shortcut found in 1 of 2 classes: a", "Listen"),
        (result_of(a="shortcut", b="unclear"), "Shortcut found in 1 of 2 classes: a", "Unclear: b."),
        (
            result_of(a="unclear", b="clean"),
            "No shortcut is proven, but 1 of 2 classes is unclear: a",
            "one direction",
        ),
        (result_of(a="too few clips to tell"), "Too few clips to tell", "Audit them again with more clips"),
        (
            result_of(a="clean", b="too few clips to tell"),
            "No shortcut found in 1 of 2 classes",
            "Too few clips to tell: b",
        ),
    ],
)
def test_the_first_sentence_says_what_the_audit_shows(result, title, more):
    lead = lead_of(result)
    assert lead.title == title
    assert more in " ".join(lead.sentences)
    assert lead.verdict == result.verdict


def test_the_top_names_each_suspect_in_a_short_sentence(page):
    top = page[page.index('class="lead lead-bad"') : page.index("audit-1-suspect-1-name")]
    assert (
        "without this cue 31 % of its clips are recognised, not 92 %; with it 78 % of other clips are taken for"
        in top
    )
    # an unclear suspect below a shortcut is not mistaken for another one
    assert "</span> shortcut</span> <a" in top


def test_another_clip_is_pictured_with_the_cue(tmp_path):
    """Without it, the cue would be a black band of silence in the picture of a quiet clip."""
    save_audit(tmp_path)
    reading = open_audit(tmp_path)
    sounds = {"other clip": np.zeros(16_000, np.float32), "other clip with the cue": np.zeros(16_000, np.float32)}
    sounds["other clip with the cue"][4000:12_000] = np.sin(np.arange(8000)).astype(np.float32)
    for name, sound in sounds.items():
        save_audio(tmp_path / f"{name}.wav", torch.from_numpy(sound), 16_000)
    suspect = replace(reading.result.suspects[0], sounds={name: f"{name}.wav" for name in sounds})
    [(heading, clip)] = reading.clips_of(suspect)
    assert "pictured with the cue" in heading
    assert clip.log_magnitude.max() > 1
    assert clip.tracks[0].waveform.max() == 0


def test_a_removal_without_effect_is_said_to_have_none(tmp_path):
    save_audit(tmp_path)
    suspect = open_audit(tmp_path).ranked[0]
    unchanged = replace(suspect, removal=replace(suspect.removal, after=suspect.removal.before), transplant=None)
    assert short_text(unchanged) == (
        "rain: the band 950-1050 Hz: without this cue still 92 % of its clips are recognised"
    )


def test_own_cues_are_shown_even_if_they_are_clean(tmp_path):
    folder = save_audit(tmp_path, "clean")
    assert open_audit(folder).ranked == []
    result = AuditResult.load(folder)
    replace(result, suspects=[replace(suspect, from_user=True) for suspect in result.suspects]).save(folder)
    assert [suspect.verdict for suspect in open_audit(folder).ranked] == ["clean"]


def test_what_was_audited_stands_in_a_line():
    result = result_of(a="clean", b="clean")
    assert facts_of(result) == "40 clips of 2 classes · 120 cues tried on each class"
    stated = {"model": "runs/model", "data_folder": "frogs", "accuracy": 0.92, "candidates": "many"}
    assert (
        facts_of(replace(result, conditions=stated))
        == "runs/model on frogs · 40 clips of 2 classes · 92 % recognised"
    )


def save_comparison(folder):
    first, second = save_audit(folder / "first"), save_audit(folder / "second", "clean")
    suspects = [
        {
            "label": "rain",
            "name": HOSTILE,
            "change": "only in the first",
            "first": json.loads((first / "audit.json").read_text())["suspects"][0],
            "second": None,
            "sentence": "class rain: old: shortcut; new: not found",
        }
    ]
    content_of = {"names": ["old", "new"], "suspects": suspects}
    (folder / "comparison.json").write_text(json.dumps(content_of))
    return second


def test_two_audits_are_compared_before_they_are_shown(tmp_path):
    save_comparison(tmp_path)
    report = write_report(read_results([tmp_path]), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert report.audits == 2
    assert page.index("Shortcuts: 0 in both, 1 only in old, 0 only in new") < page.index("Audit 1: old")
    assert page.index("Audit 1: old") < page.index("Audit 2: new")
    assert HOSTILE not in page


def test_a_damaged_comparison_is_skipped(tmp_path):
    second = save_comparison(tmp_path)
    (second / "audit.json").unlink()
    results = read_results([tmp_path])
    assert (results.audits, results.comparisons, results.broken) == ([], [], 1)
    (tmp_path / "comparison.json").write_text('{"names": ["one"]}')
    assert "'names' are not two" in read_results([tmp_path]).skipped[0]


def test_names_are_those_of_the_comparison():
    from otoscope.audit import compare
    from otoscope.report import audit

    for name in ("COMPARISON_NAME", "FIRST", "SECOND"):
        assert getattr(audit, name) == getattr(compare, name)


def test_effects_are_bars_with_intervals_and_words(tmp_path):
    save_audit(tmp_path)
    removed, added = effect_bars(open_audit(tmp_path).ranked[0])
    assert (removed.before, removed.after, removed.control) == (0.92, 0.31, 0.9)
    assert (removed.low, removed.high) == pytest.approx((0.17, 0.52))
    assert (added.low, added.high) == pytest.approx((0.62, 0.92))
    assert removed.text == (
        "clips of rain that are recognised: 92 % → 31 % (change −61, 95 % interval −75 to −40; control 90 %; "
        "20 clips of 18 recordings)"
    )


def test_profiles_are_drawn_on_a_mel_axis():
    frequency, time = profile_charts(class_evidence("rain"))
    assert [text for _, text in frequency.x_ticks] == ["100", "500", "1 kHz", "2 kHz", "4 kHz", "8 kHz"]
    assert (place_of(1000, 8000, "Hz"), "1 kHz") in frequency.x_ticks
    low, high = frequency.standout
    assert low < place_of(1000, 8000, "Hz") < high
    assert max(y for _, y in frequency.evidence) == pytest.approx(0.6 / 0.8)
    assert [text for _, text in time.x_ticks] == ["0", "0.5", "1"]
    for chart in (frequency, time):
        assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in chart.evidence + chart.sound + chart.spread)
    assert "half of the evidence lies in 900 Hz–1.1 kHz; it stands out in 900 Hz–1.1 kHz" in frequency.description
    assert time.standout is None


def test_clips_of_different_lengths_have_an_axis_in_per_cent():
    evidence = class_evidence("rain")
    curve = replace(evidence.time, edges=[0, 20, 40, 60, 80, 100], unit="%")
    assert span_text(replace(curve.main, low=40.0, high=60.0), "%") == "40–60 % of the clip"
    assert [text for _, text in profile_charts(replace(evidence, time=curve))[1].x_ticks] == [
        *("0", "25", "50", "75", "100")
    ]


def test_evidence_in_sentences():
    text = " ".join(evidence_sentences(class_evidence("rain")))
    assert text.startswith("60 % of the evidence lies in 900 Hz–1.1 kHz, which holds only 10 % of the sound.")
    assert "Half of the evidence lies in 900 Hz–1.1 kHz, which holds 10 % of the sound." in text
    assert "Over time: half of the evidence lies in 0.40–0.60 s" in text
    assert "70 % of the evidence lies outside the event (95 % interval 60 % to 80 %, 20 clips)" in text
    assert "Nearest other class: dog (mean probability 0.10" in text
    spread = class_evidence("rain")
    spread = replace(spread, time=replace(spread.time, overlap=0.9), outside=None, nearest=None)
    assert evidence_sentences(spread)[2:] == ["Over time, the evidence lies where the sound lies."]


def test_the_same_audit_makes_the_same_page(tmp_path):
    save_audit(tmp_path / "audit")
    texts = []
    for name in ("a", "b"):
        write_report(read_results([tmp_path / "audit"]), tmp_path / f"{name}.html")
        page = (tmp_path / f"{name}.html").read_text()
        texts.append(re.sub(r"data:audio/ogg;base64,[^\"]+", "", page))
    assert texts[0] == texts[1]


def test_types_of_dataclasses_are_checked_to_the_bottom():
    evidence = class_evidence("rain")
    assert fault_of(evidence) is None
    broken = replace(evidence, clusters=[replace(evidence.clusters[0], names=["a", 3])])
    assert fault_of(broken, name="evidence") == "evidence.clusters[0].names[1]: expected a text, got '3'"
    assert "expected a number, got 'nan'" in fault_of(replace(evidence, clips=float("nan")))
    assert "expected a number, got 'True'" in fault_of(replace(evidence, clips=True))
