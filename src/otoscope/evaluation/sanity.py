"""Sanity check that explanations change when the classifier's weights are randomised, layer by layer."""

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
"""Rank correlation above which two maps count as similar: a convention."""
_SMALLEST_SIDE = 6
"""Smallest side of a map in bins: half of the window of SSIM, which is mirrored at the edges."""


@dataclass(frozen=True)
class Layer:
    """A part of a classifier that has weights.

    Attributes:
        name: Name of the part.
        weights: Weights by name.
    """

    name: str
    weights: dict[str, Tensor]


def cascade(classifier: Classifier) -> list[Layer]:
    """Return the classifier's parts from the head down to the input; an empty list for a black box.

    The parts are those of `Classifier.layers`. A classifier that names none is divided until no part holds more
    than a quarter of its weights, and its parts are in the order in which they run. Weights outside all parts, such
    as a class token, come last, at the input.
    """
    parts = [part for part in classifier.layers() if _has_weights(part)]
    if parts == [classifier]:
        total = _weight_count(classifier)
        parts = _in_order_of_use(classifier, _divided(classifier, total))
    names = {module: name for name, module in classifier.named_modules()}
    remaining = _weights(classifier)
    layers = []
    for part in reversed(parts):
        # Weights that several parts share belong to the part nearest to the head.
        inside = {id(value) for value in _weights(part).values()}
        weights = {name: value for name, value in remaining.items() if id(value) in inside}
        remaining = {name: value for name, value in remaining.items() if name not in weights}
        if weights:
            layers.append(Layer(names[part], weights))
    return [*layers, Layer("the rest", remaining)] if remaining else layers


def shuffle_weights(layer: Layer, seed: int) -> None:
    """Permute the values of each weight tensor in place, which destroys what was learnt and keeps the scale.

    Args:
        layer: Layer to change.
        seed: Seed of the permutations, which also depend on the names of the weights.
    """
    with torch.no_grad():
        for name, value in layer.weights.items():
            # Drawn on the CPU, so that every device shuffles alike.
            order = torch.randperm(value.numel(), generator=generator_for(seed, name))
            value.copy_(value.flatten()[order.to(value.device)].view_as(value))


