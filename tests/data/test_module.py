"""Batches, the order of training clips, and the loaders."""

import pytest
import torch
from torch.utils.data import Dataset

from otoscope.data import Clip, ClipFile, SoundData, collate
from otoscope.data.clips import fill_cache
from otoscope.data.module import EpochShuffle
from otoscope.errors import AudioError, ConfigurationError


def clip(samples, target=0, name="clip", event=False):
    wave = torch.arange(1.0, samples + 1)
    return Clip(wave, target, name, f"{name}-key", event=wave / 2 if event else None)


def test_clips_of_one_length_are_not_padded():
    batch = collate([clip(4, 1, "a"), clip(4, 0, "b")])
    assert batch.waveform.shape == (2, 4)
    assert not batch.padded
    assert batch.target.tolist() == [1, 0]
    assert batch.target.dtype == torch.int64
    assert (batch.name, batch.key) == (["a", "b"], ["a-key", "b-key"])
    assert batch.event is None
    assert len(batch) == 2


def test_shorter_clips_are_padded_with_zeros():
    batch = collate([clip(2), clip(4), clip(3)])
    assert batch.padded
    assert batch.lengths.tolist() == [2, 4, 3]
    assert batch.waveform.tolist() == [[1, 2, 0, 0], [1, 2, 3, 4], [1, 2, 3, 0]]


def test_sig_is_the_references_pair():
    waveform, relative = (batch := collate([clip(2), clip(4)])).sig
    assert waveform is batch.waveform
    assert relative.tolist() == [0.5, 1.0]


def test_events_are_kept_where_every_clip_has_one():
    batch = collate([clip(2, event=True), clip(4, event=True)])
    assert torch.equal(batch.event, batch.waveform / 2)
    assert collate([clip(2, event=True), clip(4)]).event is None


def order(seed, epoch, count=20):
    shuffle = EpochShuffle(range(count), seed)
    shuffle.set_epoch(epoch)
    torch.rand(5)  # nobody else's random numbers count
    return list(shuffle)


def test_order_depends_on_seed_and_epoch_alone():
    assert sorted(order(1, 0)) == list(range(20))
    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)
    assert order(1, 10) != order(11, 0)
    assert len(EpochShuffle(range(20), 1)) == 20


class TenClips(Dataset[Clip]):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return clip(4, index, f"c{index}")


class Ten(SoundData):
    """The least that a data set of the user's must do."""

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


def test_clip_files_read_through_the_cache(ten, tmp_path, write_sound, cache_folder):
    paths = [write_sound(tmp_path / f"{number}.wav", seed=number) for number in range(3)]
    clips = ten.clip_files([ClipFile(path, 7) for path in paths])
    assert clips.missing() == [0, 1, 2]
    assert clips[1].waveform.shape == (1600,)
    assert clips.missing() == [0, 2]
    fill_cache(clips)
    assert clips.missing() == []
    assert clips[2].name == "2"
    assert clips[2].target == 7
    clips[2].waveform[:] = 0  # the caller's own copy
    assert clips[2].waveform.abs().max() == 1
    assert (cache_folder / "clips").is_dir()


def test_fill_cache_names_the_damaged_file(ten, tmp_path, write_sound):
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    files = [write_sound(tmp_path / "good.wav"), tmp_path / "bad.wav"]
    with pytest.raises(AudioError, match=r"bad\.wav"):
        fill_cache(ten.clip_files([ClipFile(path, 0) for path in files]), progress=False)
