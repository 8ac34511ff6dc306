"""Outlines of masks: where they keep most of a neighbourhood."""

from __future__ import annotations

import numpy as np


def kept_density(mask: np.ndarray) -> np.ndarray:
    """Return the mean of a mask around each bin, without regions and holes that are too small to outline.

    Masks that are cut from gradients consist of thousands of single bins. The outline of their density is readable
    and quick to draw; for compact masks it hardly differs from the outline of the mask.

    Args:
        mask: Mask in [0, 1]. Shape (frequency, time).

    Returns:
        Density in [0, 1], same shape.
    """
    from scipy.ndimage import gaussian_filter

    # A neighbourhood of about one percent of both axes.
    sigma = [max(0.009 * size, 0.5) for size in mask.shape]
    density = gaussian_filter(np.asarray(mask, dtype=np.float32), sigma, mode="nearest", truncate=3)
    level = density.max() / 2
    density[_specks(density > level)] = 0
    density[_specks(density <= level)] = 2 * level
    return np.asarray(density)


def _specks(inside: np.ndarray) -> np.ndarray:
    """Return the connected regions that are smaller than 1/1000 of the picture: outlined, they would be specks."""
    from scipy.ndimage import label

    regions, _ = label(inside)
    is_small = np.bincount(regions.ravel()) < 0.001 * inside.size
    is_small[0] = False  # region 0 is everything outside
    return np.asarray(is_small[regions])
