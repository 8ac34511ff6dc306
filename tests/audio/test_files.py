import errno
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otoscope.audio import AudioInfo, audio_info, load_audio, read_recording, save_audio
from otoscope.audio.formats import _SUFFIXES_OF_FORMAT, SUFFIXES
from otoscope.errors import AudioError

RATES_HZ = (8_000, 16_000, 22_050, 44_100, 48_000)
WAV_SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
# suffix, subtype, largest relative error of a sine with an amplitude of about 0.4
KINDS = [("wav", subtype, 0.02 if subtype == "PCM_U8" else 2e-3) for subtype in WAV_SUBTYPES]
KINDS += [("flac", "PCM_16", 2e-3), ("flac", "PCM_24", 2e-3), ("ogg", "VORBIS", 0.1)]
KINDS += [("mp3", "MPEG_LAYER_III", 0.1), ("aiff", "PCM_16", 2e-3)]


def sine(frequency_hz, rate_hz, seconds=0.5, amplitude=0.5):
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return amplitude * np.sin(2 * np.pi * frequency_hz * time_s)


def fitted_sine(waveform, frequency_hz, rate_hz=16_000):
    """Fit a sine to the middle of a clip; return its amplitude and the relative size of the residual."""
    middle = waveform.double().numpy()[len(waveform) // 4 : 3 * len(waveform) // 4]
    angle = 2 * np.pi * frequency_hz * np.arange(len(middle)) / rate_hz
    basis = np.stack([np.sin(angle), np.cos(angle)], 1)
    weights = np.linalg.lstsq(basis, middle, rcond=None)[0]
    residual = middle - basis @ weights
    return np.hypot(*weights), np.sqrt(2) * residual.std() / np.hypot(*weights)


def wav_bytes(data=b"\1\0" * 200, channels=1, rate_hz=16_000, announced=None):
    """A 16-bit wav file whose header may be wrong."""
    announced = len(data) if announced is None else announced
    riff = b"RIFF" + struct.pack("<I", min(36 + announced, 2**32 - 1)) + b"WAVE"
    byte_rate, block = rate_hz * channels * 2 % 2**32, channels * 2 % 2**16
    chunk = b"fmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, byte_rate, block, 16)
    return riff + chunk + b"data" + struct.pack("<I", announced) + data


def sound_bytes(folder, ending, subtype=None):
    """Content of a noisy half-second file of the given kind."""
    noise = np.random.default_rng(0).standard_normal(11_025) * 0.05
    path = folder / f"whole.{ending}"
    soundfile.write(path, sine(440, 22_050) + noise, 22_050, subtype=subtype)
    return path.read_bytes()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def refusal(path, action=load_audio):
    """Return the message of the `AudioError`, which names the file, the cause and a remedy in one line."""
    with pytest.raises(AudioError) as caught:
        action(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    cause, _, remedy = message.removeprefix(f"{path}: ").rpartition("; ")
    assert len(cause.split()) >= 2
    assert len(remedy.split()) >= 3
    return message


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize(("ending", "subtype", "tolerance"), KINDS)
def test_every_kind_becomes_mono_at_16_khz(tmp_path, ending, subtype, tolerance, rate_hz, channels):
    if ending == "mp3" and channels > 2:
        pytest.skip("mp3 holds at most two channels")
    path = tmp_path / f"clip.{ending}"
    levels = np.linspace(0.5, 0.3, channels)
    soundfile.write(path, sine(200, rate_hz, amplitude=1)[:, None] * levels, rate_hz, subtype=subtype)
    waveform = load_audio(path)
    assert waveform.dtype == torch.float32
    assert waveform.ndim == 1
    assert abs(len(waveform) - 8_000) <= (1 if ending != "mp3" else 2400)
    amplitude, residual = fitted_sine(waveform, 200)
    assert amplitude == pytest.approx(levels.mean(), rel=tolerance)
    assert residual < tolerance


def write_as(path):
    """Write a tone in the format of the suffix."""
    kind = next(name for name, suffixes in _SUFFIXES_OF_FORMAT.items() if path.suffix in suffixes)
    rate_hz = 8_000 if kind == "WVE" else 44_100 if kind == "XI" else 48_000
    subtype = "OPUS" if path.suffix == ".opus" else None
    soundfile.write(path, sine(440, rate_hz), rate_hz, format=kind, subtype=subtype)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_readable(tmp_path, suffix):
    waveform = load_audio(write_as(tmp_path / f"tone{suffix}"))
    assert fitted_sine(waveform, 440)[0] == pytest.approx(0.5, rel=0.1)
    if suffix == ".sd2":  # its header is in another file, which has the name of this one
        return
    capital = (tmp_path / f"tone{suffix}").rename(tmp_path / f"TONE{suffix.upper()}")
    assert torch.equal(load_audio(capital), waveform)


def test_a_truncated_opus_is_refused(tmp_path):
    path = write_as(tmp_path / "cut.opus")
    path.write_bytes(path.read_bytes()[:-200])
    refusal(path)


def test_channels_are_averaged(tmp_path):
    channels = np.random.default_rng(0).uniform(-1, 1, (100, 6)).astype(np.float32)
    soundfile.write(tmp_path / "six.wav", channels, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "six.wav"), channels.mean(1), atol=1e-7)


def test_opposite_channels_cancel(tmp_path):
    channel = sine(300, 16_000)
    soundfile.write(tmp_path / "wide.wav", np.stack([channel, -channel], 1), 16_000, subtype="FLOAT")
    assert "cancel out" in refusal(tmp_path / "wide.wav")
    for index, sign in ((0, 1), (1, -1)):
        np.testing.assert_allclose(load_audio(tmp_path / "wide.wav", channel=index), sign * channel, atol=1e-6)
    assert "no channel 2" in refusal(tmp_path / "wide.wav", lambda path: load_audio(path, channel=2))


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("frequency_hz", [100, 3_500])
def test_resampling_keeps_frequency_and_level(tmp_path, rate_hz, frequency_hz):
    soundfile.write(tmp_path / "a.wav", sine(frequency_hz, rate_hz), rate_hz, subtype="FLOAT")
    amplitude, residual = fitted_sine(load_audio(tmp_path / "a.wav"), frequency_hz)
    assert amplitude == pytest.approx(0.5, rel=1e-4)
    assert residual < 1e-4


def test_resampling_keeps_a_constant(tmp_path):
    soundfile.write(tmp_path / "dc.wav", np.full(44_100, 0.25), 44_100, subtype="FLOAT")
    middle = load_audio(tmp_path / "dc.wav")[2000:-2000]
    torch.testing.assert_close(middle, torch.full_like(middle, 0.25), rtol=0, atol=1e-5)


@pytest.mark.parametrize("frequency_hz", [9_000, 12_000, 15_900])
def test_frequencies_above_the_new_nyquist_do_not_alias(tmp_path, frequency_hz):
    soundfile.write(tmp_path / "high.wav", sine(frequency_hz, 44_100, seconds=1), 44_100, subtype="FLOAT")
    assert load_audio(tmp_path / "high.wav")[2000:-2000].abs().max() < 1e-4


def test_the_rate_is_an_option(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(440, 16_000), 16_000, subtype="FLOAT")
    waveform = load_audio(tmp_path / "a.wav", sample_rate_hz=44_100)
    assert len(waveform) == 22_050
    assert fitted_sine(waveform, 440, 44_100)[0] == pytest.approx(0.5, rel=1e-3)


def test_long_files_are_read_completely(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 600_001).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(tmp_path / "long.wav"), samples)


