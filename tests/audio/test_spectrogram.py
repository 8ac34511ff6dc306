"""The spectrogram value: masks, selection of clips, padding and phase."""

import pytest
import torch

from otoscope.audio import Frontend, Spectrogram
from otoscope.errors import PhaseError, ShapeError


@pytest.fixture
def spectrogram():
    return Spectrogram(torch.rand(2, 3, 4), torch.randn(2, 3, 4), length=700, frames=torch.tensor([4, 2]))


@pytest.fixture
def batch():
    """Four padded clips, two of them equally long, with phase and lengths in samples."""
    return Spectrogram(
        torch.rand(4, 3, 6),
        torch.randn(4, 3, 6),
        length=900,
        frames=torch.tensor([6, 2, 5, 2]),
        lengths=torch.tensor([900, 300, 750, 310]),
    )


def assert_clips(selected, batch, index):
    """Check that a spectrogram holds these clips of a batch, with their padding."""
    assert torch.equal(selected.log_magnitude, batch.log_magnitude[index])
    assert torch.equal(selected.phase, batch.phase[index])
    assert torch.equal(selected.frames, batch.frames[index])
    assert torch.equal(selected.lengths, batch.lengths[index])
    assert selected.length == batch.length


def assert_same(spectrogram, expected):
    """Check that two spectrograms agree in every attribute."""
    for name in ("log_magnitude", "phase", "frames", "lengths"):
        value, other = getattr(spectrogram, name), getattr(expected, name)
        assert value is other is None or torch.equal(value, other), name
    assert spectrogram.length == expected.length


def test_magnitude_undoes_the_logarithm(spectrogram):
    torch.testing.assert_close(torch.log1p(spectrogram.magnitude), spectrogram.log_magnitude)


def test_mask_multiplies_the_log_magnitude_and_keeps_everything_else(spectrogram):
    before = spectrogram.log_magnitude.clone()
    mask = torch.rand(2, 3, 4)
    masked = spectrogram.masked(mask)
    assert torch.equal(masked.log_magnitude, before * mask)
    assert torch.equal(spectrogram.log_magnitude, before)
    assert masked.phase is spectrogram.phase
    assert masked.length == 700
    assert masked.frames is spectrogram.frames


@pytest.mark.parametrize("shape", [(2, 3, 3), (1, 3, 4), (3, 4), (2, 1, 4), ()])
def test_mask_of_another_shape_is_refused(spectrogram, shape):
    with pytest.raises(ShapeError, match="does not fit"):
        spectrogram.masked(torch.ones(shape))


def test_phase_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"a phase of shape \(2, 3, 5\) does not fit .* \(2, 3, 4\)"):
        Spectrogram(torch.rand(2, 3, 4), torch.rand(2, 3, 5))


def test_other_log_magnitude_keeps_everything_else(batch):
    values = torch.rand(4, 3, 6)
    changed = batch.with_log_magnitude(values)
    assert changed.log_magnitude is values
    assert changed.phase is batch.phase
    assert changed.frames is batch.frames
    assert changed.lengths is batch.lengths
    assert changed.length == 900
    with pytest.raises(ShapeError, match="does not fit"):
        batch.with_log_magnitude(values[:2])


@pytest.mark.parametrize("index", [slice(1, 3), [3, 0], torch.tensor([2, 2, 1])], ids=["slice", "list", "tensor"])
def test_index_selects_clips_with_their_padding(batch, index):
    assert_clips(batch[index], batch, index)


def test_index_of_a_spectrogram_without_optional_parts():
    spectrogram = Spectrogram(torch.rand(3, 3, 4))
    selected = spectrogram[1:]
    assert len(spectrogram) == 3
    assert len(selected) == 2
    assert_same(selected, Spectrogram(spectrogram.log_magnitude[1:]))


def test_repeat_keeps_the_order_of_the_batch(batch):
    assert_clips(batch.repeat(2), batch, [0, 1, 2, 3, 0, 1, 2, 3])
    assert_clips(batch.repeat(1), batch, slice(None))


@pytest.mark.parametrize(("size", "sizes"), [(1, [1, 1, 1, 1]), (3, [3, 1]), (4, [4]), (9, [4])])
def test_split_yields_all_clips_in_order(batch, size, sizes):
    portions = list(batch.split(size))
    assert [len(portion) for portion in portions] == sizes
    start = 0
    for portion in portions:
        assert_clips(portion, batch, slice(start, start + size))
        start += size


