"""Suspicions of the user: sounds, bands, segments and functions."""

import pytest
import torch

from otoscope.audio import save_audio
from otoscope.audit.own import (
    FunctionCue,
    SoundCue,
    band_suspicion,
    function_suspicion,
    segment_suspicion,
)
from otoscope.data.planted import Cue, plant
from otoscope.errors import ConfigurationError, OtoscopeError

RATE_HZ = 16_000


def noise(samples=32_000, seed=0):
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def test_a_narrow_sound_is_notched_and_added(tmp_path):
    planted = plant(noise(), Cue("tone", -10.0, 1000.0, jitter=0.0), RATE_HZ, "clip", seed=0)
    cue = SoundCue(str(save_audio(tmp_path / "tone.wav", planted.cue[:20_000])), RATE_HZ)
    assert 950 < cue.place.low_hz < 1000 < cue.place.high_hz < 1050
    remainder = cue.removed(planted.waveform, RATE_HZ) - planted.clean
    assert remainder.norm() < 0.4 * planted.cue.norm()
    added = cue.transplanted(planted.clean, planted.clean, RATE_HZ) - planted.clean
    assert 20 * float((added.norm() / planted.clean.norm()).log10()) == pytest.approx(-20, abs=1)
    # a long sound is repeated up to the end
    assert added[30_000:].abs().max() > 0


def test_a_wide_sound_is_subtracted(tmp_path):
    hiss, clip = noise(seed=1), torch.zeros(32_000)
    clip[12_000:16_000] = noise(4000, seed=2) * 20
    cue = SoundCue(str(save_audio(tmp_path / "hiss.wav", hiss)), RATE_HZ)
    remainder = cue.removed(clip + noise(seed=3), RATE_HZ)
    assert remainder[:8000].norm() < 0.5 * noise(seed=3)[:8000].norm()
    assert torch.nn.functional.cosine_similarity(remainder[12_000:16_000], clip[12_000:16_000], dim=0) > 0.98


def test_a_short_sound_is_placed_at_the_begin(tmp_path):
    cue = SoundCue(str(save_audio(tmp_path / "beep.wav", noise(2000))), RATE_HZ)
    added = cue.transplanted(noise(seed=4), noise(), RATE_HZ) - noise(seed=4)
    assert added[:2000].abs().max() > 0
    assert added[2000:].abs().max() == 0


def test_a_function_removes_what_is_transplanted(tmp_path, monkeypatch):
    (tmp_path / "my_cues_of_test.py").write_text(
        "def quieter(waveform):\n    return 0.5 * waveform\n\ndef rated(waveform, sample_rate_hz):\n"
        "    return waveform * (sample_rate_hz == 16000)\n\ndef short(waveform):\n    return waveform[:5]\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    cue = function_suspicion("my_cues_of_test:quieter").cue
    assert isinstance(cue, FunctionCue)
    assert torch.equal(cue.removed(noise(), RATE_HZ), 0.5 * noise())
    assert "quieter" in cue.removal_text
    assert torch.equal(function_suspicion("my_cues_of_test:rated").cue.removed(noise(), RATE_HZ), noise())
    with pytest.raises(OtoscopeError, match=r"short.*32000"):
        function_suspicion("my_cues_of_test:short").cue.removed(noise(), RATE_HZ)
    for path, words in (
        ("my_cues_of_test", "module:name"),
        ("my_cues_of_test:absent", "absent"),
        ("my_cues_of_test:number", "no function"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            function_suspicion(path)


def test_wrong_suspicions_are_named(tmp_path):
    with pytest.raises(ConfigurationError, match="8000"):
        band_suspicion(100, 9000, RATE_HZ)
    with pytest.raises(ConfigurationError, match="--segment_s"):
        segment_suspicion(-0.2, 0.2)
    with pytest.raises(ConfigurationError, match="silent"):
        SoundCue(str(save_audio(tmp_path / "silent.wav", torch.zeros(100))), RATE_HZ)
