"""Processes that work on jobs, under the name that they have had here; see `otoscope.pool`."""

from otoscope.pool import Job, Pool, Try, can_fork, sendable

__all__ = ["Job", "Pool", "Try", "can_fork", "sendable"]
