import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from otoscope.audio import Frontend
from otoscope.errors import ConfigurationError, ShapeError
from otoscope.nn import AmortizedNMF, SparseNMF, frames_of, infer_activations
from otoscope.nn.nmf import Convergence, _bounded_columns

LOSSES = ["euclidean", "kullback-leibler"]


@pytest.fixture
def planted():
    """Frames that are sums of a few spectra of unit norm, and the spectra. Shapes (1200, 30), (30, 5)."""
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


def slow_coordinate_descent(frame, components, sparsity, sweeps=400):
    """Each activation to its own minimum in turn, in Python numbers."""
    columns = components.double().T.tolist()
    rest, activations = frame.double().tolist(), [0.0] * len(columns)
    for _ in range(sweeps):
        for k, column in enumerate(columns):
            energy = sum(w * w for w in column)
            pull = sum(w * r for w, r in zip(column, rest, strict=True)) - sparsity / 2
            new = max(activations[k] + pull / energy, 0.0)
            rest = [r - (new - activations[k]) * w for r, w in zip(rest, column, strict=True)]
            activations[k] = new
    return activations


def slow_multiplicative(frame, components, sparsity, iterations):
    """Lee and Seung's update, number by number."""
    x, rows = frame.tolist(), components.tolist()
    count = len(rows[0])
    h = [sum(x) / sum(map(sum, rows))] * count
    for _ in range(iterations):
        model = [sum(w * a for w, a in zip(row, h, strict=True)) for row in rows]
        h = [
            a
            * sum(row[k] * value / m for row, value, m in zip(rows, x, model, strict=True))
            / (sum(row[k] for row in rows) + sparsity)
            for k, a in enumerate(h)
        ]
    return h


def slow_objective(frames, components, activations, loss, sparsity):
    total = 0.0
    for frame, activation in zip(frames.double(), activations.double(), strict=True):
        for x, model in zip(frame.tolist(), (components.double() @ activation).tolist(), strict=True):
            if loss == "euclidean":
                total += (x - model) ** 2
            else:
                total += (x * math.log(x / model) if x > 0 else 0.0) - x + model
        total += sparsity * sum(activation.tolist())
    return total / len(frames)


# activations ---------------------------------------------------------------------------------------------


def test_frames_of_leaves_padding_out():
    log_magnitude, frames = torch.rand(3, 4, 6), (6, 1, 4)
    expected = [clip[:, t] for clip, n in zip(log_magnitude, frames, strict=True) for t in range(n)]
    assert torch.equal(frames_of(log_magnitude, torch.tensor(frames)), torch.stack(expected))
    every = [clip[:, t] for clip in log_magnitude for t in range(6)]
    assert torch.equal(frames_of(log_magnitude), torch.stack(every))


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 2.0])
def test_euclidean_activations_are_those_of_a_slow_loop(sparsity):
    components, frames = torch.rand(12, 5), 3 * torch.rand(6, 12)
    found = infer_activations(frames, components, sparsity=sparsity, iterations=400)
    slow = torch.tensor([slow_coordinate_descent(frame, components, sparsity) for frame in frames])
    torch.testing.assert_close(found, slow, rtol=1e-3, atol=1e-4)
    assert (slow == 0).any()
    assert torch.equal(found[slow == 0], slow[slow == 0])


def test_euclidean_activations_without_penalty_are_nonnegative_least_squares():
    optimize = pytest.importorskip("scipy.optimize")
    components, frames = torch.rand(40, 12).double(), torch.rand(20, 40).double()
    expected = [optimize.nnls(components.numpy(), frame.numpy())[0].tolist() for frame in frames]
    found = infer_activations(frames, components, iterations=2_000)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double), rtol=0, atol=1e-8)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 3.0])
def test_euclidean_activations_are_optimal(sparsity):
    """Karush, Kuhn and Tucker: no gradient where active, none that would make an inactive one grow."""
    components, frames = torch.rand(40, 12).double(), torch.rand(30, 40).double()
    found = infer_activations(frames, components, sparsity=sparsity, iterations=2_000)
    gradient = 2 * (found @ components.T - frames) @ components + sparsity
    assert (found >= 0).all()
    assert ((found == 0).any(), (found > 0).any()) == (True, True)
    assert gradient[found > 0].abs().max() < 1e-8
    assert gradient[found == 0].min() > -1e-8


