"""Sounds with known use: designed listeners with their scenes, and cues planted into any data set."""

from otoscope.data.planted.cues import Cue, PlantedClip, plant
from otoscope.data.planted.dataset import ListenerScenes, PlantedCues, Transfer
from otoscope.data.planted.designs import DESIGNS, Design, Part
from otoscope.data.planted.scenes import ListenerScene, make_scene

__all__ = [
    "DESIGNS",
    "Cue",
    "Design",
    "ListenerScene",
    "ListenerScenes",
    "Part",
    "PlantedClip",
    "PlantedCues",
    "Transfer",
    "make_scene",
    "plant",
]
