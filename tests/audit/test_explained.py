"""Results of audits with the evidence of their classes."""

from dataclasses import replace

from otoscope.audit.explained import with_evidence
from otoscope.audit.gathering import EvidenceOptions
from otoscope.audit.result import AuditResult, ClassFigures

OPTIONS = EvidenceOptions("integrated_gradients", {"steps": 4}, score_examples=False)


def result_in(folder):
    classes = [ClassFigures(label, 3, 3, 1.0, 0.0, "clean", f"{label}: clean") for label in ("low", "high", "bird")]
    return AuditResult({"candidates": 40}, classes, [], folder)


def test_classes_get_the_evidence_of_their_clips(two_bands, tone_clip, tmp_path):
    clips = [tone_clip(500 + k, 0, f"low {k}") for k in range(3)] + [tone_clip(4000, 1)]
    explained = with_evidence(result_in(tmp_path), two_bands, clips, ["low", "high"], OPTIONS, progress=False)
    low, high, bird = explained.classes
    assert low.evidence.frequency.main.high < 700
    assert high.evidence.clips == 1
    assert bird.evidence is None
    assert explained.conditions["candidates"] == 40
    assert explained.conditions["evidence"]["method"] == "integrated gradients"
    loaded = AuditResult.load(tmp_path)
    assert loaded.to_dict() == explained.to_dict()
    assert (tmp_path / low.evidence.examples[0].folder / "interpretation.wav").is_file()


def test_without_explanations_there_is_no_evidence(two_bands, tone_clip):
    result = result_in(None)
    explained = with_evidence(
        result, two_bands, [tone_clip(500)], ["low"], replace(OPTIONS, method="none"), progress=False
    )
    assert [figures.evidence for figures in explained.classes] == [None, None, None]