def test_momentum_restarts_where_it_overshoots():
    components, frames = F.normalize(torch.rand(40, 12).double(), dim=0), torch.rand(30, 40).double()
    found, best = (infer_activations(frames, components, iterations=steps) for steps in (300, 20_000))
    assert (found - best).abs().max() < 1e-6


def test_default_iterations_come_near_the_minimum():
    components = F.normalize(torch.rand(60, 20) ** 4, dim=0)
    frames = torch.rand(50, 20) ** 3 @ components.T + 0.05 * torch.rand(50, 60)
    costs = []
    for iterations in (50, 5_000):
        found = infer_activations(frames, components, sparsity=0.1, iterations=iterations)
        costs.append(((frames - found @ components.T).square().sum() + 0.1 * found.sum()).item())
    assert costs[1] <= costs[0] < 1.001 * costs[1]


@pytest.mark.parametrize("sparsity", [0.0, 0.7])
def test_kullback_leibler_activations_are_those_of_a_slow_loop(sparsity):
    components, frames = torch.rand(9, 4).double(), torch.rand(5, 9).double()
    found = infer_activations(frames, components, "kullback-leibler", sparsity, iterations=25)
    slow = [slow_multiplicative(frame, components, sparsity, 25) for frame in frames]
    torch.testing.assert_close(found, torch.tensor(slow).double())


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8])
def test_kullback_leibler_activations_become_optimal(sparsity):
    components, frames = torch.rand(40, 6).double(), torch.rand(10, 40).double()
    found = infer_activations(frames, components, "kullback-leibler", sparsity, iterations=5_000)
    gradient = components.sum(0) + sparsity - frames / (found @ components.T) @ components
    assert (found >= 0).all()
    assert (gradient * found).abs().max() < 1e-3
    assert gradient.min() > -1e-3
    assert gradient.max() > 1e-2  # of those at zero


@pytest.mark.parametrize("loss", LOSSES)
def test_every_step_of_inference_lowers_the_objective_in_the_end(loss):
    components, frames = torch.rand(20, 6), torch.rand(10, 20)
    costs = [
        slow_objective(frames, components, infer_activations(frames, components, loss, 0.2, steps), loss, 0.2)
        for steps in (1, 3, 10, 30, 300)
    ]
    assert all(after < before for before, after in itertools.pairwise(costs))


@pytest.mark.parametrize("loss", LOSSES)
def test_more_sparsity_activates_fewer_components(loss):
    components = F.normalize(torch.rand(30, 12), dim=0)
    frames = torch.rand(40, 12) ** 2 @ components.T
    active, total = [], []
    for sparsity in (0.0, 0.4, 1.6, 6.4):
        found = infer_activations(frames, components, loss, sparsity, iterations=500)
        active.append((found > 1e-3).sum().item())
        total.append(found.sum().item())
    assert all(after < before for before, after in itertools.pairwise(active))
    assert all(after < before for before, after in itertools.pairwise(total))


@pytest.mark.parametrize("loss", LOSSES)
def test_silence_activates_nothing(loss):
    frames = torch.zeros(3, 8)
    frames[1] = 1
    found = infer_activations(frames, torch.rand(8, 4), loss)
    assert found[[0, 2]].count_nonzero() == 0
    assert found[1].sum() > 0
    assert found.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("components", [torch.zeros(8, 3), torch.eye(8)[:, :3]], ids=["none", "few bins"])
def test_what_no_component_can_explain_leaves_finite_activations(loss, components):
    frames = torch.rand(5, 8)
    found = infer_activations(frames, components, loss)
    expected = frames[:, :3] if components.any() else torch.zeros(5, 3)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_frame_is_explained_whatever_else_is_in_the_batch(loss):
    components, frames = torch.rand(20, 4), torch.rand(6, 20)
    together = infer_activations(frames, components, loss, 0.1, iterations=3_000)
    alone = torch.cat([infer_activations(frame[None], components, loss, 0.1, 3_000) for frame in frames])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 7), (8,), (2, 5, 8)])
def test_frames_of_other_bins_are_refused(shape):
    with pytest.raises(ShapeError, match=r"do not fit components of shape \(8, 3\)"):
        infer_activations(torch.rand(shape), torch.rand(8, 3))


