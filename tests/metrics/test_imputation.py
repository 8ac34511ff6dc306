"""Noisy linear imputation against the system of equations of the paper, and against Quantus."""

import importlib.util
import warnings

import numpy as np
import pytest
import torch

from otoscope.errors import ShapeError
from otoscope.metrics.imputation import NOISE, linear_imputation, noisy_linear_imputation

WEIGHTS = {
    (i, j): 1 / 6 if i == 0 or j == 0 else 1 / 12 for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)
}


def solve_slowly(values, removed):
    """Write the equations of Rong et al. 2022 one by one, and solve them directly."""
    rows, columns = values.shape
    number = {bin: place for place, bin in enumerate(map(tuple, np.argwhere(removed)))}
    matrix, right = np.zeros((len(number), len(number))), np.zeros(len(number))
    for (i, j), place in number.items():
        for (di, dj), weight in WEIGHTS.items():
            neighbour = (i + di, j + dj)
            if not (0 <= neighbour[0] < rows and 0 <= neighbour[1] < columns):
                continue
            matrix[place, place] += weight
            if neighbour in number:
                matrix[place, number[neighbour]] -= weight
            else:
                right[place] += weight * values[neighbour]
    filled = values.copy()
    filled[tuple(np.argwhere(removed).T)] = np.linalg.solve(matrix, right)
    return filled


@pytest.fixture
def clips():
    """Two clips, the second of which has 11 valid frames, and bins to remove: blocks, an edge, and single ones."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 13, 17, generator=generator, dtype=torch.float64)
    removed = torch.rand(2, 13, 17, generator=generator) < 0.4
    removed[:, 2:9, 3:9] = True
    removed[:, 0] = True
    return values, removed, torch.tensor([17, 11])


def test_solves_the_equations_of_the_paper(clips):
    values, removed, frames = clips
    filled = linear_imputation(values, removed, frames, tolerance=1e-10)
    for clip, count in enumerate(frames):
        expected = solve_slowly(values[clip, :, :count].numpy(), removed[clip, :, :count].numpy())
        assert filled[clip, :, :count].numpy() == pytest.approx(expected, abs=1e-8)
    assert torch.equal(filled[1, :, 11:], values[1, :, 11:])
    assert torch.equal(filled[~removed], values[~removed])
    # what stood in the removed bins does not matter
    hidden = torch.where(removed, 99.0, values)
    assert torch.allclose(linear_imputation(hidden, removed, frames, 1e-10)[0], filled[0], atol=1e-8)


def test_default_tolerance_is_finer_than_the_noise(clips):
    values, removed, frames = clips
    exact = linear_imputation(values, removed, frames, tolerance=1e-10)
    error = (linear_imputation(values.float(), removed, frames) - exact)[0].square().mean().sqrt()
    assert float(error) < NOISE * float(values[0].std())


def test_noise_depends_on_the_name_and_not_on_the_batch(clips):
    values, removed, frames = clips
    filled = noisy_linear_imputation(values, removed, ["a", "b"], 0, frames, noise=0.05)
    alone = noisy_linear_imputation(values[1:, :, :11], removed[1:, :, :11], ["b"], 0, noise=0.05)
    assert torch.allclose(filled[1:, :, :11], alone)
    noise = (filled - linear_imputation(values, removed, frames))[0][removed[0]]
    assert float(noise.std()) == pytest.approx(0.05 * float(values[0].std()), rel=0.2)
    assert torch.equal(filled[~removed], values[~removed])
    assert torch.equal(filled[1, :, 11:], values[1, :, 11:])
    assert float(filled.min()) >= 0


def test_extremes_and_faults():
    values = torch.rand(1, 4, 5)
    assert torch.equal(linear_imputation(values, torch.zeros(1, 4, 5)), values)
    assert torch.equal(linear_imputation(values, torch.ones(1, 4, 5)), torch.zeros(1, 4, 5))
    one_left = torch.ones(1, 4, 5)
    one_left[0, 2, 2] = 0
    assert torch.allclose(linear_imputation(values, one_left, tolerance=1e-6), values[0, 2, 2], atol=1e-3)
    with pytest.raises(ShapeError):
        linear_imputation(values, torch.zeros(1, 4, 4))


def test_agrees_with_quantus(clips):
    if importlib.util.find_spec("quantus") is None:
        pytest.skip("quantus is not installed; it comes with the extra [parity]")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from quantus.functions.perturb_func import noisy_linear_imputation as theirs
    except ImportError as error:
        pytest.skip(f"quantus cannot be imported: {error}")
    values, removed, _ = clips
    expected = theirs(values[:1].numpy(), np.flatnonzero(removed[0].numpy()), noise=0.0)
    assert linear_imputation(values[:1], removed[:1], tolerance=1e-10).numpy() == pytest.approx(expected, abs=1e-8)
