"""Explanations of many recordings."""

from otoscope.recordings.event import Event
from otoscope.recordings.files import Recording, find_recordings
from otoscope.recordings.long import (
    LongOptions,
    Timeline,
    explain_long,
    explain_long_recordings,
    longest_whole_s,
    split_by_length,
)
from otoscope.recordings.manifest import Manifest, read_manifest
from otoscope.recordings.many import explain_each, explain_recordings
from otoscope.recordings.plan import Backend, HearingOptions, PictureOptions, Plan
from otoscope.recordings.ray_backend import ray_actors
from otoscope.recordings.results import Outcome, Result
from otoscope.recordings.stored import iterate_results
from otoscope.recordings.tables import TABLES, write_table
from otoscope.recordings.uris import Uri
from otoscope.recordings.workers import sharing_note

__all__ = [
    "TABLES",
    "Backend",
    "Event",
    "HearingOptions",
    "LongOptions",
    "Manifest",
    "Outcome",
    "PictureOptions",
    "Plan",
    "Recording",
    "Result",
    "Timeline",
    "Uri",
    "explain_each",
    "explain_long",
    "explain_long_recordings",
    "explain_recordings",
    "find_recordings",
    "iterate_results",
    "longest_whole_s",
    "ray_actors",
    "read_manifest",
    "sharing_note",
    "split_by_length",
    "write_table",
]
