"""How many inputs a classifier takes at a time in methods that run it many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from otoscope.audio import Spectrogram
from otoscope.classifiers import Classifier
from otoscope.interpreters.attribution import copies_of

_LARGEST_BLOCK = 32 << 20
"""Bytes of the largest block that the GNU allocator keeps for the next run.

A larger one goes back to the system, which clears its pages before it hands them out again. On a Conv2d of width
64 that takes as long as the computation itself: 29 ms for a clip of 5 s in runs of 16, 14 ms in runs of 2.
"""
_VALUE_BYTES = 4


def inputs_per_run(classifier: Classifier, clip: Spectrogram, most: int) -> int:
    """Return the number of versions of a clip that one run of the classifier takes.

    On a CPU, no feature map then exceeds the largest block of memory that the allocator uses again, unless that of
    a single version does. The results depend on the number by rounding alone.

    Args:
        classifier: Classifier.
        clip: Spectrogram of one clip.
        most: Largest number.

    Returns:
        Number from 1 to ``most``; ``most`` on other devices, and where the classifier does not state the size of
        its feature maps.

    Example:
        >>> from otoscope.classifiers import Conv2dClassifier
        >>> clip = Spectrogram(torch.zeros(1, 513, 431))
        >>> [inputs_per_run(Conv2dClassifier(["dog"], width=width), clip, 16) for width in (8, 64, 256)]
        [16, 2, 1]
    """
    log_magnitude = clip.log_magnitude
    values = classifier.largest_activation(log_magnitude.shape[-1])
    # the inputs themselves are blocks too
    return most if values is None else rows_per_run(log_magnitude, most, values)


def rows_per_run(inputs: Tensor, most: int, values: int = 1) -> int:
    """Return the number of inputs that one run of a network takes, as `inputs_per_run` does.

    Args:
        inputs: An input of the network, or several, shape (batch, ...).
        most: Largest number.
        values: Number of values of the largest feature map that one input leads to.
    """
    if inputs.device.type != "cpu":
        return most
    return min(most, max(1, _LARGEST_BLOCK // (_VALUE_BYTES * max(values, inputs[0].numel()))))


def clip_gradients(
    scores: Callable[[Spectrogram], Tensor], spectrogram: Spectrogram, target: Tensor, size: int
) -> Tensor:
    """Return the gradient of each clip's score with respect to its log magnitude, shape (batch, frequency, time).

    Args:
        scores: Function that returns the score of every class, shape (batch, classes).
        spectrogram: Spectrogram of clips of one length.
        target: Class of each clip, shape (batch,).
        size: Number of clips in one run of the classifier; see `inputs_per_run`.
    """
    gradients = []
    for some, labels in zip(spectrogram.split(size), portions(target, size), strict=True):
        inputs = some.log_magnitude.detach().requires_grad_()
        # the score of a clip depends on this clip only, so the gradient of the sum holds that of every clip
        total = scores(some.with_log_magnitude(inputs)).gather(1, labels[:, None]).sum()
        gradients.append(torch.autograd.grad(total, inputs)[0])
    return gradients[0] if len(gradients) == 1 else torch.cat(gradients)


def gradients_at(
    scores: Callable[[Spectrogram], Tensor], clip: Spectrogram, points: Tensor, target: Tensor, size: int
) -> Tensor:
    """Return the gradient of the score of one class at each of many versions of a clip.

    Args:
        scores: Function that returns the score of every class, shape (batch, classes).
        clip: Spectrogram of one clip.
        points: Log magnitude of the versions, shape (versions, frequency, time).
        target: Class, shape (1,).
        size: Number of versions in one run of the classifier; see `inputs_per_run`.

    Returns:
        Gradients, shape (versions, frequency, time).
    """
    label, gradients = int(target), []
    for some in portions(points.detach(), size):
        some = some.requires_grad_()
        total = scores(copies_of(clip, some))[:, label].sum()
        gradients.append(torch.autograd.grad(total, some)[0])
    return gradients[0] if len(gradients) == 1 else torch.cat(gradients)


def scores_of(
    scores: Callable[[Spectrogram], Tensor], clip: Spectrogram, versions: Tensor, target: Tensor, size: int
) -> Tensor:
    """Return the score of one class for each of many versions of a clip, shape (versions,).

    Args:
        scores: Function that returns the score of every class, shape (batch, classes).
        clip: Spectrogram of one clip.
        versions: Log magnitude of the versions, shape (versions, frequency, time).
        target: Class, shape (1,).
        size: Number of versions in one run of the classifier; see `inputs_per_run`.
    """
    label = int(target)
    return torch.cat([scores(copies_of(clip, some))[:, label] for some in portions(versions, size)])


def portions(values: Tensor, size: int) -> Iterator[Tensor]:
    """Yield a tensor in parts of at most ``size`` rows, like `Tensor.split`, which has no type hints."""
    return (values[start : start + size] for start in range(0, len(values), size))
