"""Result of one recording, and the summary of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from otoscope.recordings.files import Recording


@dataclass(frozen=True)
class Result:
    """Result of one recording. It holds no tensors, so that another process can send it.

    Attributes:
        line: Its line of the manifest: ``file``; ``status``, which is ``explained`` or ``failed``; ``folder`` or
            ``shard`` and the content of ``explanation.json``, or ``error``.
        summary: Line for a terminal; empty unless this run explained the recording.
        skipped: Whether an earlier run explained it.
        row: Row of a shard, encoded; None if the result is a folder.
    """

    line: dict[str, Any]
    summary: str = ""
    skipped: bool = False
    row: dict[str, Any] | None = None

    @property
    def duration_s(self) -> float:
        """Length of the recording; 0 if it could not be explained."""
        return float(self.line.get("duration_s", 0.0))


def explained_line(recording: Recording, content: dict[str, Any], **place: str) -> dict[str, Any]:
    """Return the line of the manifest for an explained recording.

    Args:
        recording: Recording.
        content: Content of ``explanation.json``.
        **place: Where the explanation is: ``folder`` or ``shard``.
    """
    return {"file": str(recording.path), "status": "explained", **place, **content}


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
