"""Sounds with known use: designed listeners with their scenes, and cues planted into any data set."""

from otoscope.data.planted.cues import Cue, PlantedClip, plant
from otoscope.data.planted.dataset import ListenerScenes, PlantedCues, Transfer
from otoscope.data.planted.scenes import ListenerScene, make_scene
from otoscope.designs import LISTENER_DESIGNS, Design, Part

__all__ = [
    "LISTENER_DESIGNS",
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
