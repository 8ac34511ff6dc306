"""Guided backpropagation (Springenberg et al. 2014, arXiv 1412.6806)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from otoscope.classifiers import Classifier
from otoscope.errors import UnsuitableMethodError
from otoscope.interpreters.attribution import AttributionInterpreter, Clips

_PROBED_FRAMES = 64
_RELUS = (F.relu, torch.relu, Tensor.relu)
_RELUS_IN_PLACE = (F.relu_, torch.relu_, Tensor.relu_)


class GuidedBackpropInterpreter(AttributionInterpreter):
    """The gradient, but through each ReLU only what is positive passes back.

    One forward and one backward pass a clip. Our own and not captum's, which replaces ``nn.ReLU`` modules and takes
    none that works in place: CNN14 calls a function and Conv2d works in place. Where captum's works they agree.

    Args:
        classifier: What it explains: one with ReLUs. With GELU, as FocalNet and ViT have it, there is nothing to
            guide, and what remains is saliency.
        **options: See `AttributionInterpreter`.

    Raises:
        UnsuitableMethodError: The classifier has no ReLU.
        ConfigurationError: An option is out of its range.

    Reference:
        Springenberg et al. 2014, arXiv 1412.6806. Departures: none. Adebayo et al. 2018, arXiv 1810.03292, show
        that it hardly depends on the later layers.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier = Conv2dClassifier(["dog", "rain"], width=4).freeze()
        >>> spectrogram = torch.rand(2, 513, 40)
        >>> GuidedBackpropInterpreter(classifier)(spectrogram, classifier(spectrogram)).shape
        torch.Size([2, 513, 40])
    """

    needs_gradient = True

    def __init__(self, classifier: Classifier, **options: Any) -> None:
        super().__init__(classifier, **options)
        require_relu(classifier)

    def attribute(self, clips: Clips) -> Tensor:
        """See `AttributionInterpreter.attribute`."""
        return guided_gradient(self.scores, clips)


class GuidedReLU(TorchFunctionMode):
    """Within it every ReLU passes back only what is positive, be it a module or a function.

    Attributes:
        met: How many ReLUs ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called instead of every function of torch."""
        if func in _RELUS or func in _RELUS_IN_PLACE:
            self.met += 1
            options = kwargs or {}
            value = args[0] if args else options["input"]
            wanted = args[1] if len(args) > 1 else options.get("inplace", False)
            in_place = func in _RELUS_IN_PLACE or wanted
            passed: Tensor = _Guided.apply(value.clone() if in_place else value)  # type: ignore[no-untyped-call]
            return value.copy_(passed) if in_place else passed
        return func(*args, **(kwargs or {}))


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        passed: Tensor = gradients[0].clamp(min=0) * (value > 0)
        return passed


def guided_gradient(scores: Callable[[Tensor, Tensor | None], Tensor], clips: Clips) -> Tensor:
    """Gradient of the target's score by guided backpropagation, shape (batch, frequency, time).

    Args:
        scores: Maps a log magnitude and a phase to scores (batch, classes).
        clips: Of one length.
    """
    log_magnitude = clips.log_magnitude.detach().requires_grad_()
    with GuidedReLU():
        found = scores(log_magnitude, clips.phase)
    (gradient,) = torch.autograd.grad(found.gather(1, clips.target[:, None]).sum(), log_magnitude)
    return gradient


@torch.no_grad()
def require_relu(classifier: Classifier) -> None:
    """Refuses a classifier in which no ReLU runs; costs one run on a short silence.

    Raises:
        UnsuitableMethodError: There is none.
    """
    silence = torch.zeros(1, classifier.frontend.bins, _PROBED_FRAMES, device=classifier.frontend.window.device)
    with GuidedReLU() as guided:
        classifier.logits(silence, None, silence if classifier.needs_phase else None)
    if guided.met == 0:
        raise UnsuitableMethodError(
            f"guided backpropagation: {type(classifier).__name__} has no ReLU to guide, so that it would be the "
            "plain gradient; use saliency, integrated_gradients or another method without ReLUs"
        )
