"""Levels, peaks and determinism of contaminated clips."""

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from otoscope.data import Clip
from otoscope.data.noise import (
    MIXTURE_DB,
    WHITE_NOISE_DB,
    NoiseFolder,
    contaminate,
    fit_length,
    mix,
    other_clip,
    white_noise,
)
from otoscope.errors import DataError, ShapeError
from otoscope.seeding import generator_for


@given(st.floats(-20, 20), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_level_and_peak_do_not_depend_on_the_levels_before(snr_db, loud, louder):
    torch.manual_seed(0)
    mixture = mix(loud * torch.randn(2, 500), louder * torch.randn(2, 500), snr_db)
    ratio_db = 20 * (mixture.signal.norm(dim=1) / mixture.noise.norm(dim=1)).log10()
    assert ratio_db.tolist() == pytest.approx([snr_db] * 2, abs=1e-3)
    assert mixture.waveform.abs().amax(1).tolist() == pytest.approx([1, 1])
    assert torch.allclose(mixture.waveform, mixture.signal + mixture.noise, atol=1e-6)


def test_published_levels():
    signal, noise = torch.randn(400), torch.randn(400)
    unit, other = signal / signal.norm(), noise / noise.norm()
    for snr_db, expected in ((MIXTURE_DB, 0.8 * unit + 0.2 * other), (WHITE_NOISE_DB, unit + 0.5 * other)):
        assert torch.allclose(mix(signal, noise, snr_db).waveform, expected / expected.abs().max(), atol=1e-5)
    assert (round(MIXTURE_DB), round(WHITE_NOISE_DB)) == (12, 6)


def test_silence():
    sound, silence = torch.randn(50), torch.zeros(50)
    assert torch.allclose(mix(sound, silence, 0).waveform, sound / sound.abs().max())
    assert torch.allclose(mix(silence, sound, 0).waveform, sound / sound.abs().max())
    assert not mix(silence, silence, 0).waveform.any()
    with pytest.raises(ShapeError, match="differ in shape"):
        mix(sound, torch.zeros(49), 0)


def test_fit_length():
    ramp = torch.arange(100.0)
    starts = {float(fit_length(ramp, 10, generator_for("a", i))[0]) for i in range(200)}
    assert len(starts) > 50
    assert starts <= set(range(91))
    assert fit_length(ramp, 120)[100:].tolist() == [0] * 20
    piece = fit_length(ramp, 10, generator_for("a"))
    assert torch.equal(piece.diff(), torch.ones(9))


def test_noise_folder(tmp_path):
    for part, rate in (("tr", 16_000), ("tt", 8_000)):
        (tmp_path / part / "deep").mkdir(parents=True)
        for number in range(3):
            sound = np.full((rate, 2), 0.1 * (number + 1)) * (1 if part == "tr" else -1)
            soundfile.write(tmp_path / part / "deep" / f"{number}.wav", sound, rate, subtype="FLOAT")
    (tmp_path / "tt" / "._1.wav").write_bytes(b"metadata of macOS")
    every, test = NoiseFolder(tmp_path), NoiseFolder(tmp_path, split="tt")
    assert (len(every), len(test)) == (6, 3)
    assert len(NoiseFolder(tmp_path, split="absent")) == 6
    pieces = test.pieces(20, 4000, generator_for(0))
    assert pieces.shape == (20, 4000)
    assert {round(float(piece[2000]), 1) for piece in pieces} == {-0.1, -0.2, -0.3}
    assert torch.equal(pieces, test.pieces(20, 4000, generator_for(0)))
    assert test.piece(20_000)[16_100:].abs().max() == 0


@pytest.mark.parametrize("make", [False, True])
def test_error_names_a_folder_without_noise(tmp_path, make):
    folder = tmp_path / "noise"
    if make:
        folder.mkdir()
    with pytest.raises(DataError, match=str(folder)):
        NoiseFolder(folder)


def test_contaminated_clip_keeps_target_name_and_event():
    event, rest = torch.randn(300), 0.1 * torch.randn(300)
    clip = Clip(event + rest, 2, "a", "key", event)
    noise = white_noise(300, generator_for(1))
    made = contaminate(clip, noise, 6.0)
    assert (made.target, made.name) == (2, "a")
    assert made.key != clip.key
    gain = (made.event / event).mean()
    assert torch.allclose(made.event, gain * event, atol=1e-6)
    residue = made.waveform - gain * clip.waveform
    assert torch.allclose(residue / residue.norm(), noise / noise.norm(), atol=1e-4)
    bare = contaminate(Clip(event, 2, "a", "key"), noise, 6.0)
    assert torch.allclose(bare.event / bare.event.norm(), event / event.norm(), atol=1e-6)


def test_other_clip_is_of_another_class():
    clips = [Clip(torch.zeros(1), index % 3, str(index), "") for index in range(9)]
    others = [other_clip(clips, clips[0], generator_for(seed)) for seed in range(60)]
    assert {other.name for other in others} == {"1", "2", "4", "5", "7", "8"}
    assert other_clip(clips[::3], clips[0], generator_for(0)) is None
