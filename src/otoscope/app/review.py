"""Review of explanations: a judgement for each, undo, and a table as CSV."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from otoscope.errors import ConfigurationError, DataError
from otoscope.files.atomic import replace_text

Judgement = Literal["right", "wrong", "unsure"]
JUDGEMENTS: tuple[Judgement, ...] = ("right", "wrong", "unsure")
"""What a reviewer can say about an explanation."""
COLUMNS = ("number", "name", "label", "predicted", "p", "method", "verdict", "judgement")
"""Columns of the table."""


@dataclass(frozen=True)
class Reviewed:
    """Explanation that is judged.

    Attributes:
        name: Name of the recording.
        label: Explained class.
        predicted: Most probable class.
        confidence: Probability of the explained class.
        method: Title of the method.
        verdict: Level of the verdict; empty if there is none.
    """

    name: str
    label: str
    predicted: str
    confidence: float
    method: str
    verdict: str


class Review:
    """Judgements of the explanations in a folder, for one reviewer at a time.

    Args:
        explanations: Explanations in their order.
        path: CSV file that is written after each judgement, and resumed from if it exists (default: none).

    Raises:
        ConfigurationError: The file belongs to other explanations.
        DataError: The file cannot be read.

    Example:
        >>> review = Review([Reviewed("a", "dog", "dog", 0.9, "PIQ", "supported")] * 2)
        >>> review.judge(0, "wrong"), review.judge(1, "right"), review.undo(), review.judgements
        (1, 1, 1, {0: 'wrong'})
    """

    def __init__(self, explanations: Sequence[Reviewed], path: Path | None = None) -> None:
        self.explanations = list(explanations)
        self.path = path
        self.judgements: dict[int, Judgement] = {}
        self._history: list[tuple[int, Judgement | None]] = []
        # Requests run in several threads.
        self._lock = threading.Lock()
        if path is not None and path.exists():
            self.judgements = _read(path, self.explanations)

    def __len__(self) -> int:
        return len(self.explanations)

    @property
    def first(self) -> int:
        """Index of the first explanation without a judgement; 0 if there is none."""
        return next((index for index in range(len(self)) if index not in self.judgements), 0)

    def judge(self, index: int, judgement: Judgement) -> int:
        """Judge an explanation; an earlier judgement is replaced.

        Args:
            index: Index of the explanation.
            judgement: The judgement.

        Returns:
            Index of the next explanation without a judgement; the same index if all are judged.

        Raises:
            ConfigurationError: There is no such explanation or judgement.
        """
        if judgement not in JUDGEMENTS or not 0 <= index < len(self):
            raise ConfigurationError(f"review: there is no explanation {index + 1} or judgement {judgement!r}")
        with self._lock:
            self._history.append((index, self.judgements.get(index)))
            self.judgements[index] = judgement
            self._save()
        order = [*range(index + 1, len(self)), *range(index)]
        return next((other for other in order if other not in self.judgements), index)

    def undo(self) -> int | None:
        """Take the last judgement back.

        Returns:
            Index of the explanation; None if there is nothing to undo.
        """
        with self._lock:
            if not self._history:
                return None
            index, previous = self._history.pop()
            if previous is None:
                del self.judgements[index]
            else:
                self.judgements[index] = previous
            self._save()
            return index

    def counts(self) -> dict[Judgement, int]:
        """Return how often each judgement was given."""
        given = list(self.judgements.values())
        return {judgement: given.count(judgement) for judgement in JUDGEMENTS}

    def csv(self) -> str:
        """Return the table: a line for each explanation; its judgement is empty if there is none yet."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(COLUMNS)
        for index, item in enumerate(self.explanations):
            judgement = self.judgements.get(index, "")
            numbers = (item.predicted, f"{item.confidence:.6f}", item.method, item.verdict, judgement)
            writer.writerow([index + 1, item.name, item.label, *numbers])
        return buffer.getvalue()

    def _save(self) -> None:
        if self.path is not None:
            replace_text(self.path, self.csv())


def _read(path: Path, explanations: Sequence[Reviewed]) -> dict[int, Judgement]:
    """Return the judgements in a table."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"--review_file {path}: cannot be read ({error})") from error
    named = [(row.get("number"), row.get("name"), row.get("label"), row.get("method")) for row in rows]
    expected = [
        (str(index), item.name, item.label, item.method) for index, item in enumerate(explanations, start=1)
    ]
    if named != expected:
        raise ConfigurationError(
            f"--review_file {path}: is no table of these explanations; name another file, which is made"
        )
    judgements: dict[int, Judgement] = {}
    for index, row in enumerate(rows):
        judgement = next((name for name in JUDGEMENTS if name == row.get("judgement")), None)
        if judgement is not None:
            judgements[index] = judgement
    return judgements
