"""Conditions: what is laid over a clip depends on seed and name alone; what cannot be had is said."""

import pytest
import torch

from otoscope import save_audio
from otoscope.data import download
from otoscope.errors import ConfigurationError, DataError
from otoscope.evaluation.conditions import Conditions, NoiseSource, prepare


@pytest.fixture
def clips(data):
    return data.test_set


def test_defaults_need_no_download(clips):
    ready = prepare(Conditions(), clips, 16_000, 0)
    assert list(ready.contaminate) == ["clean", "white_noise", "mixture"]
    assert list(ready.skipped) == ["wham", "speech"]
    assert "--conditions.wham.folder" in ready.skipped["wham"]
    assert prepare(Conditions(wham=None, speech=None), clips, 16_000, 0).skipped == {}


def test_the_same_for_seed_and_clip(clips):
    first, again, other = (prepare(Conditions(), clips, 16_000, seed).contaminate for seed in (0, 0, 1))
    for name in ("white_noise", "mixture"):
        made = [one[name](clips[2]) for one in (first, again, other)]
        assert torch.equal(made[0].waveform, made[1].waveform)
        assert not torch.equal(made[0].waveform, made[2].waveform)
        assert made[0].target == clips[2].target
    assert first["clean"](clips[2]) is clips[2]


def test_mixture_is_with_another_class_at_its_level(clips):
    made = prepare(Conditions(), clips, 16_000, 0).contaminate["mixture"](clips[0])
    clean = clips[0].waveform
    mixed = made.waveform.double()
    sources = []
    for other in (clip for clip in (clips[i] for i in range(len(clips))) if clip.target != clips[0].target):
        basis = torch.stack([clean / clean.norm(), other.waveform / other.waveform.norm()], 1).double()
        shares = torch.linalg.lstsq(basis, mixed[:, None]).solution[:, 0]
        if (basis @ shares - mixed).norm() < 1e-4 * mixed.norm():
            sources.append(float(shares[0] / shares[1]))
    assert sources == pytest.approx([4.0], abs=1e-3)  # one clip of another class, 0.8 to 0.2


def test_one_class_alone_has_no_mixture(clips):
    alike = [clips[index] for index in range(0, 9, 3)]
    assert prepare(Conditions(), alike, 16_000, 0).contaminate["mixture"](alike[0]) is None


def test_folders(clips, tmp_path):
    for part, value in (("tr", 0.1), ("tt", -0.1)):
        save_audio(tmp_path / "wham" / part / "a.wav", torch.full((9000,), value))
    source = NoiseSource(str(tmp_path / "wham"))
    made = prepare(Conditions(wham=source), clips, 16_000, 0).contaminate["wham"](clips[0])
    clean = clips[0].waveform
    noise = -torch.ones(8000)  # of the part tt
    expected = clean / clean.norm() + noise / noise.norm()
    assert torch.allclose(made.waveform, expected / expected.abs().max(), atol=1e-5)
    with pytest.raises(DataError, match="absent"):
        prepare(Conditions(speech=NoiseSource(str(tmp_path / "absent"))), clips, 16_000, 0)
    with pytest.raises(ConfigurationError, match="into which folder"):
        prepare(Conditions(speech=NoiseSource(None, fetch=True)), clips, 16_000, 0)


def test_fetches_when_asked(clips, tmp_path, monkeypatch):
    def fetch(folder):
        save_audio(folder / "wavs" / "a.wav", torch.randn(9000))

    monkeypatch.setattr(download, "FETCH", {"speech": fetch})
    source = NoiseSource(str(tmp_path / "speech"), fetch=True)
    assert "speech" in prepare(Conditions(speech=source), clips, 16_000, 0).contaminate
