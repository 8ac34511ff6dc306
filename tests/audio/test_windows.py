"""Recordings in blocks and windows: no seams, the same samples as of the whole file, constant memory."""

import itertools
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from otoscope.audio import Frontend, RecordingStream, WindowPlan, cut_windows, read_recording
from otoscope.audio import blocks as blocks_module
from otoscope.errors import AudioError, ConfigurationError


@pytest.fixture
def write(tmp_path):
    """Function that writes a noisy recording and returns its path."""

    def write(rate_hz, samples, channels=1, name="night.wav", subtype="PCM_16"):
        noise = np.random.default_rng(samples).uniform(-0.5, 0.5, (samples, channels))
        path = tmp_path / name
        soundfile.write(path, noise, rate_hz, subtype=subtype)
        return path

    return write


def use_blocks_of(monkeypatch, frames):
    monkeypatch.setattr(blocks_module, "_BLOCK_SAMPLES", frames)
    monkeypatch.setattr(blocks_module, "_SMALLEST_BLOCK", 1)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize(("block", "samples"), [(1 << 19, 30_001), (4096, 30_001), (997, 12_345), (50, 997)])
def test_blocks_joined_are_the_waveform_of_the_whole_file(write, monkeypatch, rate_hz, block, samples):
    path = write(rate_hz, samples, channels=2)
    whole = read_recording(path)
    use_blocks_of(monkeypatch, 2 * block)
    stream = RecordingStream(path)
    joined = np.concatenate(list(stream))
    assert stream.survey.samples == len(joined) == len(whole.samples)
    assert stream.survey.notes == whole.notes
    np.testing.assert_allclose(joined, whole.samples.numpy(), atol=1e-7)


@pytest.mark.parametrize(("rate_hz", "samples"), [(32_000, 9999), (96_000, 50_003), (24_000, 1000)])
@pytest.mark.parametrize("target_hz", [16_000, 44_100])
def test_half_a_sample_is_rounded_as_the_resampler_does(write, rate_hz, samples, target_hz):
    stream = RecordingStream(write(rate_hz, samples), target_hz)
    assert stream.survey.samples == sum(map(len, stream))


