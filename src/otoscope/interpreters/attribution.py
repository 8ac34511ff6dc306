"""Base classes of attribution methods: how a map of importances is computed, and how it becomes a mask.

None of them uses captum, which has some of these methods: importing it loads IPython and pyplot, which takes half
as long as importing PyTorch, and `otoscope.interpreters.runs` chooses the size of runs by the memory they need.
Tests compare the results with captum's.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier, Prediction
from otoscope.classifiers.local import LocalLayers
from otoscope.classifiers.prediction import class_probabilities
from otoscope.errors import ConfigurationError, GradientError, first_line
from otoscope.interpreters.base import Interpreter
from otoscope.interpreters.progress import count_runs, counted_runs
from otoscope.interpreters.sufficiency import Share
from otoscope.methods import GRADIENT_FREE
from otoscope.metrics.ranking import largest_bins

MaskKind = Literal["quantile", "soft"]
Sign = Literal["positive", "absolute"]
Score = Literal["logit", "log_probability", "probability", "log_odds"]
Area = float | Share

COMPARISON_AREA = 0.2
"""Share of the bins that `mask` keeps where the area is a `Share`, as comparisons need one area for all."""

_CAP = 0.99
"""Share of the bins below the value that a soft mask takes for the clip's maximum (Smilkov et al. 2017)."""
_MOST_ODDS = 32.0
"""Largest log-odds, at the limit of double precision; black boxes may return probabilities of 0 and 1."""
_NO_GRADIENT = (
    "does not require grad",
    "inplace operation",
    "in-place operation",
    "not have been used in the graph",
)
"""Parts of PyTorch's messages when a network cannot be differentiated."""


