"""Guided backpropagation (Springenberg et al. 2014, arXiv 1412.6806)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.errors import UnsuitableMethodError
from otoscope.interpreters.attribution import AttributionInterpreter

_RELUS = (F.relu, torch.relu, Tensor.relu)
_RELUS_IN_PLACE = (F.relu_, torch.relu_, Tensor.relu_)


class GuidedBackpropInterpreter(AttributionInterpreter):
    """Gradient of the score, where each ReLU passes back only positive gradients.

    One forward and one backward pass per clip. Captum's implementation replaces ``nn.ReLU`` modules that do not
    work in place, but CNN14 calls a function and Conv2d works in place; where captum's works, both agree.

    Args:
        classifier: Classifier to explain, with ReLUs. With GELU, as in FocalNet and ViT, there is nothing to guide,
            and the result would be saliency.
        **options: Options of `AttributionInterpreter`.

    Raises:
        UnsuitableMethodError: The classifier has no ReLU.
        ConfigurationError: An option is out of its range.

    Reference:
        Springenberg et al. 2014, arXiv 1412.6806. Departures: none. Adebayo et al. 2018, arXiv 1810.03292, show
        that it hardly depends on the later layers.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = Spectrogram(torch.rand(2, 513, 40))
        >>> GuidedBackpropInterpreter(classifier)(spectrogram, classifier.predict(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    needs_gradient = True

    def __init__(self, classifier: Classifier, **options: Any) -> None:
        super().__init__(classifier, **options)
        require_relu(classifier)

    @override
    def attribute(self, spectrogram: Spectrogram, target: Tensor) -> Tensor:
        return guided_gradient(self.scores, spectrogram, target)


class GuidedReLU(TorchFunctionMode):
    """Context in which every ReLU, module or function, passes back only positive gradients.

    Attributes:
        calls: Number of ReLUs that ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace the ReLU; called by PyTorch for every function."""
        # intercepted as functions, because nn.ReLU calls one too: hooks on modules would miss the functional calls
        if func in _RELUS or func in _RELUS_IN_PLACE:
            self.calls += 1
            options = kwargs or {}
            value = args[0] if args else options["input"]
            inplace = func in _RELUS_IN_PLACE or (args[1] if len(args) > 1 else options.get("inplace", False))
            # the copy keeps the input, which the backward pass needs, from being overwritten
            rectified: Tensor = _Guided.apply(value.clone() if inplace else value)  # type: ignore[no-untyped-call]
            return value.copy_(rectified) if inplace else rectified
        return func(*args, **(kwargs or {}))


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        # the second factor is the gradient of a plain ReLU; guidance drops the negative gradients as well
        gradient: Tensor = gradients[0].clamp(min=0) * (value > 0)
        return gradient


def guided_gradient(scores: Callable[[Spectrogram], Tensor], spectrogram: Spectrogram, target: Tensor) -> Tensor:
    """Return the gradient of the target's score by guided backpropagation, shape (batch, frequency, time).

    Args:
        scores: Function from a spectrogram to scores (batch, classes).
        spectrogram: Spectrogram of clips of one length.
        target: Class of each clip, shape (batch,).
    """
    log_magnitude = spectrogram.log_magnitude.detach().requires_grad_()
    with GuidedReLU():
        all_scores = scores(spectrogram.with_log_magnitude(log_magnitude))
    (gradient,) = torch.autograd.grad(all_scores.gather(1, target[:, None]).sum(), log_magnitude)
    return gradient


@torch.no_grad()
def require_relu(classifier: Classifier) -> None:
    """Check that a classifier has a ReLU by running it once on a short silence.

    Args:
        classifier: Classifier to check.

    Raises:
        UnsuitableMethodError: There is no ReLU.
    """
    with GuidedReLU() as guided:
        classifier.logits(classifier.frontend.silence())
    if guided.calls == 0:
        raise UnsuitableMethodError(
            f"guided backpropagation: {type(classifier).__name__} has no ReLU to guide, so that it would be the "
            "plain gradient; use saliency, integrated_gradients or another method without ReLUs"
        )