# solver --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_a_planted_dictionary_is_found(planted, loss):
    frames, spectra = planted
    solver = SparseNMF(30, 5, loss, sparsity=0.01)
    epochs = solver.fit(frames.split(200), max_epochs=25, tolerance=1e-4)
    cosine = spectra.T @ solver.components
    assert cosine.amax(1).min() > 0.99
    assert sorted(cosine.argmax(1).tolist()) == [0, 1, 2, 3, 4]
    assert epochs[-1].error < 1e-4 * frames.square().mean()
    assert_unit_norm(solver)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sparsity", [0.0, 0.8])
def test_the_objective_falls_from_epoch_to_epoch(sounds, loss, sparsity):
    solver = SparseNMF(129, 8, loss, sparsity)
    objectives = [epoch.objective for epoch in solver.fit(sounds.split(90), max_epochs=8, tolerance=0)]
    assert len(objectives) == 8
    assert all(after < before for before, after in itertools.pairwise(objectives))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sparsity", [0.0, 0.8, 3.0])
def test_columns_have_unit_norm_after_every_step(sounds, loss, sparsity):
    solver = SparseNMF(129, 6, loss, sparsity, iterations=10)
    for frames in sounds.split(40):
        solver.partial_fit(frames)
        assert_unit_norm(solver)


@pytest.mark.parametrize("loss", LOSSES)
def test_cost_is_that_of_a_slow_loop(loss):
    solver = SparseNMF(9, 3, loss, sparsity=0.7)
    solver.start_from(torch.rand(9, 3))
    frames, activations = torch.rand(5, 9), torch.rand(5, 3)
    frames[2, :4] = 0
    cost = solver.cost(frames, activations)
    expected = slow_objective(frames, solver.components, activations, loss, 0.7)
    assert cost.objective == pytest.approx(expected, rel=1e-5)
    assert cost.error == pytest.approx(F.mse_loss(activations @ solver.components.T, frames).item(), rel=1e-5)


def test_a_step_costs_what_the_dictionary_before_it_did():
    solver, frames = SparseNMF(9, 3, sparsity=0.1), torch.rand(20, 9)
    solver.start_from(torch.rand(9, 3))
    expected = solver.cost(frames, solver.infer(frames))
    assert solver.partial_fit(frames) == expected
    assert solver.cost(frames, solver.infer(frames)).objective < expected.objective


@pytest.mark.parametrize("loss", LOSSES)
def test_statistics_are_exact_for_one_step(loss):
    """The surrogate of the first mini-batch: its own sums, moved with the norm of the columns."""
    solver, frames = SparseNMF(9, 3, loss, sparsity=0.1), torch.rand(20, 9)
    solver.start_from(torch.rand(9, 3))
    before, activations = solver.components.clone(), solver.infer(frames)
    solver.partial_fit(frames)
    surrogates = []
    for columns in (before, solver.components):
        if loss == "euclidean":
            surrogates.append((frames - activations @ columns.T).square().sum().item())
        else:  # Lee and Seung's bound, from the model before
            share = activations[:, None] * before / (activations @ before.T)[..., None]
            bound = activations.sum(0) @ columns.sum(0) - (frames[..., None] * share * columns.log()).sum()
            surrogates.append(bound.item())
    assert solver.steps == 1
    if loss == "kullback-leibler":
        torch.testing.assert_close(solver.frame_statistics, (frames[..., None] * share).sum(0) / 20)
    assert surrogates[1] < surrogates[0]


def test_activations_give_way_to_columns_inside_the_unit_ball():
    """Where activations were too large, columns would become shorter: what is kept of the activations does."""
    solver, frames = SparseNMF(9, 3), torch.rand(20, 9)
    solver.start_from(torch.rand(9, 3))
    activations = 2 * solver.infer(frames)
    gram, cross = activations.T @ activations / 20, frames.T @ activations / 20
    solver.activation_statistics.copy_(gram)
    solver.frame_statistics.copy_(cross)
    free = (solver.components[:, 0] + (cross - solver.components @ gram)[:, 0] / gram[0, 0]).clamp(min=0)
    solver._update_euclidean()
    scale = (solver.activation_statistics.diagonal() / gram.diagonal()).sqrt()
    assert scale.max() < 0.999
    torch.testing.assert_close(solver.activation_statistics, scale[:, None] * gram * scale)
    torch.testing.assert_close(solver.frame_statistics, cross * scale)
    torch.testing.assert_close(solver.components[:, 0] * scale[0], free)  # times the activations, as it was
    assert_unit_norm(solver)


