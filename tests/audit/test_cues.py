"""Candidate cues: what they remove, transplant, and where their controls lie."""

import itertools

import pytest
import torch

from otoscope.audio.level import active_level
from otoscope.audit import interventions
from otoscope.audit.absences import FALLING_DB, EdgeCue, LevelCue, SilenceCue, find_edge, observed_cues, spectrum_db
from otoscope.audit.cues import BandCue, ClickCue, HumCue, SegmentCue
from otoscope.audit.grid import grid
from otoscope.data.planted import Cue, plant

RATE_HZ = 16_000


def noise(seconds=2.0, seed=0):
    return 0.1 * torch.randn(round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))


def planted(cue, seed=0):
    return plant(noise(seed=seed), cue, RATE_HZ, f"clip {seed}", seed=0)


CUES = [
    (BandCue(2800, 3400), Cue("tone", -6.0, 3100.0)),
    (HumCue(50.0), Cue("hum", 0.0, 50.0)),
    (SegmentCue(0.0, 0.25), Cue("beep", 0.0, 2500.0)),
    (ClickCue(), Cue("clicks", 10.0, 8.0)),
    (BandCue(2300, 2700, 0.0, 0.25), Cue("beep", 0.0, 2500.0)),
]


@pytest.mark.parametrize(("candidate", "cue"), CUES, ids=lambda value: getattr(value, "kind", ""))
def test_transplants_the_cue_of_the_source_as_loud_as_there(candidate, cue):
    source, receiver = planted(cue), 0.3 * noise(seed=1)
    added = candidate.transplanted(receiver, source.waveform, RATE_HZ) - receiver
    relative = [
        interventions.relative_level_db(part, rest, RATE_HZ)
        for part, rest in ((added, receiver), (source.cue, source.clean))
    ]
    assert abs(relative[0] - relative[1]) < 3
    # what was added is the cue of the source, not just any sound
    alike = torch.nn.functional.cosine_similarity(added, source.cue, dim=0)
    assert alike > 0.6


