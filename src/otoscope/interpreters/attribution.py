"""Common ground of attribution methods: how a map of importances comes about, and how it becomes a mask."""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from otoscope.classifiers import Classifier, Prediction
from otoscope.errors import ConfigurationError, GradientError, first_line
from otoscope.interpreters.base import Interpreter
from otoscope.methods import GRADIENT_FREE
from otoscope.metrics.ranking import largest_bins

MaskKind = Literal["quantile", "soft"]
Sign = Literal["positive", "absolute"]
Score = Literal["logit", "log_probability", "probability"]

_CAP = 0.99
"""Share of the bins below what counts as the clip's maximum in a soft mask (Smilkov et al. 2017)."""
_NO_GRADIENT = (
    "does not require grad",
    "inplace operation",
    "in-place operation",
    "not have been used in the graph",
)
"""Of messages of PyTorch when a network cannot be differentiated."""


@dataclass
class Clips:
    """Clips of one length, without padding: all that an attribution method has to deal with.

    Attributes:
        log_magnitude: Shape (batch, frequency, time).
        target: The class that each is explained for. Shape (batch,), int64.
        phase: For classifiers that hear waveforms. Shape as ``log_magnitude``.
    """

    log_magnitude: Tensor
    target: Tensor
    phase: Tensor | None = None

    def __len__(self) -> int:
        return len(self.log_magnitude)

    def __iter__(self) -> Iterator[Clips]:
        """One clip at a time."""
        return self.split(1)

    def split(self, size: int) -> Iterator[Clips]:
        """So many clips at a time."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            phase = None if self.phase is None else self.phase[part]
            yield Clips(self.log_magnitude[part], self.target[part], phase)

    def for_captum(self) -> dict[str, Any]:
        """Arguments of captum's ``attribute``; what it repeats for steps and samples, it repeats of each."""
        inputs = self.log_magnitude.detach().requires_grad_(torch.is_grad_enabled())
        return {"inputs": inputs, "target": self.target, "additional_forward_args": (self.phase,)}

    def repeated_phase(self, times: int) -> Tensor | None:
        """Phase of so many versions of each clip, one clip after the other."""
        return None if self.phase is None else self.phase.repeat_interleave(times, dim=0)


class AttributionInterpreter(Interpreter[Tensor]):
    """Says for each bin how much it speaks for the explained class, and keeps the bins that speak most.

    Nothing is trained. `decode` returns the attribution, which may be negative; padding gets 0, and so do bins
    where it is not defined, unless it is nowhere. A clip gets the same in a batch and alone: clips are explained
    without their padding, those of equal length together.

    Args:
        classifier: What it explains, by asking it again.
        area: Share of a clip's bins that the mask keeps, exactly (rounded to whole bins).
        mask: ``quantile`` keeps the ``area`` with the largest attribution; ties are broken by a fixed random
            order, the same for all clips of one length. ``soft`` divides by the attribution that 99 % of the bins
            do not exceed, and clamps to [0, 1].
        sign: ``positive``: bins that speak against the class come last, and are 0 in a soft mask. ``absolute``:
            bins count that matter either way.
        score: What is explained: the ``logit`` of the class, its ``log_probability`` or its ``probability``.
        batch: Inputs that the classifier gets at a time; bounds the memory. It changes no result, but where captum
            draws noise (SmoothGrad, gradient SHAP), it draws in such portions.

    Raises:
        ConfigurationError: An option is out of its range.
        GradientError: The method needs gradients and the classifier is a black box.
    """

    def __init__(
        self,
        classifier: Classifier,
        area: float = 0.2,
        mask: MaskKind = "quantile",
        sign: Sign = "positive",
        score: Score = "logit",
        batch: int = 16,
    ) -> None:
        super().__init__(classifier)
        self.threshold_name = "area" if mask == "quantile" else None
        for name, value, allowed in (("mask", mask, MaskKind), ("sign", sign, Sign), ("score", score, Score)):
            if value not in get_args(allowed):
                raise ConfigurationError(f"{name}: {value!r} is none of {', '.join(get_args(allowed))}")
        require_count(batch=batch)
        self.area = area
        self._options: dict[str, Any] = {"mask": mask, "sign": sign, "score": score, "batch": batch}
        self.sign = sign
        self.score = score
        self.batch = batch

    @property
    def area(self) -> float:
        """Share of a clip's bins that the mask keeps."""
        return self._area

    @area.setter
    def area(self, value: float) -> None:
        if not is_number(value) or not 0 < value <= 1:
            raise ConfigurationError(f"area: {value!r} must lie in (0, 1]")
        self._area = value

    @property
    def config(self) -> dict[str, Any]:
        """See `Interpreter.config`."""
        return {"area": self.area, **self._options}

    @abstractmethod
    def attribute(self, clips: Clips) -> Tensor:
        """How much each bin speaks for the target of its clip, shape (batch, frequency, time).

        Args:
            clips: At most ``batch`` of one length. Gradients are on if the method needs them.
        """

    def scores(self, log_magnitude: Tensor, phase: Tensor | None = None) -> Tensor:
        """What is explained, for every class. Shape (batch, classes)."""
        if self.score == "probability":
            return self.classifier.probabilities(log_magnitude, None, phase)
        logits = self.classifier.logits(log_magnitude, None, phase)
        return log_probabilities(logits, self.classifier.multi_label) if self.score != "logit" else logits

    def decode(self, log_magnitude: Tensor, prediction: Prediction, frames: Tensor | None = None) -> Tensor:
        """See `Interpreter.decode`."""
        if any(part.training for part in self.classifier.modules()):
            self.classifier.eval()  # its network was set to training from outside
        with torch.inference_mode(False), torch.set_grad_enabled(self.needs_gradient):
            attribution = torch.zeros_like(log_magnitude)
            for rows, count in _equally_long(log_magnitude, frames, self.batch):
                phase = None if prediction.phase is None else prediction.phase[rows, :, :count].detach().clone()
                part = log_magnitude[rows, :, :count].detach().clone()
                clips = Clips(part, prediction.explained[rows].clone(), phase)
                found = self._attributed(clips).detach().to(attribution.dtype)
                nowhere = found.isnan().flatten(1).all(1)[:, None, None]
                # a network's square root has no gradient at silence: 0 times infinity counts 0
                attribution[rows, :, :count] = found.masked_fill(found.isnan() & ~nowhere, 0.0)
        return attribution

    def _attributed(self, clips: Clips) -> Tensor:
        try:
            return self.attribute(clips)
        except RuntimeError as error:
            if not self.needs_gradient or not any(sign in str(error) for sign in _NO_GRADIENT):
                raise
            raise GradientError(
                f"no gradient comes through {type(self.classifier).__name__} ({first_line(error)}); if its network "
                "computes outside autograd or writes into its input, say differentiable=False and use one of "
                f"{', '.join(GRADIENT_FREE)}"
            ) from error

    def output(self, decoded: Tensor) -> Tensor:
        """The importances that the mask is cut from; higher is more important. Shape (batch, frequency, time)."""
        return decoded.abs() if self.sign == "absolute" else decoded

    def mask(self, decoded: Tensor, frames: Tensor | None = None) -> Tensor:
        """See `Interpreter.mask`."""
        cut = largest_bins if self._options["mask"] == "quantile" else _soft
        importance, result = self.output(decoded), torch.zeros_like(decoded)
        for clip, own, count in zip(importance, result, _counts(decoded, frames), strict=True):
            own[:, :count] = cut(clip[:, :count], self.area)
        return result

    def loss(
        self, decoded: Tensor, log_magnitude: Tensor, prediction: Prediction, frames: Tensor | None = None
    ) -> Mapping[str, Tensor]:
        """Nothing to train."""
        return {}


