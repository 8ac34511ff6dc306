"""Synthetic sound events over backgrounds, with event and background available separately."""

from otoscope.data.synthetic.dataset import Synthetic
from otoscope.data.synthetic.scenes import Scene, SyntheticScenes

__all__ = ["Scene", "Synthetic", "SyntheticScenes"]
