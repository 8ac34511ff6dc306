"""``otoscope app``: its options. Running servers are tested in a browser."""

import sys

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max_duration_s", "1000"], ["--max_duration_s 1000", "at most 120"]),
        (["--max_upload_mb", "0"], ["--max_upload_mb 0", "positive"]),
        (["--review_file", "r.csv"], ["--review_file r.csv", "needs --review"]),
    ],
)
def test_wrong_options_are_errors(assert_error, arguments, words):
    assert_error(["app", *arguments], *words)


def test_missing_extra_is_named(assert_error, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # what the verb sets ends with the test
    assert_error(["app"], "gradio is not installed", "pip install 'otoscope[app]'")