class AttributionInterpreter(Interpreter[Tensor]):
    """Attributes the score of the explained class to each bin, and keeps the bins with the largest attribution.

    Nothing is trained. `decode` returns the attribution, which may be negative. Padding gets 0, and so do bins
    where the attribution is not defined, unless it is defined nowhere. A clip gets the same result in every batch:
    clips are explained without their padding, those of equal length together.

    Args:
        classifier: Classifier to explain; the method runs it again.
        area: Share of a clip's bins that the mask keeps, exactly (rounded to whole bins). ``decisive``: the share
            whose sound alone keeps the decision and without which it is lost, see `find_sufficient`; if there is
            none, as ``sufficient``: the smallest share whose sound alone keeps the decision. Explanations have
            these shares, while `mask`, which comparisons use, keeps 0.2.
        mask: ``quantile`` keeps the ``area`` with the largest attribution; ties are broken by a fixed random
            order, the same for all clips of one length; an attribution of 0 in every bin keeps none. ``soft``
            divides by the attribution that 99 % of the bins do not exceed, and clamps to [0, 1].
        sign: ``positive``: bins that speak against the class come last, and are 0 in a soft mask. ``absolute``:
            bins count whether they speak for or against the class.
        score: Score that is attributed: the ``logit`` of the class, its ``log_probability``, its ``probability``,
            or its ``log_odds``, log(p / (1 - p)), which black boxes have too that return probabilities alone.
        batch: Largest number of inputs of the classifier at a time; fewer where its feature maps are large, see
            `otoscope.interpreters.runs`. It changes no result, except that noise is drawn in portions of this size
            (SmoothGrad, gradient SHAP).

    Raises:
        ConfigurationError: An option is out of its range.
        GradientError: The method needs gradients and the classifier is a black box.
    """

    argument_attributes: ClassVar[Mapping[str, str]] = {"mask": "mask_kind"}

    def __init__(
        self,
        classifier: Classifier,
        area: Area = "decisive",
        mask: MaskKind = "quantile",
        sign: Sign = "positive",
        score: Score = "logit",
        batch: int = 16,
    ) -> None:
        super().__init__(classifier)
        for name, value, allowed in (("mask", mask, MaskKind), ("sign", sign, Sign), ("score", score, Score)):
            if value not in get_args(allowed):
                raise ConfigurationError(f"{name}: {value!r} is none of {', '.join(get_args(allowed))}")
        require_count(batch=batch)
        self.threshold_name = "area" if mask == "quantile" else None
        self.area = area
        self.mask_kind = mask
        self.sign = sign
        self.score = score
        self.batch = batch

    @property
    def area(self) -> Area:
        """Share of a clip's bins that the mask keeps, or the name of one that is found by search."""
        return self._area

    @area.setter
    def area(self, value: Area) -> None:
        named = isinstance(value, str) and value in get_args(Share)
        if not named and not (is_number(value) and 0 < float(value) <= 1):
            raise ConfigurationError(f"area: {value!r} must lie in (0, 1], or be {' or '.join(get_args(Share))}")
        self._area = value

    @property
    def share(self) -> Share | None:  # type: ignore[override]
        """Share at which an explanation is cut; None for an area that is given, and for a soft mask."""
        return self._area if isinstance(self._area, str) and self.mask_kind == "quantile" else None

    @property
    def blank_note(self) -> str:  # type: ignore[override]
        """What an attribution that is 0 everywhere may mean."""
        if self.needs_gradient:
            return "no gradient: saturated output, or a classifier that ignores its input?"
        return "the answers of the classifier do not change: saturated output, or does it ignore its input?"

    @abstractmethod
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        """Return the attribution of each bin to the target of its clip, shape (batch, frequency, time).

        Args:
            spectrogram: Spectrogram of at most ``batch`` clips of one length, without padding. Gradients are
                enabled if the method needs them.
            target: Class that each clip is explained for. Shape (batch,), int64.
        """

    def runs_per_clip(self) -> int | None:
        """Return how many inputs the classifier is given for a clip; None if it depends on the clip."""
        return None

    def scores(self, spectrogram: Spectrogram) -> Tensor:
        """Return the score that is attributed, for every class. Shape (batch, classes)."""
        count_runs(len(spectrogram))
        if self.score == "probability":
            # black boxes may return probabilities that their logits give only up to rounding
            return self.classifier.probabilities(spectrogram)
        return self._of_logits(self.classifier.logits(spectrogram))

    def scores_behind(self, layers: LocalLayers, maps: Tensor, clip: Spectrogram) -> Tensor:
        """Return the score that is attributed, for every class, of versions of one clip. Shape (versions, classes).

        Args:
            layers: Local layers of the classifier, see `local_layers`.
            maps: Feature maps of the versions behind these layers, shape (versions, time', frequency', channels).
            clip: Spectrogram of the clip.
        """
        count_runs(len(maps))
        logits = layers.rest(maps)
        self.classifier.reject_nan(logits, clip.log_magnitude)
        return self._of_logits(logits)

    def local_layers(self) -> Sequence[LocalLayers]:
        """Return the local layers of the classifier, the most layers first; none if a subclass has other scores."""
        return self.classifier.local_layers() if type(self).scores is AttributionInterpreter.scores else ()

    def _of_logits(self, logits: Tensor) -> Tensor:
        if self.score == "logit":
            return logits
        return _SCORES[self.score](logits, self.classifier.multi_label)

    @override
    def decode(self, spectrogram: Spectrogram, prediction: Prediction) -> Tensor:
        if any(part.training for part in self.classifier.modules()):
            self.classifier.eval()  # a user's network may have been switched to training mode from outside
        runs = self.runs_per_clip()
        with (
            torch.inference_mode(False),
            torch.set_grad_enabled(self.needs_gradient),
            counted_runs("Running the classifier", None if runs is None else runs * len(spectrogram)),
        ):
            log_magnitude = spectrogram.log_magnitude
            if spectrogram.frames is None and len(spectrogram) <= self.batch and not log_magnitude.is_inference():
                # nothing to divide: without copies, which would take a tenth of the time of a single gradient
                clips = spectrogram.with_log_magnitude(log_magnitude.detach())
                values = self._attribute(clips, prediction.explained.clone())
                return _defined(values.detach().to(log_magnitude.dtype))
            attribution = torch.zeros_like(log_magnitude)
            with torch.no_grad():  # copies, so that they belong to no graph and to no inference mode
                parts = list(spectrogram.by_length(self.batch))
            # Clips of equal length run together and without padding: the network then does for each clip what it
            # would do for the clip alone, whatever else is in the batch.
            for index, clips in parts:
                values = self._attribute(clips, prediction.explained[index].clone())
                values = _defined(values.detach().to(attribution.dtype))
                attribution[index, :, : values.shape[-1]] = values
        return attribution

    def _attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        try:
            return self.attribute(spectrogram, target)
        except RuntimeError as error:
            if not self.needs_gradient or not any(sign in str(error) for sign in _NO_GRADIENT):
                raise
            raise GradientError(
                f"no gradient comes through {type(self.classifier).__name__} ({first_line(error)}); if its network "
                "computes outside autograd or writes into its input, set differentiable=False and use one of "
                f"{', '.join(GRADIENT_FREE)}"
            ) from error

    @override
    def output(self, decoded: Tensor, spectrogram: Spectrogram) -> Tensor:
        return self._importance(decoded)

    @override
    def mask(self, decoded: Tensor, spectrogram: Spectrogram) -> Tensor:
        cut = largest_bins if self.mask_kind == "quantile" else _soft
        importance, mask = self._importance(decoded), torch.zeros_like(decoded)
        area = COMPARISON_AREA if isinstance(self.area, str) else self.area
        # padding counts neither towards the area nor towards the quantile of a soft mask
        for clip, count in enumerate(spectrogram.frame_counts):
            # a map of zeros ranks nothing: its mask is empty instead of a share of bins drawn at random
            if bool(importance[clip, :, :count].any()):
                mask[clip, :, :count] = cut(importance[clip, :, :count], area)
        return mask

    def loss(self, decoded: Tensor, spectrogram: Spectrogram, prediction: Prediction) -> Mapping[str, Tensor]:
        """Return no term: there is nothing to train."""
        return {}

    def _importance(self, attribution: Tensor) -> Tensor:
        return attribution.abs() if self.sign == "absolute" else attribution


