"""Means over clips: in parts, merged, copied, with undefined values."""

import copy
import pickle

import pytest
import torch
from torchmetrics import MetricCollection

from otoscope import metrics
from otoscope.metrics import (
    SCORES,
    AverageDrop,
    ClipMean,
    IntersectionOverUnion,
    MaskAUROC,
    MeanMask,
    MeanScores,
    SISDRImprovement,
)

BATCH = 6


def distributions(seed: int) -> torch.Tensor:
    return torch.randn(BATCH, 5, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)


def bins(seed: int) -> torch.Tensor:
    return torch.rand(BATCH, 4, 7, generator=torch.Generator().manual_seed(seed))


def wave(seed: int) -> torch.Tensor:
    return torch.randn(BATCH, 30, generator=torch.Generator().manual_seed(seed))


PROBABILITIES = (distributions(0), distributions(1), torch.tensor([0, 1, 2, 3, 4, 0]))
FRAMES = torch.tensor([7, 7, 3, 1, 5, 7])
IDEAL = (bins(1) > 0.5).float()
IDEAL[1] = 0
EVENT = wave(0)
EVENT[2] = 0
LENGTHS = torch.tensor([30, 20, 30, 30, 9, 30])
CASES = [
    ("AverageIncrease", "average_increase", {}, PROBABILITIES),
    ("AverageDrop", "average_drop", {}, PROBABILITIES),
    ("AverageDrop", "average_drop", {"published": True}, PROBABILITIES),
    ("AverageGain", "average_gain", {}, PROBABILITIES),
    ("Faithfulness", "faithfulness", {}, PROBABILITIES),
    ("InputFidelity", "input_fidelity", {}, PROBABILITIES),
    ("MeanMask", "mean_mask", {}, (bins(0), FRAMES)),
    ("Sparseness", "sparseness", {}, (bins(0), FRAMES)),
    ("Complexity", "complexity", {}, (bins(0), FRAMES)),
    ("IntersectionOverUnion", "intersection_over_union", {}, (bins(0), IDEAL, FRAMES)),
    ("IntersectionOverUnion", "intersection_over_union", {"threshold": 0.3}, (bins(0), IDEAL, FRAMES)),
    ("MaskAUROC", "mask_auroc", {}, (bins(0), IDEAL, FRAMES)),
    ("SISDRImprovement", "si_sdr_improvement", {}, (wave(1), wave(2), EVENT, LENGTHS)),
]
every_metric = pytest.mark.parametrize(
    ("module", "function", "options", "arguments"), CASES, ids=[f"{case[0]}{case[2] or ''}" for case in CASES]
)


def rows(arguments, start, stop):
    return [argument[start:stop] for argument in arguments]


@every_metric
def test_is_the_mean_of_its_function(module, function, options, arguments):
    metric = getattr(metrics, module)(**options)
    for start in range(0, BATCH, 2):
        metric.update(*rows(arguments, start, start + 2))
    values = getattr(metrics, function)(*arguments, **options)
    torch.testing.assert_close(metric.compute(), values.nanmean())
    assert metric.count + metric.undefined == BATCH
    assert metric.undefined == values.isnan().sum()


@every_metric
def test_merged_states_equal_one_pass(module, function, options, arguments):
    whole, first, second = (getattr(metrics, module)(**options) for _ in range(3))
    whole.update(*arguments)
    first.update(*rows(arguments, 0, 4))
    second.update(*rows(arguments, 4, BATCH))
    first.compute()
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), whole.compute())
    assert first.undefined == whole.undefined


@every_metric
def test_an_empty_metric_gives_nan_and_no_warning(module, function, options, arguments):
    metric = getattr(metrics, module)(**options)
    assert metric.compute().isnan()
    metric.update(*arguments)
    metric.reset()
    assert metric.compute().isnan()


@every_metric
def test_forward_gives_the_value_of_the_batch(module, function, options, arguments):
    metric, batch = (getattr(metrics, module)(**options) for _ in range(2))
    metric.update(*rows(arguments, 0, 3))
    batch.update(*rows(arguments, 3, BATCH))
    torch.testing.assert_close(metric(*rows(arguments, 3, BATCH)), batch.compute())
    assert metric.count + metric.undefined == BATCH


