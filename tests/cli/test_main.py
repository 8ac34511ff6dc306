"""The entry point: help, unknown verbs, exit codes, the allocator."""

import importlib
import subprocess
import sys
import time

import pytest

from otoscope.cli import main as entry
from otoscope.errors import OtoscopeError


def test_help_lists_every_verb(run):
    code, output, _ = run("--help")
    assert code == 0
    assert all(f"\n  {verb} " in output for verb in entry.VERBS)
    assert run() == (2, output, "")
    assert run("--version")[1].startswith("otoscope ")


def test_help_is_immediate():
    start = time.perf_counter()
    command = [sys.executable, "-m", "otoscope", "--help"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    seconds = time.perf_counter() - start
    assert output == entry.USAGE
    assert seconds < 2  # 0.1 s on an idle machine; heavy imports take several seconds


@pytest.mark.parametrize("verb", entry.VERBS)
def test_every_verb_has_help(run, verb):
    code, output, _ = run(verb, "--help")
    assert code == 0
    assert f"otoscope {verb}" in output


def test_unknown_verb(assert_error):
    assert_error(["explian"], "no verb 'explian'", "demo, train, explain")


@pytest.mark.parametrize("verb", entry.VERBS)
def test_every_verb_keeps_freed_memory_once(run, monkeypatch, verb):
    calls = []
    monkeypatch.setattr(entry, "keep_freed_memory", lambda: calls.append("memory"))
    monkeypatch.setattr(
        importlib.import_module(f"otoscope.cli.{verb}"), "run", lambda options: calls.append(options)
    )
    assert run(verb, "some", "options")[0] == 0
    assert calls == ["memory", ["some", "options"]]


def test_interruptions_and_errors_have_one_exit_code(assert_error, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    def fail(arguments):
        raise OtoscopeError("first line\nsecond line")

    monkeypatch.setattr("otoscope.cli.demo.run", interrupt)
    assert_error(["demo"], "otoscope demo: stopped by the keyboard")
    monkeypatch.setattr("otoscope.cli.demo.run", fail)
    assert_error(["demo"], "otoscope demo: first line second line")