class SeededAttributionInterpreter(AttributionInterpreter):
    """Base class of attribution methods that draw at random: a clip gets the same result whatever was drawn before.

    Args:
        classifier: Classifier to explain; the method runs it again.
        seed: Seed of the draws, the same for each clip.
        **options: Options of `AttributionInterpreter`.
    """

    def __init__(self, classifier: Classifier, seed: int = 0, **options: Any) -> None:
        super().__init__(classifier, **options)
        self.seed = seed

    def generator(self, device: torch.device, offset: int = 0) -> torch.Generator:
        """Return a generator of the seed. The global generators, which all threads share, are never used.

        Args:
            device: Device that the noise is drawn on.
            offset: Number that is added to the seed.
        """
        return torch.Generator(device).manual_seed(self.seed + offset)


def each_clip(spectrogram: Spectrogram, target: Tensor) -> Iterator[tuple[Spectrogram, Tensor]]:
    """Yield each clip and its target as a batch of one."""
    return ((clip, target[i : i + 1]) for i, clip in enumerate(spectrogram.split(1)))


def copies_of(clip: Spectrogram, log_magnitudes: Tensor) -> Spectrogram:
    """Return perturbed versions of one clip, all with its phase.

    Args:
        clip: Spectrogram of one clip.
        log_magnitudes: Perturbed log magnitudes, shape (versions, frequency, time).
    """
    # a view: the phase is not copied for each version
    phase = None if clip.phase is None else clip.phase.expand_as(log_magnitudes)
    return Spectrogram(log_magnitudes, phase, clip.length, normalized=clip.normalized)


def log_probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    """Return the logarithm of the probability of each class, shape (batch, classes)."""
    return torch.nn.functional.logsigmoid(logits) if multi_label else logits.log_softmax(-1)


def log_odds(logits: Tensor, multi_label: bool) -> Tensor:
    """Return log(p / (1 - p)) of the probability p of each class, within ±32. Shape (batch, classes).

    Args:
        logits: Logits, shape (batch, classes).
        multi_label: Whether each class is decided independently.

    Example:
        >>> log_odds(torch.tensor([[0.0, 0.0, 0.0], [0.0, 99.0, 0.0]]), multi_label=False)
        tensor([[ -0.6931,  -0.6931,  -0.6931],
                [-32.0000,  32.0000, -32.0000]])
    """
    if multi_label:
        return logits.clamp(-_MOST_ODDS, _MOST_ODDS)
    # double precision, in which 1 - p = -expm1(log p) is precise down to 1e-14
    log_p = logits.double().log_softmax(-1).clamp(max=-1e-14)
    return (log_p - (-torch.expm1(log_p)).log()).clamp(-_MOST_ODDS, _MOST_ODDS).to(logits)


_SCORES = {"probability": class_probabilities, "log_probability": log_probabilities, "log_odds": log_odds}
"""Functions from logits to the scores that are none."""


def is_number(value: Any) -> bool:
    """Return whether a value is a real number; options from files may be anything."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def require_positive(**values: Any) -> None:
    """Check that options are above zero.

    Raises:
        ConfigurationError: An option is not; the message names it.
    """
    for name, value in values.items():
        if not is_number(value) or not 0 < value < math.inf:
            raise ConfigurationError(f"{name}: {value!r} must be a positive number")


def require_not_negative(**values: Any) -> None:
    """Check that options are 0 or more.

    Raises:
        ConfigurationError: An option is not; the message names it.
    """
    for name, value in values.items():
        if not is_number(value) or not value >= 0:
            raise ConfigurationError(f"{name}: {value!r} must not be negative")


def require_count(**values: Any) -> None:
    """Check that options are whole numbers of 1 or more.

    Raises:
        ConfigurationError: An option is not; the message names it.
    """
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ConfigurationError(f"{name}: {value!r} must be a whole number, 1 or more")


def _defined(values: Tensor) -> Tensor:
    """Return attributions with 0 for NaN, except for clips that are NaN everywhere."""
    # a sum is NaN if one of its terms is, and takes a fraction of the time of testing each of them
    if not bool(values.sum().isnan()):
        return values
    is_nan = values.isnan()
    # NaN in every bin means that the method fails on this clip; it stays NaN, so that it is reported
    undefined = is_nan.flatten(1).all(1)[:, None, None]
    # a square root in the network has no gradient at silence, 0 times infinity: it counts as 0
    return values.masked_fill(is_nan & ~undefined, 0.0)


def _soft(importance: Tensor, area: float) -> Tensor:
    """Scale importances to [0, 1] by the clip's 99 % quantile, or by its maximum if that quantile is 0."""
    # not divided by the maximum: a single extreme bin would make all others look unimportant
    values = importance.clamp(min=0)
    flat = values.flatten()
    # kthvalue selects, where torch.quantile would sort
    cap = flat.kthvalue(max(1, math.ceil(_CAP * len(flat)))).values
    cap = torch.where(cap > 0, cap, flat.amax())
    return (values / cap).clamp(max=1) if cap > 0 else values