def test_undefined_clips_are_counted_and_left_out():
    metric = MaskAUROC()
    mask = torch.tensor([[[0.1, 0.9]], [[0.1, 0.9]]])
    metric.update(mask, torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]]))
    assert metric.compute() == 1
    assert (metric.count, metric.undefined) == (1, 1)


def test_only_undefined_clips_give_nan():
    metric = SISDRImprovement()
    metric.update(torch.ones(2, 4), torch.ones(2, 4), torch.zeros(2, 4))
    assert metric.compute().isnan()
    assert metric.undefined == 2


def test_sums_in_float64():
    metric = AverageDrop()
    for _ in range(3):
        metric.update(torch.full((1000,), 0.9), torch.full((1000,), 0.3))
    assert metric.total.dtype == torch.float64
    torch.testing.assert_close(metric.compute(), single := AverageDrop()(*torch.tensor([[0.9], [0.3]])))
    assert single.dtype == torch.float32


def test_survives_copies_pickles_and_gradients():
    metric = IntersectionOverUnion(threshold=0.3)
    metric.update(bins(0).requires_grad_(), IDEAL)
    for duplicate in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert torch.equal(duplicate.compute(), metric.compute())
        assert torch.equal(duplicate(bins(1), IDEAL), metric.clone()(bins(1), IDEAL))
    assert not metric.total.requires_grad
    assert pickle.loads(pickle.dumps(AverageDrop())).compute().isnan()


def test_functions_and_directions_are_those_of_the_table_of_scores():
    directions = {"higher": True, "lower": False, "neither": None}
    classes = [value for value in vars(metrics).values() if isinstance(value, type) and issubclass(value, ClipMean)]
    assert {AverageDrop, MaskAUROC, MeanMask} < set(classes)
    for kind in set(classes) - {ClipMean, MeanScores}:
        (score,) = (score for score in SCORES.values() if score.function is kind.score)
        assert kind.higher_is_better is directions[score.better]


def test_a_metric_of_a_function_of_the_users():
    class Loudness(ClipMean):
        score = staticmethod(lambda waveform, power=1: waveform.abs().pow(power).mean(dim=1))

    metric = Loudness(power=2)
    metric.update(torch.tensor([[1.0, -1.0], [2.0, 2.0]]))
    assert metric.compute() == 2.5


def test_a_collection_gives_each_metric_its_own_arguments():
    collection = MetricCollection([MeanMask(), MaskAUROC()], compute_groups=False)
    collection.update(mask=bins(0), ideal=IDEAL, frames=FRAMES)
    assert collection.compute()["MeanMask"] == metrics.mean_mask(bins(0), FRAMES).mean()
    torch.testing.assert_close(
        collection.compute()["MaskAUROC"], metrics.mask_auroc(bins(0), IDEAL, FRAMES).nanmean()
    )


def scores(seed: int) -> dict[str, torch.Tensor]:
    values = torch.rand(3, 4, generator=torch.Generator().manual_seed(seed))
    values[1, seed] = torch.nan
    return dict(zip(("AD", "AUROC", "other"), values, strict=True))


def test_mean_scores_averages_each_name():
    metric = MeanScores(["AD", "AUROC"])
    metric.update(scores(0))
    metric.update(scores(1))
    expected = {name: torch.cat([scores(0)[name], scores(1)[name]]).nanmean() for name in ("AD", "AUROC")}
    torch.testing.assert_close(metric.compute(), expected)
    assert metric.undefined.tolist() == [0, 2]


def test_mean_scores_merges():
    first, second, whole = (MeanScores(["AD", "AUROC"]) for _ in range(3))
    first.update(scores(0))
    second.update(scores(1))
    whole.update(scores(0))
    torch.testing.assert_close(whole(scores(1)), second.compute())
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), whole.compute())


def test_mean_scores_empty_and_reset():
    metric = MeanScores(["AD"])
    assert metric.compute()["AD"].isnan()
    metric.update(scores(0))
    metric.reset()
    assert metric.compute()["AD"].isnan()


def test_mean_scores_names_what_is_missing():
    with pytest.raises(KeyError, match="SI-SDRi"):
        MeanScores(["AD", "SI-SDRi"]).update(scores(0))