def test_info_reads_the_header(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros((321, 2)), 22_050)
    assert audio_info(tmp_path / "a.flac") == AudioInfo(sample_rate_hz=22_050, channels=2, frames=321)


def test_placeholder_size_in_the_header_is_accepted(tmp_path):
    (tmp_path / "stream.wav").write_bytes(wav_bytes(announced=0xFFFFFFFF))
    assert load_audio(tmp_path / "stream.wav").tolist() == [1 / 32768] * 200


@pytest.mark.parametrize("name", ["a b.wav", "Zaunkönig 🐦.flac", "犬/吠える.wav", "-rf.wav", "a;b'c\".wav"])
def test_any_file_name_works(tmp_path, name):
    waveform = torch.linspace(-0.5, 0.5, 65)
    saved = save_audio(tmp_path / name, waveform)
    assert saved == tmp_path / name
    assert torch.equal(load_audio(str(saved)), waveform)


def test_wav_is_exact(tmp_path):
    waveform = torch.cat([torch.randn(1000), torch.tensor([0.0, 1.0, -1.0, 1e-30, 7.5])])
    assert torch.equal(load_audio(save_audio(tmp_path / "a.wav", waveform)), waveform)


def test_flac_has_24_bits(tmp_path):
    waveform = torch.cat([torch.rand(1000) * 2 - 1, torch.tensor([0.0, 1.0, -1.0])])
    loaded = load_audio(save_audio(tmp_path / "a.flac", waveform))
    assert (loaded - waveform).abs().max() <= 2**-23


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_the_rate_is_saved(tmp_path, rate_hz):
    path = save_audio(tmp_path / "a.flac", torch.zeros(100), rate_hz)
    assert audio_info(path).sample_rate_hz == rate_hz


