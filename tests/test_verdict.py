"""The verdict on an explanation follows from its heard scores and its controls."""

import pytest

from otoscope.verdict import judge

GOOD = {"p_evidence": 0.81, "p_remainder": 0.08, "Fid-In": 1.0, "MM": 0.04}
POOR = {"p_evidence": 0.3, "p_remainder": 0.7}


def verdict(scores=(), random=POOR, loudest=POOR, **options):
    return judge("rooster", 0.84, {**GOOD, **dict(scores)}, {"random": random, "loudest": loudest}, **options)


def test_sufficient_necessary_and_better_than_both_controls_is_supported():
    assert str(verdict()) == (
        "Supported: the evidence (4 % of the sound) alone keeps rooster (0.84 -> 0.81); without it 0.08; "
        "better than the loudest and than random pieces of that size"
    )


@pytest.mark.parametrize(
    ("level", "change", "reason"),
    [
        ("partly", {"p_remainder": 0.6}, "without it rooster still has 0.60"),
        ("partly", {"p_evidence": 0.5, "p_remainder": 0.02}, "weakens rooster (0.84 -> 0.50)"),
        ("partly", {"MM": 0.8}, "(80 % of the sound, most of it)"),
        ("not supported", {"p_evidence": 0.4, "p_remainder": 0.02}, "weakens rooster (0.84 -> 0.40)"),
        ("not supported", {"p_evidence": 0.75, "Fid-In": 0.0, "p_remainder": 0.6}, "is not classified as rooster"),
    ],
)
def test_what_fails_is_a_reason(level, change, reason):
    result = verdict(change)
    assert result.level == level
    assert reason in str(result)


@pytest.mark.parametrize("gap", [0.73, 0.69])
def test_a_control_that_does_as_well_takes_the_support_away(gap):
    equal = {"p_evidence": gap, "p_remainder": 0.0}
    assert verdict(loudest=equal).level == "partly"
    assert "no better than the loudest of that size" in str(verdict(loudest=equal))
    assert verdict(random=equal).level == "not supported"
    assert "no better than the loudest or random pieces" in str(verdict(random=equal, loudest=equal))


def test_another_class_that_was_asked_for_need_not_be_predicted():
    change = {"Fid-In": 0.0}
    assert verdict(change, decided=False).level == "supported"
    assert verdict(change).level == "partly"


def test_a_class_that_is_not_there_is_not_said_to_be_elsewhere():
    nothing = {"p_evidence": 0.01, "p_remainder": 0.004, "Fid-In": 0.0, "MM": 0.01}
    result = judge("helicopter", 0.005, nothing, {"random": nothing, "loudest": nothing}, decided=False)
    assert result.level == "not supported"
    assert result.reasons[1] == "without it 0.00"


def test_a_mask_that_keeps_everything_is_not_supported():
    everything = {"p_evidence": 0.84, "p_remainder": 0.1, "Fid-In": 1.0, "MM": 1.0}
    assert judge("rain", 0.84, everything, {"random": everything, "loudest": everything}).level == "not supported"
