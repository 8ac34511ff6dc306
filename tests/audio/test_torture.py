"""A sample of the mutated sounds of ``benchmarks/torture/sounds.py``."""

import pytest

sounds = pytest.importorskip("benchmarks.torture.sounds")


def test_mutated_sounds_are_read_or_refused():
    counts = sounds.run_cases(0, 80, seed=7)
    assert counts["read"] >= 10
    assert counts["refused"] >= 10
    assert counts["raw_exceptions"] == counts["hangs"] == counts["non_finite"] == counts["unclear_messages"] == 0