def test_waveforms_with_gradient_or_half_precision_are_saved(tmp_path):
    waveform = torch.tensor([0.5, -0.25], dtype=torch.bfloat16, requires_grad=True)
    assert load_audio(save_audio(tmp_path / "a.wav", waveform)).tolist() == [0.5, -0.25]


def test_saving_creates_folders_and_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "folder" / "a.wav"
    save_audio(path, torch.zeros(10))
    save_audio(path, torch.ones(5))
    assert load_audio(path).tolist() == [1.0] * 5
    assert names_in(path.parent) == ["a.wav"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, failure):
    path = save_audio(tmp_path / "a.wav", torch.ones(5))
    before = path.read_bytes()

    def half_a_write(name, *_, **__):
        Path(name).write_bytes(before[:20])
        raise failure

    monkeypatch.setattr(soundfile, "write", half_a_write)
    if isinstance(failure, OSError):
        assert "No space left" in refusal(path, lambda p: save_audio(p, torch.zeros(5)))
    else:
        with pytest.raises(KeyboardInterrupt):
            save_audio(path, torch.zeros(5))
    assert names_in(tmp_path) == ["a.wav"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "waveform", "rate_hz"),
    [
        ("a.mp3", torch.zeros(5), 16_000),
        ("a", torch.zeros(5), 16_000),
        ("a.flac", torch.tensor([1.5]), 16_000),
        ("a.flac", torch.zeros(5), 1_000_000),
        ("a.wav", torch.zeros(5), 0),
        ("file/a.wav", torch.zeros(5), 16_000),
        ("folder.wav", torch.zeros(5), 16_000),
    ],
)
def test_unsuitable_files_and_waveforms_are_refused(tmp_path, name, waveform, rate_hz):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError) as caught:
        save_audio(tmp_path / name, waveform, rate_hz)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == ["file", "folder.wav"]


@pytest.mark.parametrize("waveform", [torch.tensor([0.0, torch.nan]), torch.tensor([torch.inf]), torch.zeros(2, 5)])
def test_waveform_must_be_mono_and_finite(tmp_path, waveform):
    with pytest.raises(AudioError, match=r"a\.wav: .*(one mono waveform|NaN or infinite)"):
        save_audio(tmp_path / "a.wav", waveform)
    assert names_in(tmp_path) == []


def test_missing_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.wav")
    assert "no such file" in refusal(tmp_path / "absent.wav", audio_info)


def test_file_instead_of_folder(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes())
    assert "no such file" in refusal(tmp_path / "a.wav" / "b.wav")


def test_impossible_names(tmp_path):
    refusal(tmp_path / ("a" * 300 + ".wav"))
    refusal(tmp_path / "nul\0.wav")


