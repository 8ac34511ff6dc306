"""Sanity check: does the explanation change when the classifier forgets, layer by layer, what it has learnt?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from otoscope.classifiers import Classifier
from otoscope.errors import OtoscopeError
from otoscope.evaluation.batch import ClassifiedBatch
from otoscope.evaluation.methods import Method
from otoscope.evaluation.statistics import Estimate
from otoscope.metrics.ranking import mean_ranks
from otoscope.seeding import generator_for

SIMILAR = 0.5
"""Rank correlation above which two maps count as alike: a convention, not a law."""
_PROBED_FRAMES = 64
_SMALLEST_SIDE = 6
"""Half of the window of SSIM, which is mirrored at the edges."""


@dataclass(frozen=True)
class Layer:
    """A part of a classifier that has weights.

    Attributes:
        name: Of it.
        weights: Its tensors by name.
    """

    name: str
    weights: dict[str, Tensor]


def cascade(classifier: Classifier) -> list[Layer]:
    """The classifier's parts from the head down; none for a black box.

    They are those of `Classifier.layers`. A classifier that names none is taken apart as long as a part holds more
    than a quarter of its weights, and its parts are in the order in which they run. What is in no part (weights
    that stand for themselves, such as a class token) comes last, at the input.
    """
    parts = [part for part in classifier.layers() if _has_weights(part)]
    if parts == [classifier]:
        total = sum(one.numel() for one in _weights(classifier).values())
        parts = _in_order_of_use(classifier, _taken_apart(classifier, total))
    names = {module: name for name, module in classifier.named_modules()}
    every = _weights(classifier)
    layers = []
    for part in reversed(parts):
        inside = {id(value) for value in _weights(part).values()}
        own = {name: every.pop(name) for name in [name for name in every if id(every[name]) in inside]}
        if own:
            layers.append(Layer(names[part], own))
    return [*layers, Layer("the rest", every)] if every else layers


def shuffle_weights(layer: Layer, seed: int) -> None:
    """Permutes the values of each weight tensor, in place: what was learnt goes, the scale stays.

    Args:
        layer: Whose weights; statistics of batch norms stay as they are.
        seed: With the name, makes the permutation.
    """
    with torch.no_grad():
        for name, value in layer.weights.items():
            order = torch.randperm(value.numel(), generator=generator_for(seed, name))
            value.copy_(value.flatten()[order.to(value.device)].view_as(value))


@contextmanager
def forgetting(classifier: Classifier, seed: int) -> Iterator[Iterator[str]]:
    """Within it, each step of the iterator shuffles one more layer, from the head down; then all is as before.

    Args:
        classifier: Changed in place, so that methods that hold it see it.
        seed: Makes the permutations.
    """
    former = {name: value.clone() for name, value in classifier.state_dict().items()}

    def steps() -> Iterator[str]:
        for layer in cascade(classifier):
            shuffle_weights(layer, seed)
            yield layer.name

    try:
        yield steps()
    finally:
        classifier.load_state_dict(former)


@torch.no_grad()
def compare_maps(
    methods: Sequence[Method], batch: ClassifiedBatch, seed: int
) -> dict[str, list[dict[str, dict[str, float]]]]:
    """How alike the maps of each method are to those of the classifier that forgets.

    The class that is explained stays the one which the classifier named before.

    Args:
        methods: A trained one keeps its weights and gets what the shuffled classifier says; any other is made anew.
        batch: The clips.
        seed: Makes the permutations.

    Returns:
        By method, for each clip: ``rank_correlation`` and ``ssim`` by layer, of the classifier shuffled down to it.
        Without a method that cannot explain a shuffled classifier.

    Reference:
        Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv 1810.03292, cascading randomisation. Departures:
        weights are permuted, not drawn from their initialiser, which not every network knows.
    """
    spectrogram, label = batch.spectrogram, batch.prediction.explained
    frames = batch.frames
    originals = {one.name: _map_of(one.interpreter, batch, batch.prediction) for one in methods}
    found: dict[str, list[dict[str, dict[str, float]]]] = {one.name: [{} for _ in batch.names] for one in methods}
    with forgetting(batch.classifier, seed) as layers:
        for layer in layers:
            prediction = batch.classifier.predict(spectrogram.log_magnitude, frames, spectrogram.phase)
            prediction = prediction.towards(label)
            for one in methods:
                if one.name not in found:
                    continue
                try:
                    changed = _map_of(one.make(), batch, prediction)
                except OtoscopeError:
                    del found[one.name]
                    continue
                for i, clip in enumerate(found[one.name]):
                    count = None if frames is None else int(frames[i])
                    pair = originals[one.name][i, :, :count], changed[i, :, :count]
                    clip[layer] = {"rank_correlation": rank_correlation(*pair), "ssim": similarity(*pair)}
    return found


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two maps; equal values share their mean rank.

    NaN for a constant map, or one that holds NaN.

    Example:
        >>> round(rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 30.0, 20.0])), 6)
        0.5
    """
    ranks = mean_ranks(torch.stack([first.flatten(), second.flatten()]).cpu().double())
    centred = ranks - ranks.mean(1, keepdim=True)
    norms = centred.norm(dim=1)
    defined = bool((norms > 0).all()) and not bool(first.isnan().any() or second.isnan().any())
    return float(centred[0] @ centred[1] / (norms[0] * norms[1])) if defined else float("nan")


