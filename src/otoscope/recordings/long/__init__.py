"""Recordings of any length: windows, events, joined evidence, and a timeline."""

from otoscope.recordings.long.many import explain_long_recordings, split_by_length
from otoscope.recordings.long.options import LongOptions, is_long, longest_whole_s
from otoscope.recordings.long.run import explain_long
from otoscope.recordings.long.timeline import Timeline

__all__ = [
    "LongOptions",
    "Timeline",
    "explain_long",
    "explain_long_recordings",
    "is_long",
    "longest_whole_s",
    "split_by_length",
]
