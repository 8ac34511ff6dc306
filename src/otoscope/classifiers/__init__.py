"""Classifiers, and the model folders they are kept in."""

from otoscope.classifiers.base import Classifier, Prediction
from otoscope.classifiers.checkpoint import load_classifier, save_classifier
from otoscope.classifiers.conv2d import Conv2dClassifier
from otoscope.classifiers.heads import CosineHead

__all__ = [
    "Classifier",
    "Conv2dClassifier",
    "CosineHead",
    "Prediction",
    "load_classifier",
    "save_classifier",
]