def similarity(first: Tensor, second: Tensor) -> float:
    """Structural similarity (SSIM) of two maps, each stretched to [0, 1]; NaN if one is not finite, or too small.

    Args:
        first: Shape (frequency, time).
        second: Same shape.
    """
    pictures = [_stretched(one)[None, None] for one in (first.float(), second.float())]
    if min(first.shape) < _SMALLEST_SIDE or not all(bool(torch.isfinite(one).all()) for one in pictures):
        return float("nan")
    found = structural_similarity_index_measure(pictures[0], pictures[1], data_range=1.0)
    assert isinstance(found, Tensor)
    return float(found)


def verdict(correlations: Mapping[str, Estimate]) -> str:
    """In words, from the rank correlations by layer, the whole classifier shuffled in the last one."""
    if not correlations or not list(correlations.values())[-1].clips:
        return "undefined: a map is constant"
    last = list(correlations.values())[-1]
    if last.low > SIMILAR:
        return "fails: its map hardly depends on what the classifier has learnt"
    if last.high < SIMILAR:
        return "passes: its map changes with the classifier"
    return "unclear"


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters, and buffers that are weights in all but name, such as the class vectors of CLAP."""
    saved = module.state_dict(keep_vars=True)
    known = dict(module.named_parameters())
    buffers = {
        name: value
        for name, value in saved.items()
        if name not in known and isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 1
    }
    return known | {name: value for name, value in buffers.items() if "running_" not in name}


def _has_weights(module: nn.Module) -> bool:
    return bool(_weights(module))


def _taken_apart(module: nn.Module, total: int) -> list[nn.Module]:
    children = [child for child in module.children() if _has_weights(child)]
    if not children or 4 * sum(one.numel() for one in _weights(module).values()) <= total:
        return [module]
    return [part for child in children for part in _taken_apart(child, total)]


@torch.no_grad()
def _in_order_of_use(classifier: Classifier, parts: list[nn.Module]) -> list[nn.Module]:
    """As they run on a short silence; those that are not called come first."""
    turns: dict[nn.Module, int] = {}

    def note(part: nn.Module, inputs: Any) -> None:
        turns.setdefault(part, len(turns))

    hooks = [part.register_forward_pre_hook(note) for part in parts]
    try:
        silence = torch.zeros(1, classifier.frontend.bins, _PROBED_FRAMES, device=classifier.frontend.window.device)
        classifier.logits(silence, None, silence)
    finally:
        for hook in hooks:
            hook.remove()
    return sorted(parts, key=lambda part: turns.get(part, -1))


def _map_of(interpreter: Any, batch: ClassifiedBatch, prediction: Any) -> Tensor:
    decoded = interpreter.decode(batch.spectrogram.log_magnitude, prediction, batch.frames)
    found: Tensor = interpreter.output(decoded)
    return found


def _stretched(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values - low
