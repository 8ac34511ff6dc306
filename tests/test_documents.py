"""Tutorials run, and tutorials and gallery hold what the pages show."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
GALLERY = ROOT / "docs" / "gallery"
# What the text of a tutorial claims about its outputs.
CLAIMS = {
    "first_explanation": r"(Supported|Partly supported|Not supported)",
    "own_recordings": r"accuracy on the test clips: (1\.00|0\.9\d|0\.8\d)",
    "own_classifier": r"explained class: high\nshare of the mask above 2 kHz: (1\.00|0\.9\d)",
    "cheating": r"evidence: 5016 Hz[\s\S]*as recorded: +(1\.00|0\.9\d)[\s\S]*in none: +0\.[456]\d",
    "audit": r"test clips: (1\.00|0\.9\d)[\s\S]*removing the band [23]\.\d+-3\.\d+ kHz[\s\S]*rooster: shortcut"
    r"[\s\S]*new classifier: (1\.00|0\.9\d)[\s\S]*rooster: clean[\s\S]*0 shortcuts",
    "paper_table": r"clean, 0\.1, heard[\s\S]*loudest[\s\S]*white_noise, 0\.1, mask",
}


def load_program(path):
    """Import a Python file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # the kernel's client warns of its own matters
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs_and_shows_what_it_claims(path):
    program = load_program(ROOT / "docs" / "run_tutorials.py")
    executed = program.execute(path)
    assert re.search(CLAIMS[path.stem], program.printed(executed))
    stored = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells), "run `make tutorials`"


def test_every_tutorial_is_checked():
    assert {path.stem for path in TUTORIALS} == set(CLAIMS)


def test_gallery_has_twelve_recordings_with_players_pictures_and_verdicts():
    page = (GALLERY / "index.md").read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) == len(set(sources)) == 12 * 4
    assert {f"files/{path.name}" for path in (GALLERY / "files").iterdir()} == set(sources)
    verdicts = re.findall(r'<p class="verdict">(Supported|Partly supported|Not supported: do not trust)', page)
    assert len(verdicts) == 12
    failures = sum(verdict.startswith("Not") for verdict in verdicts)
    assert failures >= 1
    counted = "one is" if failures == 1 else f"{failures} are"
    assert f"Of the twelve explanations, {counted} not supported" in " ".join(page.split())
    assert sum(path.stat().st_size for path in GALLERY.rglob("*") if path.is_file()) < 3e6


def test_gallery_of_audits_has_three_shortcuts_and_a_clean_classifier():
    page = (GALLERY / "audit.md").read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) == len(set(sources)) == 3 * 5 + 4  # sounds of the shortcuts, and pictures
    assert {f"audits/{path.name}" for path in (GALLERY / "audits").iterdir()} == set(sources)
    titles = re.findall(r"<strong>(.*?)</strong>", page)
    assert titles == ["Shortcut found in 1 of 3 classes: rooster."] * 3 + ["No shortcut found."]


def test_page_of_a_notebook_shows_code_texts_and_html():
    page = load_program(ROOT / "mkdocs_notebooks.py").notebook_page(
        {
            "cells": [
                {"cell_type": "markdown", "source": ["See [next](cheating.ipynb)."]},
                {
                    "cell_type": "code",
                    "source": ["print(1)"],
                    "outputs": [
                        {"output_type": "stream", "name": "stdout", "text": ["1\n"]},
                        {
                            "output_type": "execute_result",
                            "data": {"text/html": ["<p>view</p>"], "text/plain": ["x"]},
                        },
                    ],
                },
            ]
        }
    )
    assert page == (
        "See [next](cheating.ipynb).\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n"
        '<div class="output">\n<p>view</p>\n</div>\n'
    )
