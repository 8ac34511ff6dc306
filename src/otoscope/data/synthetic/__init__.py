"""Synthetic sound events over backgrounds, with the event known apart from the background."""

from otoscope.data.synthetic.dataset import Synthetic
from otoscope.data.synthetic.scenes import Scene, SyntheticScenes

__all__ = ["Scene", "Synthetic", "SyntheticScenes"]
