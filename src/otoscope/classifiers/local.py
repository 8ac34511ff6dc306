"""First layers of a network whose outputs see a small window each: what is far from a change stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LocalLayers:
    """First layers of a network, each of whose outputs depends on a small window of the spectrogram, and the rest.

    Methods that change rectangles of a clip many times run these layers a few times, put the feature map of each
    version of the clip together from what they returned, and run only the rest for each version.

    Along both axes, output ``j`` depends on the inputs from ``step * j - before`` to ``step * j + after``. Inputs
    outside of the clip do not count.

    Attributes:
        run: Function from log magnitudes of clips of one length, without padding, shape
            (batch, frequency, time), to their feature maps, shape (batch, time', frequency', channels), in the
            precision in which the network runs; see `Classifier.in_precision`.
        rest: Function from such feature maps to logits, float32, shape (batch, classes).
        step: Distance of the windows of neighbouring outputs.
        before: Number of inputs before ``step * j`` that output ``j`` depends on.
        after: Number of inputs after ``step * j`` that output ``j`` depends on.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> classifier, clip = Conv2dClassifier(["dog", "rain"], width=4).freeze(), torch.rand(1, 513, 40)
        >>> [layers.extent for layers in classifier.local_layers()]
        [46, 22, 10]
        >>> layers = classifier.local_layers()[1]
        >>> torch.allclose(layers.rest(layers.run(clip)), classifier(clip).logits)
        True
    """

    run: Callable[[Tensor], Tensor]
    rest: Callable[[Tensor], Tensor]
    step: int
    before: int
    after: int

    @property
    def extent(self) -> int:
        """Number of inputs along an axis that an output depends on."""
        return self.before + 1 + self.after

    def first_inputs(self, outputs: int) -> Tensor:
        """Return the first input that each output depends on, shape (outputs,).

        Args:
            outputs: Number of outputs along an axis.
        """
        return (self.step * torch.arange(outputs) - self.before).clamp(min=0)

    def outputs_of(self, inputs: slice) -> slice:
        """Return the outputs that depend on some inputs; the last may be beyond the feature map.

        Args:
            inputs: Where the inputs begin and end along an axis.

        Example:
            >>> layers = LocalLayers(torch.relu, torch.relu, step=8, before=7, after=14)  # output 2 sees 9 to 30
            >>> [layers.outputs_of(slice(start, stop)) for start, stop in ((30, 31), (31, 32), (5, 9), (5, 10))]
            [slice(2, 5, None), slice(3, 5, None), slice(0, 2, None), slice(0, 3, None)]
        """
        # the smallest j with step * j + after >= start, and the largest with step * j - before <= stop - 1
        first = -((self.after - inputs.start) // self.step)
        return slice(max(first, 0), (inputs.stop - 1 + self.before) // self.step + 1)


def is_as_shipped(module: torch.nn.Module, kind: type[torch.nn.Module]) -> bool:
    """Return whether a classifier computes its logits as its class in this package does.

    Args:
        module: Classifier.
        kind: That class. Subclasses, objects with a ``forward`` of their own, and hooks may change any run.
    """
    methods = ("forward", "run", "predict", "logits", "probabilities", "__call__")
    return (
        all(getattr(type(module), name) is getattr(kind, name) for name in methods)
        and not vars(module).keys() & set(methods)
        and not (module._forward_hooks or module._forward_pre_hooks)
    )