def test_usage_gives_way_to_columns_inside_the_unit_ball():
    solver, frames = SparseNMF(9, 3, "kullback-leibler", sparsity=0.0), torch.rand(20, 9)
    solver.start_from(torch.rand(9, 3))
    before, activations = solver.components.clone(), solver.infer(frames)
    solver.partial_fit(frames)
    usage = activations.mean(0)
    free = before * ((frames / (activations @ before.T)).T @ activations / 20) / usage
    norm = free.norm(dim=0)
    assert norm.min() < 0.999
    torch.testing.assert_close(solver.activation_statistics, usage * norm.clamp(max=1))
    inside = norm < 1
    torch.testing.assert_close(solver.components[:, inside], (free / norm)[:, inside])


@pytest.mark.parametrize("loss", LOSSES)
def test_more_sparsity_leaves_fewer_active(sounds, loss):
    active = []
    for sparsity in (0.0, 1.0, 4.0):
        solver = SparseNMF(129, 10, loss, sparsity)
        solver.fit(sounds.split(90), max_epochs=6)
        active.append((solver.infer(sounds) > 0.05).float().mean().item())
    assert active[0] > active[1] > active[2] > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_the_seed_decides(sounds, loss):
    learnt = []
    for seed, noise in ((1, 0), (1, 99), (2, 0)):
        torch.manual_seed(noise)
        solver = SparseNMF(129, 4, loss, seed=seed)
        solver.fit(sounds.split(90), max_epochs=2)
        learnt.append(solver.components)
    assert torch.equal(learnt[0], learnt[1])
    assert not torch.equal(learnt[0], learnt[2])


@pytest.mark.parametrize("loss", LOSSES)
def test_a_resumed_run_goes_on_as_if_never_stopped(sounds, loss, tmp_path):
    batches = sounds.split(60)
    whole, first, second = (SparseNMF(129, 6, loss, seed=seed) for seed in (1, 1, 2))
    costs = [whole.partial_fit(batch) for _ in range(2) for batch in batches]
    for batch in batches:
        first.partial_fit(batch)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert [second.partial_fit(batch) for batch in batches] == costs[len(batches) :]
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())
    assert state["steps"] == 2 * len(batches)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_kept_does_not_grow_with_the_data(loss):
    solver = SparseNMF(9, 3, loss, iterations=2)
    shapes = {name: value.shape for name, value in solver.state_dict().items()}
    for count in (1, 500, 7):
        solver.partial_fit(torch.rand(count, 9))
        assert {name: value.shape for name, value in solver.state_dict().items()} == shapes


def test_early_frames_are_forgotten_but_late_steps_weigh_less_and_less(planted):
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


@pytest.mark.parametrize("loss", LOSSES)
def test_a_warm_start_takes_fewer_epochs(planted, loss):
    frames, _ = planted
    cold, warm = SparseNMF(30, 5, loss, sparsity=0.05), SparseNMF(30, 5, loss, sparsity=0.05)
    slow = cold.fit(frames.split(300), max_epochs=30, tolerance=2e-3)
    warm.start_from(2 * cold.components)
    torch.testing.assert_close(warm.components, cold.components, rtol=0, atol=0.02)
    quick = warm.fit(frames.split(300), max_epochs=30, tolerance=2e-3)
    assert len(quick) < len(slow)
    assert quick[0].objective < 0.5 * slow[0].objective


def test_another_shape_cannot_start_it():
    with pytest.raises(ShapeError, match=r"shape \(9, 4\) cannot start one of shape \(9, 3\)"):
        SparseNMF(9, 3).start_from(torch.rand(9, 4))


@pytest.mark.parametrize("loss", LOSSES)
def test_unused_columns_are_revived(planted, loss):
    """Two columns stand for bins that never sound; the frames that nothing explains get them."""
    frames, spectra = planted
    frames = F.pad(frames, (0, 2))
    start = torch.zeros(32, 5)
    start[:30, :3] = spectra[:, :3]
    start[30, 3] = start[31, 4] = 1
    solver = SparseNMF(32, 5, loss, sparsity=0.01)
    solver.start_from(start)
    solver.fit(frames.split(200), max_epochs=15, tolerance=1e-4)
    cosine = spectra.T @ solver.components[:30]
    assert cosine.amax(1).min() > 0.99
    assert_unit_norm(solver)


