"""Fixtures of the tests of pictures."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg


@pytest.fixture
def pixels_of():
    """Function that draws a figure: brightness of each pixel, 0 to 255, rows from below. Shape (height, width)."""

    def draw(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(float).mean(2)

    return draw
