import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.errors import ShapeError


@pytest.fixture
def spectrogram():
    return Spectrogram(torch.rand(2, 3, 4), torch.randn(2, 3, 4), length=700, frames=torch.tensor([4, 2]))


def test_magnitude_undoes_the_logarithm(spectrogram):
    torch.testing.assert_close(torch.log1p(spectrogram.magnitude), spectrogram.log_magnitude)


def test_a_mask_multiplies_the_log_magnitude_and_leaves_the_rest(spectrogram):
    before = spectrogram.log_magnitude.clone()
    mask = torch.rand(2, 3, 4)
    masked = spectrogram.masked(mask)
    assert torch.equal(masked.log_magnitude, before * mask)
    assert torch.equal(spectrogram.log_magnitude, before)
    assert masked.phase is spectrogram.phase
    assert masked.length == 700
    assert masked.frames is spectrogram.frames


@pytest.mark.parametrize("shape", [(2, 3, 3), (1, 3, 4), (3, 4), (2, 1, 4), ()])
def test_a_mask_of_another_shape_is_refused(spectrogram, shape):
    with pytest.raises(ShapeError, match="does not fit"):
        spectrogram.masked(torch.ones(shape))
