"""Scores of a batch against scores of single clips, slow loops, and sounds written to disk."""

import numpy as np
import pytest
import torch

from otoscope.audio import Spectrogram, load_audio, save_audio
from otoscope.classifiers import Classifier, Prediction, TorchClassifier
from otoscope.data import Clip, collate
from otoscope.evaluation.batch import classify_batch, classify_parts
from otoscope.evaluation.mask_scores import (
    CURVE_AREAS,
    TOLERANCE,
    MaskSource,
    _without_rounding,
    control,
    decode,
    score,
)
from otoscope.metrics import ideal_mask, score_mask, si_sdr_improvement
from otoscope.metrics.ranking import neutral_order, rank_bins

AREAS = (0.1, 0.3)


@pytest.fixture
def ready(classifier, batch):
    return classify_batch(classifier, batch, seed=7)


def _alone(classifier, batch, i):
    """Return the spectrogram, prediction and length of a clip of a batch, analysed alone."""
    length = int(batch.lengths[i])
    spectrogram = classifier.frontend(batch.waveform[i : i + 1, :length])
    return spectrogram, classifier.predict(spectrogram), length


def _probabilities(classifier):
    """Return the function with which metrics classify."""
    return lambda log_magnitude, frames: classifier.probabilities(Spectrogram(log_magnitude, frames=frames))


def test_scores_equal_those_of_each_clip_alone(classifier, gradient, batch, ready):
    for i, clip in enumerate(score(decode(gradient, ready), ready, AREAS, curves=False)):
        spectrogram, prediction, _ = _alone(classifier, batch, i)
        log_magnitude = spectrogram.log_magnitude
        decoded = gradient.decode(spectrogram, prediction)
        order = neutral_order(log_magnitude, [batch.name[i]], 7)
        masks = {"own": gradient.mask(decoded, spectrogram)}
        masks |= {str(area): rank_bins(decoded, order).mask(area) for area in AREAS}
        event = classifier.frontend.log_magnitude(batch.event[i : i + 1, : batch.lengths[i]])
        rest = classifier.frontend.log_magnitude((batch.waveform - batch.event)[i : i + 1, : batch.lengths[i]])
        ideal = ideal_mask(event, rest)
        for key, mask in masks.items():
            expected = score_mask(
                _probabilities(classifier), log_magnitude, mask, prediction.probabilities, ideal=ideal
            )
            for name, value in clip.scores[key]["mask"].items():
                assert value == pytest.approx(float(expected[name]), abs=2e-4), (key, name)
        assert clip.scores["0.3"]["mask"]["MM"] == pytest.approx(0.3, abs=1 / ideal.numel())


def test_heard_scores_equal_those_of_the_saved_sound(classifier, gradient, batch, ready, tmp_path):
    source = decode(gradient, ready)
    for i, clip in enumerate(score(source, ready, AREAS, curves=False)):
        spectrogram, prediction, length = _alone(classifier, batch, i)
        mask = source.mask[i : i + 1, :, : spectrogram.log_magnitude.shape[2]]
        probabilities = {}
        for name, part in (("evidence", mask), ("remainder", 1 - mask)):
            sound = classifier.frontend.inverse(spectrogram.masked(part))[0]
            again = load_audio(save_audio(tmp_path / f"{name}.wav", sound))[None]
            probabilities[name] = classifier.probabilities(classifier.hear(again))
            if name == "evidence":
                event = batch.event[i : i + 1, :length]
                improvement = si_sdr_improvement(again, batch.waveform[i : i + 1, :length], event)
        label = prediction.predicted
        heard = clip.scores["own"]["heard"]
        assert heard["p_evidence"] == pytest.approx(float(probabilities["evidence"][0, label]), abs=1e-4)
        assert heard["p_remainder"] == pytest.approx(float(probabilities["remainder"][0, label]), abs=1e-4)
        assert heard["SI-SDRi"] == pytest.approx(float(improvement), abs=1e-2)


