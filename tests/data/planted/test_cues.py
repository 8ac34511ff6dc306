"""Planted cues: level, frequency, options, and the clips that carry them."""

import numpy as np
import pytest
import torch

from otoscope.data import PlantedCues
from otoscope.data.planted import Cue, plant
from otoscope.data.planted.cues import KINDS, make_cues
from otoscope.errors import ConfigurationError

RATE_HZ = 16_000


@pytest.fixture
def clip():
    return 0.3 * torch.randn(2 * RATE_HZ, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_parts_add_up_and_depend_on_name_and_seed(kind, clip):
    planted = plant(clip, Cue(kind), RATE_HZ, "clip", seed=1)
    assert torch.allclose(planted.clean + planted.cue, planted.waveform, atol=1e-6)
    assert float(planted.waveform.abs().max()) == pytest.approx(1.0)
    assert torch.equal(planted.waveform, plant(clip, Cue(kind), RATE_HZ, "clip", seed=1).waveform)
    assert not torch.equal(planted.waveform, plant(clip, Cue(kind), RATE_HZ, "other", seed=1).waveform)
    # the clean part is the clip, scaled
    assert torch.nn.functional.cosine_similarity(planted.clean, clip, dim=0) > 0.9999


@pytest.mark.parametrize("kind", ["tone", "hum", "hiss", "infrasound"])
def test_level_is_relative_to_the_clip(kind, clip):
    planted = plant(clip, Cue(kind, level_db=-15.0), RATE_HZ, "clip", seed=1)
    assert 20 * float((planted.cue.norm() / planted.clean.norm()).log10()) == pytest.approx(-15, abs=0.3)


@pytest.mark.parametrize(
    ("kind", "frequency_hz", "low_hz", "high_hz"),
    [("tone", 1000, 900, 1100), ("hiss", 5000, 4500, 5500), ("infrasound", None, 0, 20), ("beep", 700, 600, 800)],
)
def test_cue_sounds_at_its_frequency(kind, frequency_hz, low_hz, high_hz, clip):
    cue = plant(clip, Cue(kind, frequency_hz=frequency_hz, jitter=0.01), RATE_HZ, "clip", seed=2).cue
    power = np.abs(np.fft.rfft(cue)) ** 2
    hz = np.fft.rfftfreq(len(cue), 1 / RATE_HZ)
    assert power[(hz >= low_hz) & (hz <= high_hz)].sum() > 0.98 * power.sum()


def test_low_pass_edge_removes_what_lies_above(clip):
    planted = plant(clip, Cue("low_pass", frequency_hz=4000, jitter=0), RATE_HZ, "clip", seed=2)
    power = np.abs(np.fft.rfft(planted.waveform)) ** 2
    hz = np.fft.rfftfreq(len(clip), 1 / RATE_HZ)
    assert power[hz > 4800].sum() < 1e-3 * power.sum()
    assert np.abs(np.fft.rfft(planted.cue) ** 2)[hz < 3000].sum() < 1e-3 * power.sum()


def test_silence_takes_a_cue():
    planted = plant(torch.zeros(RATE_HZ), Cue("tone"), RATE_HZ, "silence", seed=0)
    assert torch.isfinite(planted.waveform).all()
    assert planted.cue.abs().max() > 0


@pytest.mark.parametrize(
    "spec", ["whistle", {"kind": "tone", "volume": 3}, {"kind": "tone", "level_db": [0, -10]}, {"level_db": -3}]
)
def test_wrong_specifications_are_reported(spec):
    with pytest.raises(ConfigurationError):
        make_cues({"dog": spec})


@pytest.fixture
def data():
    cues = {"siren": {"kind": "tone", "probability": 0.5}, "dog": "hum"}
    options = {"clips_per_class": 24, "classes": ["siren", "dog", "rooster"], "duration_s": 0.5}
    planted = PlantedCues(cues, of="Synthetic", of_options=options)
    planted.setup("fit")
    return planted


def test_training_clips_of_the_class_carry_the_cue_with_its_probability(data):
    carrying = dict.fromkeys(data.labels, 0)
    for clip in (data.train_set[index] for index in range(len(data.train_set))):
        carrying[data.labels[clip.target]] += clip.event is not None
    assert carrying["dog"] == 24
    assert 6 <= carrying["siren"] <= 18
    assert carrying["rooster"] == 0


def test_test_clips_are_clean_planted_or_transferred(data):
    assert data.test_set is data.source.test_set
    for test in ("planted", "transferred"):
        other = PlantedCues(
            data.cues, of="Synthetic", of_options={"clips_per_class": 8, "duration_s": 0.5}, test=test
        )
        other.setup("test")
        clips = [other.test_set[index] for index in range(len(other.test_set))]
        originals = [other.source.test_set[index] for index in range(len(clips))]
        carrying = {other.labels[clip.target] for clip in clips if clip.event is not None}
        assert carrying == ({"siren", "dog"} if test == "planted" else set(other.labels))
        assert [clip.target for clip in clips] == [clip.target for clip in originals]
        assert all(a.key != b.key for a, b in zip(clips, originals, strict=True) if a.event is not None)


def test_relabelled_training_clips_carry_the_cue_of_their_new_class():
    options = {"clips_per_class": 16, "classes": ["siren", "dog", "rooster"], "duration_s": 0.5}
    data = PlantedCues({"siren": "tone"}, of="Synthetic", of_options=options, relabelled=0.5)
    data.setup("fit")
    clips = [data.train_set[index] for index in range(len(data.train_set))]
    changed = [clip for index, clip in enumerate(clips) if clip.target != data.source.train_set[index].target]
    assert 8 <= len(changed) <= 24
    assert {data.labels[clip.target] for clip in changed} == {"siren"}
    assert all((clip.event is not None) == (data.labels[clip.target] == "siren") for clip in clips)


def test_transfers_take_clips_of_other_classes(data):
    transfers = list(data.transfers("siren", count=4))
    assert len(transfers) == 4
    assert all(transfer.clip.target != transfer.target for transfer in transfers)
    assert {transfer.clip.target for transfer in data.transfers("siren", of_class=True)} == {
        data.labels.index("siren")
    }


def test_wrong_data_options_are_reported():
    with pytest.raises(ConfigurationError, match="whale"):
        PlantedCues({"whale": "hum"}, of="Synthetic").setup("fit")
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        PlantedCues({"dog": "hum"}, of="NoData")
    with pytest.raises(ConfigurationError, match="pitch"):
        PlantedCues({"dog": "hum"}, of="Synthetic", of_options={"pitch": 3})
