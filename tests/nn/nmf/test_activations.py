"""Inference of activations against slow references and the conditions of a minimum."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from otoscope.errors import ShapeError
from otoscope.nn import frames_of, infer_activations


def slow_coordinate_descent(frame, components, sparsity, sweeps=400):
    """Move each activation to its minimum in turn, in Python numbers."""
    columns = components.double().T.tolist()
    residual, activations = frame.double().tolist(), [0.0] * len(columns)
    for _ in range(sweeps):
        for k, column in enumerate(columns):
            energy = sum(w * w for w in column)
            pull = sum(w * r for w, r in zip(column, residual, strict=True)) - sparsity / 2
            new = max(activations[k] + pull / energy, 0.0)
            residual = [r - (new - activations[k]) * w for r, w in zip(residual, column, strict=True)]
            activations[k] = new
    return activations


def objective(frames, components, activations, sparsity):
    return ((frames - activations @ components.T).square().sum() + sparsity * activations.sum()).item()


def test_frames_of_omits_padding():
    log_magnitude, frames = torch.rand(3, 4, 6), (6, 1, 4)
    expected = [clip[:, t] for clip, n in zip(log_magnitude, frames, strict=True) for t in range(n)]
    assert torch.equal(frames_of(log_magnitude, torch.tensor(frames)), torch.stack(expected))
    all_frames = [clip[:, t] for clip in log_magnitude for t in range(6)]
    assert torch.equal(frames_of(log_magnitude), torch.stack(all_frames))


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 2.0])
def test_activations_equal_those_of_a_slow_loop(sparsity):
    components, frames = torch.rand(12, 5), 3 * torch.rand(6, 12)
    activations = infer_activations(frames, components, sparsity, iterations=400)
    slow = torch.tensor([slow_coordinate_descent(frame, components, sparsity) for frame in frames])
    torch.testing.assert_close(activations, slow, rtol=1e-3, atol=1e-4)
    assert (slow == 0).any()
    assert torch.equal(activations[slow == 0], slow[slow == 0])


def test_activations_without_penalty_are_nonnegative_least_squares():
    optimize = pytest.importorskip("scipy.optimize")
    components, frames = torch.rand(40, 12).double(), torch.rand(20, 40).double()
    expected = [optimize.nnls(components.numpy(), frame.numpy())[0].tolist() for frame in frames]
    activations = infer_activations(frames, components, iterations=2_000)
    torch.testing.assert_close(activations, torch.tensor(expected, dtype=torch.double), rtol=0, atol=1e-8)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 3.0])
def test_activations_are_optimal(sparsity):
    """Karush, Kuhn and Tucker: the gradient is 0 where active, and not negative where inactive."""
    components, frames = torch.rand(40, 12).double(), torch.rand(30, 40).double()
    activations = infer_activations(frames, components, sparsity, iterations=2_000)
    gradient = 2 * (activations @ components.T - frames) @ components + sparsity
    assert (activations >= 0).all()
    assert ((activations == 0).any(), (activations > 0).any()) == (True, True)
    assert gradient[activations > 0].abs().max() < 1e-8
    assert gradient[activations == 0].min() > -1e-8


def test_momentum_restarts_where_it_overshoots():
    components, frames = F.normalize(torch.rand(40, 12).double(), dim=0), torch.rand(30, 40).double()
    early, late = (infer_activations(frames, components, iterations=steps) for steps in (300, 20_000))
    assert (early - late).abs().max() < 1e-6


def test_default_iterations_come_near_the_minimum():
    components = F.normalize(torch.rand(60, 20) ** 4, dim=0)
    frames = torch.rand(50, 20) ** 3 @ components.T + 0.05 * torch.rand(50, 60)
    costs = []
    for iterations in (50, 5_000):
        activations = infer_activations(frames, components, sparsity=0.1, iterations=iterations)
        costs.append(objective(frames, components, activations, 0.1))
    assert costs[1] <= costs[0] < 1.001 * costs[1]


def test_more_steps_lower_the_objective():
    components, frames = torch.rand(20, 6), torch.rand(10, 20)
    costs = [
        objective(frames, components, infer_activations(frames, components, 0.2, steps), 0.2)
        for steps in (1, 3, 10, 30, 300)
    ]
    assert all(after < before for before, after in itertools.pairwise(costs))


def test_more_sparsity_activates_fewer_components():
    components = F.normalize(torch.rand(30, 12), dim=0)
    frames = torch.rand(40, 12) ** 2 @ components.T
    active, total = [], []
    for sparsity in (0.0, 0.4, 1.6, 6.4):
        activations = infer_activations(frames, components, sparsity, iterations=500)
        active.append((activations > 1e-3).sum().item())
        total.append(activations.sum().item())
    assert all(after < before for before, after in itertools.pairwise(active))
    assert all(after < before for before, after in itertools.pairwise(total))


def test_silence_activates_nothing():
    frames = torch.zeros(3, 8)
    frames[1] = 1
    activations = infer_activations(frames, torch.rand(8, 4))
    assert activations[[0, 2]].count_nonzero() == 0
    assert activations[1].sum() > 0
    assert activations.isfinite().all()


@pytest.mark.parametrize("components", [torch.zeros(8, 3), torch.eye(8)[:, :3]], ids=["zeros", "few bins"])
def test_inexplicable_frames_have_finite_activations(components):
    frames = torch.rand(5, 8)
    expected = frames[:, :3] if components.any() else torch.zeros(5, 3)
    torch.testing.assert_close(infer_activations(frames, components), expected)


def test_activations_of_a_frame_do_not_depend_on_the_batch():
    components, frames = torch.rand(20, 4), torch.rand(6, 20)
    together = infer_activations(frames, components, 0.1, iterations=3_000)
    alone = torch.cat([infer_activations(frame[None], components, 0.1, 3_000) for frame in frames])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 7), (8,), (2, 5, 8)])
def test_frames_with_another_number_of_bins_are_refused(shape):
    with pytest.raises(ShapeError, match=r"do not fit components of shape \(8, 3\)"):
        infer_activations(torch.rand(shape), torch.rand(8, 3))
