"""Masks of windows, joined: no seams, whatever the portions are."""

import numpy as np
import pytest
import torch

from otoscope.audio import Frontend, WindowPlan
from otoscope.recordings.long.events import Job
from otoscope.recordings.long.joining import MaskJoiner, masked_spectra, overlap_weights
from otoscope.recordings.long.masks import WindowMask, _packed, _unpacked

BINS = 5
PLAN = WindowPlan(samples=1057, window=200, hop=100, step=10)
FRAMES = 1057 // 10 + 1
REACH = 15


def window_masks(mask, windows=range(PLAN.count), label=0, gains=None):
    """The parts of one mask of the whole recording that windows have."""
    for window in windows:
        first = PLAN.first_frame(window)
        part = mask[:, first : first + PLAN.length(window) // PLAN.step + 1]
        yield WindowMask(Job(window, label), part.astype(np.float32), 1.0 if gains is None else gains[window])


def joined(masks, portion):
    joiner = MaskJoiner(PLAN, masks, REACH)
    parts = [joiner.portion(begin, min(begin + portion, FRAMES)).union() for begin in range(0, FRAMES, portion)]
    sizes = [min(portion, FRAMES - begin) for begin in range(0, FRAMES, portion)]
    empty = [np.zeros((BINS, size), np.float32) for size in sizes]
    return np.concatenate([zero if part is None else part for part, zero in zip(parts, empty, strict=True)], 1)


@pytest.mark.parametrize("portion", [1, 7, 50, 1000])
def test_windows_that_agree_give_their_mask(portion):
    mask = np.random.default_rng(0).random((BINS, FRAMES))
    np.testing.assert_allclose(joined(window_masks(mask), portion), mask, atol=1e-6)


@pytest.mark.parametrize("portion", [1, 7, 50, 1000])
def test_a_slow_reference(portion):
    rng = np.random.default_rng(1)
    masks = [rng.random((BINS, PLAN.length(window) // PLAN.step + 1)) for window in range(PLAN.count)]
    chosen = [0, 3, 4, 7]
    total, weight, everything = np.zeros((BINS, FRAMES)), np.zeros(FRAMES), np.zeros(FRAMES)
    for window, mask in enumerate(masks):
        for frame in range(mask.shape[1]):
            place = PLAN.first_frame(window) + frame
            share = np.sin(np.pi * (frame + 0.5) / mask.shape[1]) ** 2
            before, behind = frame * PLAN.step < REACH, (mask.shape[1] - 1 - frame) * PLAN.step < REACH
            if (before and window > 0) or (behind and window < PLAN.count - 1):
                share *= 1e-6
            everything[place] += share
            if window in chosen:
                weight[place] += share
                total[:, place] += share * mask[:, frame]
    expected = total / np.maximum(weight, 0.05 * everything)
    parts = [WindowMask(Job(window, 0), masks[window].astype(np.float32), 1.0) for window in chosen]
    np.testing.assert_allclose(joined(parts, portion), expected, atol=1e-5)


def test_beside_a_window_without_a_mask_the_evidence_fades():
    mask = joined(window_masks(np.ones((BINS, FRAMES)), windows=[4, 5]), 1000)[0]
    begin, end = PLAN.first_frame(4), PLAN.first_frame(5) + 20
    assert not mask[:begin].any()
    assert not mask[end + 1 :].any()
    np.testing.assert_array_equal(mask[begin + 3 : end - 2], 1)
    assert 0 < mask[begin] < mask[begin + 1] < 1e-4  # frames that the window cuts off


@pytest.mark.parametrize("plan", [PLAN, WindowPlan(samples=1015, window=200, hop=100, step=10)])
def test_frames_that_a_window_cuts_off_do_not_count(plan):
    """The last two windows of the second plan begin one frame apart."""
    frames = plan.samples // plan.step + 1
    masks = []
    for window in range(plan.count):
        part = np.ones((BINS, plan.length(window) // plan.step + 1), np.float32)
        part[:, :2] = float(window == 0)
        part[:, -2:] = float(window == plan.count - 1)
        masks.append(WindowMask(Job(window, 0), part, 1.0))
    mask = MaskJoiner(plan, masks, REACH).portion(0, frames).union()
    np.testing.assert_allclose(mask, 1, atol=1e-4)


def test_labels_are_joined_apart_and_together_by_the_largest():
    low, high = np.full((BINS, FRAMES), 0.2), np.full((BINS, FRAMES), 0.7)
    masks = sorted(
        [*window_masks(low, [2, 3], label=0), *window_masks(high, [3, 4], label=1)],
        key=lambda mask: (mask.job.window, mask.job.label),
    )
    portion = MaskJoiner(PLAN, masks, REACH).portion(0, FRAMES)
    assert set(portion.masks) == {0, 1}
    middle = PLAN.first_frame(3) + 10
    assert portion.masks[0][0, middle] == pytest.approx(0.2)
    assert portion.union()[0, middle] == pytest.approx(0.7)


def test_levels_of_windows_change_smoothly():
    gains = np.linspace(0.2, 1, PLAN.count)
    gain = MaskJoiner(PLAN, window_masks(np.ones((BINS, FRAMES)), gains=gains), REACH).portion(0, FRAMES).gain
    assert gain[0] == pytest.approx(0.2)
    assert gain[-1] == pytest.approx(1, abs=0.02)
    assert (np.diff(gain) > -1e-9).all()
    assert np.diff(gain).max() < 0.03


@pytest.mark.parametrize("gain", [1.0, 0.05])
def test_masked_spectra_are_those_of_the_front_end(gain):
    frontend = Frontend()
    waveform = 0.05 * torch.randn(1, 8000)
    spectrogram = frontend(waveform / gain)
    mask = torch.rand_like(spectrogram.log_magnitude)
    expected = gain * torch.polar(spectrogram.masked(mask).magnitude[0], spectrogram.phase[0])
    spectrogram = frontend(waveform)
    spectra = torch.polar(spectrogram.magnitude[0], spectrogram.phase[0])
    (result,) = masked_spectra(spectra, [mask[0].numpy()], np.full(spectra.shape[1], gain))
    assert torch.allclose(result, expected, atol=1e-5)


def test_weights_are_symmetric_and_nowhere_zero():
    weights = overlap_weights(431)
    np.testing.assert_allclose(weights, weights[::-1])
    assert weights.min() > 0


def test_masks_are_stored_without_loss_that_is_heard():
    soft = np.random.default_rng(0).random((7, 9)).astype(np.float32)
    np.testing.assert_allclose(_unpacked(_packed(soft), soft.shape), soft, atol=1e-5)
    binary = soft.round()
    assert _packed(binary).nbytes == 8
    np.testing.assert_array_equal(_unpacked(_packed(binary), soft.shape), binary)
