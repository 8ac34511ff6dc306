"""The limit on the memory that building a network takes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from otoscope.audio import Frontend
from otoscope.classifiers import TorchClassifier, save_classifier
from otoscope.errors import CheckpointError
from otoscope.loading import load_classifier
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


def test_a_layer_without_weights_cannot_ask_for_more_memory_than_there_is(tmp_path: Path) -> None:
    network = {"class_path": "torch.nn.AdaptiveAvgPool1d", "init_args": {"output_size": 3}}
    classifier = TorchClassifier(network, ["a", "b", "c"], Frontend(8000), input="waveform", axes="bt")
    save_classifier(classifier, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(path.read_text().replace('"output_size": 3', '"output_size": 1000000000'))
    with pytest.raises(CheckpointError, match=r"asks for more memory \(4.0 GB\)"):
        load_classifier(tmp_path / "model")
