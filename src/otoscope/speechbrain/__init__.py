"""Models that SpeechBrain published or trained, converted to our classes without executing any of their code."""

from otoscope.speechbrain.classifiers import load_encoder, read_classifier
from otoscope.speechbrain.hyperparameters import Call, Hyperparameters
from otoscope.speechbrain.interpreters import has_classifier, has_interpreter, read_dictionary, read_interpreter
from otoscope.speechbrain.labels import read_labels
from otoscope.speechbrain.source import Source, find_source

__all__ = [
    "Call",
    "Hyperparameters",
    "Source",
    "find_source",
    "has_classifier",
    "has_interpreter",
    "load_encoder",
    "read_classifier",
    "read_dictionary",
    "read_interpreter",
    "read_labels",
]
