"""What the tests of attribution methods share: a classifier of which it is known where it listens."""

import torch
from torch.nn import functional as F

from otoscope.audio import Frontend, valid_frames
from otoscope.classifiers import Classifier, Prediction
from otoscope.interpreters import make_untrained

FRONTEND = {"n_fft": 256, "window_ms": 16.0, "hop_ms": 8.0}
BINS, FRAMES = 129, 64
LOW, HIGH, EARLY, LATE = 32, 64, 16, 40
AREA = (HIGH - LOW) * (LATE - EARLY) / (BINS * FRAMES)

QUICK = {
    "gradient_shap": {"samples": 4},
    "integrated_gradients": {"steps": 4},
    "occlusion": {"patch_hz": 1000.0, "patch_s": 0.1},
    "optimised_mask": {"steps": 20, "cell_hz": 500.0, "cell_s": 0.06, "learning_rate": 0.3},
    "rise": {"masks": 300, "cell_hz": 1000.0, "cell_s": 0.1},
    "slime": {"samples": 300, "segment_hz": 500.0, "segment_s": 0.064},
    "smoothgrad": {"samples": 4},
}
METHODS = (
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
    "slime",
    "smoothgrad",
)


class Window(Classifier):
    """Linear: the more sounds in one rectangle of the plane, the more it is a dog. It hears nothing else."""

    def __init__(self, multi_label=False):
        super().__init__(["dog", "rain"], Frontend(**FRONTEND))
        self.multi_label = multi_label
        window = torch.zeros(BINS, FRAMES)
        window[LOW:HIGH, EARLY:LATE] = 1
        self.register_buffer("window", window)

    @property
    def representation_channels(self):
        return (1,)

    @property
    def config(self):
        return {"multi_label": self.multi_label}

    def forward(self, log_magnitude, frames=None):
        keep = valid_frames(frames, log_magnitude)
        heard = log_magnitude if keep is None else log_magnitude * keep
        heard = F.pad(heard, (0, FRAMES))[..., :FRAMES].relu() * self.window
        hidden = F.avg_pool2d(heard[:, None], 8)
        dog = 100 * hidden.mean((1, 2, 3)) - 4
        return Prediction(torch.stack([dog, torch.zeros_like(dog)], 1), (hidden,), multi_label=self.multi_label)


def sounds(batch=2, frames=FRAMES):
    """Clips that are about equally loud everywhere."""
    return 0.5 + torch.rand(batch, BINS, frames)


def make(method, classifier, **options):
    """A method with options that make it quick."""
    return make_untrained(method, classifier, **{**QUICK.get(method, {}), **options})


def attribution_of(method, classifier, log_magnitude, target=None, frames=None, **options):
    """What a method decodes."""
    prediction = classifier(log_magnitude, frames)
    if target is not None:
        prediction = prediction.towards(torch.full_like(prediction.predicted, target))
    return make(method, classifier, **options).decode(log_magnitude, prediction, frames)
