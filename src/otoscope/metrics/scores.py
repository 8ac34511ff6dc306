"""The table of all scores: their meaning, their inputs, and the tables that show them.

A new score is a function in this package and a line in `SCORES`: it is then computed wherever its inputs are known,
and appears in every table that its line names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final, Literal

from torch import Tensor

from otoscope.metrics.faithfulness import (
    average_drop,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
    masked_probability,
)
from otoscope.metrics.localisation import intersection_over_union, mask_auroc, si_sdr_improvement
from otoscope.metrics.sparsity import complexity, is_empty, mean_mask, sparseness

Need = Literal["evidence", "remainder", "mask", "truth", "sound", "curve", "imputation", "annotation"]
Place = Literal["own mask", "equal area", "map", "picture", "demo", "training"]


@dataclass(frozen=True)
class Score:
    """Meaning of a column of a table.

    Attributes:
        title: Name in words.
        unit: Unit of the mean over clips; empty for a plain number.
        better: Whether a higher or a lower mean is better, or neither by itself.
        needs: Inputs of the score: class probabilities from the ``evidence`` or the ``remainder`` beside those of
            the whole input, the ``mask``, the ``truth``, the ``sound`` of the evidence, the ``curve`` of
            probabilities while the mask grows, the ``imputation`` of removed bins, or the ``annotation`` of events
            by a person.
        shown: Tables with a column for the score: of an evaluation (``own mask``, ``equal area``, ``map``), its
            ``picture``, the ``demo``, and the test of a ``training``.
        function: Function of these inputs, one value per clip; None for scores that `otoscope.evaluation` computes.
        success: Value of a clip that counts, if all others have 0: the mean is a proportion with an exact interval.
    """

    title: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    needs: tuple[Need, ...]
    shown: tuple[Place, ...]
    function: Callable[..., Tensor] | None = field(default=None, repr=False)
    success: float | None = None


_EVERYWHERE: Final = ("own mask", "equal area", "picture", "demo", "training")
_OWN_MASK: Final = ("own mask", "training")

# The order of the entries is the order of the columns in every table.
SCORES: Final[Mapping[str, Score]] = MappingProxyType(
    {
        "AI": Score("average increase", "%", "higher", ("evidence",), _EVERYWHERE, average_increase, success=100.0),
        "AD": Score("average drop", "%", "lower", ("evidence",), _EVERYWHERE, average_drop),
        "AD_published": Score(
            "average drop, faulty as published",
            "%",
            "lower",
            ("evidence",),
            ("training",),
            partial(average_drop, published=True),
        ),
        "AG": Score("average gain", "%", "higher", ("evidence",), _EVERYWHERE, average_gain),
        "FF": Score("faithfulness", "", "higher", ("remainder",), _EVERYWHERE, faithfulness),
        "Fid-In": Score("input fidelity", "", "higher", ("evidence",), _EVERYWHERE, input_fidelity, success=1.0),
        "MM": Score("mean mask", "", "neither", ("mask",), ("own mask", "demo", "training"), mean_mask),
        "SPS": Score("sparseness", "", "higher", ("mask",), _OWN_MASK, sparseness),
        "COMP": Score("complexity", "nats", "lower", ("mask",), _OWN_MASK, complexity),
        "empty": Score("share of empty masks", "", "lower", ("mask",), ("training",), is_empty, success=1.0),
        "p_evidence": Score(
            "probability from the evidence alone", "", "neither", ("evidence",), ("training",), masked_probability
        ),
        "p_remainder": Score(
            "probability without the evidence", "", "neither", ("remainder",), ("training",), masked_probability
        ),
        "IoU": Score(
            "intersection over union", "", "higher", ("mask", "truth"), _EVERYWHERE, intersection_over_union
        ),
        "AUROC": Score(
            "area under the ROC curve",
            "",
            "higher",
            ("mask", "truth"),
            ("own mask", "map", "demo", "training"),
            mask_auroc,
        ),
        "SI-SDRi": Score(
            "SI-SDR improvement",
            "dB",
            "higher",
            ("sound", "truth"),
            ("own mask", "equal area", "demo", "training"),
            si_sdr_improvement,
        ),
        "insertion": Score("area under the insertion curve", "", "higher", ("curve",), ("map",)),
        "deletion": Score("area under the deletion curve", "", "lower", ("curve",), ("map",)),
        "ROAD": Score(
            "probability without the least relevant bins minus that without the most relevant ones, both imputed",
            "",
            "higher",
            ("imputation",),
            ("equal area",),
        ),
        "MoRF": Score("ROAD curve, most relevant bins removed first", "", "lower", ("imputation",), ("map",)),
        "LeRF": Score("ROAD curve, least relevant bins removed first", "", "higher", ("imputation",), ("map",)),
        "mass": Score("relevance mass in the annotated boxes", "", "higher", ("annotation",), ("map",)),
        "rank": Score("relevance rank accuracy in the annotated boxes", "", "higher", ("annotation",), ("map",)),
        "pointing": Score(
            "pointing game in the annotated boxes", "", "higher", ("annotation",), ("map",), success=1.0
        ),
        "tIoU": Score("intersection over union of the annotated frames", "", "higher", ("annotation",), ("map",)),
        "tF1": Score("F1 of the annotated frames", "", "higher", ("annotation",), ("map",)),
    }
)


def scores_shown(place: Place, truth: bool | None = None) -> list[str]:
    """Return the names of the scores that a table shows, in the order of its columns.

    Args:
        place: Table, see `Score.shown`.
        truth: True: only scores that need the truth; False: only those that do not; None: all.

    Example:
        >>> scores_shown("map")
        ['AUROC', 'insertion', 'deletion', 'MoRF', 'LeRF', 'mass', 'rank', 'pointing', 'tIoU', 'tF1']
        >>> scores_shown("training", truth=True)
        ['IoU', 'AUROC', 'SI-SDRi']
    """
    return [
        name
        for name, score in SCORES.items()
        if place in score.shown and (truth is None or truth == ("truth" in score.needs))
    ]