@pytest.mark.parametrize(
    ("name", "subtype", "rate_hz"),
    [
        ("a.wav", "FLOAT", 48_000),
        ("a.flac", "PCM_24", 44_100),
        ("a.ogg", "VORBIS", 44_100),
        ("a.mp3", "MPEG_LAYER_III", 48_000),
    ],
)
@pytest.mark.parametrize("channel", [None, 1])
def test_every_format(write, monkeypatch, name, subtype, rate_hz, channel):
    path = write(rate_hz, 50_000, 2, name, subtype)
    use_blocks_of(monkeypatch, 3000)
    joined = np.concatenate(list(RecordingStream(path, channel=channel)))
    np.testing.assert_allclose(joined, read_recording(path, channel=channel).samples.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_part_is_the_file_cut_there(write, tmp_path, monkeypatch, name):
    subtype = {"ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}.get(name[2:], "PCM_16")
    path = write(32_000, 64_000, 1, name, subtype)
    decoded, _ = soundfile.read(path)
    soundfile.write(tmp_path / "cut.wav", decoded[16_000:40_000], 32_000, subtype="FLOAT")
    use_blocks_of(monkeypatch, 5000)
    part = RecordingStream(path, start_s=0.5, end_s=1.25)
    assert part.duration_s == 0.75
    expected = read_recording(tmp_path / "cut.wav").samples.numpy()
    np.testing.assert_allclose(np.concatenate(list(part)), expected, atol=1e-6)


def test_an_end_behind_that_of_the_recording_means_its_end(write):
    assert RecordingStream(write(16_000, 8000), end_s=99).survey.samples == 8000


@pytest.mark.parametrize(("start_s", "end_s"), [(-1, None), (0.4, 0.4), (0.5, None), (7, 9)])
def test_impossible_parts_are_refused(write, start_s, end_s):
    with pytest.raises(ConfigurationError, match="start_s"):
        RecordingStream(write(16_000, 8000), start_s=start_s, end_s=end_s)


def test_a_placeholder_size_is_read_to_the_end(write):
    path = write(16_000, 20_000)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    stream = RecordingStream(path)
    assert stream.survey.samples == 20_000
    assert "placeholder" in stream.survey.notes[0]


def test_faults_are_raised_by_the_survey_or_the_first_pass(write, tmp_path):
    path = write(16_000, 20_000)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(AudioError, match="truncated"):
        RecordingStream(path)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 20_000)
    soundfile.write(tmp_path / "opposite.wav", np.stack([samples, -samples], 1), 16_000)
    # The header of a file of integers states all that the survey does, so that nothing is decoded for it.
    stream = RecordingStream(tmp_path / "opposite.wav")
    assert (stream.survey.samples, stream.survey.peak) == (20_000, 1.0)
    with pytest.raises(AudioError, match="cancel out"):
        list(stream)
    assert RecordingStream(tmp_path / "opposite.wav", channel=1).survey.samples == 20_000
    samples[15_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="1 samples are NaN"):
        RecordingStream(tmp_path / "nan.wav").survey  # noqa: B018 - the property decodes
    soundfile.write(
        tmp_path / "floats.wav", np.stack([samples[:9000], -samples[:9000]], 1), 16_000, subtype="FLOAT"
    )
    with pytest.raises(AudioError, match="cancel out"):
        RecordingStream(tmp_path / "floats.wav").survey  # noqa: B018


def test_huge_samples_are_scaled_as_of_the_whole_file(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).uniform(-1e200, 1e200, 20_000)
    soundfile.write(tmp_path / "huge.wav", samples, 48_000, subtype="DOUBLE")
    use_blocks_of(monkeypatch, 1000)
    stream, whole = RecordingStream(tmp_path / "huge.wav"), read_recording(tmp_path / "huge.wav")
    assert stream.survey.notes == whole.notes
    np.testing.assert_allclose(np.concatenate(list(stream)), whole.samples.numpy(), atol=1e-6)


@pytest.mark.parametrize("samples", [400, 1000, 1001, 1009, 1010, 1057, 1199, 1200, 3999])
@pytest.mark.parametrize("hop", [100, 200, 400])
def test_windows_cover_the_recording_on_its_frames(samples, hop):
    plan = WindowPlan(samples, 400, hop, 10)
    spans = [plan.span(k) for k in range(plan.count)]
    assert spans[0][0] == 0
    assert spans[-1][1] == samples
    for (begin, end), (following, _) in itertools.pairwise(spans):
        assert begin < following <= end
    assert all(begin % 10 == 0 for begin, _ in spans)
    assert all(end - begin == 400 for begin, end in spans[:-1])
    assert 400 <= spans[-1][1] - spans[-1][0] < 410
    cores = [plan.core(k) for k in range(plan.count)]
    assert [begin for begin, _ in cores] == [0, *(end for _, end in cores[:-1])]
    assert cores[-1][1] == samples


def test_a_short_recording_is_one_window():
    plan = WindowPlan(333, 400, 200, 10)
    assert (plan.count, plan.span(0), plan.core(0)) == (1, (0, 333), (0, 333))


def test_window_and_hop_are_multiples_of_the_hop_of_the_stft():
    plan = WindowPlan.of(Frontend(), 160_000, 5, 2.5)
    assert (plan.window, plan.hop, plan.step) == (430 * 186, 215 * 186, 186)


@pytest.mark.parametrize(("window_s", "hop_s"), [(0, 1), (5, 0), (5, 6), (0.02, 0.01), (float("inf"), 1)])
def test_impossible_windows_are_refused(window_s, hop_s):
    with pytest.raises(ConfigurationError, match=r"window_s|hop_s"):
        WindowPlan.of(Frontend(), 160_000, window_s, hop_s)


@pytest.mark.parametrize("block", [1, 7, 100, 5000])
def test_windows_are_cut_out_of_blocks(block):
    waveform = np.arange(1000, dtype=np.float32)
    spans = [(0, 30), (10, 40), (10, 40), (200, 290), (950, 1000)]
    blocks = (waveform[start : start + block] for start in range(0, 1000, block))
    for (begin, end), window in zip(spans, cut_windows(blocks, spans), strict=True):
        np.testing.assert_array_equal(window, waveform[begin:end])


MEMORY = """
import json, resource, sys
from otoscope.audio import Frontend, RecordingStream, WindowPlan, cut_windows
def peak_mb():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
peaks = []
for path in sys.argv[1:]:
    stream = RecordingStream(path)
    plan = WindowPlan.of(Frontend(), stream.survey.samples, 5, 2.5)
    spans = (plan.span(k) for k in range(plan.count))
    count = sum(len(window) >= plan.window for window in cut_windows(stream, spans))
    assert count == plan.count
    peaks.append(peak_mb())
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Five times the length: 15 MB more of samples at 16 kHz, and 92 MB more in the file."""
    for name, minutes in (("short.wav", 1), ("long.wav", 5)):
        with soundfile.SoundFile(tmp_path / name, "w", 48_000, 2, "PCM_16") as file:
            block = np.random.default_rng(0).integers(-9999, 9999, (48_000 * 20, 2), dtype=np.int16)
            for _ in range(minutes * 3):
                file.write(block)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "short.wav"), str(tmp_path / "long.wav")]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    short, long = json.loads(finished.stdout)
    assert long < short + 6
