import pytest
import torch

from otoscope.errors import ShapeError
from otoscope.metrics import all_pass, ideal_mask, loudest_of_equal_area, mean_mask, random_of_equal_area


def random_mask(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def padded_pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A mask and a spectrogram whose loudest bins lie in the padding."""
    mask, log_magnitude = random_mask(0, 3, 5, 8), random_mask(1, 3, 5, 8)
    frames = torch.tensor([8, 3, 1])
    log_magnitude[1, :, 3:] = 9
    log_magnitude[2, :, 1:] = torch.nan
    mask[2, :, 1:] = torch.nan
    return mask, log_magnitude, frames


def expected_count(mask: torch.Tensor, frames: torch.Tensor) -> list[int]:
    return [round(clip[:, :n].double().sum().item()) for clip, n in zip(mask, frames, strict=True)]


def test_all_controls_are_zero_in_the_padding():
    mask, log_magnitude, frames = padded_pair()
    controls = [
        all_pass(mask, frames),
        random_of_equal_area(mask, frames),
        loudest_of_equal_area(mask, log_magnitude, frames),
        ideal_mask(log_magnitude, torch.zeros_like(log_magnitude), frames=frames),
    ]
    for control in controls:
        assert control.shape == mask.shape
        assert set(control.unique().tolist()) <= {0.0, 1.0}
        assert control[1, :, 3:].sum() == control[2, :, 1:].sum() == 0
        assert control[0].sum() > 0


def test_all_pass_keeps_every_valid_bin():
    assert all_pass(torch.zeros(2, 3, 4, dtype=torch.float64)).dtype == torch.float64
    assert torch.equal(mean_mask(all_pass(torch.zeros(2, 3, 4), torch.tensor([4, 2]))), torch.tensor([1, 0.5]))


def test_controls_keep_the_same_number_of_bins():
    mask, log_magnitude, frames = padded_pair()
    expected = expected_count(mask, frames)
    assert random_of_equal_area(mask, frames).sum(dim=(1, 2)).tolist() == expected
    assert loudest_of_equal_area(mask, log_magnitude, frames).sum(dim=(1, 2)).tolist() == expected


@pytest.mark.parametrize(("area", "kept"), [(0.0, 0), (1.0, 12), (2.0, 12), (0.04, 0), (0.05, 1)])
def test_extreme_areas(area, kept):
    mask = torch.full((1, 3, 4), area)
    assert random_of_equal_area(mask).sum() == kept
    assert loudest_of_equal_area(mask, mask).sum() == kept


def test_random_bins_are_uniform_and_repeatable():
    mask = torch.full((4000, 2, 3), 1 / 3)
    drawn = random_of_equal_area(mask, generator=torch.Generator().manual_seed(0))
    again = random_of_equal_area(mask, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn, again)
    assert drawn.mean(dim=0).flatten().tolist() == pytest.approx([1 / 3] * 6, abs=0.04)


def test_loudest_agrees_with_a_sort_of_each_clip():
    mask, log_magnitude = random_mask(2, 3, 4, 6), random_mask(3, 3, 4, 6)
    control = loudest_of_equal_area(mask, log_magnitude)
    for clip, loudness, kept in zip(mask, log_magnitude, control, strict=True):
        by_loudness = sorted(zip(loudness.flatten().tolist(), range(24), strict=True), reverse=True)
        expected = {place for _, place in by_loudness[: round(clip.sum().item())]}
        assert set(kept.flatten().nonzero().flatten().tolist()) == expected


def test_loudest_breaks_ties_by_place_and_alike_under_padding(pad_clips):
    mask, level = torch.full((1, 2, 3), 0.5), torch.ones(1, 2, 3)
    alone = loudest_of_equal_area(mask, level)
    assert alone.tolist() == [[[1, 1, 1], [0, 0, 0]]]
    padded_mask, frames = pad_clips([mask[0]])
    padded_level, _ = pad_clips([level[0]], filling=5.0)
    control = loudest_of_equal_area(padded_mask, padded_level, frames)
    assert torch.equal(control[..., :3], alone)


def test_ideal_mask_compares_magnitudes():
    event = torch.tensor([[[1.0, 0.5, 0.0], [0.1, 0.1, 0.0]]])
    background = torch.tensor([[[0.5, 1.0, 0.0], [0.1, 0.05, 0.2]]])
    assert ideal_mask(event.log1p(), background.log1p()).tolist() == [[[1, 0, 0], [0, 1, 0]]]


def test_ideal_mask_has_a_floor_relative_to_the_loudest_valid_bin():
    event = torch.tensor([[[1.0, 0.2, 0.05, 100.0]]])
    silence = torch.zeros_like(event)
    frames = torch.tensor([3])
    assert ideal_mask(event.log1p(), silence, -20.0, frames).tolist() == [[[1, 1, 0, 0]]]
    assert ideal_mask(event.log1p(), silence, -60.0, frames).tolist() == [[[1, 1, 1, 0]]]
    assert ideal_mask(event.log1p(), silence, -60.0).tolist() == [[[1, 1, 0, 1]]]


def test_ideal_mask_of_a_silent_event_is_empty():
    silence = torch.zeros(2, 3, 4)
    assert ideal_mask(silence, silence).sum() == 0
    assert ideal_mask(silence, silence + 1).sum() == 0


def test_refuses_shapes_that_do_not_fit():
    one, other = torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)
    with pytest.raises(ShapeError, match="log_magnitude"):
        loudest_of_equal_area(one, other)
    with pytest.raises(ShapeError, match="background"):
        ideal_mask(one, other)
    with pytest.raises(ShapeError, match="clips"):
        random_of_equal_area(one, torch.tensor([1, 2]))
    with pytest.raises(ShapeError, match="expected"):
        all_pass(one[0])
