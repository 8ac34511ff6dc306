"""Contaminated clips depend on the seed and their name only, and conditions without recordings are reported."""

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


def test_contamination_depends_on_seed_and_clip(clips):
    first, again, other = (prepare(Conditions(), clips, 16_000, seed).contaminate for seed in (0, 0, 1))
    for name in ("white_noise", "mixture"):
        noisy = [contaminate[name](clips[2]) for contaminate in (first, again, other)]
        assert torch.equal(noisy[0].waveform, noisy[1].waveform)
        assert not torch.equal(noisy[0].waveform, noisy[2].waveform)
        assert noisy[0].target == clips[2].target
    assert first["clean"](clips[2]) is clips[2]


def test_mixture_is_with_another_class_at_its_level(clips):
    clean = clips[0].waveform
    mixed = prepare(Conditions(), clips, 16_000, 0).contaminate["mixture"](clips[0]).waveform.double()
    # The mixture is a weighted sum of two clips: a fit by each candidate shows which one was used, and its weight.
    sources = []
    for other in (clip for clip in (clips[i] for i in range(len(clips))) if clip.target != clips[0].target):
        basis = torch.stack([clean / clean.norm(), other.waveform / other.waveform.norm()], 1).double()
        shares = torch.linalg.lstsq(basis, mixed[:, None]).solution[:, 0]
        if (basis @ shares - mixed).norm() < 1e-4 * mixed.norm():
            sources.append(float(shares[0] / shares[1]))
    assert sources == pytest.approx([4.0], abs=1e-3)  # exactly one candidate fits, mixed 0.8 to 0.2


def test_a_single_class_has_no_mixture(clips):
    of_one_class = [clips[index] for index in range(0, 9, 3)]
    assert prepare(Conditions(), of_one_class, 16_000, 0).contaminate["mixture"](of_one_class[0]) is None


def test_noise_from_folders(clips, tmp_path):
    for part, value in (("tr", 0.1), ("tt", -0.1)):
        save_audio(tmp_path / "wham" / part / "a.wav", torch.full((9000,), value))
    source = NoiseSource(str(tmp_path / "wham"))
    noisy = prepare(Conditions(wham=source), clips, 16_000, 0).contaminate["wham"](clips[0])
    clean = clips[0].waveform
    noise = -torch.ones(8000)  # from the part tt
    expected = clean / clean.norm() + noise / noise.norm()
    assert torch.allclose(noisy.waveform, expected / expected.abs().max(), atol=1e-5)
    with pytest.raises(DataError, match="absent"):
        prepare(Conditions(speech=NoiseSource(str(tmp_path / "absent"))), clips, 16_000, 0)
    with pytest.raises(ConfigurationError, match="no folder to download into"):
        prepare(Conditions(speech=NoiseSource(None, fetch=True)), clips, 16_000, 0)


def test_missing_recordings_are_downloaded(clips, tmp_path, monkeypatch):
    def fetch(folder):
        save_audio(folder / "wavs" / "a.wav", torch.randn(9000))

    monkeypatch.setattr(download, "FETCH", {"speech": fetch})
    source = NoiseSource(str(tmp_path / "speech"), fetch=True)
    assert "speech" in prepare(Conditions(speech=source), clips, 16_000, 0).contaminate
