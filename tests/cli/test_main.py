"""The entry point: help, unknown verbs, exit codes, the allocator."""

import importlib
import os
import signal
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("ending", ["passed on", "swallowed", "other exit code", "other error"])
def test_a_signal_ends_every_verb_with_its_exit_code(run, monkeypatch, request, number, code, ending):
    def interrupted(arguments):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except BaseException:
            if ending == "passed on":
                raise
            if ending == "other exit code":  # as Lightning does
                sys.exit(1)
            if ending == "other error":  # of what was interrupted
                raise OSError("handle is closed") from None

    # a shell starts commands in the background with SIGINT ignored, and the tests may be one of them
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, inherited))
    former = signal.getsignal(number)
    for verb in entry.VERBS:
        monkeypatch.setattr(importlib.import_module(f"otoscope.cli.{verb}"), "run", interrupted)
        assert run(verb)[0] == code
    assert signal.getsignal(number) == former


def test_errors_have_one_exit_code(assert_error, monkeypatch):
    def fail(arguments):
        raise OtoscopeError("first line\nsecond line")

    monkeypatch.setattr("otoscope.cli.demo.run", fail)
    assert_error(["demo"], "otoscope demo: first line second line")