def test_rounding_of_the_resynthesised_sound_is_no_increase(ready):
    for clip in score(control("all-pass", ready, 0), ready, AREAS, curves=False):
        for domain in ("mask", "heard"):
            scores = clip.scores["own"][domain]
            assert (scores["AI"], scores["AD"], scores["AG"]) == (0, 0, 0)
        assert scores["SI-SDRi"] == pytest.approx(0, abs=1e-2)


def test_an_increase_beyond_rounding_counts(classifier, ready):
    whole = ready.prediction.probabilities.amax(1)
    clips = score(control("random", ready, 0), ready, AREAS, curves=False)
    for clip, p in zip(clips, whole.tolist(), strict=True):
        for area in AREAS:
            scores = clip.scores[str(area)]["mask"]
            assert scores["AI"] == 100 * (scores["p_evidence"] > p + TOLERANCE)


def test_curves_by_a_slow_loop(classifier, gradient, batch, ready):
    clips = score(decode(gradient, ready), ready, AREAS, curves=True)
    for i in (0, 1):
        spectrogram, prediction, _ = _alone(classifier, batch, i)
        log_magnitude, label = spectrogram.log_magnitude, int(prediction.predicted)
        values = gradient.decode(spectrogram, prediction).flatten()
        order = neutral_order(log_magnitude, [batch.name[i]], 7)[0]
        ranked = sorted(order.tolist(), key=lambda k: -float(values[k]))
        points = {"insertion": [], "deletion": []}
        for area in (0, *CURVE_AREAS, 1):
            evidence = torch.zeros_like(values)
            evidence[ranked[: round(area * len(ranked))]] = 1
            for name, mask in (("insertion", evidence), ("deletion", 1 - evidence)):
                inputs = spectrogram.masked(mask.view_as(log_magnitude))
                points[name].append(float(classifier.probabilities(inputs)[0, label]))
        for name, expected in points.items():
            assert clips[i].curves[name] == pytest.approx(expected, abs=1e-4)
            area = np.trapezoid(expected, (0, *CURVE_AREAS, 1))
            assert clips[i].scores["map"]["mask"][name] == pytest.approx(area, abs=1e-4)


def test_matched_controls_have_the_area_of_the_mask(gradient, ready):
    maps = {name: control(name, ready, 0).importance for name in ("loudest", "random")}
    rankings = {name: rank_bins(values, ready.order, ready.frames) for name, values in maps.items()}
    clips = score(decode(gradient, ready), ready, AREAS, False, rankings)
    for clip, bins in zip(clips, ready.frames * maps["loudest"].shape[1], strict=True):
        for matched in ("loudest of own", "random of own"):
            area, control_area = (clip.scores[key]["mask"]["MM"] for key in ("own", matched))
            assert control_area == pytest.approx(area, abs=0.51 / float(bins))
        assert clip.scores["loudest of own"]["mask"]["AD"] != clip.scores["random of own"]["mask"]["AD"]


def test_differences_by_rounding_are_removed():
    whole = torch.tensor([[0.002, 0.998]])
    assert torch.equal(_without_rounding(whole * (1 + TOLERANCE / 2), whole), whole)
    apart = whole * (1 + 2 * TOLERANCE)
    assert torch.equal(_without_rounding(apart, whole), apart)


def test_input_fidelity_compares_unrounded_probabilities_of_many_classes(batch):
    class Flat(Classifier):
        """Classifier with 500 classes of nearly equal probability."""

        representation_channels = ()

        def __init__(self):
            super().__init__([str(i) for i in range(500)])
            self.register_buffer("weight", 1e-3 * torch.randn(self.frontend.bins, 500))

        def forward(self, log_magnitude, frames=None):
            return Prediction(log_magnitude.mean(-1) @ self.weight, ())

    flat = classify_batch(Flat().freeze(), batch, seed=7)
    order = rank_bins(flat.spectrogram.log_magnitude, flat.order, flat.frames)
    seen = classify_parts(flat, [order.mask(0.1)], heard=False).seen[0]
    assert ((seen - flat.prediction.probabilities).abs() < 1e-5).float().mean() > 0.1
    clips = score(control("loudest", flat, 0), flat, (0.1,), False)
    agrees = (seen.argmax(1) == flat.prediction.predicted).float().tolist()
    assert [clip.scores["0.1"]["mask"]["Fid-In"] for clip in clips] == agrees


