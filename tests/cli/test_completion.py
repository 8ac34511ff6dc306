"""Scripts for tab completion."""

import subprocess
import sys

import pytest

from otoscope.cli.completion import completion_script
from otoscope.cli.main import VERBS

WORDS = """
source {script}
COMP_WORDS=({words}); COMP_CWORD={index}
_shtab_otoscope
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """A function that returns what bash offers for the last of some words."""
    pytest.importorskip("shtab")
    script = tmp_path_factory.mktemp("completion") / "otoscope.bash"
    script.write_text(completion_script("bash"), encoding="utf-8")

    def completed(*words):
        text = WORDS.format(script=script, words=" ".join(words), index=len(words) - 1)
        finished = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False)
        return set(finished.stdout.split())

    return completed


@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_bash_completes_verbs_options_and_values(completed):
    assert completed("otoscope", "e") == {"explain", "evaluate"}
    assert set(VERBS) <= completed("otoscope", "''")
    assert completed("otoscope", "explain", "--tar") == {"--target"}
    assert "--trainer.max_epochs" in completed("otoscope", "train", "--trainer.max")
    assert completed("otoscope", "explain", "--axis", "m") == {"mel"}


def test_zsh_gets_a_script():
    pytest.importorskip("shtab")
    assert completion_script("zsh").startswith("#compdef otoscope")


def test_without_shtab_the_extra_is_named(assert_error, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert_error(["completion", "bash"], "shtab is not installed", "pip install 'otoscope[completion]'")


def test_other_shells_are_refused(assert_error):
    assert_error(["completion", "zhs"], "there is no 'zhs'; did you mean 'zsh'? There are bash, zsh")
