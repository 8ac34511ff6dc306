"""Scenes: deterministic, balanced, at the stated level, and learnable."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from otoscope.data.synthetic.events import EVENTS
from otoscope.data.synthetic.scenes import Scene, SyntheticScenes, active_samples, signal_to_noise_db
from otoscope.errors import ConfigurationError


def assert_same(scene: Scene, other: Scene) -> None:
    assert torch.equal(scene.event, other.event)
    assert torch.equal(scene.background, other.background)
    for field in ("label", "target", "snr_db", "name"):
        assert getattr(scene, field) == getattr(other, field)


@pytest.fixture(scope="module")
def scenes() -> SyntheticScenes:
    return SyntheticScenes(2, seed=5)


def test_mixture_is_the_sum_of_event_and_background(scenes):
    for scene in scenes:
        assert scene.event.shape == scene.background.shape == scene.mixture.shape == (32000,)
        assert scene.event.dtype == scene.background.dtype == torch.float32
        assert torch.equal(scene.mixture, scene.event + scene.background)
        assert scene.mixture.abs().max().item() == pytest.approx(0.9, abs=1e-5)
        assert scenes.classes[scene.target] == scene.label


def test_measured_level_is_the_stated_one(scenes):
    for scene in scenes:
        measured_db = signal_to_noise_db(scene.event.numpy(), scene.background.numpy(), 16000)
        assert 0 <= scene.snr_db <= 15
        assert measured_db == pytest.approx(scene.snr_db, abs=0.01)


def test_level_is_of_the_active_event_and_the_whole_background():
    event, background = np.zeros(16000, np.float32), np.full(16000, 0.1, np.float32)
    event[4000:4800] = 1.0
    event[8000:8800] = 0.01  # 40 dB below: not active
    assert active_samples(event, 16000).sum() == 800
    assert signal_to_noise_db(event, background, 16000) == pytest.approx(20, abs=1e-3)


def test_active_samples_include_an_incomplete_last_frame():
    assert active_samples(np.ones(165, np.float32), 16000).tolist() == [True] * 165


def test_labels_are_balanced_and_names_unique_and_stable(scenes):
    assert len(scenes) == 2 * len(EVENTS)
    assert set(Counter(scene.label for scene in scenes).values()) == {2}
    names = [scene.name for scene in scenes]
    assert len(set(names)) == len(names)
    assert names[0] == "rooster-0000"
    assert all(name.replace("-", "").replace("_", "").isalnum() for name in names)


def test_item_depends_on_seed_and_index_alone(scenes):
    again = SyntheticScenes(2, seed=5)
    for index in (31, 3, 17, 3):
        assert_same(again[index], scenes[index])
    assert_same(SyntheticScenes(7, seed=5)[20], scenes[20])  # a longer data set extends the shorter one
    assert_same(scenes[-1], scenes[31])
    assert not torch.equal(SyntheticScenes(2, seed=6)[0].event, scenes[0].event)
    assert not torch.equal(scenes[16].event, scenes[0].event)


def test_workers_of_a_data_loader_make_the_same_scenes(scenes):
    loader = DataLoader(scenes, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    for index, scene in enumerate(loader):
        assert_same(scene, scenes[index])


def test_index_out_of_range_ends_a_loop(scenes):
    with pytest.raises(IndexError):
        scenes[32]


def test_options_choose_classes_length_rate_and_level():
    scenes = SyntheticScenes(1, ["siren", "dog"], duration_s=0.5, sample_rate_hz=22050, snr_db=(6, 6), seed=1)
    assert [(scene.label, scene.target) for scene in scenes] == [("siren", 0), ("dog", 1)]
    assert all(scene.event.shape == (11025,) and scene.snr_db == 6 for scene in scenes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips_per_class": 0}, "clips_per_class is 0"),
        ({"classes": ["rooster", "dragon"]}, "classes: unknown label 'dragon'; there are rooster, dog"),
        ({"classes": []}, "classes is"),
        ({"classes": "dog"}, "classes is 'dog': give a list"),
        ({"classes": ["dog", "dog"]}, "different labels"),
        ({"duration_s": 0.4}, "duration_s is 0.4: give 0.5 s"),
        ({"duration_s": float("nan")}, "duration_s is nan"),
        ({"sample_rate_hz": 8000}, "sample_rate_hz is 8000"),
        ({"snr_db": (10.0, 0.0)}, "snr_db is"),
        ({"snr_db": (0.0, float("inf"))}, "snr_db is"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_option_is_named(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SyntheticScenes(**{"clips_per_class": 1, **options})


def features(scenes: SyntheticScenes) -> np.ndarray:
    """Mean and deviation over time of a log spectrum in 40 bands, and modulation spectra of four wide bands."""
    edges = (np.linspace(2, np.sqrt(257), 41) ** 2).astype(int)
    bank = torch.stack([(torch.arange(257) >= low) & (torch.arange(257) < high) for low, high in pairwise(edges)])
    rows = []
    for scene in scenes:
        spectrum = torch.stft(scene.mixture, 512, window=torch.hamming_window(512), return_complex=True).abs()
        bands = (bank.float() @ spectrum + 1e-4).log().numpy()
        wide = bands.reshape(4, 10, -1).mean(axis=1)
        modulation = np.abs(np.fft.rfft(wide - wide.mean(axis=1, keepdims=True)))[:, 1:61].reshape(80, 3)
        rows.append(np.hstack([bands.mean(axis=1), bands.std(axis=1), np.log(modulation.mean(axis=1) + 1e-3)]))
    return np.stack(rows)


def test_linear_classifier_separates_the_classes_on_held_out_seeds():
    train, held_out = SyntheticScenes(20, seed=0), SyntheticScenes(10, seed=1)
    x, z = features(train), features(held_out)
    x, z = (np.pad((v - x.mean(axis=0)) / x.std(axis=0), ((0, 0), (0, 1)), constant_values=1) for v in (x, z))
    targets = np.eye(16)[[scene.target for scene in train]]
    weight = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ targets)
    accuracy = np.mean((z @ weight).argmax(axis=1) == [scene.target for scene in held_out])
    assert accuracy > 0.65  # chance is 0.0625; measured 0.81