def test_unused_columns_wait_where_everything_is_explained():
    solver = SparseNMF(4, 2, sparsity=0.0)
    solver.start_from(torch.eye(4)[:, :2])
    solver.partial_fit(torch.tensor([[2.0, 0, 0, 0], [1.0, 0, 0, 0]]))
    torch.testing.assert_close(solver.components, torch.eye(4)[:, :2])


@pytest.mark.parametrize("loss", LOSSES)
def test_zeros_of_a_warm_start_are_no_prison(planted, loss):
    """Multiplicative updates never leave a zero; a dictionary of less data has some too many."""
    frames, spectra = planted
    solver = SparseNMF(30, 5, loss, sparsity=0.01)
    solver.start_from(spectra * (torch.rand(30, 5) < 0.5))
    solver.fit(frames.split(200), max_epochs=25, tolerance=1e-4)
    assert (spectra.T @ solver.components).amax(1).min() > 0.99


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [1, 2, 50])
def test_silence_does_no_harm(sounds, loss, count):
    solver = SparseNMF(129, 6, loss)
    assert solver.partial_fit(torch.zeros(count, 129)).error == 0
    assert_unit_norm(solver)
    solver.fit([sounds, torch.zeros(count, 129)], max_epochs=4, tolerance=0)
    assert_unit_norm(solver)
    assert all(value.isfinite().all() for value in solver.state_dict().values())
    assert (solver.infer(sounds) > 0).any()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [1, 3])
def test_fewer_frames_than_components(loss, count):
    frames = torch.rand(count, 12)
    solver = SparseNMF(12, 8, loss, sparsity=0.0, iterations=100)
    epochs = solver.fit([frames], max_epochs=30, tolerance=0)
    assert epochs[-1].error < 1e-3 * frames.square().mean()
    assert_unit_norm(solver)


def test_fit_weighs_batches_by_their_frames():
    sizes = (30, 5)
    one, other = SparseNMF(9, 3), SparseNMF(9, 3)
    batches = [torch.rand(size, 9) for size in sizes]
    (epoch,) = one.fit(batches, max_epochs=1)
    steps = [other.partial_fit(batch) for batch in batches]
    expected = sum(size * step.objective for size, step in zip(sizes, steps, strict=True)) / 35
    assert epoch.objective == pytest.approx(expected)
    assert epoch.error == pytest.approx((30 * steps[0].error + 5 * steps[1].error) / 35)


def test_fit_ends_when_the_objective_stays():
    frames = torch.rand(100, 9)
    objectives = [epoch.objective for epoch in SparseNMF(9, 3).fit([frames], max_epochs=100, tolerance=0.01)]
    assert 1 < len(objectives) < 100
    expected = Convergence(0.01)
    assert [expected.update(objective) for objective in objectives] == [False] * (len(objectives) - 1) + [True]


@pytest.mark.parametrize(
    ("objectives", "reached"),
    [
        ((10.0, 9.0, 8.0), False),
        ((10.0, 9.995, 9.994), True),
        ((10.0, 10.5, 9.0), False),
        ((10.0, 9.0, 9.5, 9.0), True),
        ((0.0, 0.0, 0.0), True),
        ((5.0, 4.9999, 4.0, 3.9999), False),
    ],
)
def test_convergence_is_relative_to_the_best_and_waits_twice(objectives, reached):
    convergence = Convergence(1e-3)
    assert [convergence.update(value) for value in objectives][-1] is reached
    resumed = Convergence(1e-3)
    resumed.load_state_dict(convergence.state_dict())
    assert resumed.reached is reached


