"""One method on one batch: every score of its own mask, of masks of equal area, and of its map."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from otoscope.errors import ConfigurationError, ShapeError
from otoscope.evaluation.batch import Answers, ClassifiedBatch, ask
from otoscope.interpreters import Interpreter
from otoscope.metrics import (
    all_pass,
    input_fidelity,
    mean_mask,
    random_importance,
    score_area,
    score_evidence,
    score_localisation,
    score_remainder,
    score_sound,
)
from otoscope.metrics.ranking import Ranking, rank_bins
from otoscope.metrics.scores import Place

OWN, MAP = "own", "map"
BESIDE_OWN = {"loudest of own": "loudest", "random of own": "random"}
"""Masks that are scored beside a method's own, with as many bins, and the control that ranks them."""
TOLERANCE = 1e-5
"""Share by which probabilities may differ and still count as equal: rounding on the way to sound is no gain."""
_SLACK = 1e-4
CURVE_AREAS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass
class MaskSource:
    """What a method, or a control, has to say of a batch.

    Attributes:
        own: The mask that it makes by itself; None if it has none. Shape (batch, frequency, time).
        map: What masks of equal area are cut from; None if it has none. Same shape.
        seconds: It took for each clip.
    """

    own: Tensor | None = None
    map: Tensor | None = None
    seconds: float | None = None


@dataclass
class ClipScores:
    """Scores of one method on one clip.

    Attributes:
        scores: By mask (``own``, an area such as ``0.2``, or ``map``), domain (``mask`` or ``heard``) and name.
        curves: Probability of the explained class while the mask grows, ``insertion`` and ``deletion``.
    """

    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)

    def add(self, mask: str, domain: str, name: str, value: float) -> None:
        """Takes in one score."""
        self.scores.setdefault(mask, {}).setdefault(domain, {})[name] = value


@torch.no_grad()
def decode(interpreter: Interpreter[Any], batch: ClassifiedBatch) -> MaskSource:
    """Runs a method once, and reads its own mask and its map off that one decoding.

    Raises:
        ShapeError: They are not of the shape of the spectrogram.
        ConfigurationError: The mask is not in [0, 1].
    """
    log_magnitude, frames = batch.spectrogram.log_magnitude, batch.frames
    _wait_for(log_magnitude.device)
    start = time.perf_counter()
    decoded = interpreter.decode(log_magnitude, batch.prediction, frames)
    own = interpreter.mask(decoded, frames)
    _wait_for(log_magnitude.device)
    seconds = (time.perf_counter() - start) / len(batch.names)
    source = MaskSource(own, interpreter.output(decoded), seconds)
    for name, values in (("mask", source.own), ("output", source.map)):
        if values is None or values.shape != log_magnitude.shape:
            found = None if values is None else tuple(values.shape)
            raise ShapeError(f"its {name} has shape {found}, the spectrogram {tuple(log_magnitude.shape)}")
    outside = (own < -_SLACK) | (own > 1 + _SLACK)
    if bool(outside.any()):
        raise ConfigurationError(f"its mask holds {float(own[outside][0]):.3g}; masks lie in [0, 1]")
    return source


def control(name: str, batch: ClassifiedBatch, seed: int) -> MaskSource:
    """What a control says that knows nothing of the classifier; ``ideal`` needs the truth."""
    log_magnitude = batch.spectrogram.log_magnitude
    if name == "all-pass":
        return MaskSource(own=all_pass(log_magnitude, batch.frames))
    if name == "loudest":
        return MaskSource(map=log_magnitude)
    if name == "ideal" and batch.truth is not None:
        return MaskSource(batch.truth.ideal, batch.truth.lead)
    return MaskSource(map=random_importance(log_magnitude, batch.names, seed, batch.frames))


def score(
    source: MaskSource,
    batch: ClassifiedBatch,
    areas: Sequence[float],
    curves: bool,
    controls: Mapping[str, Ranking] | None = None,
) -> list[ClipScores]:
    """All scores of a method on each clip of a batch.

    Args:
        source: What the method says.
        batch: The clips.
        areas: Of the masks of equal area.
        curves: Whether to grow the mask through `CURVE_AREAS` too.
        controls: How controls rank the bins, by their names: they are scored with the own mask's area beside it.
    """
    found = [ClipScores() for _ in batch.names]
    ranking = None if source.map is None else rank_bins(source.map, batch.order, batch.frames)
    masks = _masks(source.own, ranking, batch, areas, controls or {})
    grown: dict[float, tuple[Tensor, Tensor]] = {}
    for keys in _groups(masks, batch):
        made = torch.stack([batch.inside(masks[key]()) for key in keys])
        answers = ask(batch, torch.cat([made, batch.inside(torch.ones_like(made[0])) - made]), hear=True)
        for i, key in enumerate(keys):
            _score_mask(found, key, made[i], answers, (i, len(keys) + i), batch)
            if key in map(str, areas):
                grown[float(key)] = (answers.seen[i], answers.seen[len(keys) + i])
    if source.map is not None and batch.truth is not None:
        _put(found, MAP, "mask", score_localisation(source.map, batch.truth.ideal, batch.frames, "map"))
    if ranking is not None and curves:
        _grow(found, ranking, batch, grown)
    return found


