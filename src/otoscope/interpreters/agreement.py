"""Agreement: bins of the sound around which the attributions of the classifier agree in sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import require_not_negative
from otoscope.interpreters.integrated_gradients import IntegratedGradientsInterpreter
from otoscope.interpreters.refined import smoothed

WINDOWS = ((8, 8),)
"""Standard deviations of the default Gaussian, in bins and frames."""
_NEGLIGIBLE = 0.1
"""Mean attribution around a bin, as a share of that of the clip, at which its agreement counts half."""


class AgreementInterpreter(IntegratedGradientsInterpreter):
    r"""The sound, weighted by how far the attributions around it agree in sign.

    Attributions of single bins alternate in sign where the classifier does not care, and agree where it does. With
    the log magnitude X, integrated gradients g, and Gaussian averages :math:`G_w` over W windows, the importance is

    .. math:: X^{power} \left(\beta + \frac{1}{W} \sum_w \frac{G_w g}{G_w |g|}\right)

    The second factor lies in :math:`[\beta - 1, \beta + 1]`: 1 where all attributions around a bin speak for the
    class, about 0 where their signs are random, as with a classifier whose weights were shuffled. It says which
    part of the sound counts; the first factor says where the sound is in that part. Nothing is optimised, so that
    the method never asks the classifier about a mask. It costs what integrated gradients of ``steps`` points cost.

    Args:
        classifier: Classifier to explain.
        steps: Number of points of the integrated gradients.
        windows: Standard deviations of each Gaussian, in bins of frequency and in frames.
        beta: Weight of the sound itself, wherever the attributions do not agree. The larger it is, the more the map
            follows the sound, whatever the classifier has learnt.
        power: Exponent of the log magnitude. The larger it is, the less quiet sounds count.
        **options: Options of `IntegratedGradientsInterpreter`.

    Raises:
        ConfigurationError: An option is out of its range.
        GradientError: The classifier is a black box.

    Reference:
        This project; see docs/methods/agreement.md.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(1, 513, 40))
        >>> interpreter = AgreementInterpreter(classifier, area=0.1, steps=4)
        >>> round(float(interpreter(spectrogram, classifier.predict(spectrogram)).mean()), 3)
        0.1
    """

    def __init__(
        self,
        classifier: Classifier,
        steps: int = 16,
        windows: Sequence[Sequence[float]] = WINDOWS,
        beta: float = 0.02,
        power: float = 0.75,
        **options: Any,
    ) -> None:
        super().__init__(classifier, steps, **options)
        if not windows or not all(len(window) == 2 and min(window) >= 0 for window in windows):
            raise ConfigurationError(f"windows: {list(windows)} must be one or more pairs of numbers, 0 or more")
        require_not_negative(beta=beta, power=power)
        self.windows, self.beta, self.power = [list(window) for window in windows], beta, power

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        return self.importance(spectrogram.log_magnitude, super().attribute(spectrogram, target))

    def importance(self, log_magnitude: Tensor, attribution: Tensor) -> Tensor:
        """Return the importance of each bin, given signed attributions. Shape (batch, frequency, time).

        Args:
            log_magnitude: Log magnitude of the clips. Shape (batch, frequency, time).
            attribution: Signed attributions. Shape (batch, frequency, time).
        """
        # without any gradient, loudness alone would be left
        informed = (attribution != 0).flatten(1).any(1)[:, None, None]
        agreement = torch.stack([sign_agreement(attribution, window) for window in self.windows]).mean(0)
        # Compressed: a steady cue is often 20 dB weaker than the event beside it, and counts all the same.
        return informed * log_magnitude.pow(self.power) * (self.beta + agreement)


def sign_agreement(attribution: Tensor, window: Sequence[float]) -> Tensor:
    """Return how far the attributions around each bin agree in sign, from -1 to 1; 0 where they are negligible.

    Args:
        attribution: Signed attributions. Shape (batch, frequency, time).
        window: Standard deviations of the Gaussian average, in bins of frequency and in frames.

    Example:
        >>> signs = torch.tensor([[[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 1.0, -1.0]]])
        >>> [round(float(value), 1) for value in sign_agreement(signs, (0, 0.5))[0, 0, [1, 5, 8]]]
        [0.9, 0.0, -0.5]
    """
    size = attribution.abs()
    negligible = _NEGLIGIBLE * size.mean((-2, -1), keepdim=True) + torch.finfo(size.dtype).tiny
    return smoothed(attribution, window) / (smoothed(size, window) + negligible)
