"""Parts of a saved explanation: which files of its folder, and which columns of a shard, are written."""

from __future__ import annotations

from collections.abc import Iterable

from otoscope.errors import ConfigurationError, choices

FILES = {
    "json": ("explanation.json",),
    "recording": ("original.wav",),
    "evidence": ("interpretation.wav",),
    "remainder": ("remainder.wav",),
    "levelled": ("interpretation_levelled.flac", "remainder_levelled.flac"),
    "mask": ("mask.npz",),
    "importance": ("importance.npz",),
    "picture": tuple(f"{name}{end}" for name in ("spectra", "components", "maps") for end in (".png", ".svg")),
    "components": ("components",),
}
"""Files of each part. Pictures exist in one format only, and components and maps for some methods only."""
PARTS = tuple(FILES)
"""Names of the parts."""
DEFAULT_PARTS = tuple(part for part in PARTS if part != "importance")
"""Parts that the folder of an explanation holds by default."""
SHARD_PARTS = ("json", "recording", "evidence", "remainder", "mask", "importance", "picture")
"""Parts that a row of a shard can hold."""
DEFAULT_SHARD_PARTS = ("json", "recording", "evidence", "remainder", "mask")
"""Parts that a row of a shard holds by default."""
NAMES = frozenset(name for names in FILES.values() for name in names)
"""Names of everything that an explanation saves."""


def check_parts(parts: Iterable[str], allowed: tuple[str, ...] = PARTS) -> tuple[str, ...]:
    """Return parts in their usual order, each once, and always with ``json``, which resuming and reading need.

    Args:
        parts: Names of parts.
        allowed: Names that are accepted.

    Raises:
        ConfigurationError: There is no such part.

    Example:
        >>> check_parts(["mask", "evidence"])
        ('json', 'evidence', 'mask')
    """
    chosen = {"json", *parts}
    for part in sorted(chosen.difference(allowed)):
        place = "" if allowed == PARTS else " in a shard"
        raise ConfigurationError(f"keep: there is no part {part!r}{place}; {choices(part, allowed)}")
    return tuple(part for part in allowed if part in chosen)
