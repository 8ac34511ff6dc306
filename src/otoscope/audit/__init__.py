"""What a classifier listens to over a data set: cues that it may cheat by, tested by intervention."""

from otoscope.audit.evidence import ClassEvidence
from otoscope.audit.result import AuditResult, ClassFigures, Effect, Place, Suspect, Verdict

__all__ = ["AuditResult", "ClassEvidence", "ClassFigures", "Effect", "Place", "Suspect", "Verdict"]
