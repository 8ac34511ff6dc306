"""The data set of synthetic scenes: deterministic, with known events."""

import pytest
import torch

from otoscope.data import Synthetic
from otoscope.data.synthetic.events import EVENTS
from otoscope.errors import ConfigurationError

TINY = {"clips_per_class": 4, "classes": ["rooster", "siren", "dog"], "duration_s": 0.5}


def prepared(**options):
    data = Synthetic(**{**TINY, **options})
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def data():
    return prepared()


def test_labels_and_sizes(data):
    assert data.labels == ["rooster", "siren", "dog"]
    assert [len(part) for part in (data.train_set, data.valid_set, data.test_set)] == [12, 3, 3]
    assert [clip.target for clip in data.valid_set] == [0, 1, 2]
    assert prepared(classes=None).labels == list(EVENTS)


def test_same_options_same_clips(data):
    other = prepared()
    for clips, again in ((data.train_set, other.train_set), (data.test_set, other.test_set)):
        assert torch.equal(clips[1].waveform, again[1].waveform)
        assert clips[1].key == again[1].key
        assert clips[1].name == again[1].name
    assert data.train_set[1] is data.train_set[1]  # generated once


def test_sets_seeds_and_options_differ(data):
    clips = [data.train_set[0], data.valid_set[0], data.test_set[0], prepared(seed=1).train_set[0]]
    clips += [prepared(snr_db=(20, 20)).train_set[0], prepared(duration_s=0.6).train_set[0]]
    assert len({clip.key for clip in clips}) == len(clips)
    assert not any(torch.equal(clips[0].waveform, other.waveform) for other in clips[1:])


def test_event_and_background_make_the_clip(data):
    for clip in data.train_set:
        assert clip.waveform.shape == clip.event.shape == (8000,)
        assert clip.waveform.abs().max().item() == pytest.approx(1)
        assert clip.event.abs().max() > 0
    scene, clip = data.train_set.scenes[5], data.train_set[5]
    gain = 1 / scene.mixture.abs().max()
    torch.testing.assert_close(clip.event, gain * scene.event)
    torch.testing.assert_close(clip.waveform - clip.event, gain * scene.background, atol=1e-6, rtol=1e-5)


def test_batches_carry_the_events(data):
    batch = next(iter(data.train_dataloader()))
    assert batch.event.shape == batch.waveform.shape == (12, 8000)
    assert not batch.padded


def test_wrong_options_are_named():
    with pytest.raises(ConfigurationError, match="unknown label 'dragon'"):
        prepared(classes=["dragon"])
    with pytest.raises(ConfigurationError, match="clips_per_class is 0"):
        prepared(clips_per_class=0)