def test_a_steady_cue_beside_a_short_event_keeps_its_signal_to_noise_ratio():
    """Beside the loudest moments of the source alone, it would be 9 dB quieter in a receiver that sounds always."""
    event = 0.03 * noise(4.0)
    event[: RATE_HZ // 2] += noise(4.0, seed=1)[: RATE_HZ // 2]
    source, receiver = plant(event, Cue("tone", -10.0, 3100.0), RATE_HZ, "clip", seed=0), noise(4.0, seed=2)
    added = BandCue(2800, 3400).transplanted(receiver, source.waveform, RATE_HZ) - receiver
    assert 20 * float((added.norm() / receiver.norm()).log10()) == pytest.approx(-10, abs=1)


@pytest.mark.parametrize(("candidate", "cue"), CUES, ids=lambda value: getattr(value, "kind", ""))
def test_controls_do_not_touch_the_cue(candidate, cue):
    source, receiver = planted(cue), noise(seed=1)
    elsewhere = candidate.transplanted_elsewhere(receiver, source.waveform, RATE_HZ) - receiver
    added = candidate.transplanted(receiver, source.waveform, RATE_HZ) - receiver
    assert abs(20 * float((elsewhere.norm() / added.norm()).log10())) < 1
    assert abs(torch.nn.functional.cosine_similarity(elsewhere, added, dim=0)) < 0.2
    control = candidate.removed_elsewhere(source.waveform, RATE_HZ)
    if control is not None:
        assert (source.waveform - control).norm() < 0.5 * source.cue.norm()


def test_finds_the_frequency_of_the_mains_in_each_clip():
    for jittered_hz in (49.2, 50.0, 50.9):
        source = plant(noise(), Cue("hum", -6.0, jittered_hz, jitter=0.0), RATE_HZ, "clip", seed=0)
        remainder = HumCue(50.0).removed(source.waveform, RATE_HZ) - source.clean
        assert remainder.norm() < 0.5 * source.cue.norm()


def test_the_grid_covers_all_frequencies_and_fits_the_clips():
    cues = grid(RATE_HZ, 5.0)
    bands = sorted((cue.low_hz, cue.high_hz) for cue in cues if isinstance(cue, BandCue))
    assert bands[0][0] == 0
    assert bands[-1][1] == RATE_HZ / 2
    # every frequency above the infrasound lies in a band, and most in two
    assert all(next_low < high for (_, high), (next_low, _) in itertools.pairwise(bands[1:]))
    assert all(cue.is_narrow for cue in cues)
    assert max(cue.end_s for cue in grid(RATE_HZ, 0.5) if isinstance(cue, SegmentCue)) <= 0.5 / 3


def test_a_hiss_of_800_hz_lies_inside_a_band_of_the_grid_and_is_removed_by_it():
    """In narrower bands, the level beside them is that of the hiss itself, so that it does not stand out."""
    source = planted(Cue("hiss", 0.0, 2900.0, jitter=0.0))
    [cue, *_] = [
        cue for cue in grid(RATE_HZ, 5.0) if isinstance(cue, BandCue) and cue.low_hz < 2490 and cue.high_hz > 3310
    ]

    def excess_db(remover):
        # level of the middle of the hiss after the removal over that of the clip without the hiss
        spectra = [
            torch.fft.rfft(x).abs().square() for x in (remover.removed(source.waveform, RATE_HZ), source.clean)
        ]
        middle = slice(2 * 2600, 2 * 3200)  # of a clip of 2 s
        return 10 * float((spectra[0][middle].sum() / spectra[1][middle].sum()).log10())

    assert abs(excess_db(cue)) < 1
    assert excess_db(BandCue(2600, 3200)) > 2


def test_finds_edges_that_a_class_has_alone():
    cut = [planted(Cue("low_pass", frequency_hz=4000.0), seed).waveform for seed in range(4)]
    whole = [noise(seed=seed) for seed in range(4, 8)]
    [edge] = observed_cues(cut, whole, RATE_HZ, level_matters=False)
    assert isinstance(edge, EdgeCue)
    assert edge.edge_hz == pytest.approx(4000, rel=0.06)
    assert observed_cues(whole, whole, RATE_HZ, level_matters=False) == []
    assert observed_cues(cut, cut, RATE_HZ, level_matters=False) == []


def test_fills_an_edge_and_cuts_others_off():
    cut = planted(Cue("low_pass", frequency_hz=4000.0)).waveform
    edge = EdgeCue(4000.0, True, (0.0,) * 513)
    filled = edge.removed(cut, RATE_HZ)
    assert find_edge(spectrum_db(filled), RATE_HZ, low_pass=True) is None
    levels = [spectrum_db(sound)[600:900].mean() - spectrum_db(sound)[300:480].mean() for sound in (filled, cut)]
    assert abs(levels[0]) < 6
    assert levels[1] < -30
    receiver = noise(seed=3)
    assert torch.equal(edge.removed(receiver, RATE_HZ), receiver)  # it has no such edge
    edge_hz = find_edge(spectrum_db(edge.transplanted(receiver, cut, RATE_HZ)), RATE_HZ, low_pass=True)
    assert edge_hz == pytest.approx(4000, rel=0.06)
    assert "8000 Hz" in edge.name
    assert len(FALLING_DB) == 513


def test_fills_silence_and_silences_others():
    silent = noise()
    silent[16_000:] = 0
    others = [noise(seed=seed) for seed in range(1, 4)]
    [cue] = observed_cues([silent] * 3, others, RATE_HZ, level_matters=False)
    assert isinstance(cue, SilenceCue)
    filled = cue.removed(silent, RATE_HZ)
    assert torch.equal(filled[:15_000], silent[:15_000])
    assert -60 < 20 * float((filled[17_000:].std() / silent[:16_000].std()).log10()) < -40
    moved = cue.transplanted(others[0], silent, RATE_HZ)
    assert moved[17_000:].abs().max() == 0
    assert torch.equal(moved[:15_000], others[0][:15_000])


def test_level_is_a_candidate_only_where_the_classifier_hears_it():
    quiet, loud = [0.1 * noise(seed=seed) for seed in range(3)], [noise(seed=seed) for seed in range(3, 6)]
    assert observed_cues(quiet, loud, RATE_HZ, level_matters=False) == []
    [cue] = observed_cues(quiet, loud, RATE_HZ, level_matters=True)
    assert isinstance(cue, LevelCue)
    assert active_level(cue.removed(quiet[0], RATE_HZ)) == pytest.approx(active_level(loud[0]), rel=0.05)
    assert active_level(cue.transplanted(loud[0], quiet[0], RATE_HZ)) == pytest.approx(
        active_level(quiet[0]), rel=0.05
    )
