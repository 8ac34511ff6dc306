"""Effects, exact tests by recording, and the false-discovery rate."""

import numpy as np
import pytest
from scipy.stats import binomtest

from otoscope.audit.statistics import effect, false_discovery, sign_test


def booleans(*values):
    return np.array(values, dtype=bool)


def test_sign_test_is_that_of_scipy():
    values = np.array([1.0] * 9 + [-1.0] * 2 + [0.0] * 4)
    expected = binomtest(9, 11, alternative="greater").pvalue
    assert sign_test(values, [str(number) for number in range(15)]) == pytest.approx(expected)


def test_clips_of_one_recording_count_once():
    values = np.ones(8)
    assert sign_test(values, list("abcdefgh")) == pytest.approx(0.5**8)
    assert sign_test(values, list("aaaabbbb")) == pytest.approx(0.25)


def test_a_control_with_the_same_effect_leaves_nothing_to_discover():
    names, yes, no = [str(number) for number in range(8)], np.ones(8, dtype=bool), np.zeros(8, dtype=bool)
    assert effect(names, {}, yes, no, no, rises=False, seed=0).p_value == 1
    assert effect(names, {}, yes, no, yes, rises=False, seed=0).p_value == pytest.approx(0.5**8)
    # an effect in the wrong direction is none
    assert effect(names, {}, no, yes, no, rises=False, seed=0).p_value > 0.99


def test_margins_count_where_the_decisions_speak_too():
    """Five of ten decisions change, which alone has p = 0.03; the margins of all ten do."""
    names, before = [str(number) for number in range(10)], np.ones(10, dtype=bool)
    after, gain = booleans(*[0] * 5, *[1] * 5), np.full(10, 0.5)
    decisions = effect(names, {}, before, after, before, False, seed=0)
    assert decisions.p_value == pytest.approx(0.5**5)
    assert effect(names, {}, before, after, before, False, 0, gain=gain).p_value == pytest.approx(0.5**10)
    # three changed decisions could be chance, whatever the margins
    few = booleans(*[0] * 3, *[1] * 7)
    assert effect(names, {}, before, few, before, False, 0, gain=gain).p_value == pytest.approx(0.5**3)
    # margins that move to and fro are no effect
    assert effect(names, {}, before, after, before, False, 0, gain=gain * np.tile([1, -1], 5)).p_value > 0.5


def test_intervals_have_a_width_and_follow_the_recordings():
    names = [str(number) for number in range(16)]
    before, after = np.ones(16, dtype=bool), booleans(*[0] * 12, *[1] * 4)
    alone = effect(names, {}, before, after, None, rises=False, seed=0)
    assert alone.change == -0.75
    assert alone.low < -0.75 < alone.high < 0
    together = effect(names, {name: str(int(name) // 4) for name in names}, before, after, None, False, seed=0)
    assert together.recordings == 4
    assert together.high > alone.high
    # in both directions: the bootstrap
    mixed = effect(names, {}, booleans(*[1] * 12, *[0] * 4), booleans(*[0] * 11, *[1] * 5), None, False, seed=0)
    assert mixed.low < mixed.change < mixed.high


def test_false_discovery_is_controlled_over_what_was_tested():
    assert false_discovery([0.01, None, 0.02, 0.5]) == pytest.approx([0.03, None, 0.03, 0.5], nan_ok=True)
    assert false_discovery([]) == []
