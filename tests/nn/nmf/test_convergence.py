"""Detection of convergence."""

import pytest

from otoscope.nn.nmf import Convergence


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
