"""Scores from probabilities against slow formulas, and their edge cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otoscope.errors import ShapeError
from otoscope.metrics import (
    InputFidelity,
    average_drop,
    average_gain,
    average_increase,
    faithfulness,
    input_fidelity,
    masked_probability,
)

FUNCTIONS = [average_increase, average_drop, average_gain, faithfulness, input_fidelity]
OF_ONE_CLASS = FUNCTIONS[:-1]
probability = st.floats(0, 1)


def distributions(seed: int, batch: int = 6, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, batch, classes, generator=generator)
    return logits.softmax(dim=-1).unbind()


def oracle(whole: list[float], masked: list[float], c: int) -> dict[object, float]:
    """The formulas of docs/metrics.md, for one clip in plain Python."""
    p, o = whole[c], masked[c]
    return {
        average_increase: 100.0 if o > p else 0.0,
        average_drop: 100 * max(0.0, p - o) / p,
        average_gain: 100 * max(0.0, o - p) / (1 - p),
        faithfulness: p - o,
        input_fidelity: float(masked.index(max(masked)) == c),
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_agrees_with_the_slow_formula(function):
    whole, masked = distributions(0)
    expected = [
        oracle(w, m, w.index(max(w)))[function] for w, m in zip(whole.tolist(), masked.tolist(), strict=True)
    ]
    torch.testing.assert_close(function(whole, masked), torch.tensor(expected), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_target_replaces_the_most_probable_class(function):
    whole, masked = distributions(1)
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    expected = [
        oracle(w, m, c)[function] for w, m, c in zip(whole.tolist(), masked.tolist(), target.tolist(), strict=True)
    ]
    torch.testing.assert_close(function(whole, masked, target), torch.tensor(expected), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("function", OF_ONE_CLASS)
def test_probabilities_of_the_class_suffice(function):
    whole, masked = distributions(2)
    c = whole.argmax(dim=1, keepdim=True)
    alone = function(whole.gather(1, c).squeeze(1), masked.gather(1, c).squeeze(1))
    assert torch.equal(function(whole, masked), alone)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_batch_of_one_equals_a_row(function):
    whole, masked = distributions(3)
    assert torch.equal(function(whole[2:3], masked[2:3]), function(whole, masked)[2:3])


@pytest.mark.parametrize("function", OF_ONE_CLASS)
@given(p=probability, o=probability)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_stays_in_its_range(function, p, o):
    value = function(torch.tensor([p]), torch.tensor([o])).item()
    lowest, highest = (-1, 1) if function is faithfulness else (0, 100)
    assert lowest <= value <= highest


@given(p=probability, o=probability)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_clip_drops_or_gains_but_not_both(p, o):
    p, o = torch.tensor([p]), torch.tensor([o])
    assert average_drop(p, o) * average_gain(p, o) == 0
    assert average_drop(p, p) == average_gain(p, p) == average_increase(p, p) == faithfulness(p, p) == 0


def test_edges_of_probability():
    zero, half, certain = torch.tensor([0.0]), torch.tensor([0.5]), torch.tensor([1.0])
    assert average_drop(zero, half).tolist() == [0.0]
    assert average_drop(certain, zero).tolist() == [100.0]
    assert average_gain(certain, certain).tolist() == [0.0]
    assert average_gain(certain, half).tolist() == [0.0]
    assert average_gain(zero, certain).tolist() == [100.0]
    assert average_gain(certain + 1e-6, certain + 2e-6).tolist() == [0.0]


def test_masked_probability_is_that_of_the_explained_class():
    whole, masked = distributions(5)
    expected = [m[w.index(max(w))] for w, m in zip(whole.tolist(), masked.tolist(), strict=True)]
    assert masked_probability(whole, masked).tolist() == expected
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    assert torch.equal(masked_probability(whole, masked, target), masked[range(6), target])


def test_fidelity_of_classes_that_are_decided_independently_goes_by_one_half():
    whole = torch.tensor([[0.9, 0.6], [0.9, 0.6], [0.2, 0.6], [0.3, 0.1]])
    evidence = torch.tensor([[0.8, 0.6], [0.4, 0.1], [0.99, 0.5], [0.49, 0.2]])
    # the first class of the second clip, and that of the fourth, are the most probable ones, but not present
    assert input_fidelity(whole, evidence, multi_label=True).tolist() == [1, 0, 1, 0]
    assert input_fidelity(whole, evidence).tolist() == [1, 1, 0, 1]
    target = torch.tensor([1, 1, 0, 1])
    assert input_fidelity(whole, evidence, target, multi_label=True).tolist() == [1, 0, 1, 0]
    assert InputFidelity(multi_label=True)(whole, evidence) == 0.5
    one_class = torch.tensor([[0.7], [0.7]]), torch.tensor([[0.6], [0.2]])
    assert input_fidelity(*one_class, multi_label=True).tolist() == [1, 0]
    broken = torch.tensor([[0.9, torch.nan], [torch.nan, 0.6]])
    undefined = input_fidelity(whole[:2], broken, torch.tensor([1, 1]), multi_label=True).isnan()
    assert undefined.tolist() == [True, False]


def test_one_class_only():
    ones = torch.ones(2, 1)
    values = [function(ones, ones).tolist() for function in FUNCTIONS]
    assert values == [[0, 0], [0, 0], [0, 0], [0, 0], [1, 1]]
    assert average_drop(ones, ones, published=True).tolist() == [0, 0]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("broken", [0, 1])
def test_nan_is_never_a_score(function, broken):
    pair = [torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])]
    pair[broken] = torch.full((1, 2), torch.nan)
    assert function(*pair).isnan().all()


def test_published_drop_is_the_faulty_one():
    def distribution(p: float) -> torch.Tensor:
        return torch.tensor([[p] + [(1 - p) / 49] * 49], dtype=torch.float64)

    published = average_drop(distribution(0.9), distribution(0.3), published=True)

    def twice(p: float) -> float:
        return math.exp(p) / (math.exp(p) + 49 * math.exp((1 - p) / 49))

    assert published.item() == pytest.approx(100 * (twice(0.9) - twice(0.3)) / twice(0.9))
    assert published.item() == pytest.approx(44.6, abs=0.05)
    assert average_drop(distribution(0.9), distribution(0.3)).item() == pytest.approx(66.6667, abs=1e-3)


def test_published_drop_follows_the_target():
    whole, masked = distributions(4)
    target = torch.zeros(6, dtype=torch.int64)
    first = average_drop(whole.softmax(1)[:, 0], masked.softmax(1)[:, 0])
    torch.testing.assert_close(average_drop(whole, masked, target, published=True), first)


def test_half_precision_and_integers_give_float32():
    assert average_drop(torch.tensor([1]), torch.tensor([0])).dtype == torch.float32
    assert average_gain(torch.ones(1).half(), torch.ones(1).half()).dtype == torch.float32


@pytest.mark.parametrize("function", FUNCTIONS)
def test_refuses_shapes_that_do_not_fit(function):
    with pytest.raises(ShapeError, match="differ"):
        function(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ShapeError, match="`target`"):
        function(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([1]))
    with pytest.raises(ShapeError, match="\\(batch, classes\\)"):
        function(torch.ones(2, 3, 4), torch.ones(2, 3, 4))


def test_refuses_probabilities_of_one_class_where_all_are_needed():
    single = torch.tensor([0.5])
    with pytest.raises(ShapeError, match="input fidelity"):
        input_fidelity(single, single)
    with pytest.raises(ShapeError, match="published"):
        average_drop(single, single, published=True)
    with pytest.raises(ShapeError, match="differ"):
        average_drop(torch.ones(1, 2), single, published=True)
    with pytest.raises(ShapeError, match="`target`"):
        faithfulness(single, single, torch.tensor([0]))
