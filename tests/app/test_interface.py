"""Interface: what its fields mean. Its pages are tested with a running server."""

import gc

import pytest

from otoscope.app.explaining import Choice
from otoscope.app.interface import ALL_OTHERS, AREAS, PREDICTED, choice_of, explain_and_clean
from otoscope.app.limits import Limits


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


def test_nothing_of_an_explanation_waits_for_the_garbage_collector(model, recording, shelf):
    gc.collect()
    gc.disable()
    try:
        answer = explain_and_clean(model, recording, Choice(), Limits(), shelf)
        left = gc.collect()
    finally:
        gc.enable()
    assert shelf.file(answer.token, "report.html") is not None
    assert left < 100  # without the collection, 25 000 objects
