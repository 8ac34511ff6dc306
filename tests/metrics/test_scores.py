"""All scores of a mask at once, and the table of scores."""

import pytest
import torch
from torch import Tensor

from otoscope import metrics
from otoscope.errors import ShapeError
from otoscope.metrics import SCORES, MeanScores, all_pass, score_mask, score_sound, scores_shown


class BandClassifier:
    """Class probabilities from the mean level of four bands; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, log_magnitude: Tensor, frames: Tensor | None) -> Tensor:
        self.calls += 1
        assert not torch.is_grad_enabled()
        length = log_magnitude.shape[2] if frames is None else frames[:, None]
        return (5 * log_magnitude.sum(dim=2) / length).softmax(dim=1)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, mask, ideal = torch.rand(3, 3, 4, 6, generator=generator).unbind()
    with torch.no_grad():
        probabilities = BandClassifier()(x, None)
    return {"log_magnitude": x, "mask": mask, "probabilities": probabilities, "ideal": (ideal > 0.5).float()}


def test_two_runs_of_the_classifier_give_all_scores(batch):
    classify = BandClassifier()
    scores = score_mask(classify, **batch)
    assert classify.calls == 2
    assert set(scores) == set(scores_shown("training")) - {"SI-SDRi"}
    assert all(value.shape == (3,) and value.is_floating_point() for value in scores.values())


def test_each_score_is_that_of_its_function(batch):
    x, mask, p, ideal = (batch[name] for name in ("log_magnitude", "mask", "probabilities", "ideal"))
    with torch.no_grad():
        o, u = BandClassifier()(mask * x, None), BandClassifier()((1 - mask) * x, None)
    expected = {
        "AI": metrics.average_increase(p, o),
        "AD": metrics.average_drop(p, o),
        "AD_published": metrics.average_drop(p, o, published=True),
        "AG": metrics.average_gain(p, o),
        "FF": metrics.faithfulness(p, u),
        "Fid-In": metrics.input_fidelity(p, o),
        "MM": metrics.mean_mask(mask),
        "SPS": metrics.sparseness(mask),
        "COMP": metrics.complexity(mask),
        "empty": torch.zeros(3),
        "p_evidence": o.gather(1, p.argmax(1, keepdim=True))[:, 0],
        "p_remainder": u.gather(1, p.argmax(1, keepdim=True))[:, 0],
        "IoU": metrics.intersection_over_union(mask, ideal),
        "AUROC": metrics.mask_auroc(mask, ideal),
    }
    scores = score_mask(BandClassifier(), **batch)
    torch.testing.assert_close({name: scores[name] for name in expected}, expected)


def test_padding_never_counts(batch, pad_clips):
    clips = {
        name: [clip[:, :time] for clip, time in zip(batch[name], (6, 2, 5), strict=True)]
        for name in ("log_magnitude", "mask", "ideal")
    }
    alone = []
    for x, mask, ideal in zip(*clips.values(), strict=True):
        with torch.no_grad():
            p = BandClassifier()(x[None], None)
        alone.append(score_mask(BandClassifier(), x[None], mask[None], p, ideal=ideal[None]))
    (x, frames), (mask, _), (ideal, _) = (pad_clips(values) for values in clips.values())
    with torch.no_grad():
        p = BandClassifier()(x.nan_to_num(0.0), frames)
    together = score_mask(BandClassifier(), x, mask, p, frames, ideal=ideal)
    expected = {name: torch.cat([scores[name] for scores in alone]) for name in together}
    torch.testing.assert_close(together, expected, equal_nan=True, rtol=1e-4, atol=1e-4)


def test_a_target_is_explained_instead(batch):
    target = batch["probabilities"].argmin(dim=1)
    with torch.no_grad():
        o = BandClassifier()(batch["mask"] * batch["log_magnitude"], None)
        u = BandClassifier()((1 - batch["mask"]) * batch["log_magnitude"], None)
    scores = score_mask(BandClassifier(), **batch, target=target)
    torch.testing.assert_close(scores["FF"], metrics.faithfulness(batch["probabilities"], u, target))
    torch.testing.assert_close(scores["p_evidence"], o[range(3), target])
    torch.testing.assert_close(scores["p_remainder"], u[range(3), target])


def test_all_pass_changes_nothing_and_an_empty_mask_everything(batch):
    del batch["ideal"]
    whole = score_mask(BandClassifier(), **{**batch, "mask": all_pass(batch["mask"])})
    assert whole["AD"].abs().max() < 1e-4
    assert whole["Fid-In"].tolist() == [1, 1, 1]
    nothing = score_mask(BandClassifier(), **{**batch, "mask": torch.zeros(3, 4, 6)})
    assert nothing["empty"].tolist() == [1, 1, 1]
    assert nothing["FF"].abs().max() < 1e-6
    assert "IoU" not in nothing


def test_binary_masks_and_masks_with_gradient_are_accepted(batch):
    mask = batch["mask"] > 0.5
    as_float = score_mask(BandClassifier(), **{**batch, "mask": mask.float().requires_grad_()})
    as_bool = score_mask(BandClassifier(), **{**batch, "mask": mask})
    torch.testing.assert_close(as_bool, as_float)
    assert not any(value.requires_grad for value in as_float.values())


def test_means_of_scores_for_a_table(batch):
    scores = score_mask(BandClassifier(), **batch)
    means = MeanScores(list(scores))
    means.update(scores)
    torch.testing.assert_close(means.compute(), {name: value.mean() for name, value in scores.items()})


def test_sounds_are_scored_too():
    mixture, event, evidence = torch.randn(3, 2, 50)
    scores = score_sound(evidence, mixture, event)
    torch.testing.assert_close(scores, {"SI-SDRi": metrics.si_sdr_improvement(evidence, mixture, event)})


def test_tables_have_their_columns_in_order():
    decision, size = ["AI", "AD", "AG", "FF", "Fid-In"], ["MM", "SPS", "COMP"]
    published = ["AI", "AD", "AD_published", "AG", "FF", "Fid-In"]
    without_truth = [*published, *size, "empty", "p_evidence", "p_remainder"]
    tables = {
        "own mask": [*decision, *size, "IoU", "AUROC", "SI-SDRi"],
        "equal area": [*decision, "IoU", "SI-SDRi"],
        "map": ["AUROC", "insertion", "deletion"],
        "picture": [*decision, "IoU"],
        "demo": [*decision, "MM", "IoU", "AUROC", "SI-SDRi"],
        "training": [*without_truth, "IoU", "AUROC", "SI-SDRi"],
    }
    listed = {name for columns in tables.values() for name in columns}  # later scores may stand between these
    for place, columns in tables.items():
        assert [name for name in scores_shown(place) if name in listed] == columns
    assert [name for name in scores_shown("training", truth=False) if name in listed] == without_truth
    assert [name for name in scores_shown("training", truth=True) if name in listed] == ["IoU", "AUROC", "SI-SDRi"]


def test_scores_can_be_limited_to_those_of_a_table(batch):
    pair = batch["mask"], batch["ideal"]
    assert {"IoU", "AUROC"} <= metrics.score_localisation(*pair).keys()
    assert "AUROC" not in metrics.score_localisation(*pair, place="equal area")


def test_every_score_is_described():
    assert {score.better for score in SCORES.values()} == {"higher", "lower", "neither"}
    assert {score.unit for score in SCORES.values()} == {"", "%", "nats", "dB"}
    assert all(score.title for score in SCORES.values())
    with pytest.raises(TypeError):
        SCORES["AD"] = SCORES["AG"]


def test_refuses_a_mask_of_another_shape(batch):
    with pytest.raises(ShapeError, match="mask"):
        score_mask(BandClassifier(), **{**batch, "mask": batch["mask"][:, :, :4]})


def test_all_public_names_exist():
    assert all(hasattr(metrics, name) for name in metrics.__all__)
