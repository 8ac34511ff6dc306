"""What the evidence of a class looks like over a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class ClassEvidence:
    """Evidence of a class over the clips that were explained.

    Attributes:
        label: Class.
    """

    label: str

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence as a JSON object."""
        return {"label": self.label}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the evidence of a JSON object."""
        return cls(**content)