def test_folder_instead_of_file(tmp_path):
    assert "folder" in refusal(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    assert "empty" in refusal(tmp_path / "a.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_unreadable_file(tmp_path):
    path = save_audio(tmp_path / "a.wav", torch.zeros(5))
    path.chmod(0)
    assert "permissions" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can enter every folder")
def test_unreadable_folder(tmp_path):
    path = save_audio(tmp_path / "locked" / "a.wav", torch.zeros(5))
    path.parent.chmod(0)
    try:
        assert "permissions" in refusal(path)
    finally:
        path.parent.chmod(0o755)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    ("ending", "subtype"), [("wav", s) for s in WAV_SUBTYPES] + [("flac", None), ("ogg", None), ("aiff", None)]
)
def test_truncation_is_detected(tmp_path, ending, subtype, share):
    content = sound_bytes(tmp_path, ending, subtype)
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(content[: int(len(content) * share)])
    message = refusal(path)
    assert any(word in message for word in ("truncated", "damaged", "no samples"))


def test_a_truncated_mp3_is_read_up_to_the_cut(tmp_path):
    """The header of an mp3 does not state its length reliably, so truncation cannot be detected."""
    content = sound_bytes(tmp_path, "mp3")
    (tmp_path / "cut.mp3").write_bytes(content[: len(content) // 2])
    remaining = load_audio(tmp_path / "cut.mp3")
    assert 2_000 < len(remaining) < 8_000
    assert fitted_sine(remaining, 440)[0] == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "raw", "bin"])
@pytest.mark.parametrize(
    "content",
    [
        b"The quick brown fox.\n" * 100,
        np.random.default_rng(0).bytes(5000),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + np.random.default_rng(1).bytes(3000),
        b"RIFF",
        wav_bytes()[:36],
    ],
    ids=["text", "random", "png", "four bytes", "no data chunk"],
)
def test_files_without_sound_are_refused(tmp_path, content, ending):
    path = tmp_path / f"not.{ending}"
    path.write_bytes(content)
    assert "not a sound file" in refusal(path)
    assert "not a sound file" in refusal(path, audio_info)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_samples_must_be_finite(tmp_path, value, rate_hz):
    samples = np.zeros((500, 2))
    samples[[7, 300], 1] = value
    soundfile.write(tmp_path / "a.wav", samples, rate_hz, subtype="FLOAT")
    assert "2 samples are NaN or infinite" in refusal(tmp_path / "a.wav")


def test_samples_beyond_float32(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.linspace(-1e200, 1e200, 11), 16_000, subtype="DOUBLE")
    recording = read_recording(tmp_path / "a.wav")
    torch.testing.assert_close(recording.samples, torch.linspace(-1, 1, 11))
    assert recording.notes == ("its samples reach 1e+200: scaled to a peak of 1",)


@pytest.mark.parametrize(
    "header",
    [
        {"channels": 0},
        {"channels": 300, "data": b"\0" * 60_000},
        {"channels": 65_535},
        {"rate_hz": 0},
        {"rate_hz": 7},
        {"rate_hz": 5_000_000},
        {"rate_hz": 4_000_000_000},
        {"data": b""},
        {"announced": 2**30},
        {"announced": 2**32 - 2**25},
    ],
    ids=str,
)
def test_implausible_headers(tmp_path, header):
    (tmp_path / "a.wav").write_bytes(wav_bytes(**header))
    refusal(tmp_path / "a.wav")


def test_a_flac_that_announces_days(tmp_path):
    content = bytearray(sound_bytes(tmp_path, "flac"))
    content[18:26] = (int.from_bytes(content[18:26], "big") | (2**36 - 1)).to_bytes(8, "big")
    (tmp_path / "a.flac").write_bytes(content)
    assert "truncated" in refusal(tmp_path / "a.flac")


def test_a_wav_that_announces_terabytes(tmp_path):
    """A wav above 4 GiB is RF64; libsndfile corrects the announced length, and the rest is read."""
    soundfile.write(tmp_path / "a.wav", np.full(500, 0.5), 16_000, format="RF64", subtype="FLOAT")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    at = content.find(b"ds64") + 8
    content[at : at + 24] = struct.pack("<QQQ", 2**43, 2**43, 2**41)
    (tmp_path / "a.wav").write_bytes(content)
    try:
        waveform = load_audio(tmp_path / "a.wav")
    except AudioError:
        refusal(tmp_path / "a.wav")
    else:
        assert waveform.tolist() == [0.5] * 500


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), ending=st.sampled_from(["wav", "flac", "ogg"]))
def test_a_damaged_file_gives_sound_or_an_audio_error(tmp_path, data, ending):
    content = bytearray(sound_bytes(tmp_path, ending))
    positions = st.integers(0, 120) | st.integers(0, len(content) - 1)
    for position, value in data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), min_size=1, max_size=8)):
        content[position] = value
    path = tmp_path / f"damaged.{ending}"
    path.write_bytes(content)
    try:
        waveform = load_audio(path)
    except AudioError:
        refusal(path)
    else:
        assert waveform.isfinite().all()
        assert len(waveform) > 0
