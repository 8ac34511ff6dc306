"""Events of a recording."""

import pytest

from otoscope.recordings import Event


@pytest.fixture
def events():
    """Two events with a box of evidence and one without; labels and names with unusual characters."""
    scores = {"p_evidence": 0.81, "p_remainder": 0.1, "MM": 0.031}
    times = {"windows_begin_s": 12.0, "windows_end_s": 14.5}
    box = {"low_hz": 210.4, "high_hz": 1500.0, "evidence_begin_s": 12.5, "evidence_end_s": 13.25}
    return [
        Event(
            "field/night 1.wav", "dog", 12.5, 13.25, 0.974, 0.9, **times, **box, scores=scores, verdict="supported"
        ),
        Event("field/night 1.wav", "großer Brachvogel, Ruf", 3600.123456, 3725, 0.61, 0.55, 3600, 3725),
        Event("field/night 1.wav", 'dog "alarm"\tcall', 7200, 7201, 0.5, 0.5, 7199, 7202, **{**box, "low_hz": 0.0}),
    ]
