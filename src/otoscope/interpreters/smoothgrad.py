"""SmoothGrad: the gradient averaged over noisy copies (Smilkov et al. 2017, arXiv 1706.03825)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.interpreters.attribution import (
    SeededAttributionInterpreter,
    Sign,
    each_clip,
    require_count,
    require_positive,
)
from otoscope.interpreters.runs import gradients_at, inputs_per_run
from otoscope.interpreters.stability import Halves, require_stability


class SmoothGradInterpreter(SeededAttributionInterpreter):
    """Gradient of the score, averaged over copies of the clip with noise in every bin.

    ``samples`` forward and as many backward passes per clip: 0.4 s for 5 s on a narrow CNN14 and one core.

    Args:
        classifier: Classifier to explain.
        samples: Number of noisy copies.
        noise: Standard deviation of the noise, as a share of the range of the clip's log magnitude.
        sign: Whether bins count by the gradient (``positive``) or by its magnitude (``absolute``).
        rank_stability: Reliability of the order of the bins at which the draws end early, between 0 and 1,
            estimated from two halves of the draws after each portion of ``batch``; see
            `otoscope.interpreters.stability` (default: all ``samples``).
        **options: Options of `SeededAttributionInterpreter`.

    Raises:
        ConfigurationError: An option is out of its range.

    Reference:
        Smilkov et al. 2017, arXiv 1706.03825. Departure: bins that noise would take below silence are silent,
        because a magnitude is not negative.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 40))
        >>> SmoothGradInterpreter(classifier, samples=4)(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    needs_gradient = True

    def __init__(
        self,
        classifier: Classifier,
        samples: int = 16,
        noise: float = 0.1,
        sign: Sign = "absolute",
        rank_stability: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(classifier, sign=sign, **options)
        require_count(samples=samples)
        require_positive(noise=noise)
        self.samples = samples
        require_stability(rank_stability)
        self.noise = noise
        self.rank_stability = rank_stability

    @override
    def runs_per_clip(self) -> int | None:
        return self.samples

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        return torch.cat([self._average(clip, label) for clip, label in each_clip(spectrogram, target)])

    def _average(self, clip: Spectrogram, target: Tensor) -> Tensor:
        # The noise is relative to the clip's range, as published. Magnitudes are not negative: noise is clamped at
        # silence. A clamped bin keeps its gradient, or it would seem unimportant in that copy.
        log_magnitude = clip.log_magnitude
        deviation = self.noise * float(log_magnitude.max() - log_magnitude.min())
        generator = self.generator(log_magnitude.device)
        mean = Halves(log_magnitude, self.rank_stability, self.sign == "absolute")
        size = inputs_per_run(self.classifier, clip, self.batch)
        for start in range(0, self.samples, self.batch):
            shape = (min(self.batch, self.samples - start), *log_magnitude.shape[1:])
            # torch.normal and a generator of our own: captum draws from the generator that all threads share
            noise = torch.normal(0.0, log_magnitude.new_full(shape, deviation), generator=generator)
            mean.add(gradients_at(self.scores, clip, (log_magnitude + noise).clamp(min=0), target, size))
            if mean.is_stable():
                break
        return mean.mean()