def test_the_ideal_control_localises_best(ready):
    ideal, random = (score(control(name, ready, 0), ready, AREAS, True) for name in ("ideal", "random"))
    for best, worst in zip(ideal, random, strict=True):
        assert best.scores["own"]["mask"]["IoU"] == 1
        assert best.scores["map"]["mask"]["AUROC"] > 0.99
        assert worst.scores["map"]["mask"]["AUROC"] == pytest.approx(0.5, abs=0.05)
        assert best.scores["0.1"]["heard"]["SI-SDRi"] > worst.scores["0.1"]["heard"]["SI-SDRi"]


def test_nan_in_a_map_affects_only_its_clip(classifier, kinds, ready):
    broken, sound, *_ = score(decode(kinds["broken"](classifier), ready), ready, AREAS, curves=True)
    for key in ("own", "0.1"):
        assert np.isnan(broken.scores[key]["mask"]["AD"])
        assert np.isnan(broken.scores[key]["heard"]["SI-SDRi" if key == "own" else "AD"])
        assert np.isfinite(sound.scores[key]["mask"]["AD"])
    assert np.isnan(broken.scores["map"]["mask"]["insertion"])
    assert np.isfinite(sound.scores["map"]["mask"]["insertion"])


def test_a_source_without_a_map_has_scores_of_its_mask_only(ready):
    whole = torch.ones_like(ready.spectrogram.log_magnitude)
    for clip in score(MaskSource(mask=ready.zero_padding(whole)), ready, AREAS, curves=True):
        assert list(clip.scores) == ["own"]
        assert not clip.curves


def test_number_of_inputs_at_once_is_limited(classifier, ready, monkeypatch):
    sizes = []
    forward = classifier.forward
    monkeypatch.setattr(classifier, "forward", lambda x, frames=None: sizes.append(len(x)) or forward(x, frames))
    score(control("random", ready, 0), ready, (0.1, 0.2, 0.3, 0.4), curves=True)
    assert max(sizes) <= ready.inputs_at_once == 8


class Waveforms(Classifier):
    """Multi-label classifier of waveforms, whose logits are the levels of both halves of the sound."""

    needs_phase = True
    multi_label = True
    representation_channels = ()

    def forward(self, waveform, frames=None):
        return Prediction(waveform.unflatten(1, (2, -1)).square().mean(2).log(), (), multi_label=True)

    def predict(self, spectrogram):
        return self(self.frontend.inverse(spectrogram))


def test_phase_reaches_classifiers_of_waveforms():
    classifier = Waveforms(["early", "late"])
    sound = torch.randn(2, 7440) * torch.linspace(0.1, 1, 7440)
    clips = [Clip(waveform, 1, str(i), str(i)) for i, waveform in enumerate(sound)]
    ready = classify_batch(classifier, collate(clips), 0)
    assert ready.prediction.predicted.tolist() == [1, 1]
    everything = torch.ones_like(ready.spectrogram.log_magnitude)
    masked = classify_parts(ready, [everything, 0.5 * everything], heard=True)
    assert torch.allclose(masked.seen[0], ready.prediction.probabilities, atol=1e-4)
    assert torch.allclose(masked.heard[0], ready.prediction.probabilities, atol=1e-4)
    assert (masked.seen[1] < masked.seen[0]).all()  # both fall, unlike a softmax, whose sum is 1


def test_fidelity_of_independent_classes_goes_by_one_half():
    classifier = Waveforms(["early", "late"])
    classifier.normalize = False
    sound = 3 * torch.randn(2, 7440) * torch.linspace(0.1, 1, 7440)
    ready = classify_batch(classifier, collate([Clip(wave, 1, str(i), str(i)) for i, wave in enumerate(sound)]), 0)
    assert (ready.prediction.probabilities[:, 1] > 0.6).all()
    for share, expected in ((1.0, 1.0), (0.1, 0.0)):
        mask = torch.full_like(ready.spectrogram.log_magnitude, share)
        for clip in score(MaskSource(mask=mask), ready, (), curves=False):
            scores = clip.scores["own"]
            # the evidence of the second mask is most of all "late", but quiet
            assert (scores["mask"]["Fid-In"], scores["heard"]["Fid-In"]) == (expected, expected)


