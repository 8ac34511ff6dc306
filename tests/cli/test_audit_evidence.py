"""``otoscope audit``: explanations of a sample, and the report."""

import json

from tests.cli.test_audit import MODULE, audit, place  # noqa: F401


def test_the_report_says_what_was_found_and_holds_its_sounds(audit, tmp_path):  # noqa: F811
    options = ("--method", "integrated_gradients", "--explained_per_class", "3")
    code, output, _ = audit("cheat", tmp_path, *options)
    assert code == 0
    assert "report.html" in output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Shortcut found in 1 of 3 classes: middle" in page
    assert "No sounds" not in page
    assert page.count("<audio") >= 5 + 3  # the suspect, and an example of each class
    middle = json.loads((tmp_path / "audit.json").read_text())["classes"][1]["evidence"]
    assert (middle["clips"], middle["method"]) == (3, "integrated gradients")
    assert sum(middle["frequency"]["evidence"]) > 0.99
    # a second run explains nothing again, and its page is the same but for the time that it took
    code, output, _ = audit("cheat", tmp_path, *options, "--json")
    assert json.loads(output)["conditions"]["evidence"]["reused_clips"] == 9


def test_without_explanations_there_is_a_report_of_the_interventions(audit, tmp_path):  # noqa: F811
    audit("honest", tmp_path)
    assert "No shortcut found" in (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "report.html").unlink()
    audit("honest", tmp_path, "--report", "false")
    assert not (tmp_path / "report.html").exists()


def test_a_comparison_is_one_page(audit, tmp_path):  # noqa: F811
    audit("honest", tmp_path, "--against", "cheat")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 only in cheat" in page
    assert page.index("Audit 1: honest") < page.index("Audit 2: cheat")


def test_a_method_that_does_not_exist_is_an_error_before_the_audit(
    assert_error,
    place,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    monkeypatch.chdir(place)
    start = ["audit", "--import", MODULE, "--model", "cheat", "--output_folder", tmp_path, "--data_folder", "data"]
    assert_error([*start, "--method", "integrated"], "method", "integrated_gradients")
    assert_error([*start, "--explained_per_class", "0"], "--explained_per_class 0")
    assert not (tmp_path / "audit.json").exists()
