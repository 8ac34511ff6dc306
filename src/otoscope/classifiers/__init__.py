"""Classifiers."""

from otoscope.classifiers.base import Classifier, Prediction, save_classifier
from otoscope.classifiers.black_box import CallableClassifier
from otoscope.classifiers.cnn14 import Cnn14Classifier
from otoscope.classifiers.conv2d import Conv2dClassifier
from otoscope.classifiers.focalnet import FocalNetClassifier
from otoscope.classifiers.heads import CosineHead
from otoscope.classifiers.onnx_model import OnnxClassifier
from otoscope.classifiers.torch_module import TorchClassifier
from otoscope.classifiers.transformers_model import TransformersClassifier
from otoscope.classifiers.vit import ViTClassifier

__all__ = [
    "CallableClassifier",
    "Classifier",
    "Cnn14Classifier",
    "Conv2dClassifier",
    "CosineHead",
    "FocalNetClassifier",
    "OnnxClassifier",
    "Prediction",
    "TorchClassifier",
    "TransformersClassifier",
    "ViTClassifier",
    "save_classifier",
]
