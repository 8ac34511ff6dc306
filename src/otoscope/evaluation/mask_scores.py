"""All scores of one method on one batch: of its mask, of masks of equal area, and of its map."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from otoscope.audio.padding import valid_frames
from otoscope.errors import ConfigurationError, ShapeError
from otoscope.evaluation.batch import Answers, ClassifiedBatch, classify_parts, digest, silence_of
from otoscope.evaluation.road import Road, road
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
from otoscope.metrics.known_use import score_annotated
from otoscope.metrics.ranking import Ranking, rank_bins
from otoscope.metrics.scores import Place

OWN, MAP = "own", "map"
ANNOTATED = "truth"
"""Control that keeps the annotated events, where a person has marked some."""
MATCHED_CONTROLS = {"loudest of own": "loudest", "random of own": "random"}
"""Masks with the area of a method's own mask, scored beside it: key, and the control that ranks the bins."""
TOLERANCE = 1e-5
"""Relative difference up to which probabilities count as equal, since going to sound and back rounds."""
_SLACK = 1e-4
"""Distance from [0, 1] that a mask may have by rounding."""
CURVE_AREAS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Areas of the masks of a curve, between nothing and everything."""


@dataclass
class MaskSource:
    """Mask and map of a method, or of a control, for a batch.

    Attributes:
        mask: Mask that the method makes by itself; None if it makes none. Shape (batch, frequency, time).
        importance: Map that masks of equal area are cut from; None if it has none. Same shape.
        seconds: Time per clip.
        neutral: Value of the map that means no relevance (default: its lowest one in each clip).
        defined: Whether each clip has this mask; scores of the others are undefined (default: all). Shape (batch,).
    """

    mask: Tensor | None = None
    importance: Tensor | None = None
    seconds: float | None = None
    neutral: float | None = 0.0
    defined: Tensor | None = None


@dataclass
class ClipScores:
    """Scores of one method on one clip.

    Attributes:
        scores: Scores by mask (``own``, an area such as ``0.2``, or ``map``), domain (``mask`` or ``heard``) and
            name.
        curves: Probability of the explained class while the mask grows, for ``insertion`` and ``deletion``.
        road: Probability of the explained class while bins are removed and imputed, for ``MoRF`` and ``LeRF``.
    """

    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    road: dict[str, list[float]] = field(default_factory=dict)

    def add(self, mask: str, domain: str, name: str, value: float) -> None:
        """Add one score."""
        self.scores.setdefault(mask, {}).setdefault(domain, {})[name] = value

    def undefine(self) -> None:
        """Replace all scores by NaN."""
        for domains in self.scores.values():
            for names in domains.values():
                names.update(dict.fromkeys(names, float("nan")))
        for lines in (self.curves, self.road):
            lines.update({name: [float("nan")] * len(points) for name, points in lines.items()})


@torch.no_grad()
def decode(interpreter: Interpreter[Any], batch: ClassifiedBatch) -> MaskSource:
    """Run a method once, and return its mask and its map.

    Raises:
        ShapeError: Mask or map do not have the shape of the spectrogram.
        ConfigurationError: The mask is not in [0, 1].
    """
    spectrogram = batch.spectrogram
    # The clock runs from an idle device until the mask is there. The map is another view of the same decoding.
    shape, device = spectrogram.log_magnitude.shape, spectrogram.log_magnitude.device
    _wait_for(device)
    start = time.perf_counter()
    decoded = interpreter.decode(spectrogram, batch.prediction)
    mask = interpreter.mask(decoded, spectrogram)
    _wait_for(device)
    seconds = (time.perf_counter() - start) / len(batch.names)
    importance = interpreter.output(decoded, spectrogram)
    for name, values in (("mask", mask), ("output", importance)):
        actual = None if values is None else values.shape
        if actual != shape:
            raise ShapeError(f"its {name} has shape {actual and tuple(actual)}, the spectrogram {tuple(shape)}")
    outside = (mask < -_SLACK) | (mask > 1 + _SLACK)
    if bool(outside.any()):
        raise ConfigurationError(f"its mask holds {float(mask[outside][0]):.3g}; masks lie in [0, 1]")
    return MaskSource(mask, importance, seconds, interpreter.neutral)


def control(name: str, batch: ClassifiedBatch, seed: int) -> MaskSource:
    """Return the mask or the map of a control, which knows nothing of the classifier.

    Args:
        name: Name of the control; ``ideal`` needs the truth, ``truth`` annotations.
        batch: Clips.
        seed: Seed of the random control.
    """
    log_magnitude = batch.spectrogram.log_magnitude
    if name == "all-pass":
        return MaskSource(mask=all_pass(log_magnitude, batch.frames))
    if name == "loudest":
        return MaskSource(importance=log_magnitude)
    if name == "ideal" and batch.truth is not None:
        return MaskSource(batch.truth.ideal, batch.truth.lead)
    if name == ANNOTATED and batch.annotated is not None:
        bins = batch.annotated.to(log_magnitude.dtype)
        return MaskSource(bins, bins, defined=batch.annotated.flatten(1).any(1))
    return MaskSource(importance=random_importance(log_magnitude, batch.names, seed, batch.frames))


def score(
    source: MaskSource,
    batch: ClassifiedBatch,
    areas: Sequence[float],
    curves: bool,
    controls: Mapping[str, Ranking] | None = None,
    road_seed: int | None = None,
    seed: int = 1234,
) -> list[ClipScores]:
    """Return all scores of a method on each clip of a batch.

    Args:
        source: Mask and map of the method.
        batch: Clips.
        areas: Areas of the masks of equal area.
        curves: Whether to compute the curves, with masks that grow through `CURVE_AREAS`.
        controls: Rankings of the bins by controls, by name; each gives a mask of the area of the method's own mask,
            which is scored beside it.
        road_seed: Seed of the noise of ROAD; None leaves these scores out.
        seed: Seed of the order of equal values, where scores against annotations rank them.
    """
    clips = [ClipScores() for _ in batch.names]
    ranking = None
    if source.importance is not None:
        # The map of a method that is 0 everywhere ranks nothing; equally loud bins of a control are drawn.
        ranking = rank_bins(source.importance, batch.order, batch.frames, blank=controls is not None)
    makers = _mask_makers(source.mask, ranking, batch, areas, controls or {})
    points: dict[float, tuple[Tensor, Tensor]] = {}
    for keys in _groups(makers, batch):
        masks = [batch.zero_padding(makers[key]()) for key in keys]
        for key, mask, answers in zip(keys, masks, _answers(masks, batch), strict=True):
            _score_mask(clips, key, mask, answers, batch)
            # The curves pass through these areas too; their probabilities need not be computed twice.
            if key in map(str, areas):
                evidence, remainder = answers.seen
                points[float(key)] = evidence, remainder
    if source.importance is not None and batch.truth is not None:
        scores = score_localisation(source.importance, batch.truth.ideal, batch.frames, "map")
        _add_scores(clips, MAP, "mask", scores)
    if source.importance is not None and batch.annotated is not None:
        relevance = _relevance(source.importance, source.neutral, batch)
        scores = score_annotated(relevance, batch.annotated, batch.names, seed, batch.frames)
        _add_scores(clips, MAP, "mask", scores)
    if ranking is not None and curves:
        _add_curves(clips, ranking, batch, points)
    if ranking is not None and road_seed is not None:
        _add_road(clips, road(ranking, batch, areas, road_seed))
    if source.defined is not None:
        for clip, defined in zip(clips, source.defined.tolist(), strict=True):
            if not defined:
                clip.undefine()
    return clips


def _relevance(importance: Tensor, neutral: float | None, batch: ClassifiedBatch) -> Tensor:
    """Return a map that is 0 where nothing is relevant, and in the padding."""
    if neutral is not None:
        return batch.zero_padding(importance - neutral)
    valid = valid_frames(batch.frames, importance)
    inside = importance if valid is None else importance.masked_fill(valid == 0, torch.inf)
    return batch.zero_padding(importance - inside.amin((1, 2), keepdim=True))


def _mask_makers(
    mask: Tensor | None,
    ranking: Ranking | None,
    batch: ClassifiedBatch,
    areas: Iterable[float],
    controls: Mapping[str, Ranking],
) -> dict[str, Callable[[], Tensor]]:
    """Return a function by key that makes each mask when it is needed, so that few masks are in memory."""
    makers: dict[str, Callable[[], Tensor]] = {}
    if mask is not None:
        makers[OWN] = mask.float
        # Without the padding of the own mask, whose values would count towards its area.
        beside = {key: controls[name] for key, name in MATCHED_CONTROLS.items() if name in controls}
        makers |= {key: partial(control.mask_like, batch.zero_padding(mask)) for key, control in beside.items()}
    if ranking is not None:
        makers |= {str(area): partial(ranking.mask, area) for area in areas}
    return makers


def _groups(masks: Iterable[Any], batch: ClassifiedBatch) -> Iterable[list[Any]]:
    """Yield groups of masks whose evidence and remainder are classified together; at least one mask each."""
    keys = list(masks)
    # Each mask needs two inputs per clip, evidence and remainder.
    size = max(1, batch.inputs_at_once // (2 * len(batch.names)))
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _score_mask(
    clips: list[ClipScores],
    key: str,
    mask: Tensor,
    answers: Answers,
    batch: ClassifiedBatch,
) -> None:
    """Add the scores of one mask per clip, given the answers of the classifier to it."""
    whole, target = batch.prediction.probabilities, batch.prediction.target
    multi_label = batch.prediction.multi_label
    for domain, masked in (("mask", answers.seen), ("heard", answers.heard)):
        evidence, remainder = masked
        # Rounding on the way to sound would otherwise count as an increase, even for an all-pass mask.
        decision = score_evidence(whole, _without_rounding(evidence, whole), target)
        decision |= {"Fid-In": input_fidelity(whole, evidence, target, multi_label=multi_label)}
        decision |= score_remainder(whole, remainder, target)
        _add_scores(clips, key, domain, decision)
    # Sparseness and complexity of a binary mask follow from its area.
    is_own = key == OWN
    area = score_area(mask, batch.frames) if is_own else {"MM": mean_mask(mask, batch.frames)}
    _add_scores(clips, key, "mask", area)
    if batch.truth is None:
        return
    place: Place = "own mask" if is_own else "equal area"
    _add_scores(clips, key, "mask", score_localisation(mask, batch.truth.ideal, batch.frames, place))
    _add_scores(clips, key, "heard", answers.sound)


def _answers(masks: Sequence[Tensor], batch: ClassifiedBatch) -> list[Answers]:
    """Return the answers to masks; the classifier is asked about those alone that are new to this batch.

    Methods share many masks: the controls beside masks of one area, and a mask of its own that has a fixed area.
    """
    keys = [digest(mask) for mask in masks]
    if batch.everything in keys and batch.everything not in batch.answers:
        batch.answers[batch.everything] = _answers_to_everything(batch)
    new = {key: mask for key, mask in zip(keys, masks, strict=True) if key not in batch.answers}
    if new:
        answer = classify_parts(batch, list(new.values()), heard=True)
        assert answer.heard is not None
        for place, key in enumerate(new):
            rows = [place, len(new) + place]
            sound = {} if answer.sounds is None else _sound_scores(answer.sounds[place], batch)
            batch.answers[key] = Answers(answer.seen[rows], answer.heard[rows], sound)
    return [batch.answers[key] for key in keys]


def _answers_to_everything(batch: ClassifiedBatch) -> Answers:
    """Return the answers to a mask that keeps everything, which are known without running the classifier on it."""
    # Evidence is the clip, which its spectrogram gives back as a sound up to rounding, and the remainder silence.
    whole, (seen, heard) = batch.prediction.probabilities, silence_of(batch)
    return Answers(torch.stack([whole, seen]), torch.stack([whole, heard]), _sound_scores(batch.waveform, batch))


def _sound_scores(sound: Tensor, batch: ClassifiedBatch) -> dict[str, Tensor]:
    """Return the scores of the sound of the evidence beside the event, shape of each (batch,)."""
    if batch.truth is None:
        return {}
    # A mask that holds NaN gives a sound that is not finite: zeros replace it, and its scores are undefined.
    defined = torch.isfinite(sound).all(1)
    lengths = batch.spectrogram.lengths
    scores = score_sound(torch.nan_to_num(sound), batch.waveform, batch.truth.event, lengths)
    return {name: values.masked_fill(~defined, torch.nan) for name, values in scores.items()}


def _without_rounding(probabilities: Tensor, whole: Tensor) -> Tensor:
    """Replace probabilities that differ from those of the whole clip by rounding only by the latter."""
    return torch.where((probabilities - whole).abs() < TOLERANCE * whole, whole, probabilities)


def _add_curves(
    clips: list[ClipScores],
    ranking: Ranking,
    batch: ClassifiedBatch,
    scored: dict[float, tuple[Tensor, Tensor]],
) -> None:
    """Add the curves of masks that grow from nothing to everything, and the areas under them.

    Args:
        clips: Scores of the clips.
        ranking: Ranking of the bins.
        batch: Clips.
        scored: Probabilities of evidence and remainder by area, for areas that have been classified already.
    """
    points = dict(scored)
    for area in CURVE_AREAS:
        if area not in points:
            seen = classify_parts(batch, [batch.zero_padding(ranking.mask(area))], heard=False).seen
            points[area] = seen[0], seen[1]
    # At area 0 the evidence is silence and the remainder the whole clip; at area 1 it is the other way round.
    silence = silence_of(batch)[0]
    whole = batch.prediction.probabilities
    points |= {0.0: (silence, whole), 1.0: (whole, silence)}
    areas_of_curve = curve_areas()
    label = batch.prediction.explained[:, None]
    undefined = ranking.undefined
    for name, side in (("insertion", 0), ("deletion", 1)):
        values = torch.stack([points[area][side].gather(1, label)[:, 0] for area in areas_of_curve], 1)
        values = values.cpu().double().masked_fill(undefined[:, None].cpu(), torch.nan)
        # With the areas as abscissae, as they are not equally spaced.
        under_curve = torch.trapezoid(values, torch.tensor(areas_of_curve, dtype=torch.float64), dim=1)
        _add_scores(clips, MAP, "mask", {name: under_curve})
        for clip, curve in zip(clips, values.tolist(), strict=True):
            clip.curves[name] = curve


def _add_road(clips: list[ClipScores], scores: Road) -> None:
    """Add the ROAD scores at each area, the curves, and the areas under them."""
    for area, gaps in scores.gaps.items():
        for domain, values in gaps.items():
            _add_scores(clips, str(area), domain, {"ROAD": values})
    _add_scores(clips, MAP, "mask", scores.areas_under_curves())
    for side, curves in scores.curves.items():
        for clip, curve in zip(clips, curves.tolist(), strict=True):
            clip.road[side] = curve


def _add_scores(clips: list[ClipScores], mask: str, domain: str, scores: dict[str, Tensor]) -> None:
    """Add scores of shape (batch,) by name to the clips."""
    for name, values in scores.items():
        for clip, value in zip(clips, values.tolist(), strict=True):
            clip.add(mask, domain, name, value)


def _wait_for(device: torch.device) -> None:
    """Wait until a device has finished its queue, so that times include the work and not only its submission."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def curve_areas() -> list[float]:
    """Return the areas of the points of a curve, from nothing to everything."""
    return list(itertools.chain([0.0], CURVE_AREAS, [1.0]))