@contextmanager
def randomisation(classifier: Classifier, seed: int) -> Iterator[Iterator[str]]:
    """Shuffle the layers inside a ``with`` block, and restore them afterwards.

    Args:
        classifier: Classifier to change in place, so that methods that hold it see the change.
        seed: Seed of the permutations.

    Yields:
        Iterator whose every step shuffles one more layer, from the head down, and yields its name.
    """
    # The weights are changed in place, so the state is copied.
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
    """Compare the maps of each method with its maps of the randomised classifier.

    The explained class remains the one that the intact classifier predicts.

    Args:
        methods: Methods to check. A trained method keeps its weights and reads the representations of the
            randomised classifier; any other method is made anew.
        batch: Clips.
        seed: Seed of the permutations.

    Returns:
        ``rank_correlation`` and ``ssim`` by method, clip and layer, with the classifier randomised down to that
        layer. Methods that cannot explain a randomised classifier are left out.

    Reference:
        Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv 1810.03292, cascading randomisation. Departures:
        weights are permuted, not drawn from their initialisers, which not every network has.
    """
    label, frame_counts = batch.prediction.explained, batch.spectrogram.frame_counts
    originals = {method.name: _map_of(method.interpreter, batch, batch.prediction) for method in methods}
    similarities: dict[str, list[dict[str, dict[str, float]]]] = {
        method.name: [{} for _ in batch.names] for method in methods
    }
    with randomisation(batch.classifier, seed) as layers:
        for layer in layers:
            # The randomised classifier usually predicts another class, whose map would differ for that reason.
            prediction = batch.classifier.predict(batch.spectrogram).towards(label)
            for method in methods:
                if method.name not in similarities:
                    continue
                try:
                    changed = _map_of(method.make(), batch, prediction)
                except OtoscopeError:
                    del similarities[method.name]
                    continue
                clips = zip(originals[method.name], changed, frame_counts, similarities[method.name], strict=True)
                for original, randomised, count, by_layer in clips:
                    # The padding would be equal in both, and raise the similarity of short clips.
                    pair = original[:, :count], randomised[:, :count]
                    by_layer[layer] = {"rank_correlation": rank_correlation(*pair), "ssim": similarity(*pair)}
    return similarities


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Return Spearman's rank correlation of two maps; equal values share their mean rank.

    It is NaN if a map is constant or holds NaN.

    Example:
        >>> round(rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 30.0, 20.0])), 6)
        0.5
    """
    # Spearman's correlation is Pearson's correlation of the ranks.
    ranks = mean_ranks(torch.stack([first.flatten(), second.flatten()]).cpu().double())
    centred = ranks - ranks.mean(1, keepdim=True)
    norms = centred.norm(dim=1)
    defined = bool((norms > 0).all()) and not bool(first.isnan().any() or second.isnan().any())
    return float(centred[0] @ centred[1] / (norms[0] * norms[1])) if defined else float("nan")


def similarity(first: Tensor, second: Tensor) -> float:
    """Return the structural similarity (SSIM) of two maps, each scaled to [0, 1].

    It is NaN if a map is not finite, or too small.

    Args:
        first: Map, shape (frequency, time).
        second: Map of the same shape.
    """
    # SSIM compares brightness and contrast, but maps have no common scale.
    pictures = [_scaled(values.float())[None, None] for values in (first, second)]
    if min(first.shape) < _SMALLEST_SIDE or not all(bool(torch.isfinite(values).all()) for values in pictures):
        return float("nan")
    ssim = structural_similarity_index_measure(pictures[0], pictures[1], data_range=1.0)
    assert isinstance(ssim, Tensor)
    return float(ssim)


def verdict(correlations: Mapping[str, Estimate]) -> str:
    """Return the result of the check in words.

    Args:
        correlations: Rank correlations by layer; the whole classifier is randomised at the last one.
    """
    if not correlations or not list(correlations.values())[-1].clips:
        return "undefined: a map is constant"
    # The interval must lie on one side of the limit: a mean near it would pass or fail by the choice of clips.
    last = list(correlations.values())[-1]
    if last.low > SIMILAR:
        return "fails: its map hardly depends on what the classifier has learnt"
    if last.high < SIMILAR:
        return "passes: its map changes with the classifier"
    return "unclear"


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters, and the buffers that serve as weights, such as the class vectors of CLAP."""
    parameters = dict(module.named_parameters())
    buffers = {
        name: value
        for name, value in module.state_dict(keep_vars=True).items()
        if name not in parameters and isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 1
    }
    # The statistics of batch norms belong to the scale, which stays.
    return parameters | {name: value for name, value in buffers.items() if "running_" not in name}


def _weight_count(module: nn.Module) -> int:
    return sum(value.numel() for value in _weights(module).values())


def _has_weights(module: nn.Module) -> bool:
    return bool(_weights(module))


def _divided(module: nn.Module, total: int) -> list[nn.Module]:
    """Divide a network into parts with at most a quarter of the weights, as far as it has children."""
    children = [child for child in module.children() if _has_weights(child)]
    if not children or 4 * _weight_count(module) <= total:
        return [module]
    return [part for child in children for part in _divided(child, total)]


@torch.no_grad()
def _in_order_of_use(classifier: Classifier, parts: list[nn.Module]) -> list[nn.Module]:
    """Sort parts by the order in which they run on a short silence; parts that are not called come first."""
    # The order of registration says nothing about the order of use: a network may register its head first.
    turns: dict[nn.Module, int] = {}

    def note(part: nn.Module, inputs: Any) -> None:
        turns.setdefault(part, len(turns))

    hooks = [part.register_forward_pre_hook(note) for part in parts]
    try:
        classifier.logits(classifier.frontend.silence())
    finally:
        for hook in hooks:
            hook.remove()
    return sorted(parts, key=lambda part: turns.get(part, -1))


def _map_of(interpreter: Any, batch: ClassifiedBatch, prediction: Any) -> Tensor:
    decoded = interpreter.decode(batch.spectrogram, prediction)
    importance: Tensor = interpreter.output(decoded, batch.spectrogram)
    return importance


def _scaled(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values - low