class SeededAttributionInterpreter(AttributionInterpreter):
    """An attribution method that draws at random: the same for a clip whatever was drawn before.

    Args:
        classifier: See `AttributionInterpreter`.
        seed: Makes the draws, anew for each clip.
        **options: See `AttributionInterpreter`.
    """

    def __init__(self, classifier: Classifier, seed: int = 0, **options: Any) -> None:
        super().__init__(classifier, **options)
        self.seed = seed

    @property
    def config(self) -> dict[str, Any]:
        """See `Interpreter.config`."""
        return {**super().config, "seed": self.seed}

    @contextlib.contextmanager
    def seeded(self, device: torch.device, offset: int = 0) -> Iterator[None]:
        """Within it the global generators, which captum draws from, start at the seed; then they go on."""
        former = np.random.get_state()
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(self.seed + offset)
            if device.type == "cuda":
                torch.cuda.manual_seed(self.seed + offset)
            np.random.seed((self.seed + offset) % 2**32)
            try:
                yield
            finally:
                np.random.set_state(former)


def log_probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    """Logarithm of the probability of each class, shape (batch, classes)."""
    return torch.nn.functional.logsigmoid(logits) if multi_label else logits.log_softmax(-1)


def is_number(value: Any) -> bool:
    """Whether it is a real number; options from files may be anything."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def require_positive(**values: Any) -> None:
    """Refuses options that must be above zero, by name.

    Raises:
        ConfigurationError: One is not.
    """
    for name, value in values.items():
        if not is_number(value) or not 0 < value < math.inf:
            raise ConfigurationError(f"{name}: {value!r} must be a positive number")


def require_count(**values: Any) -> None:
    """Refuses options that must be whole numbers from 1 on, by name.

    Raises:
        ConfigurationError: One is not.
    """
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ConfigurationError(f"{name}: {value!r} must be a whole number, 1 or more")


def to_audible(log_magnitude: Tensor) -> Tensor:
    """No bin below silence, where noise was added; gradients pass as if nothing had been done."""
    return log_magnitude + (log_magnitude.clamp(min=0) - log_magnitude).detach()


def _soft(importance: Tensor, area: float) -> Tensor:
    """A fraction of the clip's maximum without its outliers; of the maximum if only outliers are above 0."""
    values = importance.clamp(min=0)
    flat = values.flatten()
    cap = flat.kthvalue(max(1, math.ceil(_CAP * len(flat)))).values
    cap = torch.where(cap > 0, cap, flat.amax())
    return (values / cap).clamp(max=1) if cap > 0 else values


def _counts(like: Tensor, frames: Tensor | None) -> list[int]:
    counts: list[int] = [like.shape[-1]] * len(like) if frames is None else frames.tolist()
    return counts


def _equally_long(like: Tensor, frames: Tensor | None, batch: int) -> Iterator[tuple[Tensor, int]]:
    """Rows of at most so many clips that have the same number of frames, and that number."""
    counts = _counts(like, frames)
    for count in sorted(set(counts)):
        rows = [row for row, own in enumerate(counts) if own == count]
        for start in range(0, len(rows), batch):
            yield torch.tensor(rows[start : start + batch], device=like.device), count
