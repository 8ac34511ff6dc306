"""Known use: explanations compared with the bins that the classifier is known to use."""

from otoscope.evaluation.known_use.cases import Case, Group, Question, Reliance, groups_of
from otoscope.evaluation.known_use.run import KnownUseReport, run_known_use
from otoscope.evaluation.known_use.scores import BASELINES, SCORES, score_case, score_map

__all__ = [
    "BASELINES",
    "SCORES",
    "Case",
    "Group",
    "KnownUseReport",
    "Question",
    "Reliance",
    "groups_of",
    "run_known_use",
    "score_case",
    "score_map",
]
