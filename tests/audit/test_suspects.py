"""Suspects of both halves that are tested as one."""

from otoscope.audit.cues import BandCue
from otoscope.audit.search import Finding
from otoscope.audit.suspects import to_test


def test_borders_lie_between_those_of_both_halves():
    findings = [
        Finding(0, 0, BandCue(900.0, 1000.0), loss=0.5, convinced=0.5),
        Finding(0, 1, BandCue(910.0, 1100.0), loss=0.4, convinced=0.5),
    ]
    [test] = to_test(findings)
    assert (test.cue.low_hz, test.cue.high_hz) == (905.0, 1050.0)
    # each half is tested with what the other one suggests
    assert test.parts == {1: findings[0].cue, 0: findings[1].cue}


def test_a_band_that_begins_at_zero_in_one_half_begins_there():
    findings = [
        Finding(0, 0, BandCue(0.0, 20.0), loss=0.5, convinced=0.5),
        Finding(0, 1, BandCue(1.9, 20.0), loss=0.4, convinced=0.5),
    ]
    [test] = to_test(findings)
    assert test.cue.name == "the band 0-20 Hz"
