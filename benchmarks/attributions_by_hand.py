"""Attributions as a user of captum writes them by hand, and plain loops for methods that captum does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import captum.attr
import numpy as np
import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.interpreters.occlusion import cell_size
from otoscope.interpreters.rise import random_mask
from otoscope.interpreters.segmentation import bands, patches, slices
from otoscope.interpreters.slime import ridge_regression, segments

_BATCH = 16


@dataclass
class Case:
    """What is attributed.

    Attributes:
        classifier: Frozen classifier.
        interpreter: Our interpreter, for its options.
        spectrogram: Spectrogram of one clip.
        target: Class, shape (1,).
    """

    classifier: Classifier
    interpreter: Any
    spectrogram: Spectrogram
    target: Tensor

    @property
    def inputs(self) -> Tensor:
        """Log magnitude of the clip, which requires a gradient. Shape (1, frequency, time)."""
        return self.spectrogram.log_magnitude.clone().requires_grad_()

    def logits(self, log_magnitude: Tensor) -> Tensor:
        """Return the logits of log magnitudes, shape (batch, classes)."""
        logits: Tensor = self.classifier(log_magnitude).logits
        return logits

    def probability(self, log_magnitude: Tensor) -> Tensor:
        """Return the probability of the class, shape (batch,)."""
        probabilities: Tensor = self.classifier(log_magnitude).probabilities
        return probabilities[:, int(self.target)]

    def noisy_logits(self, log_magnitude: Tensor) -> Tensor:
        """Return the logits of noisy log magnitudes; what lies below silence is silent, as in our methods."""
        return self.logits(log_magnitude + (log_magnitude.clamp(min=0) - log_magnitude).detach())

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise."""
        log_magnitude = self.spectrogram.log_magnitude
        return float(self.interpreter.noise) * float(log_magnitude.max() - log_magnitude.min())

    def seed(self) -> None:
        """Seed the generators that captum draws from, so that it draws our noise."""
        torch.manual_seed(self.interpreter.seed)
        np.random.seed(self.interpreter.seed)


Side = Callable[[Case], Callable[[], Tensor]]


def _saliency(case: Case) -> Callable[[], Tensor]:
    method = captum.attr.Saliency(case.logits)
    return lambda: method.attribute(case.inputs, case.target, abs=False)


def _input_x_gradient(case: Case) -> Callable[[], Tensor]:
    method = captum.attr.InputXGradient(case.logits)
    return lambda: method.attribute(case.inputs, case.target)


def _integrated_gradients(batch: int | None) -> Side:
    def side(case: Case) -> Callable[[], Tensor]:
        method = captum.attr.IntegratedGradients(case.logits)
        steps = case.interpreter.steps
        return lambda: method.attribute(
            case.inputs, target=case.target, n_steps=steps, method="gausslegendre", internal_batch_size=batch
        )

    return side


def _smoothgrad(case: Case) -> Callable[[], Tensor]:
    method = captum.attr.NoiseTunnel(captum.attr.Saliency(case.noisy_logits))
    samples = case.interpreter.samples

    def attribute() -> Tensor:
        case.seed()
        result: Tensor = method.attribute(
            case.inputs,
            nt_type="smoothgrad",
            nt_samples=samples,
            nt_samples_batch_size=_BATCH,
            stdevs=case.deviation,
            target=case.target,
            abs=False,
        )
        return result

    return attribute


def _gradient_shap(case: Case) -> Callable[[], Tensor]:
    method = captum.attr.GradientShap(case.noisy_logits)
    silence = torch.zeros_like(case.spectrogram.log_magnitude)

    def attribute() -> Tensor:
        case.seed()
        result: Tensor = method.attribute(
            case.inputs, silence, n_samples=case.interpreter.samples, stdevs=case.deviation, target=case.target
        )
        return result

    return attribute


def _expected_gradients(case: Case) -> Callable[[], Tensor]:
    # captum's GradientShap draws baselines of its own, so its saliency at our points
    method = captum.attr.Saliency(case.noisy_logits)

    def attribute() -> Tensor:
        total = torch.zeros_like(case.spectrogram.log_magnitude)
        for first in range(0, case.interpreter.samples, _BATCH):
            lines = case.interpreter.lines(case.spectrogram, first, min(_BATCH, case.interpreter.samples - first))
            difference = lines.ends - lines.starts
            points = (lines.starts + lines.positions[:, None, None] * difference).requires_grad_()
            gradient = method.attribute(points, case.target.expand(len(points)), abs=False)
            total += (difference * gradient).sum(0)
        mean: Tensor = total / case.interpreter.samples
        return mean

    return attribute


