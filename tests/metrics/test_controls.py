"""Control masks: their areas, and that they depend on name, mask and seed alone."""

import pytest
import torch

from otoscope.errors import ShapeError
from otoscope.metrics import (
    all_pass,
    ideal_mask,
    loudest_of_equal_area,
    mean_mask,
    random_importance,
    random_of_equal_area,
)

NAMES = ["dog", "rain", "clock"]


def random_mask(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def padded_pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A mask and a spectrogram whose loudest bins lie in the padding, and the valid frames."""
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
        random_of_equal_area(mask, NAMES, frames=frames),
        loudest_of_equal_area(mask, log_magnitude, NAMES, frames=frames),
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
    assert random_of_equal_area(mask, NAMES, frames=frames).sum(dim=(1, 2)).tolist() == expected
    loudest = loudest_of_equal_area(mask, log_magnitude, NAMES, frames=frames)
    assert loudest.sum(dim=(1, 2)).tolist() == expected


@pytest.mark.parametrize(("area", "bins"), [(0.0, 0), (1.0, 12), (2.0, 12), (0.04, 0), (0.05, 1)])
def test_extreme_areas(area, bins):
    mask = torch.full((1, 3, 4), area)
    assert random_of_equal_area(mask, ["dog"]).sum() == bins
    assert loudest_of_equal_area(mask, mask, ["dog"]).sum() == bins


def test_random_bins_are_uniform_over_names_and_seeds():
    names = [f"clip{i}" for i in range(4000)]
    control = random_of_equal_area(torch.full((4000, 2, 3), 1 / 3), names)
    assert control.mean(dim=0).flatten().tolist() == pytest.approx([1 / 3] * 6, abs=0.04)
    mask = torch.full((1, 20, 30), 0.5)
    assert not torch.equal(random_of_equal_area(mask, ["dog"], 1), random_of_equal_area(mask, ["dog"], 2))
    assert not torch.equal(random_of_equal_area(mask, ["dog"]), random_of_equal_area(mask, ["rain"]))


def test_random_control_is_cut_from_the_random_importance():
    mask, _, frames = padded_pair()
    importance = random_importance(mask, NAMES, 7, frames)
    control = random_of_equal_area(mask, NAMES, 7, frames)
    for values, selected, count in zip(importance, control, frames.tolist(), strict=True):
        bins = values[:, :count].flatten()
        assert bins.sort().values.tolist() == list(range(5 * count))
        assert set(bins[selected[:, :count].flatten() == 1].tolist()) == set(
            range(5 * count - int(selected.sum()), 5 * count)
        )


def test_controls_of_a_clip_do_not_depend_on_the_batch():
    mask, log_magnitude, frames = padded_pair()
    log_magnitude = (3 * log_magnitude).round()  # with ties
    together = (
        random_of_equal_area(mask, NAMES, 7, frames),
        loudest_of_equal_area(mask, log_magnitude, NAMES, 7, frames),
    )
    for i, (name, count) in enumerate(zip(NAMES, frames.tolist(), strict=True)):
        part = (slice(i, i + 1), slice(None), slice(count))
        alone = (
            random_of_equal_area(mask[part], [name], 7),
            loudest_of_equal_area(mask[part], log_magnitude[part], [name], 7),
        )
        for control, expected in zip(together, alone, strict=True):
            assert torch.equal(control[part], expected)


def test_loudest_agrees_with_a_sort_of_each_clip():
    mask, log_magnitude = random_mask(2, 3, 4, 6), random_mask(3, 3, 4, 6)
    control = loudest_of_equal_area(mask, log_magnitude, NAMES)
    for clip, loudness, selected in zip(mask, log_magnitude, control, strict=True):
        by_loudness = sorted(zip(loudness.flatten().tolist(), range(24), strict=True), reverse=True)
        expected = {place for _, place in by_loudness[: round(clip.sum().item())]}
        assert set(selected.flatten().nonzero().flatten().tolist()) == expected


def test_loudest_prefers_no_bin_of_equal_loudness():
    mask, level = torch.full((1, 40, 50), 0.25), torch.ones(1, 40, 50)
    control = loudest_of_equal_area(mask, level, ["dog"])
    assert control[:, :20].mean() == pytest.approx(0.25, abs=0.04)
    assert control[..., :25].mean() == pytest.approx(0.25, abs=0.04)


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
    mask, longer = torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)
    with pytest.raises(ShapeError, match="log_magnitude"):
        loudest_of_equal_area(mask, longer, ["dog"])
    with pytest.raises(ShapeError, match="background"):
        ideal_mask(mask, longer)
    with pytest.raises(ShapeError, match="clips"):
        random_of_equal_area(mask, ["dog"], frames=torch.tensor([1, 2]))
    with pytest.raises(ShapeError, match="expected"):
        all_pass(mask[0])
