"""Two transposed convolutions as one linear map: the values and gradients of both in sequence."""

import pytest
import torch

from otoscope.nn.transposed import Transposed2d
from otoscope.nn.transposed.composed import composed


@pytest.mark.parametrize("sizes", [((3, 4), (2, 2), (0, 2)), ((2, 5), (1, 3), (1, 1)), ((4, 2), (2, 1), (1, 0))])
@pytest.mark.parametrize(("kernel", "stride"), [(5, 4), (3, 3)])
def test_composed_layers_equal_their_sequence(sizes, kernel, stride):
    first = Transposed2d(5, 3, *sizes).double()
    second = Transposed2d(3, 1, (1, kernel), (1, stride)).double()
    hidden = torch.randn(2, 5, 7, 9, dtype=torch.double, requires_grad=True)
    inputs = [hidden, *first.parameters(), *second.parameters()]
    expected, actual = second(first(hidden))[:, 0], composed(hidden, first, second)
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((value * weights).sum(), inputs) for value in (actual, expected)]
    torch.testing.assert_close(*gradients)
