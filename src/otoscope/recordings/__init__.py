"""Explanations of many recordings."""

from otoscope.recordings.files import Recording, find_recordings
from otoscope.recordings.manifest import Manifest, read_manifest
from otoscope.recordings.many import HearingOptions, PictureOptions, explain_each, explain_recordings
from otoscope.recordings.results import Outcome, Result

__all__ = [
    "HearingOptions",
    "Manifest",
    "Outcome",
    "PictureOptions",
    "Recording",
    "Result",
    "explain_each",
    "explain_recordings",
    "find_recordings",
    "read_manifest",
]
