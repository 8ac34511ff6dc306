"""Files of other origin: no code of theirs is trusted anywhere, and mutated ones end in one named error."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "otoscope"
OWN_METHODS = ("Explainer", "cls", "Shareable", "Classifier")


def calls_of_pretrained_models():
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                if node.func.attr in ("from_pretrained", "from_config") and owner not in OWN_METHODS:
                    yield path, node


def test_no_call_trusts_remote_code():
    calls = list(calls_of_pretrained_models())
    assert len(calls) >= 6
    for path, node in calls:
        trusted = [keyword.value for keyword in node.keywords if keyword.arg == "trust_remote_code"]
        assert [value.value for value in trusted] == [False], f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    ("module", "kind", "cases", "options"),
    [
        ("configs", "ModelFolders", 220, {"external": False}),
        ("speechbrain_folders", "SpeechBrainFolders", 80, {}),
    ],
)
def test_mutated_files_end_in_one_named_error(monkeypatch, module, kind, cases, options):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr("builtins.input", lambda prompt="": pytest.fail("a question was asked"))
    harness = importlib.import_module("benchmarks.torture.harness")
    trial = getattr(importlib.import_module(f"benchmarks.torture.{module}"), kind)(7, **options)
    outcomes = harness.run_cases(trial, range(cases))
    assert len(outcomes) == cases
    assert [outcome for outcome in outcomes if outcome.status not in ("opened", "refused")] == []
    # Most mutations do harm, and some do none.
    assert {outcome.status for outcome in outcomes} == {"opened", "refused"}
    assert "torture_canary" not in sys.modules
