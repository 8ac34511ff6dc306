"""Tab of the review: explanations of a folder one by one, judged by buttons or keys."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from otoscope.app.explaining import without_paths, write_page
from otoscope.app.guard import REVIEW_PATH
from otoscope.app.html import frame_html, plain
from otoscope.app.limits import public_message
from otoscope.app.review import JUDGEMENTS, Judgement, Review, Reviewed
from otoscope.app.shelf import Shelf
from otoscope.errors import DataError, OtoscopeError
from otoscope.report import read_results
from otoscope.report.clips import ClipResult

_KEYS = {"right": "Y", "wrong": "N", "unsure": "U"}


class ReviewTab:
    """Explanations of a folder with their review.

    Args:
        folder: Folder that ``otoscope explain`` wrote.
        shelf: Place of the pages that are shown.
        path: CSV file of the review; see `Review`.

    Raises:
        DataError: The folder holds no explanation of a clip.
        ConfigurationError: The CSV file belongs to other explanations.
    """

    def __init__(self, folder: str, shelf: Shelf, path: Path | None = None) -> None:
        self.clips: Sequence[ClipResult] = [without_paths(clip) for clip in read_results([folder]).clips]
        if not self.clips:
            raise DataError(
                f"--review {folder}: holds no explanation of a clip; name a folder of `otoscope explain`"
            )
        self.shelf, self.folder = shelf, folder
        rows = [
            Reviewed(clip.name, clip.label, clip.predicted, clip.confidence, clip.method, clip.level)
            for clip in self.clips
        ]
        self.review = Review(rows, path)
        self._tokens: dict[int, str] = {}
        self._lock = threading.Lock()

    def token(self, index: int) -> str:
        """Return the name of a page on the shelf; it is written if it is not there.

        Args:
            index: Index of the explanation.

        Raises:
            OtoscopeError: The explanation cannot be read.
        """
        with self._lock:
            token = self._tokens.get(index)
            if token is None or self.shelf.file(token, "report.html") is None:
                token = self.shelf.add()
                try:
                    write_page(self.clips[index], self.shelf.folder / token / "report.html")
                except BaseException:
                    self.shelf.remove(token)
                    raise
                self._tokens[index] = token
            return token

    def status(self, index: int) -> str:
        """Return where a reviewer is, as text."""
        counts = self.review.counts()
        done = ", ".join(f"{count} {name}" for name, count in counts.items())
        judgement = self.review.judgements.get(index, "not judged yet")
        total = sum(counts.values())
        return f"{index + 1} of {len(self.review)}: {judgement}. Judged: {total} of {len(self.review)} ({done})."

    def show(self, index: int | None) -> tuple[int, str, str]:
        """Return the index, the status and the HTML of an explanation.

        Args:
            index: Index of the explanation; None: the first one without a judgement.
        """
        index = self.review.first if index is None else min(max(int(index), 0), len(self.review) - 1)
        try:
            token = self.token(index)
        except OtoscopeError as error:
            message = public_message(error, self.folder)
            return (
                index,
                self.status(index),
                f'<p role="alert">This explanation cannot be shown: {plain(message)}</p>',
            )
        return index, self.status(index), frame_html(token, self.clips[index].name)

    def build(self, gr: Any, tab: Any) -> None:
        """Add the components of the tab.

        Args:
            gr: Gradio.
            tab: Tab, within its block.
        """
        gr.HTML(
            "<p>Does the evidence show what the classifier should listen to? Keys: <kbd>Y</kbd> right, "
            "<kbd>N</kbd> wrong, <kbd>U</kbd> unsure, <kbd>Z</kbd> undo, <kbd>,</kbd> previous, <kbd>.</kbd> next; "
            "the player has keys of its own. "
            f'<a href="{REVIEW_PATH.removeprefix("/")}" download>Download the table (CSV)</a></p>'
        )
        with gr.Row():
            judging = [
                (name, gr.Button(f"{name.capitalize()} ({_KEYS[name]})", elem_id=f"review-{name}", min_width=90))
                for name in JUDGEMENTS
            ]
            moving = [
                (name, gr.Button(text, elem_id=f"review-{name}", min_width=90))
                for name, text in (("undo", "Undo (Z)"), ("previous", "Previous (,)"), ("next", "Next (.)"))
            ]
        status = gr.HTML("", elem_id="review-status")
        clip = gr.HTML(elem_id="review-clip", label="Explanation", min_height=200)
        index = gr.State(None)
        shown = [index, status, clip]
        limit: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "review"}
        tab.select(self.show, index, shown, api_name=False, **limit)
        for name, button in judging:
            button.click(self._judging(name), index, shown, api_name=False, **limit)
        steps = {
            "undo": self._undo,
            "previous": lambda at: self.show((at or 0) - 1),
            "next": lambda at: self.show((at or 0) + 1),
        }
        for name, button in moving:
            button.click(steps[name], index, shown, api_name=False, **limit)

    def _judging(self, judgement: Judgement) -> Any:
        def judge(index: int | None) -> tuple[int, str, str]:
            # Nothing is judged before it was shown.
            return self.show(index if index is None else self.review.judge(index, judgement))

        return judge

    def _undo(self, index: int | None) -> tuple[int, str, str]:
        undone = self.review.undo()
        return self.show(index if undone is None else undone)
