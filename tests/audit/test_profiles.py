"""Profiles of the evidence of single clips."""

import json

import numpy as np
import pytest
import torch

from otoscope.audit.evidence import Span
from otoscope.audit.profiles import (
    SEGMENTS,
    ClipProfile,
    band_edges,
    main_span,
    overlap,
    pooled,
    profile_clips,
    shares,
    standout_span,
    strongest,
)
from otoscope.data import Annotation
from otoscope.data.clips import Clip


def test_evidence_lies_where_the_classifier_listens(explainer, tone_clip):
    low, high = tone_clip(500, target=0), tone_clip(4000, target=1, end_s=0.1)
    profiles = profile_clips(explainer, [low, high], explainer.labels).profiles
    assert [profile.is_decided for profile in profiles] == [True, True]
    for profile, hertz in zip(profiles, (500, 4000), strict=True):
        assert profile.frequency.sum() == pytest.approx(1)
        assert profile.sound_frequency.sum() == pytest.approx(1)
        span = main_span(profile.frequency, profile.sound_frequency, 8000)
        assert span.low <= hertz <= span.high
        # only the band of the class speaks for it
        assert profile.frequency[128:].sum() == pytest.approx(float(hertz > 2000), abs=0.05)
    # the frames of the STFT are wider than the end of the tone
    assert profiles[1].time[: SEGMENTS // 4].sum() > 0.9 > 0.4 > profiles[0].time[: SEGMENTS // 4].sum()


def test_a_clip_has_the_same_profile_alone_and_in_a_batch(explainer, tone_clip):
    clips = [tone_clip(500, target=0), tone_clip(3000, target=1, seconds=0.3)]
    together = profile_clips(explainer, clips, explainer.labels).profiles
    for clip, profile in zip(clips, together, strict=True):
        alone = profile_clips(explainer, [clip], explainer.labels).profiles[0]
        np.testing.assert_allclose(alone.frequency, profile.frequency, atol=1e-5)
        np.testing.assert_allclose(alone.time, profile.time, atol=1e-5)
        assert alone.duration_s == profile.duration_s == pytest.approx(len(clip.waveform) / 16_000)


@pytest.mark.parametrize("peak", [1.0, 0.3])
def test_share_outside_a_separable_event(explainer, tone_clip, peak):
    inside = tone_clip(500, target=0, peak=peak, event=True)
    profile = profile_clips(explainer, [inside], explainer.labels).profiles[0]
    assert profile.outside < 0.05 < 0.1 < profile.sound_outside
    # a cue that is not the event: the tone decides, but a noise above 6 kHz is said to be the event
    noise = torch.randn(len(inside.waveform)) * 0.01
    other = Clip(inside.waveform + noise, 0, "other", "other", event=noise)
    assert profile_clips(explainer, [other], explainer.labels).profiles[0].outside > 0.9


def test_share_outside_annotated_events_counts_those_of_the_label_alone(explainer, tone_clip):
    clip = tone_clip(500, target=0, end_s=0.25)
    clip.annotations = (Annotation("low", 0.0, 0.25, 300, 700), Annotation("high", 0.0, 0.5))
    profile = profile_clips(explainer, [clip], explainer.labels).profiles[0]
    assert profile.outside < 0.1
    clip.annotations = (Annotation("high", 0.0, 0.5),)
    profile = profile_clips(explainer, [clip], explainer.labels).profiles[0]
    assert profile.outside is None
    assert profile.sound_outside is None


def test_a_map_that_is_not_finite_is_a_failure_of_its_clip_alone(explainer, tone_clip, monkeypatch):
    kind = type(explainer.interpreter)
    output = kind.output

    def broken(self, decoded, spectrogram):
        values = output(self, decoded, spectrogram).clone()
        values[0] = torch.nan
        return values

    monkeypatch.setattr(kind, "output", broken)
    result = profile_clips(explainer, [tone_clip(500, name="bad"), tone_clip(500, name="good")], explainer.labels)
    assert [profile.name for profile in result.profiles] == ["good"]
    assert list(result.failures) == ["bad"]


def test_profiles_are_the_same_from_json(explainer, tone_clip):
    profile = profile_clips(explainer, [tone_clip(500)], explainer.labels).profiles[0]
    content = profile.to_dict()
    copy = ClipProfile.from_dict(json.loads(json.dumps(content)))
    assert copy.to_dict() == content
    assert copy.probabilities == profile.probabilities


def test_evidence_is_the_positive_part_of_the_largest_bins():
    values = torch.linspace(-1, 1, 1000).view(20, 50)
    evidence = strongest(values, 0.1)
    assert (evidence > 0).sum() == 100
    assert evidence.min() == 0
    assert not strongest(-values.abs()).any()


def test_pooling_keeps_the_sum():
    values = np.random.default_rng(0).random(97)
    for edges in (np.linspace(0, 97, 13), np.array([0.0, 0.5, 97.0])):
        assert pooled(values, edges).sum() == pytest.approx(values.sum())
    assert shares(values, 40).sum() == pytest.approx(1)
    assert len(shares(values[:10], 40)) == 10
    assert not shares(np.zeros(10), 40).any()


def test_overlap_is_one_minus_the_total_variation_distance():
    first, second = np.random.default_rng(0).dirichlet(np.ones(9), 2)
    assert overlap(first, second) == pytest.approx(1 - 0.5 * np.abs(first - second).sum())


def test_main_span_is_the_narrowest_range_with_half_of_the_evidence():
    rng = np.random.default_rng(0)
    for _ in range(20):
        evidence, sound = rng.dirichlet(np.full(12, 0.5), 2)
        span = main_span(evidence, sound, 12.0)
        sums = [
            (high - low, -evidence[low:high].sum(), low, high)
            for low in range(12)
            for high in range(low + 1, 13)
            if evidence[low:high].sum() >= 0.5
        ]
        width, share, low, high = min(sums)
        assert (span.low, span.high) == (low, high)
        assert span.evidence == pytest.approx(-share, abs=1e-6)
        assert width == span.high - span.low
    assert main_span(np.zeros(4), np.full(4, 0.25), 1.0) is None
    assert main_span(np.array([1.0]), np.array([1.0]), 5.0) == Span(0.0, 5.0, 1.0, 1.0)


@pytest.mark.parametrize(("rows", "rate_hz"), [(513, 16_000), (512, 48_000), (65, 8000)])
def test_bands_are_whole_rows_and_cover_all(rows, rate_hz):
    edges = band_edges(rows, rate_hz)
    assert (edges[0], edges[-1]) == (0, rows)
    assert (np.diff(edges) >= 1).all()
    assert (edges == edges.round()).all()
    assert len(edges) > 20


def test_a_narrow_cue_stands_out_though_half_of_the_evidence_lies_elsewhere():
    sound = np.full(100, 0.01)
    evidence = np.full(100, 0.009)
    evidence[70:72] += 0.05
    evidence /= evidence.sum()
    span = standout_span(evidence, sound, 100.0)
    assert (span.low, span.high) == (70, 72)
    assert main_span(evidence, sound, 100.0).high - main_span(evidence, sound, 100.0).low > 40
    assert standout_span(sound, sound, 100.0) is None
    assert standout_span(evidence, sound, 100.0, least=0.2) is None
    # the best of all ranges
    rng = np.random.default_rng(0)
    for _ in range(10):
        evidence, sound = rng.dirichlet(np.full(12, 0.4), 2)
        span = standout_span(evidence, sound, 12.0)
        ranges = [(low, high) for low in range(12) for high in range(low + 1, 13)]
        best = max(ranges, key=lambda ends: (evidence - 2 * sound)[slice(*ends)].sum())
        assert (span.low, span.high) == best
