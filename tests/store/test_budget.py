"""The limit on the memory that building a network takes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from otoscope.errors import CheckpointError
from otoscope.store.budget import AllocationLimit

LONG = torch.arange(20_000)


@pytest.mark.parametrize(
    "pairs",
    [
        lambda: LONG[:, None] - LONG[None],
        lambda: 1 + LONG[:, None].mul(LONG),
        lambda: LONG[:, None] == LONG,
        lambda: torch.where(LONG[:, None] > 5, LONG, LONG),
    ],
)
def test_a_table_of_all_pairs_is_refused_before_it_is_computed(pairs: Callable[[], Tensor]) -> None:
    message = r"folder: asks for more memory \(3.2 GB\)"
    with pytest.raises(CheckpointError, match=message), AllocationLimit(1000, 2, "folder"):
        pairs()


def test_what_weights_have_room_for_is_computed() -> None:
    with AllocationLimit(10**8, 2, "folder"):
        assert (LONG[:4000, None] - LONG[None, :4000]).shape == (4000, 4000)
        features = torch.nn.functional.conv2d(torch.rand(1, 8, 50, 60), torch.rand(500, 8, 1, 1))
        assert (features + torch.rand(500, 1, 1)).shape == (1, 500, 50, 60)
