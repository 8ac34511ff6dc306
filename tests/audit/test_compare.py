"""Comparison of two audits."""

from otoscope.audit.compare import cue_of, run_comparison, same_suspect, suspicions_of
from otoscope.audit.cues import BandCue
from otoscope.audit.run import AuditInput

LABELS = ["low", "middle", "high"]


def test_a_cheat_beside_an_honest_classifier(cheat, honest, planted_clips, quick, tmp_path):
    inputs = tuple(AuditInput(model, planted_clips, LABELS) for model in (honest, cheat))
    comparison = run_comparison(inputs, ("honest", "cheat"), tmp_path, settings=quick)
    [row] = comparison.suspects
    assert row.change == "only in the second"
    # the cue that the second audit has found was tested on the first classifier too
    assert row.first.verdict == "clean"
    assert row.second.verdict == "shortcut"
    assert "honest: clean" in row.sentence
    assert "cheat: shortcut" in row.sentence
    assert comparison.save(tmp_path).is_file()
    assert (tmp_path / "first" / "audit.json").is_file()
    [suspicion] = suspicions_of(comparison.second)
    assert isinstance(suspicion.cue, BandCue)
    assert suspicion.cue == cue_of(comparison.second.shortcuts[0])
    assert same_suspect(row.first, row.second)
