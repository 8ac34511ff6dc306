"""Tab of the review: which explanation is shown, and what is stated about it."""

import shutil

import pytest
from tests.report.folders import HOSTILE, content, save_clip

from otoscope.app.reviewing import ReviewTab
from otoscope.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """A folder of two explanations."""
    save_clip(tmp_path / "in" / "1", content("first"))
    save_clip(tmp_path / "in" / "2", content(HOSTILE), seed=1)
    return tmp_path / "in"


def token_of(html):
    return html.partition("results/")[2].partition("/")[0]


def test_explanations_are_shown_one_by_one(folder, shelf):
    tab = ReviewTab(str(folder), shelf)
    index, status, html = tab.show(0)
    assert (index, status) == (0, "1 of 2: not judged yet. Judged: 0 of 2 (0 right, 0 wrong, 0 unsure).")
    assert shelf.file(token_of(html), "report.html") is not None
    assert tab.show(0)[2] == html  # written once
    assert tab.show(99)[0] == 1
    assert tab.show(-1)[0] == 0


def test_page_that_was_removed_is_written_again(folder, shelf):
    tab = ReviewTab(str(folder), shelf)
    token = token_of(tab.show(0)[2])
    shelf.remove(token)
    again = token_of(tab.show(0)[2])
    assert again != token
    assert shelf.file(again, "report.html") is not None


def test_names_are_text(folder, shelf):
    html = ReviewTab(str(folder), shelf).show(1)[2]
    assert "<img" not in html
    assert "&lt;img src=x" in html


def test_explanation_that_cannot_be_shown_is_reported_without_its_path(folder, shelf):
    tab = ReviewTab(str(folder), shelf)
    shutil.rmtree(folder / "1")
    index, _, html = tab.show(0)
    assert index == 0
    assert "cannot be shown" in html
    assert str(folder) not in html
    assert not list(shelf.folder.iterdir())


def test_folder_without_explanations_is_refused(shelf, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        ReviewTab(str(tmp_path / "empty"), shelf)
