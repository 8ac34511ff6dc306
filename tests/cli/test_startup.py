"""Start of a process that runs one verb: the collector rests during the imports only."""

import gc
import sys

import pytest

from otoscope.cli.startup import quick_start


@pytest.fixture
def fresh(monkeypatch):
    """Process that has not imported PyTorch, as far as `quick_start` sees."""
    monkeypatch.delitem(sys.modules, "torch")
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("fresh")
def test_collector_rests_until_everything_is_imported():
    with quick_start() as started:
        assert not gc.isenabled()
        started()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0


@pytest.mark.usefixtures("fresh")
def test_collector_runs_after_an_error():
    with pytest.raises(KeyError), quick_start():
        raise KeyError
    assert gc.isenabled()


def test_process_with_pytorch_is_left_alone():
    frozen = gc.get_freeze_count()
    with quick_start() as started:
        assert gc.isenabled()
        started()
    assert gc.get_freeze_count() == frozen
