"""Options of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from otoscope.errors import ConfigurationError


@dataclass(frozen=True)
class AuditSettings:
    """Options of an audit.

    Args:
        clips_per_class: Largest number of clips of each class, spread over as many recordings as possible.
        quick: Whether to search with fewer clips of other classes and fewer candidates of each class.
        seed: Seed of the choice of clips, of the halves and of the intervals.
        sounds: Number of clips of each suspect whose sounds are saved.

    Raises:
        ConfigurationError: An option is out of its range.
    """

    clips_per_class: int = 40
    quick: bool = False
    seed: int = 1234
    sounds: int = 1

    def __post_init__(self) -> None:
        if self.clips_per_class < 2:
            raise ConfigurationError(f"clips_per_class: {self.clips_per_class} must be 2 or more")
        if self.sounds < 0 or self.seed < 0:
            raise ConfigurationError(f"sounds ({self.sounds}) and seed ({self.seed}) must not be negative")

    @property
    def candidates(self) -> int:
        """Candidates of each class and half that are transplanted in the search."""
        return 6 if self.quick else 10

    @property
    def search_receivers(self) -> int:
        """Clips of other classes that each candidate is transplanted into in the search."""
        return 8 if self.quick else 16

    @property
    def test_receivers(self) -> int:
        """Clips of other classes, of each half, that each suspect is transplanted into in its test."""
        return 24 if self.quick else 60
