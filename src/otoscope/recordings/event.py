"""Event in a recording: what was heard, when, at which frequencies, and how well its explanation is supported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Event:
    """Sound of one class in a recording.

    Attributes:
        file: Recording, as it was named.
        label: Class.
        begin_s: Begin in the recording.
        end_s: End in the recording.
        confidence: Highest probability of the class among the windows of the event.
        mean_confidence: Mean probability of the class over these windows.
        windows_begin_s: Begin by the windows: where the probability, between two of them, passes half of its peak.
        windows_end_s: End by the windows.
        evidence_begin_s: Begin of the box that holds at least 90 % of the energy of the evidence; None without
            evidence. The box leaves out at most 2.5 % at each of its four sides.
        evidence_end_s: End of the box.
        low_hz: Lowest frequency of the box.
        high_hz: Highest frequency of the box.
        windows: Number of windows.
        explained_windows: Number of windows with an explanation for this class.
        scores: Heard scores of the most confident explained window, see `otoscope.metrics.SCORES`.
        verdict: Verdict on its explanation: ``supported``, ``partly`` or ``not supported``.
        summary: The verdict with its reasons.
        notes: Remarks on its explanation.
        page: Picture of its explanation, relative to the folder of the results.
        segment: Clip of the event, relative to the folder of the results.
    """

    file: str
    label: str
    begin_s: float
    end_s: float
    confidence: float
    mean_confidence: float
    windows_begin_s: float
    windows_end_s: float
    evidence_begin_s: float | None = None
    evidence_end_s: float | None = None
    low_hz: float | None = None
    high_hz: float | None = None
    windows: int = 1
    explained_windows: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    verdict: str = ""
    summary: str = ""
    notes: list[str] = field(default_factory=list)
    page: str | None = None
    segment: str | None = None

    def name(self, index: int) -> str:
        """Return a file name without its ending: number, label, confidence and time.

        Args:
            index: Number of the event, from 1.

        Example:
            >>> Event("night.wav", "dog", 3725.5, 3727, 0.974, 0.9, 3725, 3730).name(3)
            '0003_dog_0.97_01h02m05.50s'
        """
        # One part of a path, whatever the label is called.
        label = "".join(character if character.isalnum() or character in "-_ " else "_" for character in self.label)
        return f"{index:04d}_{label[:60]}_{self.confidence:.2f}_{clock(self.begin_s)}"

    def row(self) -> dict[str, Any]:
        """Return the cells of a table: flat, with the most important heard scores."""
        return {
            "file": self.file,
            "label": self.label,
            "begin_s": round(self.begin_s, 4),
            "end_s": round(self.end_s, 4),
            "low_hz": _rounded(self.low_hz, 1),
            "high_hz": _rounded(self.high_hz, 1),
            "confidence": round(self.confidence, 4),
            "mean_confidence": round(self.mean_confidence, 4),
            "windows_begin_s": round(self.windows_begin_s, 4),
            "windows_end_s": round(self.windows_end_s, 4),
            "evidence_begin_s": _rounded(self.evidence_begin_s, 4),
            "evidence_end_s": _rounded(self.evidence_end_s, 4),
            "windows": self.windows,
            "explained_windows": self.explained_windows,
            "p_evidence": _rounded(self.scores.get("p_evidence"), 4),
            "p_remainder": _rounded(self.scores.get("p_remainder"), 4),
            "area": _rounded(self.scores.get("MM"), 6),
            "verdict": self.verdict or None,
            "page": self.page,
            "segment": self.segment,
        }


def clock(seconds: float) -> str:
    """Return a time as part of a file name.

    Example:
        >>> clock(59.999), clock(3600)
        ('00h01m00.00s', '01h00m00.00s')
    """
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60:02d}h{minutes % 60:02d}m{rest // 100:02d}.{rest % 100:02d}s"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
