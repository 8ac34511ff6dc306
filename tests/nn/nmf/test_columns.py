"""First values and updates of the columns of a dictionary."""

import itertools

import torch

from otoscope.nn import infer_activations
from otoscope.nn.nmf.columns import initial_columns, replace_unused, unit_norm, update_columns


def surrogate(columns, gram, cross):
    return ((columns.T @ columns) @ gram).trace() - 2 * (columns.T @ cross).trace()


def statistics(columns, frames, factor=1.0):
    activations = factor * infer_activations(frames, columns)
    return activations.T @ activations / len(frames), frames.T @ activations / len(frames)


def test_columns_of_zeros_stay_zeros():
    columns = torch.tensor([[3.0, 0.0], [4.0, 0.0]])
    torch.testing.assert_close(unit_norm(columns), torch.tensor([[0.6, 0.0], [0.8, 0.0]]))


def test_first_columns_are_frames_that_differ():
    """Two spectra at different levels: the second column is never the first one again."""
    spectra = torch.eye(6)[:2]
    frames = torch.cat([spectra[:1] * level for level in range(1, 9)] + [spectra[1:]])
    for seed in range(5):
        columns = initial_columns(frames, 2, seed)
        assert sorted(columns.argmax(0).tolist()) == [0, 1]
        torch.testing.assert_close(columns.norm(dim=0), torch.ones(2))


def test_updates_lower_the_surrogate_and_keep_the_constraints():
    columns, frames = unit_norm(torch.rand(9, 3)), torch.rand(20, 9)
    gram, cross = statistics(columns, frames)
    values = [surrogate(columns, gram, cross)]
    for _ in range(4):
        update_columns(columns, gram, cross)
        values.append(surrogate(columns, gram, cross))
        torch.testing.assert_close(columns.norm(dim=0), torch.ones(3))
        assert (columns >= 0).all()
    assert values[1] < values[0]
    assert all(after <= before + 1e-6 for before, after in itertools.pairwise(values))


def test_activations_are_scaled_where_columns_become_shorter_than_one():
    """With activations twice too large the free minimum is shorter than 1, so the statistics are scaled instead."""
    columns, frames = unit_norm(torch.rand(9, 3)), torch.rand(20, 9)
    gram, cross = statistics(columns, frames, factor=2.0)
    new_gram, new_cross = gram.clone(), cross.clone()
    free = (columns[:, 0] + (cross - columns @ gram)[:, 0] / gram[0, 0]).clamp(min=0)
    update_columns(columns, new_gram, new_cross)
    scale = (new_gram.diagonal() / gram.diagonal()).sqrt()
    assert scale.max() < 0.999
    torch.testing.assert_close(new_gram, scale[:, None] * gram * scale)
    torch.testing.assert_close(new_cross, cross * scale)
    torch.testing.assert_close(columns[:, 0] * scale[0], free)
    torch.testing.assert_close(columns.norm(dim=0), torch.ones(3))


def test_unused_columns_become_the_worst_explained_frames():
    columns = torch.eye(4)[:, :2].clone()
    frames = torch.tensor([[2.0, 0, 0, 0], [1.0, 0, 0, 3.0], [0, 0, 1.0, 0]])
    activations = frames[:, :2]
    replace_unused(columns, torch.diag(torch.tensor([1.0, 0.0])), frames, activations)
    torch.testing.assert_close(columns, torch.eye(4)[:, [0, 3]])
