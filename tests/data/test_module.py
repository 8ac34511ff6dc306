"""The order of training clips, and the loaders."""

import pytest
import torch
from torch.utils.data import Dataset

from otoscope.data import Clip, SoundData
from otoscope.data.module import EpochShuffle
from otoscope.errors import ConfigurationError


def order(seed, epoch, count=20):
    shuffle = EpochShuffle(range(count), seed)
    shuffle.set_epoch(epoch)
    torch.rand(5)  # the global generator has no influence
    return list(shuffle)


def test_order_depends_on_seed_and_epoch_alone():
    assert sorted(order(1, 0)) == list(range(20))
    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)
    assert order(1, 10) != order(11, 0)
    assert len(EpochShuffle(range(20), 1)) == 20


@pytest.mark.parametrize(("count", "processes"), [(20, 2), (7, 3)])
def test_processes_get_the_clips_of_one_order_in_turn(monkeypatch, count, processes):
    whole = order(1, 3, count)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: processes)
    parts = []
    for rank in range(processes):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        parts.append(order(1, 3, count))
    assert len({len(part) for part in parts}) == 1  # the first clips come again where the number is not divisible
    dealt = [clip for turn in zip(*parts, strict=True) for clip in turn]
    assert dealt == [*whole, *whole[: len(dealt) - count]]


class TenClips(Dataset[Clip]):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return Clip(torch.arange(1.0, 5), index, f"c{index}", f"c{index}-key")


class Ten(SoundData):
    """A minimal data set as a user writes it."""

    def setup(self, stage):
        self.labels = [str(index) for index in range(10)]
        self.train_set = self.valid_set = self.test_set = TenClips()


@pytest.fixture
def ten():
    data = Ten(batch_size=4, seed=5)
    data.setup("fit")
    return data


def test_loaders(ten):
    assert [len(batch) for batch in ten.val_dataloader()] == [4, 4, 2]
    assert torch.cat([batch.target for batch in ten.test_dataloader()]).tolist() == list(range(10))
    loader = ten.train_dataloader()
    first = torch.cat([batch.target for batch in loader])
    assert sorted(first.tolist()) == list(range(10))
    assert torch.equal(torch.cat([batch.target for batch in loader]), first)
    loader.sampler.set_epoch(1)
    assert not torch.equal(torch.cat([batch.target for batch in loader]), first)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(3, [3, 3, 3]), (9, [9]), (4, [4, 4, 2]), (1, [1] * 10), (20, [10])]
)
def test_training_has_no_last_batch_of_one_clip(ten, batch_size, sizes):
    ten.batch_size = batch_size
    assert [len(batch) for batch in ten.train_dataloader()] == sizes
    assert sum(len(batch) for batch in ten.val_dataloader()) == 10


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"num_workers": -1}])
def test_wrong_options_are_named(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Ten(**options)


def test_a_training_set_needs_a_length(ten):
    ten.train_set = object()
    with pytest.raises(ConfigurationError, match="object has no length"):
        ten.train_dataloader()
