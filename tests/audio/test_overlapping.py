"""Windows that share the frames of one transform have the spectrograms that they have alone."""

import numpy as np
import pytest
import torch

from otoscope.audio import Frontend, OverlappingWindows, WindowPlan

FRONTENDS = [Frontend(), Frontend(48_000), Frontend(8_000, n_fft=512, window_ms=32.0, hop_ms=8.0)]


def windows_of(waveform, frontend, plan, windows):
    begin, end = OverlappingWindows.span(frontend, plan, windows)
    return OverlappingWindows(frontend, plan, windows, waveform[begin:end])


def recording(frontend, seconds=4.03, scale=1.0):
    generator = np.random.default_rng(0)
    samples = round(seconds * frontend.sample_rate_hz)
    # the level changes, so that each window is scaled by a factor of its own
    return (scale * np.linspace(0.01, 1, samples) * generator.uniform(-1, 1, samples)).astype(np.float32)


@pytest.mark.parametrize("frontend", FRONTENDS, ids=Frontend.describe)
@pytest.mark.parametrize("hop_s", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_windows_have_the_log_magnitudes_that_they_have_alone(frontend, hop_s, normalize):
    waveform = recording(frontend)
    plan = WindowPlan.of(frontend, len(waveform), 1.0, hop_s)
    for windows in (range(2), range(1, 3)):
        shared = windows_of(waveform, frontend, plan, windows)
        scale = [1 / np.abs(clip).max() if normalize else 1.0 for clip in shared.clips]
        alone = [torch.from_numpy(clip * np.float32(gain)) for clip, gain in zip(shared.clips, scale, strict=True)]
        assert torch.allclose(
            shared.log_magnitude(normalize), frontend.log_magnitude(torch.stack(alone)), atol=2e-5
        )


@pytest.mark.parametrize("frontend", FRONTENDS, ids=Frontend.describe)
@pytest.mark.parametrize("hop_s", [0.25, 1.0])
def test_frames_of_all_batches_are_those_of_the_whole_recording(frontend, hop_s):
    waveform = recording(frontend)
    plan = WindowPlan.of(frontend, len(waveform), 1.0, hop_s)
    last = plan.count - 1
    batches = [*(range(begin, min(begin + 2, last)) for begin in range(0, last, 2)), range(last, plan.count)]
    position, portions = 0, []
    for windows in batches:
        frame, power = windows_of(waveform, frontend, plan, windows).frames()
        assert frame == position
        position += power.shape[1]
        portions.append(power)
    assert torch.allclose(
        torch.cat(portions, 1), frontend.power(torch.from_numpy(waveform)[None])[0], rtol=1e-4, atol=1e-4
    )


def test_silence_is_shared_and_extreme_levels_are_not():
    frontend = FRONTENDS[0]
    waveform = recording(frontend)
    plan = WindowPlan.of(frontend, len(waveform), 1.0, 0.5)
    silent = windows_of(np.zeros_like(waveform), frontend, plan, range(3))
    expected = frontend.log_magnitude(torch.zeros(3, plan.window))
    assert torch.equal(silent.log_magnitude(True), expected)
    for scale in (1e-20, 1e20):  # their squares are no single-precision numbers
        assert windows_of(np.float32(scale) * waveform, frontend, plan, range(3)).log_magnitude(True) is None
    assert windows_of(waveform, frontend, plan, range(1)).log_magnitude(True) is None
