"""Training of classifiers, dictionaries and interpreters, on Lightning."""

from otoscope.training.amt import InterpreterESC50Brain
from otoscope.training.brain import Interpretation, InterpreterBrain
from otoscope.training.callbacks import SaveInterpretations
from otoscope.training.classifier import ClassifierTraining
from otoscope.training.heard_lmac import HeardLMAC
from otoscope.training.l2i import L2I
from otoscope.training.lmac import LMAC
from otoscope.training.nmf import AmortizedNMFTraining, DictionaryTraining, NMFTraining
from otoscope.training.overlap import OverlapTest
from otoscope.training.piq import PIQ
from otoscope.training.run import run_training
from otoscope.training.seam import InterpretationSteps
from otoscope.training.task import TrainingTask

__all__ = [
    "L2I",
    "LMAC",
    "PIQ",
    "AmortizedNMFTraining",
    "ClassifierTraining",
    "DictionaryTraining",
    "HeardLMAC",
    "Interpretation",
    "InterpretationSteps",
    "InterpreterBrain",
    "InterpreterESC50Brain",
    "NMFTraining",
    "OverlapTest",
    "SaveInterpretations",
    "TrainingTask",
    "run_training",
]
