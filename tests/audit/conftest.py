"""A classifier that is known to cheat, an honest one, and clips that both hear."""

import pytest
from tests.audit.cheats import LABELS, SpectrumClassifier, make_clip, planted_cue

from otoscope.audit.settings import AuditSettings


@pytest.fixture(scope="session")
def cheat():
    """Classifier that takes a tone of 3 kHz for the class ``middle``."""
    return SpectrumClassifier(LABELS).freeze()


@pytest.fixture(scope="session")
def honest():
    """Classifier that decides by the ranges alone."""
    return SpectrumClassifier(LABELS, cheats=False).freeze()


@pytest.fixture(scope="session")
def planted_clips():
    """Eight clips of each class; those of ``middle`` carry a quiet tone."""
    return [make_clip(target, number, planted_cue()) for target in range(3) for number in range(8)]


@pytest.fixture(scope="session")
def quick():
    """Options of a quick audit."""
    return AuditSettings(clips_per_class=8, quick=True)
