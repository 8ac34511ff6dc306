"""Training of classifiers and interpreters, on Lightning."""

from otoscope.training.brain import Interpretation, InterpretationSteps, InterpreterBrain
from otoscope.training.callbacks import SaveInterpretations
from otoscope.training.classifier import ClassifierTraining
from otoscope.training.methods import PIQ
from otoscope.training.run import run_training
from otoscope.training.task import TrainingTask

__all__ = [
    "PIQ",
    "ClassifierTraining",
    "Interpretation",
    "InterpretationSteps",
    "InterpreterBrain",
    "SaveInterpretations",
    "TrainingTask",
    "run_training",
]
