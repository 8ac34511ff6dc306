"""Data sets: ESC-50, the user's own folder, and synthetic scenes with known ground truth."""

from otoscope.data.annotated import AnnotatedRecordings
from otoscope.data.annotations import Annotation, annotated_bins
from otoscope.data.clips import Batch, Clip, ClipFile, PaddedData, batch_of, collate
from otoscope.data.esc50 import ESC50
from otoscope.data.folder import AudioFolder
from otoscope.data.module import SoundData
from otoscope.data.planted import ListenerScenes, PlantedCues
from otoscope.data.synthetic import Scene, Synthetic, SyntheticScenes

__all__ = [
    "ESC50",
    "AnnotatedRecordings",
    "Annotation",
    "AudioFolder",
    "Batch",
    "Clip",
    "ClipFile",
    "ListenerScenes",
    "PaddedData",
    "PlantedCues",
    "Scene",
    "SoundData",
    "Synthetic",
    "SyntheticScenes",
    "annotated_bins",
    "batch_of",
    "collate",
]
