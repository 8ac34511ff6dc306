"""Interventions remove what stands out and leave the rest of the sound alone."""

import pytest
import torch

from otoscope.audit import interventions
from otoscope.data.planted import Cue, plant

RATE_HZ = 16_000


def noise(seconds=1.0, seed=0):
    return 0.1 * torch.randn(round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))


def level_db(sound, reference):
    return 20 * float((sound.norm() / reference.norm()).log10())


@pytest.mark.parametrize(
    ("cue", "remove"),
    [
        (Cue("tone", -6.0, 3000.0), lambda sound: interventions.lower_bands(sound, RATE_HZ, [(2700, 3300)])),
        (Cue("hiss", 0.0, 6000.0), lambda sound: interventions.lower_bands(sound, RATE_HZ, [(5300, 6700)])),
        (Cue("infrasound", 0.0, 14.0), lambda sound: interventions.lower_bands(sound, RATE_HZ, [(0, 20)])),
        (Cue("beep", 0.0, 2500.0), lambda sound: interventions.lower_segment(sound, RATE_HZ, 0.0, 0.2)),
        (Cue("clicks", 10.0, 8.0), lambda sound: interventions.lower_clicks(sound, RATE_HZ)),
    ],
    ids=lambda value: value.kind if isinstance(value, Cue) else "",
)
def test_removes_most_of_a_cue_and_little_of_a_clean_clip(cue, remove):
    planted = plant(noise(2.0), cue, RATE_HZ, "clip", seed=0)
    remainder = remove(planted.waveform) - planted.clean
    assert level_db(remainder, planted.cue) < -6
    assert level_db(remove(planted.clean) - planted.clean, planted.clean) < -15


def test_what_sounds_all_the_time_is_removed_in_loud_moments_too():
    """The tone does not stand out of the second half, which is 20 dB louder than the first."""
    sound = noise(4.0)
    sound[2 * RATE_HZ :] *= 10
    tone = 0.05 * torch.sin(2 * torch.pi * 3000 * torch.arange(4 * RATE_HZ) / RATE_HZ)
    removed = (sound + tone) - interventions.lower_bands(sound + tone, RATE_HZ, [(2900, 3100)])
    loud = slice(round(2.5 * RATE_HZ), round(3.5 * RATE_HZ))
    # the share of the tone in what is removed from the loud half
    share = float((removed[loud] @ tone[loud]) / tone[loud].square().sum())
    assert share > 0.2  # 0.16 if only what stands out at the moment is removed
    # a sound that comes and goes is no steady cue: only its loud bins stand out
    clean = interventions.lower_bands(sound, RATE_HZ, [(2900, 3100)])
    assert level_db(clean - sound, sound) < -25


@pytest.mark.parametrize("samples", [300, 5000, 16_001])
def test_keeps_the_length_and_sounds_without_a_cue(samples):
    silence = torch.zeros(samples)
    for change in (
        lambda sound: interventions.lower_bands(sound, RATE_HZ, [(900, 1100), (0, 30)]),
        lambda sound: interventions.lower_segment(sound, RATE_HZ, 0.0, 0.01),
        lambda sound: interventions.lower_clicks(sound, RATE_HZ),
    ):
        assert torch.equal(change(silence), silence)
        assert change(noise()[:samples]).shape == (min(samples, RATE_HZ),)
        assert torch.isfinite(change(noise()[:samples])).all()


def test_leaves_everything_outside_the_band_within_a_decibel():
    planted = plant(noise(), Cue("tone", 0.0, 1000.0), RATE_HZ, "clip", seed=0).waveform
    remainder = interventions.lower_bands(planted, RATE_HZ, [(900, 1100)])
    assert interventions.side_effect_db(planted, remainder, RATE_HZ, [(900, 1100)], None) < 1
    # the measure itself sees a change elsewhere
    quieter = interventions.filtered(remainder, interventions.edge_response(RATE_HZ, 5000, low_pass=True))
    assert interventions.side_effect_db(planted, quieter, RATE_HZ, [(900, 1100)], None) > 20


def test_leaves_everything_outside_a_segment_untouched():
    sound = noise()
    sound[:3200] *= 20
    remainder = interventions.lower_segment(sound, RATE_HZ, 0.0, 0.2)
    assert torch.equal(remainder[3200:], sound[3200:])
    assert level_db(remainder[:3200], sound[:3200]) < -15  # but for the fade of 10 ms
    assert interventions.side_effect_db(sound, remainder, RATE_HZ, [], (0.0, 0.2)) == 0


def test_measures_what_the_removal_of_clicks_does_between_them():
    planted = plant(noise(2.0), Cue("clicks", 10.0, 8.0), RATE_HZ, "clip", seed=0).waveform
    remainder = interventions.lower_clicks(planted, RATE_HZ)
    change_db = interventions.side_effect_db(planted, remainder, RATE_HZ, [], None, is_brief=True)
    assert 0 <= change_db < 0.5
    # a removal that takes a tone from the sound between the clicks as well
    tone = 0.002 * torch.sin(2 * torch.pi * 300 * torch.arange(2 * RATE_HZ) / RATE_HZ)
    change_db = interventions.side_effect_db(planted + tone, remainder, RATE_HZ, [], None, is_brief=True)
    assert change_db > 0.05
    # one that changes everything leaves nothing outside
    assert interventions.side_effect_db(planted, 0.5 * remainder, RATE_HZ, [], None, is_brief=True) is None
    # nothing is outside a cue without limits
    assert interventions.side_effect_db(planted, remainder, RATE_HZ, [], None) is None


def test_the_onset_of_a_long_sound_is_no_click():
    sound = 0.001 * noise()
    sound[8000:12_000] += noise()[:4000]
    remainder = interventions.lower_clicks(sound, RATE_HZ)
    assert level_db(remainder - sound, sound) < -25


def test_controls_keep_energy():
    content = plant(noise(), Cue("clicks", 0.0), RATE_HZ, "clip", seed=0).cue
    for moved in (interventions.shifted(content, RATE_HZ, 2000.0), interventions.scrambled(content)):
        assert abs(level_db(moved, content)) < 0.5
        assert level_db(moved - content, content) > -3


def test_fits_sounds_to_a_length():
    sound = torch.tensor([1.0, 2.0, 3.0])
    assert interventions.fitted(sound, 5).tolist() == [1, 2, 3, 0, 0]
    assert interventions.fitted(sound, 5, at_end=True).tolist() == [0, 0, 1, 2, 3]
    assert interventions.fitted(sound, 2, at_end=True).tolist() == [2, 3]
    assert interventions.repeated(sound, 5).tolist() == [1, 2, 3, 1, 2]
