"""Explanations of many recordings."""

from otoscope.recordings.event import Event
from otoscope.recordings.files import Recording, find_recordings
from otoscope.recordings.long import (
    LongOptions,
    Timeline,
    explain_long,
    explain_long_recordings,
    split_by_length,
)
from otoscope.recordings.manifest import Manifest, read_manifest
from otoscope.recordings.many import HearingOptions, PictureOptions, explain_each, explain_recordings
from otoscope.recordings.results import Outcome, Result
from otoscope.recordings.tables import TABLES, write_table

__all__ = [
    "TABLES",
    "Event",
    "HearingOptions",
    "LongOptions",
    "Manifest",
    "Outcome",
    "PictureOptions",
    "Recording",
    "Result",
    "Timeline",
    "explain_each",
    "explain_long",
    "explain_long_recordings",
    "explain_recordings",
    "find_recordings",
    "read_manifest",
    "split_by_length",
    "write_table",
]
