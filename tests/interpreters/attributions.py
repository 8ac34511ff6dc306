"""Helpers of the tests of attribution methods, with a classifier whose decision rests on known bins."""

import torch
from torch.nn import functional as F

from otoscope.audio import Frontend, Spectrogram
from otoscope.audio.padding import zero_padding
from otoscope.classifiers import Classifier, Prediction
from otoscope.interpreters import make_untrained

FRONTEND = {"n_fft": 256, "window_ms": 16.0, "hop_ms": 8.0}
BINS, FRAMES = 129, 64
LOW, HIGH, EARLY, LATE = 32, 64, 16, 40
AREA = (HIGH - LOW) * (LATE - EARLY) / (BINS * FRAMES)

# Options that keep a method quick, but let it find the rectangle.
QUICK = {
    "expected_gradients": {"samples": 4, "baselines": [torch.zeros(1600)]},
    "gradient_shap": {"samples": 4},
    "integrated_gradients": {"steps": 4},
    "occlusion": {"patch_hz": 1000.0, "patch_s": 0.1},
    "optimised_mask": {"steps": 20, "cell_hz": 500.0, "cell_s": 0.06, "learning_rate": 0.3},
    "rise": {"masks": 300, "cell_hz": 1000.0, "cell_s": 0.1},
    "segment_regression": {"passes": 300},
    "slime": {"samples": 300, "segment_hz": 500.0, "segment_s": 0.064},
    "smoothgrad": {"samples": 4},
}
METHODS = (
    "expected_gradients",
    "grad_cam",
    "gradient_shap",
    "guided_backprop",
    "guided_grad_cam",
    "input_x_gradient",
    "integrated_gradients",
    "occlusion",
    "optimised_mask",
    "rise",
    "saliency",
    "segment_regression",
    "slime",
    "smoothgrad",
)


class RectangleClassifier(Classifier):
    """Linear classifier: the louder one rectangle of bins, the higher the logit of "dog". It ignores other bins."""

    def __init__(self, multi_label=False):
        super().__init__(["dog", "rain"], Frontend(**FRONTEND))
        self.multi_label = multi_label
        rectangle = torch.zeros(BINS, FRAMES)
        rectangle[LOW:HIGH, EARLY:LATE] = 1
        self.register_buffer("rectangle", rectangle)

    @property
    def representation_channels(self):
        return (1,)

    def forward(self, log_magnitude, frames=None):
        valid = zero_padding(log_magnitude, frames)
        # the ReLU changes no log magnitude; guided backpropagation needs one
        inside = F.pad(valid, (0, FRAMES))[..., :FRAMES].relu() * self.rectangle
        hidden = F.avg_pool2d(inside[:, None], 8)
        dog = 100 * hidden.mean((1, 2, 3)) - 4
        return Prediction(torch.stack([dog, torch.zeros_like(dog)], 1), (hidden,), multi_label=self.multi_label)


def sounds(batch=2, frames=FRAMES):
    """Return the spectrogram of clips that are about equally loud everywhere."""
    return Spectrogram(0.5 + torch.rand(batch, BINS, frames))


def silence(batch=1):
    """Return the spectrogram of silent clips."""
    return Spectrogram(torch.zeros(batch, BINS, FRAMES))


def make(method, classifier, **options):
    """Make a method with options that keep it quick."""
    return make_untrained(method, classifier, **{**QUICK.get(method, {}), **options})


def attribution_of(method, classifier, spectrogram, target=None, **options):
    """Return the attribution to a target, or to the predicted class of each clip."""
    prediction = classifier.predict(spectrogram)
    if target is not None:
        prediction = prediction.towards(torch.full_like(prediction.predicted, target))
    return make(method, classifier, **options).decode(spectrogram, prediction)
