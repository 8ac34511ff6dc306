"""Pictures whose pixels are numbers."""

from io import BytesIO

import numpy as np
import pytest

from otoscope.player import level_picture, share_picture


def values(picture):
    """Return the numbers of a picture as another reader of PNG sees them, the lowest frequency first."""
    image = pytest.importorskip("PIL.Image").open(BytesIO(picture.data))
    assert image.mode == "L"
    return picture.low + np.asarray(image)[::-1] / 255 * (picture.high - picture.low)


def test_levels_are_decibels_relative_to_the_peak():
    magnitudes = np.array([[1.0, 0.1], [0.01, 0.0]])
    levels = values(level_picture(np.log1p(magnitudes)))
    assert levels == pytest.approx(np.array([[0, -20], [-40, -80]]), abs=1)


def test_shares_are_returned_to_within_half_a_step():
    share = np.random.default_rng(0).random((40, 30))
    assert values(share_picture(share)) == pytest.approx(share, abs=0.5 / 32 + 1 / 255)


def test_large_pictures_are_pooled_loudest_for_levels_and_mean_for_shares():
    magnitudes = np.zeros((513, 50))
    magnitudes[200, 10] = 1
    levels = values(level_picture(np.log1p(magnitudes)))
    assert levels.shape == (257, 50)
    assert levels.max() == pytest.approx(0)
    share = values(share_picture(np.tile([[0.0], [1.0]], (300, 3000)), rows=300, columns=1000))
    assert share.shape == (300, 1000)
    # the cells at both ends hold half as many bins
    assert share[5:-5].mean() == pytest.approx(0.5, abs=0.05)


def test_silence_is_a_valid_picture():
    assert values(level_picture(np.zeros((1, 1)))).tolist() == [[-80]]


def test_masks_compress():
    mask = np.zeros((513, 431))
    mask[100:200, 50:150] = 1
    assert len(share_picture(mask).data) < 1000