@pytest.mark.parametrize("usage", [0.1, 1.0, 3.0])
def test_bounded_columns_are_the_minimum_on_the_sphere(usage):
    """Against every direction of a fine grid of the positive octant."""
    target = torch.rand(3, 4).double() * 10 + 0.5
    target[0, 1] = 0
    usage = torch.full((4,), usage).double()
    assert ((target / usage).norm(dim=0) > 1).all()
    bounded = _bounded_columns(target, usage)
    torch.testing.assert_close(bounded.norm(dim=0), torch.ones(4).double())
    angle = torch.linspace(0, torch.pi / 2, 801, dtype=torch.double)
    polar, azimuth = torch.meshgrid(angle, angle, indexing="ij")
    grid = (
        torch.stack([polar.sin() * azimuth.cos(), polar.sin() * azimuth.sin(), polar.cos()]).flatten(1).clamp(min=0)
    )
    for k in range(4):

        def cost(columns, k=k):
            return usage[k] * columns.sum(0) - torch.xlogy(target[:, k, None], columns).sum(0)

        brute = cost(grid)
        assert cost(bounded[:, k, None]).item() == pytest.approx(brute.min().item(), rel=1e-5)
        torch.testing.assert_close(bounded[:, k], grid[:, brute.argmin()], rtol=0, atol=5e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_error_is_not_above_that_of_scikit_learn(sounds, loss):
    decomposition = pytest.importorskip("sklearn.decomposition")
    beta_loss = "frobenius" if loss == "euclidean" else loss
    ours, theirs = [], []
    for seed in (0, 1):
        solver = SparseNMF(129, 20, loss, sparsity=0.0, iterations=50, seed=seed)
        solver.fit(sounds.split(100), max_epochs=30, tolerance=1e-4)
        options = {"batch_size": 100, "init": "random", "max_no_improvement": None, "tol": 0, "max_iter": 30}
        other = decomposition.MiniBatchNMF(20, beta_loss=beta_loss, random_state=seed, **options)
        other.fit(sounds.numpy())
        learnt = torch.from_numpy(other.components_.T.copy()).float()
        for costs, components in ((ours, solver.components), (theirs, F.normalize(learnt, dim=0))):
            judge = SparseNMF(129, 20, loss, sparsity=0.0, iterations=300)
            judge.start_from(components)
            costs.append(judge.cost(sounds, judge.infer(sounds)).objective)
    assert sum(ours) <= sum(theirs)


@pytest.mark.parametrize(
    "option", [{"bins": 0}, {"components": 0}, {"iterations": 0}, {"sparsity": -0.1}, {"loss": "itakura-saito"}]
)
def test_impossible_options_are_refused(option):
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        SparseNMF(**option)


# amortised -----------------------------------------------------------------------------------------------


def test_amortized_activations_are_those_of_the_network():
    network, log_magnitude = AmortizedNMF(11, 4), torch.rand(2, 11, 30)
    hidden = log_magnitude
    for layer in network.encoder:
        hidden = F.relu(F.conv1d(F.pad(hidden, (3, 4)), layer.weight, layer.bias))
    activations = network(log_magnitude)
    torch.testing.assert_close(activations, hidden)
    assert activations.shape == (2, 4, 30)
    assert (activations >= 0).all()
    expected = torch.stack([network.dictionary.clamp(min=0) @ clip for clip in activations])
    torch.testing.assert_close(network.reconstruct(activations), expected)


def test_amortized_components_are_never_negative():
    network = AmortizedNMF(11, 4)
    assert (network.dictionary >= 0).all()
    torch.nn.init.normal_(network.dictionary)
    assert torch.equal(network.components, network.dictionary.clamp(min=0))
    assert (network.components == 0).any()


@pytest.mark.parametrize("frames", [1, 3, 8, 40])
def test_amortized_activations_of_a_padded_clip_are_as_alone(frames):
    network = AmortizedNMF(11, 4)
    for layer in network.encoder:
        torch.nn.init.normal_(layer.bias)
    clip = torch.rand(1, 11, frames)
    batch = torch.cat([F.pad(clip, (0, 40 - frames), value=9.0), torch.rand(1, 11, 40)])
    activations = network(batch, torch.tensor([frames, 40]))
    torch.testing.assert_close(activations[:1, :, :frames], network(clip), rtol=1e-5, atol=1e-5)
    assert activations[0, :, frames:].count_nonzero() == 0
    torch.testing.assert_close(activations[1:], network(batch[1:]), rtol=1e-5, atol=1e-5)


def test_amortized_training_lowers_the_loss():
    network, log_magnitude = AmortizedNMF(20, 5), torch.rand(4, 5, 40)
    log_magnitude = torch.rand(20, 5) @ log_magnitude**3
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(network.reconstruct(network(log_magnitude)), log_magnitude)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(value.grad is not None for value in network.parameters())


@pytest.mark.parametrize("option", [{"bins": 0}, {"components": -1}])
def test_impossible_amortized_sizes_are_refused(option):
    with pytest.raises(ConfigurationError, match=r"nmf: bins .* components .* must be positive"):
        AmortizedNMF(**option)
