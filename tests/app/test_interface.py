"""Interface: what its fields mean. Its pages are tested with a running server."""

import pytest

from otoscope.app.explaining import Choice
from otoscope.app.interface import ALL_OTHERS, AREAS, PREDICTED, choice_of


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ((PREDICTED, ALL_OTHERS, "", AREAS[0], 10), Choice()),
        (("dog", "cat", "rise", "sufficient", 10), Choice("dog", "cat", "rise", "sufficient")),
        (("dog", ALL_OTHERS, "", "decisive", 10), Choice("dog", area="decisive")),
        ((PREDICTED, ALL_OTHERS, "", "a share", 25), Choice(area=0.25)),
        ((None, None, None, None, 10), Choice()),
    ],
)
def test_fields_become_a_choice(fields, choice):
    assert choice_of(*fields) == choice
