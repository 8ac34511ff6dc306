"""ROAD: scores of maps by removal and imputation, which leaves no hole that betrays the mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from otoscope.evaluation.batch import ClassifiedBatch, classify_versions
from otoscope.metrics.imputation import noisy_linear_imputation
from otoscope.metrics.ranking import Ranking

ROAD_AREAS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Areas of the removed bins on a ROAD curve, besides nothing. Without any bin nothing could be imputed."""
SIDES = ("MoRF", "LeRF")
"""Most and least relevant bins removed first."""


@dataclass(frozen=True)
class Road:
    """ROAD scores of a batch of clips.

    Attributes:
        gaps: Probability of the explained class without the least relevant bins minus that without the most
            relevant ones, by area and domain (``mask`` or ``heard``). Shape (batch,) each.
        curves: That probability at area 0 and at `ROAD_AREAS`, by side. Shape (batch, areas).
    """

    gaps: dict[float, dict[str, Tensor]]
    curves: dict[str, Tensor]

    def areas_under_curves(self) -> dict[str, Tensor]:
        """Return the mean probability over the areas of each curve, by side. Shape (batch,) each."""
        areas = torch.tensor(road_areas(), dtype=torch.float64)
        return {side: torch.trapezoid(curve, areas, dim=1) / areas[-1] for side, curve in self.curves.items()}


def road_areas() -> list[float]:
    """Return the areas of the points of a ROAD curve."""
    return [0.0, *ROAD_AREAS]


def road(ranking: Ranking, batch: ClassifiedBatch, areas: Sequence[float], seed: int) -> Road:
    """Remove the most and the least relevant bins, impute them, and classify what results.

    Args:
        ranking: Ranking of the bins.
        batch: Clips.
        areas: Areas of the gaps, which are computed in both domains.
        seed: Seed of the noise of the imputation.

    Reference:
        Rong et al. 2022, A Consistent and Efficient Evaluation Strategy for Attribution Methods, arXiv 2202.00449.
        Departures: log magnitudes instead of pixels; probability of the explained class instead of accuracy, so
        that every clip has a value; areas up to 0.9.
    """
    whole = batch.prediction.probabilities
    label = batch.prediction.explained[:, None]
    undefined = ranking.undefined.cpu()
    points: dict[float, dict[str, tuple[Tensor, Tensor]]] = {}
    for area in sorted({*areas, *ROAD_AREAS}):
        removed = torch.stack([_most_relevant(ranking, area, batch), _least_relevant(ranking, area, batch)])
        imputed = torch.stack([_impute(batch, mask, seed) for mask in removed])
        answers = classify_versions(batch, imputed, heard=area in areas)
        points[area] = {}
        for domain, probabilities in (("mask", answers.seen), ("heard", answers.heard)):
            if probabilities is not None:
                of_class = probabilities.gather(2, label.expand(2, -1, -1))[..., 0].cpu().double()
                most, least = of_class.masked_fill(undefined, torch.nan)
                points[area][domain] = most, least
    gaps = {
        area: {domain: least - most for domain, (most, least) in points[area].items()} for area in map(float, areas)
    }
    start = whole.gather(1, label)[:, 0].cpu().double().masked_fill(undefined, torch.nan)
    curves = {
        side: torch.stack([start, *(points[area]["mask"][place] for area in ROAD_AREAS)], 1)
        for place, side in enumerate(SIDES)
    }
    return Road(gaps, curves)


def _most_relevant(ranking: Ranking, area: float, batch: ClassifiedBatch) -> Tensor:
    return batch.zero_padding(torch.nan_to_num(ranking.mask(area)))


def _least_relevant(ranking: Ranking, area: float, batch: ClassifiedBatch) -> Tensor:
    # As many bins as on the other side, from the end of the ranking.
    count = (area * ranking.bins.double()).round()
    rest = torch.nan_to_num(ranking.mask_of(ranking.bins - count))
    return batch.zero_padding((1 - rest).masked_fill(ranking.empty[:, None, None], 0.0))


def _impute(batch: ClassifiedBatch, removed: Tensor, seed: int) -> Tensor:
    return noisy_linear_imputation(
        batch.spectrogram.log_magnitude, removed, batch.names, seed, batch.spectrogram.frames
    )
