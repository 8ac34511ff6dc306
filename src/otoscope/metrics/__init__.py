"""Scores that show whether an explanation can be trusted: pure functions, and torchmetrics classes over them.

Masks and spectrograms have shape (batch, frequency, time); `frames` gives the valid frames of each clip, and
padding never counts. Functions return one value per clip, classes the mean over clips.
"""

import importlib
from typing import TYPE_CHECKING, Any

from otoscope.metrics.batch_scores import (
    score_answers,
    score_area,
    score_evidence,
    score_localisation,
    score_mask,
    score_remainder,
    score_sound,
)
from otoscope.metrics.controls import (
    all_pass,
    ideal_mask,
    loudest_of_equal_area,
    random_importance,
    random_of_equal_area,
)
from otoscope.metrics.faithfulness import (
    average_drop,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
    masked_probability,
)
from otoscope.metrics.imputation import linear_imputation, noisy_linear_imputation
from otoscope.metrics.localisation import intersection_over_union, mask_auroc, si_sdr, si_sdr_improvement
from otoscope.metrics.scores import SCORES, Score, scores_shown
from otoscope.metrics.sparsity import complexity, is_empty, mean_mask, sparseness

if TYPE_CHECKING:
    from otoscope.metrics.modules import (
        AverageDrop,
        AverageGain,
        AverageIncrease,
        ClipMean,
        Complexity,
        Faithfulness,
        InputFidelity,
        IntersectionOverUnion,
        MaskAUROC,
        MeanMask,
        MeanScores,
        SISDRImprovement,
        Sparseness,
    )

__all__ = [
    "SCORES",
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "ClipMean",
    "Complexity",
    "Faithfulness",
    "InputFidelity",
    "IntersectionOverUnion",
    "MaskAUROC",
    "MeanMask",
    "MeanScores",
    "SISDRImprovement",
    "Score",
    "Sparseness",
    "all_pass",
    "average_drop",
    "average_gain",
    "average_increase",
    "complexity",
    "faithfulness",
    "ideal_mask",
    "input_fidelity",
    "intersection_over_union",
    "is_empty",
    "linear_imputation",
    "loudest_of_equal_area",
    "mask_auroc",
    "masked_probability",
    "mean_mask",
    "noisy_linear_imputation",
    "random_importance",
    "random_of_equal_area",
    "score_answers",
    "score_area",
    "score_evidence",
    "score_localisation",
    "score_mask",
    "score_remainder",
    "score_sound",
    "scores_shown",
    "si_sdr",
    "si_sdr_improvement",
    "sparseness",
]


def __getattr__(name: str) -> Any:
    # The classes are imported on first use: importing torchmetrics takes longer than importing PyTorch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = importlib.import_module("otoscope.metrics.modules")
    globals().update({key: value for key, value in vars(modules).items() if key in __all__})
    return globals()[name]
