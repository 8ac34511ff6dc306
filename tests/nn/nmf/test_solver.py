"""The mini-batch solver on planted dictionaries and on tones."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from otoscope.audio import Frontend
from otoscope.errors import ConfigurationError, ShapeError
from otoscope.nn import SparseNMF, frames_of
from otoscope.nn.nmf import Convergence


@pytest.fixture
def planted():
    """Frames that are sums of a few spectra of unit norm, shape (1200, 30), and the spectra, shape (30, 5)."""
    spectra = torch.rand(30, 5) * (torch.rand(30, 5) < 0.4)
    spectra /= spectra.norm(dim=0)
    activations = 3 * torch.rand(1200, 5) * (torch.rand(1200, 5) < 0.4)
    return activations @ spectra.T, spectra


@pytest.fixture
def sounds():
    """Frames of six tones that go on and off, in noise. Shape (251, 129)."""
    time_s = torch.arange(32_000) / 16_000
    waveform = 0.02 * torch.randn(32_000)
    for number, hz in enumerate((220, 500, 900, 1700, 3000, 5200)):
        sounding = (time_s * (1.3 + 0.37 * number)) % 1 < 0.4
        waveform += sounding * (0.3 + 0.1 * number) * torch.sin(2 * torch.pi * hz * time_s)
    return frames_of(Frontend(n_fft=256, window_ms=16, hop_ms=8).log_magnitude(waveform[None]))


def assert_unit_norm(solver):
    norm = solver.components.norm(dim=0)
    torch.testing.assert_close(norm, torch.ones_like(norm), rtol=0, atol=1e-5)
    assert (solver.components >= 0).all()


def slow_objective(frames, components, activations, sparsity):
    total = 0.0
    for frame, activation in zip(frames.double(), activations.double(), strict=True):
        for x, model in zip(frame.tolist(), (components.double() @ activation).tolist(), strict=True):
            total += (x - model) ** 2
        total += sparsity * sum(activation.tolist())
    return total / len(frames)


def test_a_planted_dictionary_is_recovered(planted):
    frames, spectra = planted
    solver = SparseNMF(30, 5, sparsity=0.01)
    epochs = solver.fit(frames.split(200), max_epochs=25, tolerance=1e-4)
    cosine = spectra.T @ solver.components
    assert cosine.amax(1).min() > 0.99
    assert sorted(cosine.argmax(1).tolist()) == [0, 1, 2, 3, 4]
    assert epochs[-1].error < 1e-4 * frames.square().mean()
    assert_unit_norm(solver)


@pytest.mark.parametrize("sparsity", [0.0, 0.8])
def test_the_objective_falls_from_epoch_to_epoch(sounds, sparsity):
    solver = SparseNMF(129, 8, sparsity)
    objectives = [epoch.objective for epoch in solver.fit(sounds.split(90), max_epochs=8, tolerance=0)]
    assert len(objectives) == 8
    assert all(after < before for before, after in itertools.pairwise(objectives))


@pytest.mark.parametrize("sparsity", [0.0, 0.8, 3.0])
def test_columns_have_unit_norm_after_every_step(sounds, sparsity):
    solver = SparseNMF(129, 6, sparsity, iterations=10)
    for frames in sounds.split(40):
        solver.partial_fit(frames)
        assert_unit_norm(solver)


def test_cost_equals_that_of_a_slow_loop():
    solver = SparseNMF(9, 3, sparsity=0.7)
    solver.start_from(torch.rand(9, 3))
    frames, activations = torch.rand(5, 9), torch.rand(5, 3)
    frames[2, :4] = 0
    cost = solver.cost(frames, activations)
    expected = slow_objective(frames, solver.components, activations, 0.7)
    assert cost.objective == pytest.approx(expected, rel=1e-5)
    assert cost.error == pytest.approx(F.mse_loss(activations @ solver.components.T, frames).item(), rel=1e-5)


def test_a_step_returns_the_cost_before_the_update():
    solver, frames = SparseNMF(9, 3, sparsity=0.1), torch.rand(20, 9)
    solver.start_from(torch.rand(9, 3))
    expected = solver.cost(frames, solver.infer(frames))
    assert solver.partial_fit(frames) == expected
    assert solver.cost(frames, solver.infer(frames)).objective < expected.objective


def test_more_sparsity_activates_fewer_components(sounds):
    active = []
    for sparsity in (0.0, 1.0, 4.0):
        solver = SparseNMF(129, 10, sparsity)
        solver.fit(sounds.split(90), max_epochs=6)
        active.append((solver.infer(sounds) > 0.05).float().mean().item())
    assert active[0] > active[1] > active[2] > 0


def test_the_seed_alone_determines_the_dictionary(sounds):
    learnt = []
    for seed, noise in ((1, 0), (1, 99), (2, 0)):
        torch.manual_seed(noise)
        solver = SparseNMF(129, 4, seed=seed)
        solver.fit(sounds.split(90), max_epochs=2)
        learnt.append(solver.components)
    assert torch.equal(learnt[0], learnt[1])
    assert not torch.equal(learnt[0], learnt[2])


def test_a_resumed_run_equals_an_uninterrupted_one(sounds, tmp_path):
    batches = sounds.split(60)
    whole, first, second = (SparseNMF(129, 6, seed=seed) for seed in (1, 1, 2))
    costs = [whole.partial_fit(batch) for _ in range(2) for batch in batches]
    for batch in batches:
        first.partial_fit(batch)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert [second.partial_fit(batch) for batch in batches] == costs[len(batches) :]
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())
    assert state["steps"] == 2 * len(batches)


def test_the_state_does_not_grow_with_the_data():
    solver = SparseNMF(9, 3, iterations=2)
    shapes = {name: value.shape for name, value in solver.state_dict().items()}
    for count in (1, 500, 7):
        solver.partial_fit(torch.rand(count, 9))
        assert {name: value.shape for name, value in solver.state_dict().items()} == shapes


def test_early_frames_are_forgotten_and_late_steps_move_little(planted):
    frames, _ = planted
    solver = SparseNMF(30, 5, sparsity=0.01)
    solver.partial_fit(torch.rand(200, 30))
    moves = []
    for _ in range(10):
        for batch in frames.split(200):
            before = solver.components.clone()
            solver.partial_fit(batch)
            moves.append((solver.components - before).norm().item())
    assert moves[-1] < 0.05 * moves[0]
    assert solver.partial_fit(frames).error < 1e-3 * frames.square().mean()


def test_a_warm_start_takes_fewer_epochs(planted):
    frames, _ = planted
    cold, warm = SparseNMF(30, 5, sparsity=0.05), SparseNMF(30, 5, sparsity=0.05)
    slow = cold.fit(frames.split(300), max_epochs=30, tolerance=2e-3)
    warm.start_from(2 * cold.components)
    torch.testing.assert_close(warm.components, cold.components, rtol=0, atol=0.02)
    quick = warm.fit(frames.split(300), max_epochs=30, tolerance=2e-3)
    assert len(quick) < len(slow)
    assert quick[0].objective < 0.5 * slow[0].objective


def test_a_dictionary_that_does_not_fit_cannot_start_another():
    with pytest.raises(ConfigurationError, match="negative values cannot start"):
        SparseNMF(9, 3).start_from(torch.rand(9, 3) - 0.5)
    with pytest.raises(ShapeError, match=r"shape \(9, 4\) cannot start one of shape \(9, 3\)"):
        SparseNMF(9, 3).start_from(torch.rand(9, 4))


def test_unused_columns_are_replaced(planted):
    """Two columns start at bins that never sound; they move to the frames that no column explains."""
    frames, spectra = planted
    frames = F.pad(frames, (0, 2))
    start = torch.zeros(32, 5)
    start[:30, :3] = spectra[:, :3]
    start[30, 3] = start[31, 4] = 1
    solver = SparseNMF(32, 5, sparsity=0.01)
    solver.start_from(start)
    solver.fit(frames.split(200), max_epochs=15, tolerance=1e-4)
    cosine = spectra.T @ solver.components[:30]
    assert cosine.amax(1).min() > 0.99
    assert_unit_norm(solver)


def test_unused_columns_stay_where_everything_is_explained():
    solver = SparseNMF(4, 2, sparsity=0.0)
    solver.start_from(torch.eye(4)[:, :2])
    solver.partial_fit(torch.tensor([[2.0, 0, 0, 0], [1.0, 0, 0, 0]]))
    torch.testing.assert_close(solver.components, torch.eye(4)[:, :2])


def test_zeros_of_a_warm_start_can_grow(planted):
    frames, spectra = planted
    solver = SparseNMF(30, 5, sparsity=0.01)
    solver.start_from(spectra * (torch.rand(30, 5) < 0.5))
    solver.fit(frames.split(200), max_epochs=25, tolerance=1e-4)
    assert (spectra.T @ solver.components).amax(1).min() > 0.99


@pytest.mark.parametrize("count", [1, 2, 50])
def test_silence_is_harmless(sounds, count):
    solver = SparseNMF(129, 6)
    assert solver.partial_fit(torch.zeros(count, 129)).error == 0
    assert_unit_norm(solver)
    solver.fit([sounds, torch.zeros(count, 129)], max_epochs=4, tolerance=0)
    assert_unit_norm(solver)
    assert all(value.isfinite().all() for value in solver.state_dict().values())
    assert (solver.infer(sounds) > 0).any()


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_frames_than_components(count):
    frames = torch.rand(count, 12)
    solver = SparseNMF(12, 8, sparsity=0.0, iterations=100)
    epochs = solver.fit([frames], max_epochs=30, tolerance=0)
    assert epochs[-1].error < 1e-3 * frames.square().mean()
    assert_unit_norm(solver)


def test_fit_weights_batches_by_their_frames():
    sizes = (30, 5)
    solver, reference = SparseNMF(9, 3), SparseNMF(9, 3)
    batches = [torch.rand(size, 9) for size in sizes]
    (epoch,) = solver.fit(batches, max_epochs=1)
    steps = [reference.partial_fit(batch) for batch in batches]
    expected = sum(size * step.objective for size, step in zip(sizes, steps, strict=True)) / 35
    assert epoch.objective == pytest.approx(expected)
    assert epoch.error == pytest.approx((30 * steps[0].error + 5 * steps[1].error) / 35)


def test_fit_stops_at_convergence():
    frames = torch.rand(100, 9)
    objectives = [epoch.objective for epoch in SparseNMF(9, 3).fit([frames], max_epochs=100, tolerance=0.01)]
    assert 1 < len(objectives) < 100
    expected = Convergence(0.01)
    assert [expected.update(objective) for objective in objectives] == [False] * (len(objectives) - 1) + [True]


def test_error_is_not_above_that_of_scikit_learn(sounds):
    decomposition = pytest.importorskip("sklearn.decomposition")
    ours, theirs = [], []
    for seed in (0, 1):
        solver = SparseNMF(129, 20, sparsity=0.0, iterations=50, seed=seed)
        solver.fit(sounds.split(100), max_epochs=30, tolerance=1e-4)
        options = {"batch_size": 100, "init": "random", "max_no_improvement": None, "tol": 0, "max_iter": 30}
        model = decomposition.MiniBatchNMF(20, random_state=seed, **options)
        model.fit(sounds.numpy())
        learnt = torch.from_numpy(model.components_.T.copy()).float()
        for costs, components in ((ours, solver.components), (theirs, F.normalize(learnt, dim=0))):
            # both dictionaries with their best activations
            best = SparseNMF(129, 20, sparsity=0.0, iterations=300)
            best.start_from(components)
            costs.append(best.cost(sounds, best.infer(sounds)).objective)
    assert sum(ours) <= sum(theirs)


@pytest.mark.parametrize("option", [{"bins": 0}, {"components": 0}, {"iterations": 0}, {"sparsity": -0.1}])
def test_impossible_options_are_refused(option):
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        SparseNMF(**option)
