"""Classifiers: networks of our own, one per file, and adapters around external ones."""

from otoscope.classifiers.base import Classifier, Prediction, save_classifier
from otoscope.classifiers.cnn14 import Cnn14Classifier
from otoscope.classifiers.contrast import ContrastClassifier
from otoscope.classifiers.conv2d import Conv2dClassifier
from otoscope.classifiers.external.function import CallableClassifier
from otoscope.classifiers.external.onnx_model import OnnxClassifier
from otoscope.classifiers.external.pipelines import from_pipeline
from otoscope.classifiers.external.tflite_model import TfliteClassifier
from otoscope.classifiers.external.torch_module import TorchClassifier
from otoscope.classifiers.external.transformers_model import TransformersClassifier
from otoscope.classifiers.focalnet import FocalNetClassifier
from otoscope.classifiers.heads import CosineHead
from otoscope.classifiers.listeners import ListenerClassifier
from otoscope.classifiers.vit import ViTClassifier

__all__ = [
    "CallableClassifier",
    "Classifier",
    "Cnn14Classifier",
    "ContrastClassifier",
    "Conv2dClassifier",
    "CosineHead",
    "FocalNetClassifier",
    "ListenerClassifier",
    "OnnxClassifier",
    "Prediction",
    "TfliteClassifier",
    "TorchClassifier",
    "TransformersClassifier",
    "ViTClassifier",
    "from_pipeline",
    "save_classifier",
]