def test_a_map_of_nan_has_no_scores_with_an_external_classifier(batch):
    net = torch.nn.Sequential(torch.nn.Flatten(1, 2), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    network = torch.nn.Sequential(net, torch.nn.Linear(513, 3))
    external = classify_batch(TorchClassifier(network, ["a", "b", "c"]), batch, seed=7)
    nothing = torch.full_like(external.spectrogram.log_magnitude, torch.nan)
    for clip in score(MaskSource(mask=nothing, importance=nothing), external, AREAS, True):
        assert np.isnan(clip.scores["own"]["mask"]["AD"])
        assert np.isnan(clip.scores["0.1"]["heard"]["Fid-In"])


def test_a_map_that_is_zero_everywhere_keeps_no_bins(ready):
    importance = control("random", ready, seed=3).importance
    importance[1] = 0
    ranked = rank_bins(control("loudest", ready, seed=3).importance, ready.order, ready.frames)
    source, controls = MaskSource(torch.zeros_like(importance), importance), {"loudest": ranked, "random": ranked}
    clips = score(source, ready, AREAS, curves=True, controls=controls, road_seed=0)
    whole = ready.prediction.probabilities.gather(1, ready.prediction.explained[:, None])[:, 0]
    for i, clip in enumerate(clips):
        expected = 0 if i == 1 else 0.3
        assert clip.scores["0.3"]["mask"]["MM"] == pytest.approx(expected, abs=1e-3)
        assert clip.scores["random of own"]["mask"]["MM"] == 0
    blank = clips[1]
    assert blank.scores["0.3"]["heard"]["p_remainder"] == pytest.approx(float(whole[1]), abs=1e-4)
    assert np.ptp(blank.curves["insertion"][:-1]) < 1e-5
    assert blank.scores["0.3"]["mask"]["ROAD"] == pytest.approx(0, abs=1e-6)
    assert np.ptp(blank.road["MoRF"] + blank.road["LeRF"]) < 1e-5


def test_only_what_the_classifier_hears_is_evaluated(batch):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.AdaptiveAvgPool1d(3))
    classifier = TorchClassifier(
        net, ["siren", "rooster", "clock_tick"], input="waveform", duration_s=5500 / 16_000
    )
    ready = classify_batch(classifier, batch, seed=7)
    assert ready.spectrogram.lengths.tolist() == [5500, 5500, 5500, 5100]
    assert ready.waveform.shape == ready.truth.event.shape == (4, 5500)
    clips = [
        Clip(batch.waveform[i, :length], int(batch.target[i]), batch.name[i], batch.key[i], batch.event[i, :length])
        for i, length in enumerate((5500, 5500, 5500, 5100))
    ]
    alone = classify_batch(classifier, collate(clips), seed=7)
    torch.testing.assert_close(ready.prediction.logits, alone.prediction.logits)
    for name in ("loudest", "ideal"):
        results = [score(control(name, each, seed=3), each, AREAS, curves=False) for each in (ready, alone)]
        assert results[0] == results[1]


def test_classifier_is_asked_once_about_each_mask(classifier, ready, monkeypatch):
    asked = []
    heard = classifier.hear
    monkeypatch.setattr(
        classifier, "hear", lambda sound, *rest, **more: asked.append(len(sound)) or heard(sound, *rest, **more)
    )
    loudest = control("loudest", ready, 7)
    first = score(loudest, ready, AREAS, curves=False)
    inputs = sum(asked)
    assert inputs == 2 * len(AREAS) * len(ready.names)  # evidence and remainder
    again = score(loudest, ready, AREAS, curves=False)
    assert sum(asked) == inputs
    assert [clip.scores for clip in again] == [clip.scores for clip in first]
    changed = MaskSource(importance=-loudest.importance)
    assert [clip.scores for clip in score(changed, ready, AREAS, curves=False)] != [clip.scores for clip in first]
    assert sum(asked) == 2 * inputs
