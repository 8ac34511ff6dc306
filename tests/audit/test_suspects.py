"""Suspects of both halves that are tested as one, and verdicts."""

import pytest

from otoscope.audit import suspects
from otoscope.audit.cues import BandCue
from otoscope.audit.result import Effect
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


def effect(before, after, control, recordings=12):
    change = after - before
    return Effect(before, after, change - 0.1, change + 0.1, control, 24, recordings, 0.001)


@pytest.mark.parametrize(
    ("removal", "transplant", "verdict"),
    [
        (effect(1.0, 0.2, 1.0), effect(0.0, 0.8, 0.0), "shortcut"),
        (effect(1.0, 0.2, 1.0), effect(0.0, 0.1, 0.0), "unclear"),
        (effect(1.0, 0.9, 1.0), effect(0.0, 0.8, 0.0), "unclear"),
        # the same change elsewhere does nearly the same, or more
        (effect(1.0, 0.6, 0.8), effect(0.0, 0.1, 0.0), "clean"),
        (effect(1.0, 0.6, 0.2), effect(0.0, 0.1, 0.0), "clean"),
        (effect(1.0, 0.9, 1.0), effect(0.0, 0.6, 0.5), "clean"),
        (effect(1.0, 0.9, 1.0), effect(0.0, 0.1, 0.0), "clean"),
        (effect(1.0, 0.2, 1.0, recordings=3), effect(0.0, 0.8, 0.0), "too few clips to tell"),
    ],
)
def test_verdict(removal, transplant, verdict):
    cue = BandCue(900.0, 1000.0)
    test = suspects.Tested(0, cue, False, {0: cue, 1: cue}, removal=removal, transplant=transplant, level_db=-10.0)
    assert suspects._verdict(test, 0.01, 0.2)[0] == verdict
