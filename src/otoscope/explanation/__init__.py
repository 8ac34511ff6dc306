"""Result of an explanation: sounds, mask and scores, a summary, pictures, and files."""

from otoscope.explanation.components import ComponentSound
from otoscope.explanation.parts import DEFAULT_PARTS, DEFAULT_SHARD_PARTS, PARTS, SHARD_PARTS
from otoscope.explanation.result import NO_COMPONENT, Explanation
from otoscope.explanation.several import Explanations
from otoscope.explanation.stored import FolderExplanation, StoredExplanation

__all__ = [
    "DEFAULT_PARTS",
    "DEFAULT_SHARD_PARTS",
    "NO_COMPONENT",
    "PARTS",
    "SHARD_PARTS",
    "ComponentSound",
    "Explanation",
    "Explanations",
    "FolderExplanation",
    "StoredExplanation",
]
