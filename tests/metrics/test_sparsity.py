"""Sparsity of masks against slow formulas and Quantus."""

import importlib.util
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otoscope.errors import ShapeError
from otoscope.metrics import complexity, is_empty, mean_mask, sparseness

FUNCTIONS = [mean_mask, sparseness, complexity]


def slow_gini(values: list[float]) -> float:
    """Mean absolute difference of all pairs, divided by twice the mean."""
    shifted = [abs(value) + 1e-7 for value in values]
    differences = sum(abs(a - b) for a in shifted for b in shifted)
    return differences / (2 * len(shifted) * sum(shifted))


def slow_entropy(values: list[float]) -> float:
    total = sum(abs(value) for value in values)
    return -sum(abs(v) / total * math.log(abs(v) / total) for v in values if v)


def masks(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_agrees_with_the_slow_formulas(clips):
    for clip in clips:
        values = clip.double().flatten().tolist()
        mask = clip[None].double()
        assert mean_mask(mask).item() == pytest.approx(sum(values) / len(values))
        assert sparseness(mask).item() == pytest.approx(slow_gini(values))
        assert complexity(mask).item() == pytest.approx(slow_entropy(values), abs=1e-9)


@pytest.mark.parametrize("function", [*FUNCTIONS, is_empty])
def test_padding_never_counts(function, clips, pad_clips):
    clips = [*clips, torch.zeros(5, 3)]
    alone = torch.cat([function(clip[None]) for clip in clips])
    for padding_value in (0.0, 1.0, torch.nan, torch.inf):
        mask, frames = pad_clips(clips, padding_value)
        torch.testing.assert_close(function(mask, frames), alone, rtol=1e-6, atol=1e-7)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_stays_in_its_range_and_ignores_order_and_sign(values):
    mask = torch.tensor([[values]], dtype=torch.float64)
    for function, highest in ((sparseness, 1.0), (complexity, math.log(len(values)) + 1e-9)):
        assert 0 <= function(mask).item() <= highest
        torch.testing.assert_close(function(-mask.flip(2)), function(mask))


def test_extremes():
    single_bin = torch.zeros(1, 10, 10, dtype=torch.float64)
    single_bin[0, 3, 4] = 1
    assert sparseness(single_bin).item() == pytest.approx(0.99, abs=1e-4)
    assert complexity(single_bin).item() == pytest.approx(0, abs=1e-9)
    uniform = torch.full((1, 10, 10), 0.3, dtype=torch.float64)
    assert sparseness(uniform).item() == pytest.approx(0, abs=1e-9)
    assert complexity(uniform).item() == pytest.approx(math.log(100), abs=1e-9)


def test_an_empty_mask_has_the_worst_values():
    mask = torch.zeros(1, 4, 5)
    faint = torch.full((1, 4, 5), 1e-12)
    assert is_empty(mask).tolist() == [True]
    assert is_empty(faint).tolist() == [False]
    assert mean_mask(mask).item() == 0
    assert sparseness(mask).item() == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(complexity(mask), torch.tensor([math.log(20)]))
    torch.testing.assert_close(complexity(mask), complexity(faint))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_clip_without_frames_is_undefined(function):
    assert function(torch.ones(2, 3, 4), torch.tensor([0, 4])).isnan().tolist() == [True, False]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nan_is_never_a_score(function):
    mask = torch.rand(2, 3, 4)
    mask[0, 1, 1] = torch.nan
    assert function(mask).isnan().tolist() == [True, False]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_keeps_precision_over_many_bins(function):
    mask = masks(1, 1, 513, 431)
    torch.testing.assert_close(function(mask.float()).double(), function(mask), rtol=1e-6, atol=1e-6)
    assert function(mask.float()).dtype == torch.float32
    assert function(mask.half()).dtype == torch.float32


@pytest.mark.parametrize("function", [*FUNCTIONS, is_empty])
def test_refuses_shapes_that_do_not_fit(function):
    with pytest.raises(ShapeError):
        function(torch.zeros(3, 4))
    with pytest.raises(ShapeError):
        function(torch.zeros(2, 3, 4), torch.tensor([1, 2, 3]))


@pytest.mark.parametrize(("function", "name"), [(sparseness, "Sparseness"), (complexity, "Complexity")])
def test_agrees_with_quantus(function, name):
    if importlib.util.find_spec("quantus") is None:
        pytest.skip("quantus is not installed; it comes with the extra [parity]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import quantus
        except ImportError as error:
            pytest.skip(f"quantus cannot be imported: {error}")
        metric = getattr(quantus, name)(disable_warnings=True)
        mask = torch.cat([masks(2, 2, 31, 17), masks(3, 2, 31, 17) ** 8, (masks(4, 2, 31, 17) > 0.9).double()])
        expected = metric.evaluate_batch(x_batch=mask.numpy(), a_batch=mask.numpy().copy())
    torch.testing.assert_close(function(mask), torch.as_tensor(expected), rtol=0, atol=1e-12)