def test_frame_counts_are_those_of_the_valid_frames(batch):
    assert batch.frame_counts == [6, 2, 5, 2]
    assert Spectrogram(torch.rand(2, 3, 4)).frame_counts == [4, 4]


def test_clip_has_no_padding(batch):
    for i, (count, length) in enumerate(zip((6, 2, 5, 2), (900, 300, 750, 310), strict=True)):
        expected = Spectrogram(batch.log_magnitude[i, None, :, :count], batch.phase[i, None, :, :count], length)
        assert_same(batch.clip(i), expected)


def test_clip_of_a_batch_without_padding_keeps_its_length():
    spectrogram = Spectrogram(torch.rand(2, 3, 4), length=700)
    assert_same(spectrogram.clip(1), Spectrogram(spectrogram.log_magnitude[1:], length=700))


def test_clip_turns_into_the_same_sound_as_alone():
    frontend, waveforms = Frontend(), torch.randn(2, 5000)
    waveforms[1, 3000:] = 0
    batch = frontend(waveforms, torch.tensor([5000, 3000]))
    clip, alone = batch.clip(1), frontend(waveforms[1:, :3000])
    assert clip.log_magnitude.shape == alone.log_magnitude.shape
    assert clip.length == alone.length == 3000
    torch.testing.assert_close(frontend.inverse(clip), waveforms[1:, :3000], rtol=0, atol=1e-4)


def test_equally_long_clips_come_together_without_padding(batch):
    portions = list(batch.by_length())
    assert [index.tolist() for index, _ in portions] == [[1, 3], [2], [0]]
    for (index, clips), count in zip(portions, (2, 5, 6), strict=True):
        expected = Spectrogram(batch.log_magnitude[index][..., :count], batch.phase[index][..., :count])
        assert_same(clips, expected)  # clips with equally many frames may differ in samples: no length


@pytest.mark.parametrize(("size", "indices"), [(1, [[1], [3], [2], [0]]), (2, [[1, 3], [2], [0]])])
def test_size_limits_the_clips_that_come_together(batch, size, indices):
    assert [index.tolist() for index, _ in batch.by_length(size)] == indices


def test_clips_without_padding_come_together_in_order():
    spectrogram = Spectrogram(torch.rand(3, 3, 4), length=700)
    (first, second) = spectrogram.by_length(2)
    assert [first[0].tolist(), second[0].tolist()] == [[0, 1], [2]]
    assert_same(first[1], Spectrogram(spectrogram.log_magnitude[:2], length=700))
    assert_same(second[1], Spectrogram(spectrogram.log_magnitude[2:], length=700))


def test_zero_padding_changes_the_padding_only(spectrogram):
    values = torch.rand(2, 5, 4) + 1
    zeroed = spectrogram.zero_padding(values)
    assert torch.equal(zeroed[0], values[0])
    assert torch.equal(zeroed[1, :, :2], values[1, :, :2])
    assert zeroed[1, :, 2:].count_nonzero() == 0
    assert Spectrogram(torch.rand(2, 3, 4)).zero_padding(values) is values


def test_detached_copy_is_outside_the_graph_and_of_the_original():
    log_magnitude = torch.rand(2, 3, 4, requires_grad=True)
    spectrogram = Spectrogram(2 * log_magnitude, 3 * log_magnitude, length=700, frames=torch.tensor([4, 2]))
    copy = spectrogram.detach()
    assert_same(copy, spectrogram)
    assert not copy.log_magnitude.requires_grad
    assert not copy.phase.requires_grad
    copy.log_magnitude.zero_()
    assert spectrogram.log_magnitude.any()
    assert Spectrogram(torch.rand(2, 3, 4)).detach().phase is None


def test_copy_made_in_inference_mode_can_be_differentiated():
    with torch.inference_mode():
        spectrogram = Spectrogram(torch.rand(1, 3, 4))
    inputs = spectrogram.detach().log_magnitude.requires_grad_()
    (gradient,) = torch.autograd.grad(inputs.square().sum(), inputs)
    assert torch.equal(gradient, 2 * inputs)


def test_required_phase_is_returned_or_its_absence_explained(spectrogram):
    assert spectrogram.require_phase("the inverse transform") is spectrogram.phase
    with pytest.raises(
        PhaseError, match=r"^this network needs the phase of the spectrogram: .*frontend\(waveform\)"
    ):
        Spectrogram(torch.rand(2, 3, 4)).require_phase("this network")
