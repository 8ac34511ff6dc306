"""Tiles of one axis, their matrices, and how the work is divided."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from otoscope.nn.transposed import geometry
from otoscope.nn.transposed.geometry import Axis, Grid, tile_matrices

KERNELS = [(1, 1), (3, 1), (3, 2), (4, 2), (5, 4), (7, 2), (2, 3), (7, 1)]


def axis_of(kernel, stride, padding=0, inputs=11, tile=2):
    return Axis(kernel, stride, padding, inputs, (inputs - 1) * stride - 2 * padding + kernel, tile)


@pytest.mark.parametrize(("kernel", "stride"), KERNELS, ids=str)
@pytest.mark.parametrize("tile", [1, 2, 4])
def test_matrices_compute_the_outputs_of_one_tile(kernel, stride, tile):
    """Input, weight and output transform of one window, against the definition."""
    window = tile + -(-kernel // stride) - 1
    matrices = tile_matrices(kernel, stride, tile, torch.double)
    inputs, weight = torch.randn(window, dtype=torch.double), torch.randn(kernel, dtype=torch.double)
    values = inputs if matrices.inputs is None else matrices.inputs @ inputs
    outputs = matrices.outputs @ ((matrices.weight @ weight) * values[matrices.points])
    whole = F.conv_transpose1d(inputs[None, None], weight[None, None], stride=stride)[0, 0]
    whole = F.pad(whole, (0, stride))  # the last phases have no output where stride exceeds kernel
    start = (window - tile) * stride
    torch.testing.assert_close(outputs, whole[start : start + tile * stride])


def test_tiles_save_products():
    """Seven taps at stride 1: tiles of 4 need 10 products instead of 28; of phases a tap shorter, one fewer."""
    assert len(tile_matrices(7, 1, 4, torch.double).points) == 10
    assert len(tile_matrices(7, 2, 4, torch.double).points) == 7 + 6
    assert len(tile_matrices(7, 2, 1, torch.double).points) == 4 + 3


@pytest.mark.parametrize(("kernel", "stride"), KERNELS, ids=str)
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("tile", [1, 2, 4])
def test_chunks_of_tiles_make_every_output_once(kernel, stride, padding, tile):
    axis = axis_of(kernel, stride, padding, tile=tile)
    chunks = [slice(n, min(n + 2, axis.tiles)) for n in range(0, axis.tiles, 2)]
    outputs = [n for chunk in chunks for n in range(axis.outputs)[axis.output_slice(chunk)]]
    assert outputs == list(range(axis.outputs))
    for chunk in chunks:
        places, valid = axis.output_slice(chunk), axis.valid_slice(chunk)
        assert valid.stop - valid.start == places.stop - places.start
        assert 0 <= valid.start <= valid.stop <= (chunk.stop - chunk.start) * axis.tile_outputs
        inputs, padded, length = axis.input_slices(chunk)
        assert inputs.stop - inputs.start == padded.stop - padded.start
        assert 0 <= padded.start <= padded.stop <= length


def test_runs_cover_all_products_in_order():
    for rows, columns in itertools.product(KERNELS[:6], repeat=2):
        grid = Grid(axis_of(*rows), axis_of(*columns))
        products = [n for run, _ in grid.runs for n in range(run.start, run.stop)]
        points = [n for _, points in grid.runs for n in range(points.start, points.stop)]
        assert products == list(range(len(grid.product_points)))
        assert points == grid.product_points


def test_work_is_divided_without_gap_or_overlap(monkeypatch):
    monkeypatch.setattr(geometry, "CHUNK_TILES", 10)
    monkeypatch.setattr(geometry, "SHARED_TILES", 70)
    monkeypatch.setattr(geometry, "WEIGHT_BLOCK_BYTES", 1)
    grid = Grid(axis_of(3, 2), axis_of(4, 2))
    assert grid.tiles == 36
    assert [n for chunk in grid.chunks() for n in range(chunk.start, chunk.stop)] == list(range(grid.rows.tiles))
    assert grid.channel_blocks(torch.zeros(5, 37, 3, 4)) == [slice(0, 16), slice(16, 32), slice(32, 37)]
    assert [list(clips) for clips in grid.clip_groups(3)] == [[0], [1], [2]]
