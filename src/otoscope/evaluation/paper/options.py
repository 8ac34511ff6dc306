"""Options of the tables and the figure for papers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from otoscope.errors import ConfigurationError, choices
from otoscope.evaluation.mask_scores import OWN
from otoscope.metrics import SCORES
from otoscope.scoring import CONTROLS

Domain = Literal["mask", "heard"]
FigureFormat = Literal["pdf", "svg"]


@dataclass
class PaperOptions:
    """What the tables and the figure for papers show.

    Args:
        areas: Areas of the masks, among those of the evaluation, and ``own`` for the methods' own masks (default:
            the area in the middle of the list).
        domains: Domains: ``mask``, ``heard``.
        conditions: Names of the conditions (default: the first).
        methods: Names of the methods, in the order of the rows (default: all).
        controls: Controls that stand below the methods, those that the evaluation has.
        scores: Names of the scores, in the order of the columns (default: those of the picture).
        intervals: Whether to write half of the 95 % interval behind each mean.
        figures: Formats of the figure: ``pdf``, ``svg``.

    Raises:
        ConfigurationError: A score, control, domain or format does not exist, or nothing is chosen.
    """

    areas: Sequence[float | str] | None = None
    domains: Sequence[Domain] = ("mask", "heard")
    conditions: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    controls: Sequence[str] = ("random", "loudest")
    scores: Sequence[str] | None = None
    intervals: bool = True
    figures: Sequence[FigureFormat] = ("pdf", "svg")

    def __post_init__(self) -> None:
        _check("domains", self.domains, get_args(Domain))
        _check("controls", self.controls, CONTROLS, may_be_empty=True)
        _check("scores", self.scores, SCORES)
        _check("figures", self.figures, get_args(FigureFormat), may_be_empty=True)

    def check(self, areas: Sequence[float], methods: Collection[str], conditions: Collection[str]) -> None:
        """Check the choices that depend on the evaluation, before it takes hours.

        Args:
            areas: Areas of the evaluation.
            methods: Names of its methods, those that are skipped included.
            conditions: Names of its conditions, those that are skipped included.

        Raises:
            ConfigurationError: The evaluation has no such area, method or condition.
        """
        _check("areas", self.masks(areas), [*map(str, areas), OWN])
        _check("methods", self.methods, methods)
        _check("conditions", self.conditions, conditions)

    def masks(self, areas: Sequence[float]) -> list[str]:
        """Return the masks to show as `Block` names them.

        Args:
            areas: Areas of the evaluation.
        """
        if self.areas is None:
            return [str(areas[len(areas) // 2])] if areas else [OWN]
        return [_mask(area) for area in self.areas]


def _mask(area: float | str) -> str:
    try:
        return str(float(area))
    except ValueError:
        return str(area)


def _check(name: str, chosen: Sequence[str] | None, available: Collection[str], may_be_empty: bool = False) -> None:
    if chosen is None:
        return
    if isinstance(chosen, str):
        raise ConfigurationError(f"paper.{name}: expected a list, got {chosen!r}")
    if not chosen and not may_be_empty:
        raise ConfigurationError(f"paper.{name}: nothing is chosen; name some of {', '.join(available)}")
    for item in chosen:
        if item not in available:
            raise ConfigurationError(f"paper.{name}: there is no {item!r}; {choices(item, list(available))}")
