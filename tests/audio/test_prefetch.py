"""Items that another thread makes: in order, with its errors, and without threads that remain."""

import itertools
import threading

import pytest

from otoscope.audio import prefetched
from otoscope.errors import AudioError


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "otoscope-prefetch"]


@pytest.mark.parametrize("ahead", [1, 3, 100])
def test_items_come_in_their_order(ahead):
    assert list(prefetched(range(20), ahead)) == list(range(20))
    assert not threads()


def test_errors_come_where_the_item_would_have_come():
    def items():
        yield 1
        yield 2
        raise AudioError("torn.wav: damaged")

    received = []
    with pytest.raises(AudioError, match="damaged"):
        received.extend(prefetched(items()))
    for item in prefetched(itertools.chain([5], [])):
        received.append(item)
    assert received[-1] == 5
    assert not threads()


def test_few_items_wait():
    made = []

    def items():
        for index in range(100):
            made.append(index)
            yield index

    source = prefetched(items(), 2)
    assert next(source) == 0
    source.close()
    # Two that wait, one that has no place yet, and those that were taken.
    assert len(made) <= 6


def test_a_consumer_that_stops_ends_the_thread():
    source = prefetched(itertools.count())
    assert [next(source), next(source)] == [0, 1]
    assert len(threads()) == 1
    source.close()
    assert not threads()