def _masks(
    own: Tensor | None,
    ranking: Ranking | None,
    batch: ClassifiedBatch,
    areas: Iterable[float],
    controls: Mapping[str, Ranking],
) -> dict[str, Callable[[], Tensor]]:
    """Masks by key, each made when it is asked for, so that few lie in memory."""
    masks: dict[str, Callable[[], Tensor]] = {}
    if own is not None:
        masks[OWN] = own.float
        beside = {key: controls[name] for key, name in BESIDE_OWN.items() if name in controls}
        masks |= {key: partial(ranked.mask_like, batch.inside(own)) for key, ranked in beside.items()}
    if ranking is not None:
        masks |= {str(area): partial(ranking.mask, area) for area in areas}
    return masks


def _groups(masks: Iterable[Any], batch: ClassifiedBatch) -> Iterable[list[Any]]:
    """So many masks at once as the classifier gets inputs for, evidence and remainder; at least one."""
    keys = list(masks)
    size = max(1, batch.at_once // (2 * len(batch.names)))
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _score_mask(
    found: list[ClipScores],
    key: str,
    mask: Tensor,
    answers: Answers,
    rows: tuple[int, int],
    batch: ClassifiedBatch,
) -> None:
    whole, target = batch.prediction.probabilities, batch.prediction.target
    kept, left = rows
    for domain, said in (("mask", answers.seen), ("heard", answers.heard)):
        assert said is not None
        gains = score_evidence(whole, _without_rounding(said[kept], whole), target)
        decision = gains | {"Fid-In": input_fidelity(whole, said[kept], target)}
        decision |= score_remainder(whole, said[left], target)
        _put(found, key, domain, decision)
    # a binary mask of known area has known sparseness and complexity
    own = key == OWN
    _put(found, key, "mask", score_area(mask, batch.frames) if own else {"MM": mean_mask(mask, batch.frames)})
    if batch.truth is None:
        return
    place: Place = "own mask" if own else "equal area"
    _put(found, key, "mask", score_localisation(mask, batch.truth.ideal, batch.frames, place))
    assert answers.sounds is not None
    sound = answers.sounds[kept]
    defined = torch.isfinite(sound).all(1)
    scores = score_sound(torch.nan_to_num(sound), batch.waveform, batch.truth.event, batch.lengths)
    _put(found, key, "heard", {name: values.masked_fill(~defined, torch.nan) for name, values in scores.items()})


def _without_rounding(probabilities: Tensor, whole: Tensor) -> Tensor:
    """Probabilities that differ from those of the whole clip by no more than rounding, made equal to them."""
    return torch.where((probabilities - whole).abs() < TOLERANCE * whole, whole, probabilities)


def _grow(
    found: list[ClipScores], ranking: Ranking, batch: ClassifiedBatch, known: dict[float, tuple[Tensor, Tensor]]
) -> None:
    """Grows the mask from nothing to everything; areas that are scored anyway are not asked about again."""
    points = dict(known)
    everything = batch.inside(torch.ones_like(batch.spectrogram.log_magnitude))
    for areas in _groups([area for area in CURVE_AREAS if area not in points], batch):
        made = torch.stack([batch.inside(ranking.mask(area)) for area in areas])
        seen = ask(batch, torch.cat([made, everything - made]), hear=False).seen
        points |= {area: (seen[i], seen[len(areas) + i]) for i, area in enumerate(areas)}
    silence = ask(batch, torch.zeros_like(everything)[None], hear=False).seen[0]
    whole = batch.prediction.probabilities
    points |= {0.0: (silence, whole), 1.0: (whole, silence)}
    chosen = sorted({0.0, *CURVE_AREAS, 1.0})
    label = batch.prediction.explained[:, None]
    undefined = (ranking.position < 0).flatten(1).any(1)
    for name, side in (("insertion", 0), ("deletion", 1)):
        values = torch.stack([points[area][side].gather(1, label)[:, 0] for area in chosen], 1)
        values = values.cpu().double().masked_fill(undefined[:, None].cpu(), torch.nan)
        area = torch.trapezoid(values, torch.tensor(chosen, dtype=torch.float64), dim=1)
        _put(found, MAP, "mask", {name: area})
        for clip, course in zip(found, values.tolist(), strict=True):
            clip.curves[name] = course


def _put(found: list[ClipScores], mask: str, domain: str, scores: dict[str, Tensor]) -> None:
    for name, values in scores.items():
        for clip, value in zip(found, values.tolist(), strict=True):
            clip.add(mask, domain, name, value)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def curve_areas() -> list[float]:
    """Areas of the points of a curve, from nothing to everything."""
    return list(itertools.chain([0.0], CURVE_AREAS, [1.0]))
