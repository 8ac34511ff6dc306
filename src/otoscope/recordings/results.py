"""Result of one recording, and the summary of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Result:
    """Result of one recording. It holds no arrays, so that another process can send it cheaply.

    Attributes:
        line: Its line of the manifest: ``file``; ``status``, which is ``explained`` or ``failed``; ``folder`` and
            the content of ``explanation.json``, or ``error``.
        summary: Line for a terminal; empty unless this run explained the recording.
        skipped: Whether an earlier run explained it.
    """

    line: dict[str, Any]
    summary: str = ""
    skipped: bool = False


@dataclass
class Outcome:
    """Summary of a run.

    Attributes:
        explained: Number of recordings explained now.
        skipped: Number of recordings that an earlier run explained.
        failed: Error message of each recording that could not be explained, by file.
    """

    explained: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Count the result of a recording."""
        if result.line["status"] == "failed":
            self.failed[result.line["file"]] = result.line["error"]
        else:
            self.skipped += result.skipped
            self.explained += not result.skipped

    def __iadd__(self, other: Outcome) -> Self:
        """Count the recordings of another run too."""
        self.explained += other.explained
        self.skipped += other.skipped
        self.failed |= other.failed
        return self

    def summary(self) -> str:
        """Return lines for a terminal.

        Example:
            >>> print(Outcome(315, 0, {"a.wav": "a.wav: is empty (0 bytes)"}).summary())
            315 explained, 1 failed
              a.wav: is empty (0 bytes)
        """
        text = f"{self.explained} explained"
        text += f", {self.skipped} skipped" if self.skipped else ""
        text += f", {len(self.failed)} failed" if self.failed else ""
        return "\n".join([text, *(f"  {' '.join(reason.split())}" for reason in self.failed.values())])