def _occlusion(batch: int) -> Side:
    def side(case: Case) -> Callable[[], Tensor]:
        method, options = captum.attr.Occlusion(case.logits), case.interpreter
        size = cell_size(case.classifier, case.spectrogram.log_magnitude, options.patch_hz, options.patch_s)
        strides = tuple(max(1, length // options.overlap) for length in size)

        def attribute() -> Tensor:
            with torch.no_grad():
                result: Tensor = method.attribute(
                    case.spectrogram.log_magnitude,
                    size,
                    strides,
                    target=case.target,
                    perturbations_per_eval=batch,
                )
            return result

        return attribute

    return side


@torch.no_grad()
def _rise(case: Case) -> Tensor:
    options, log_magnitude = case.interpreter, case.spectrogram.log_magnitude
    generator = torch.Generator().manual_seed(options.seed)
    cell = cell_size(case.classifier, log_magnitude, options.cell_hz, options.cell_s)
    shape = (log_magnitude.shape[-2], log_magnitude.shape[-1])
    masks, scores = [], []
    for _ in range(0, options.masks, _BATCH):
        some = torch.stack([random_mask(shape, cell, options.probability, generator) for _ in range(_BATCH)])
        scores.append(case.probability(some * log_magnitude))
        masks.append(some)
    centred = torch.cat(scores) - torch.cat(scores).mean()
    weighted = torch.einsum("n,nft->ft", centred, torch.cat(masks))
    attribution: Tensor = weighted[None] / (options.masks * options.probability)
    return attribution


class _Ridge:
    """Model for captum's `Lime`."""

    def __init__(self, ridge: float) -> None:
        self.ridge, self.coefficients = ridge, torch.zeros(0)

    def fit(self, train_data: Any, **ignored: Any) -> None:
        """Fit the model to the samples of a loader."""
        features, values, weights = (tensor.double() for tensor in train_data.dataset.tensors)
        self.coefficients = ridge_regression(features, values, weights, self.ridge).float()

    def representation(self) -> Tensor:
        """Return the coefficients."""
        return self.coefficients


def _slime(case: Case) -> Callable[[], Tensor]:
    options, log_magnitude = case.interpreter, case.spectrogram.log_magnitude
    mask = segments(log_magnitude, cell_size(case.classifier, log_magnitude, options.segment_hz, options.segment_s))

    def draw(generator: torch.Generator) -> Callable[..., Tensor]:
        def sounding(clip: Tensor, num_interp_features: int, **ignored: Any) -> Tensor:
            return torch.bernoulli(torch.full((1, num_interp_features), 0.5), generator=generator).long()

        return sounding

    def similarity(clip: Tensor, perturbed: Tensor, sounding: Tensor, **ignored: Any) -> Tensor:
        distance = 1 - sounding.float().mean().sqrt()
        weight: Tensor = (-((distance / options.kernel_width) ** 2)).exp()
        return weight

    def attribute() -> Tensor:
        generator = torch.Generator().manual_seed(options.seed)
        method = captum.attr.Lime(
            lambda inputs: case.classifier(inputs).probabilities,
            interpretable_model=_Ridge(options.ridge),
            similarity_func=similarity,
            perturb_func=draw(generator),
        )
        with torch.no_grad():
            result: Tensor = method.attribute(
                log_magnitude,
                target=case.target,
                feature_mask=mask,
                n_samples=options.samples,
                perturbations_per_eval=_BATCH,
            )
        return result

    return attribute


@torch.no_grad()
def _segment_regression(case: Case) -> Tensor:
    """Make each version by the inverse transform of its masked spectrogram; the regression is ours."""
    options, clip = case.interpreter, case.spectrogram
    log_magnitude = clip.log_magnitude[0]
    divisions = [
        bands(log_magnitude, options.bands),
        slices(log_magnitude, options.slices),
        patches(log_magnitude, options.patches),
    ]
    versions = iter(options._draw([int(division.max()) + 1 for division in divisions]))

    def scores_of(clip: Spectrogram, division: Tensor, sounding: Tensor) -> Tensor:
        masks = next(versions)[:, division].view(-1, *log_magnitude.shape)
        heard = (case.classifier.heard(clip.repeat(len(some)), some) for some in _portions(masks))
        return torch.cat([options.scores(version) for version in heard])

    former = options._scores_of
    options._scores_of = scores_of
    try:
        result: Tensor = options.attribute(clip, case.target)
    finally:
        options._scores_of = former
    return result


def _grad_cam(case: Case) -> Callable[[], Tensor]:
    """Run pytorch-grad-cam on the last block of a Conv2d; its map is clamped at 0 and scaled to [0, 1]."""
    package = import_module("pytorch_grad_cam")  # not a dependency: its helpers for pictures need torchvision
    targets = import_module("pytorch_grad_cam.utils.model_targets")

    class Logits(torch.nn.Module):
        """The classifier as a network of pictures (batch, 1, time, frequency)."""

        def __init__(self) -> None:
            super().__init__()
            self.classifier = case.classifier

        def forward(self, pictures: Tensor) -> Tensor:
            return case.logits(pictures[:, 0].transpose(1, 2))

    method = package.GradCAM(Logits(), [case.classifier.get_submodule("residual")])
    target = [targets.ClassifierOutputTarget(int(case.target))]

    def attribute() -> Tensor:
        picture = case.inputs.transpose(1, 2)[:, None]
        return torch.from_numpy(method(picture, target)).transpose(1, 2)

    return attribute


def _portions(values: Tensor) -> Iterator[Tensor]:
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


def _loop(function: Callable[[Case], Tensor]) -> Side:
    return lambda case: lambda: function(case)


SIDES: Mapping[str, Mapping[str, Side]] = {
    "saliency": {"captum": _saliency},
    "input_x_gradient": {"captum": _input_x_gradient},
    "integrated_gradients": {
        "captum, same batch": _integrated_gradients(_BATCH),
        "captum, as called": _integrated_gradients(None),
    },
    "smoothgrad": {"captum, same batch": _smoothgrad},
    "gradient_shap": {"captum, as called": _gradient_shap},
    "expected_gradients": {"captum, same batch": _expected_gradients},
    "grad_cam": {"pytorch-grad-cam": _grad_cam},
    "occlusion": {"captum, same batch": _occlusion(_BATCH), "captum, as called": _occlusion(1)},
    "rise": {"loop, same batch": _loop(_rise)},
    "slime": {"captum, same batch": _slime},
    "segment_regression": {"loop, same batch": _loop(_segment_regression)},
}
"""Sides to compare with, by method."""
