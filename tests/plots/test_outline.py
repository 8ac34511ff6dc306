"""Outlines of masks are simple."""

import numpy as np

from otoscope.plots.outline import kept_density


def test_the_outline_encloses_regions_and_no_specks():
    mask = np.zeros((200, 100))
    mask[50:100, 20:60] = 1
    mask[75, 40] = 0
    mask[150, 80] = 1
    density = kept_density(mask)
    inside = density > density.max() / 2
    # the edge of the smoothed mask lies within a bin of the mask's
    assert np.abs(inside[:, 40].nonzero()[0][[0, -1]] - [50, 99]).max() <= 1
    assert inside[51:99, 40].all()
    assert not inside[140:160, 70:90].any()
