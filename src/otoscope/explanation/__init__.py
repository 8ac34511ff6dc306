"""Result of an explanation: sounds, mask and scores, a summary, pictures, and files."""

from otoscope.explanation.components import ComponentSound
from otoscope.explanation.result import NO_COMPONENT, Explanation

__all__ = ["NO_COMPONENT", "ComponentSound", "Explanation"]
