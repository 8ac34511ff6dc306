"""Segment regression: a linear model of the log-odds over bands, slices and patches of the sound."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import ConfigurationError
from otoscope.interpreters.attribution import (
    Score,
    SeededAttributionInterpreter,
    copies_of,
    each_clip,
    require_count,
)
from otoscope.interpreters.masked_sounds import MaskedSounds
from otoscope.interpreters.runs import inputs_per_run, portions
from otoscope.interpreters.segmentation import bands, patches, slices
from otoscope.seeding import generator_for

_PENALTIES = 10.0 ** np.arange(-5, 1.1, 0.5)
"""Penalties of the ridge regression that are tried, as shares of the largest eigenvalue."""


class SegmentRegressionInterpreter(SeededAttributionInterpreter):
    r"""Fits how the log-odds of a class depend on the segments of the sound that are left.

    The spectrogram is divided in three ways, with borders where the sound is softest: into bands of frequency
    (steady tones), into slices of time (clicks), and into patches. In each version of the clip, a random share of
    the segments of one division sounds and the others are silent; the classifier is asked about the sound, as it
    would be saved. With :math:`x_b` the log magnitude of bin b, one ridge regression over the segments s of all
    divisions fits

    .. math:: f(version) \approx c + \sum_s a_s \sum_{b \in s,\; b\; sounds} x_b

    and the attribution of bin b is :math:`x_b \sum_{s \ni b} a_s`. Versions come in pairs that are complements of
    one another, and shares are uniform, so that a class counts whose parts are needed together as well as one where
    each part is enough. The penalty is chosen by generalised cross-validation. Needs no gradient. ``passes``
    forward passes per clip: 4.8 s for 5 s on a narrow CNN14 and one busy core, on which RISE took 5.1 s.

    Args:
        classifier: Classifier to explain.
        passes: Number of versions of the clip.
        bands: Number of bands.
        slices: Number of slices.
        patches: Number of bands, and of slices in each band, of the division into patches.
        score: Score of the versions; see `AttributionInterpreter`.
        **options: Options of `SeededAttributionInterpreter`.

    Raises:
        ConfigurationError: An option is out of its range.

    Reference:
        This project; see docs/methods/segment_regression.md. After SLIME (Mishra et al. 2017, ISMIR), and
        arXiv 2506.04391, which fits random forests to time-frequency segments of speech.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = classifier.hear(torch.randn(1, 8000))
        >>> interpreter = SegmentRegressionInterpreter(classifier, passes=20)
        >>> interpreter(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([1, 513, 44])
    """

    def __init__(
        self,
        classifier: Classifier,
        passes: int = 300,
        bands: int = 40,
        slices: int = 24,
        patches: Sequence[int] = (8, 10),
        score: Score = "log_odds",
        **options: Any,
    ) -> None:
        super().__init__(classifier, score=score, **options)
        require_count(passes=passes, bands=bands, slices=slices)
        if len(patches) != 2:
            raise ConfigurationError(f"patches: {list(patches)} must be two numbers")
        require_count(**{"patches[0]": patches[0], "patches[1]": patches[1]})
        self.passes, self.bands, self.slices, self.patches = passes, bands, slices, list(patches)

    @override
    def runs_per_clip(self) -> int | None:
        return self.passes

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        return torch.cat([self._fit(clip, label) for clip, label in each_clip(spectrogram, target)])

    def _fit(self, clip: Spectrogram, target: Tensor) -> Tensor:
        log_magnitude = clip.log_magnitude[0]
        # on the CPU in double precision: some devices have none, and the regression is small
        values = log_magnitude.double().cpu().flatten()
        divisions = [
            bands(log_magnitude, self.bands).cpu().flatten(),
            slices(log_magnitude, self.slices).cpu().flatten(),
            patches(log_magnitude, self.patches).cpu().flatten(),
        ]
        counts = [int(division.max()) + 1 for division in divisions]
        switches = self._draw(counts)
        features, scores = [], []
        for division, sounding in zip(divisions, switches, strict=True):
            scores.append(self._scores_of(clip, division, sounding)[:, int(target)].double().cpu())
            # log magnitude that is left in each segment of every division
            shared = [overlap(division, other, values) for other in divisions]
            features.append(sounding.double() @ torch.cat(shared, dim=1))
        total = torch.cat([sums(division, values) for division in divisions])
        # The root of the sum of a segment lies halfway between a penalty on its effect as a whole (divided by the
        # sum) and one on the effect of each of its bins (not divided).
        scale = total.clamp(min=1e-9).sqrt()
        coefficients = ridge_coefficients(torch.cat(features) / scale, torch.cat(scores)) / scale
        # the coefficients of a division follow those of the divisions before it
        firsts = accumulate(counts[:-1], initial=0)
        per_bin = [coefficients[first + division] for first, division in zip(firsts, divisions, strict=True)]
        attribution = values * torch.stack(per_bin).sum(0)
        return attribution.view_as(log_magnitude)[None].to(log_magnitude)

    def _draw(self, counts: Sequence[int]) -> list[Tensor]:
        """Return which segments sound in the versions of each division, 0 or 1, each (versions, segments)."""
        generator = generator_for("segment regression", self.seed)
        switches = []
        for division, count in enumerate(counts):
            # the pairs of versions are dealt to the divisions in turn
            pairs = len(range(division, -(-self.passes // 2), len(counts)))
            shares = torch.rand(pairs, 1, generator=generator)
            draws = torch.rand(pairs, count, generator=generator)
            # At least one segment sounds and one is silent, because black boxes may fail on complete silence.
            sounding = (draws < shares).scatter(1, draws.argmin(1, keepdim=True), True).float()
            sounding = sounding.scatter(1, draws.argmax(1, keepdim=True), 0.0)
            switches.append(torch.cat([sounding, 1 - sounding]))
        return switches

    def _scores_of(self, clip: Spectrogram, division: Tensor, sounding: Tensor) -> Tensor:
        """Return the scores of versions of a clip, for every class. Shape (versions, classes)."""
        if len(sounding) == 0:
            return clip.log_magnitude.new_zeros(0, len(self.classifier.labels))
        device, shape = clip.log_magnitude.device, clip.log_magnitude.shape[1:]
        size = inputs_per_run(self.classifier, clip, self.batch)
        division, sounding = division.to(device), sounding.to(clip.log_magnitude)
        if clip.phase is None:
            masks = (part[:, division].view(-1, *shape) for part in portions(sounding, size))
            return torch.cat([self.scores(copies_of(clip, mask * clip.log_magnitude)) for mask in masks])
        # The inverse transform is linear: the sound of several segments is the sum of their sounds. So only as many
        # transforms are inverted as there are segments.
        numbers = torch.arange(sounding.shape[1], device=device)
        sounds = MaskedSounds(self.classifier, clip)
        masks = (
            (division == some[:, None]).view(-1, *shape).to(clip.log_magnitude) for some in portions(numbers, size)
        )
        parts = torch.cat([sounds.waveform(mask) for mask in masks])
        heard = (sounds.analyse(some @ parts) for some in portions(sounding, size))
        return torch.cat([self.scores(version) for version in heard])


def sums(division: Tensor, values: Tensor) -> Tensor:
    """Return the sum of the values in each segment, shape (segments,).

    Args:
        division: Number of the segment of each bin, shape (bins,).
        values: Values, shape (bins,).
    """
    return torch.zeros(int(division.max()) + 1, dtype=values.dtype).index_add(0, division, values)


def overlap(first: Tensor, second: Tensor, values: Tensor) -> Tensor:
    """Return the sum of the values that lie in each segment of one division and each of another.

    Args:
        first: Number of the segment of each bin in the first division, shape (bins,).
        second: The same in the second division.
        values: Values, shape (bins,).

    Returns:
        Sums, shape (segments of the first, segments of the second).

    Example:
        >>> overlap(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([1.0, 2.0, 4.0]))
        tensor([[1., 2.],
                [0., 4.]])
    """
    rows, columns = int(first.max()) + 1, int(second.max()) + 1
    flat = torch.zeros(rows * columns, dtype=values.dtype).index_add(0, first * columns + second, values)
    return flat.view(rows, columns)


def ridge_coefficients(features: Tensor, values: Tensor) -> Tensor:
    """Fit a linear model with an intercept; the penalty has the least error in generalised cross-validation.

    Args:
        features: Features, shape (samples, features), double precision.
        values: Values to fit, shape (samples,).

    Returns:
        Coefficients, shape (features,).

    Reference:
        Golub, Heath and Wahba 1979, Generalized Cross-Validation as a Method for Choosing a Good Ridge Parameter,
        Technometrics 21.
    """
    centred, rest = features - features.mean(0), values - values.mean()
    columns, singular, rows = torch.linalg.svd(centred, full_matrices=False)
    projected = columns.T @ rest
    unexplained = rest.square().sum() - projected.square().sum()
    best, samples = (float("inf"), torch.zeros_like(singular)), len(values)
    for penalty in _PENALTIES * float(singular[0].square()):
        if penalty == 0:
            continue  # constant features, such as those of silence
        filtered = singular.square() / (singular.square() + penalty)
        # residual sum of squares over the square of the remaining degrees of freedom, one being the intercept's
        freedom = samples - 1 - float(filtered.sum())
        residual = float(((1 - filtered) * projected).square().sum() + unexplained)
        error = residual / freedom**2 if freedom > 0.02 * samples else float("inf")
        if error < best[0]:
            best = (error, singular / (singular.square() + penalty))
    coefficients: Tensor = rows.T @ (best[1] * projected)
    return coefficients
