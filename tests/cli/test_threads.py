"""Threads that wait sleep, and a container's share of the cores bounds their number; the user's settings stay."""

import subprocess
import sys

import pytest

from otoscope.cli import threads


@pytest.fixture
def before_torch(monkeypatch):
    """The state of a process that has not imported PyTorch."""
    monkeypatch.delitem(sys.modules, "torch")


def variables(monkeypatch, quota=None, load=0.5, **given):
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (load, 9.0, 9.0), raising=False)
    monkeypatch.setattr(threads, "core_quota", lambda: quota)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: range(4), raising=False)
    threads.share_cores(given)
    return given


@pytest.mark.usefixtures("before_torch")
def test_waiting_threads_sleep(monkeypatch):
    assert variables(monkeypatch, load=3.9) == {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
    assert variables(monkeypatch, load=4.0) == {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


@pytest.mark.usefixtures("before_torch")
def test_a_system_without_a_load_average_is_not_busy(monkeypatch):
    monkeypatch.setattr(threads, "core_quota", lambda: None)
    monkeypatch.delattr(threads.os, "getloadavg", raising=False)
    given = {}
    threads.share_cores(given)
    assert given["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.usefixtures("before_torch")
@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT"])
def test_the_waiting_of_the_user_stays(monkeypatch, name):
    assert variables(monkeypatch, **{name: "7"}) == {name: "7"}


@pytest.mark.usefixtures("before_torch")
@pytest.mark.parametrize(("quota", "count"), [(0.5, "1"), (2.0, "2"), (2.5, "3"), (64.0, "4")])
def test_a_share_of_the_cores_bounds_the_number_of_threads(monkeypatch, quota, count):
    assert variables(monkeypatch, quota)["OMP_NUM_THREADS"] == count
    assert variables(monkeypatch, quota, OMP_NUM_THREADS="9")["OMP_NUM_THREADS"] == "9"
    assert "OMP_NUM_THREADS" not in variables(monkeypatch, quota, MKL_NUM_THREADS="9")


def test_nothing_is_set_once_pytorch_has_read_it(monkeypatch):
    assert variables(monkeypatch, quota=1.0) == {}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "damaged"}, None),
        ({"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
    ],
)
def test_the_share_that_a_container_grants(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text("0::/a/b\n")
    assert threads.core_quota(tmp_path, tmp_path / "own") == quota


@pytest.mark.parametrize("module", ["otoscope.__main__", "otoscope.cli.recipe"])
def test_the_entry_points_set_it_before_pytorch_is_imported(module):
    """The command and the scripts of the recipes, which import PyTorch themselves."""
    code = f"""
import os, sys
sys.argv = ["otoscope", "train"]
class Watch:
    def find_spec(self, name, *rest):
        if name == "torch":
            print("BLOCKTIME", os.environ.get("KMP_BLOCKTIME"))
            sys.stdout.flush()
            os._exit(0)
sys.meta_path.insert(0, Watch())
import {module}
import torch
"""
    environment = {
        name: value for name, value in threads.os.environ.items() if name not in threads._WAITING_OF_USER
    }
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, env=environment, check=False).stdout
    assert "BLOCKTIME 0" in output
