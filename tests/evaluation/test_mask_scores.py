"""Scores of one batch against scores computed clip by clip, by hand, and against sounds written to disk."""

import numpy as np
import pytest
import torch

from otoscope.audio import load_audio, save_audio
from otoscope.classifiers import Classifier, Prediction, TorchClassifier
from otoscope.evaluation.batch import ask, classify_batch
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
    """One clip of a batch, as it would be analysed alone."""
    length = int(batch.lengths[i])
    spectrogram = classifier.frontend(batch.waveform[i : i + 1, :length])
    return spectrogram, classifier(spectrogram.log_magnitude), length


def test_scores_are_those_of_each_clip_alone(classifier, gradient, batch, ready):
    found = score(decode(gradient, ready), ready, AREAS, curves=False)
    for i, clip in enumerate(found):
        spectrogram, prediction, _ = _alone(classifier, batch, i)
        log_magnitude = spectrogram.log_magnitude
        decoded = gradient.decode(log_magnitude, prediction)
        order = neutral_order(log_magnitude, [batch.name[i]], 7)
        masks = {"own": gradient.mask(decoded)}
        masks |= {str(area): rank_bins(decoded, order).mask(area) for area in AREAS}
        event = classifier.frontend.log_magnitude(batch.event[i : i + 1, : batch.lengths[i]])
        rest = classifier.frontend.log_magnitude((batch.waveform - batch.event)[i : i + 1, : batch.lengths[i]])
        ideal = ideal_mask(event, rest)
        for key, mask in masks.items():
            expected = score_mask(
                classifier.probabilities, log_magnitude, mask, prediction.probabilities, ideal=ideal
            )
            for name, value in clip.scores[key]["mask"].items():
                assert value == pytest.approx(float(expected[name]), abs=2e-4), (key, name)
        assert clip.scores["0.3"]["mask"]["MM"] == pytest.approx(0.3, abs=1 / ideal.numel())


def test_heard_scores_are_those_of_the_saved_sound(classifier, gradient, batch, ready, tmp_path):
    source = decode(gradient, ready)
    found = score(source, ready, AREAS, curves=False)
    for i, clip in enumerate(found):
        spectrogram, prediction, length = _alone(classifier, batch, i)
        mask = source.own[i : i + 1, :, : spectrogram.log_magnitude.shape[2]]
        said = []
        for name, kept in (("evidence", mask), ("remainder", 1 - mask)):
            sound = classifier.frontend.inverse(spectrogram.masked(kept))[0]
            again = load_audio(save_audio(tmp_path / f"{name}.wav", sound))[None]
            said.append(classifier.probabilities(classifier.frontend.log_magnitude(again)))
            if name == "evidence":
                event = batch.event[i : i + 1, :length]
                improvement = si_sdr_improvement(again, batch.waveform[i : i + 1, :length], event)
        label = prediction.predicted
        heard = clip.scores["own"]["heard"]
        assert heard["p_evidence"] == pytest.approx(float(said[0][0, label]), abs=1e-4)
        assert heard["p_remainder"] == pytest.approx(float(said[1][0, label]), abs=1e-4)
        assert heard["SI-SDRi"] == pytest.approx(float(improvement), abs=1e-2)


def test_way_to_sound_and_back_is_no_increase(ready):
    for clip in score(control("all-pass", ready, 0), ready, AREAS, curves=False):
        for domain in ("mask", "heard"):
            scores = clip.scores["own"][domain]
            assert (scores["AI"], scores["AD"], scores["AG"]) == (0, 0, 0)
        assert scores["SI-SDRi"] == pytest.approx(0, abs=1e-2)


def test_an_increase_beyond_rounding_counts(classifier, ready):
    whole = ready.prediction.probabilities.amax(1)
    found = score(control("random", ready, 0), ready, AREAS, curves=False)
    for clip, p in zip(found, whole.tolist(), strict=True):
        for area in AREAS:
            scores = clip.scores[str(area)]["mask"]
            assert scores["AI"] == 100 * (scores["p_evidence"] > p + TOLERANCE)


def test_curves_by_a_slow_loop(classifier, gradient, batch, ready):
    found = score(decode(gradient, ready), ready, AREAS, curves=True)
    for i in (0, 1):
        spectrogram, prediction, _ = _alone(classifier, batch, i)
        log_magnitude, label = spectrogram.log_magnitude, int(prediction.predicted)
        values = gradient.decode(log_magnitude, prediction).flatten()
        order = neutral_order(log_magnitude, [batch.name[i]], 7)[0]
        ranked = sorted(order.tolist(), key=lambda k: -float(values[k]))
        points = {"insertion": [], "deletion": []}
        for area in (0, *CURVE_AREAS, 1):
            kept = torch.zeros_like(values)
            kept[ranked[: round(area * len(ranked))]] = 1
            for name, mask in (("insertion", kept), ("deletion", 1 - kept)):
                inputs = log_magnitude * mask.view_as(log_magnitude)
                points[name].append(float(classifier.probabilities(inputs)[0, label]))
        for name, expected in points.items():
            assert found[i].curves[name] == pytest.approx(expected, abs=1e-4)
            area = np.trapezoid(expected, (0, *CURVE_AREAS, 1))
            assert found[i].scores["map"]["mask"][name] == pytest.approx(area, abs=1e-4)


def test_controls_of_the_own_area_stand_beside(gradient, ready):
    maps = {name: control(name, ready, 0).map for name in ("loudest", "random")}
    ranked = {name: rank_bins(one, ready.order, ready.frames) for name, one in maps.items()}
    found = score(decode(gradient, ready), ready, AREAS, False, ranked)
    for clip, bins in zip(found, ready.frames * maps["loudest"].shape[1], strict=True):
        for beside in ("loudest of own", "random of own"):
            own, control_area = (clip.scores[key]["mask"]["MM"] for key in ("own", beside))
            assert control_area == pytest.approx(own, abs=0.51 / float(bins))
        assert clip.scores["loudest of own"]["mask"]["AD"] != clip.scores["random of own"]["mask"]["AD"]


def test_rounding_is_no_gain():
    whole = torch.tensor([[0.002, 0.998]])
    assert torch.equal(_without_rounding(whole * (1 + TOLERANCE / 2), whole), whole)
    apart = whole * (1 + 2 * TOLERANCE)
    assert torch.equal(_without_rounding(apart, whole), apart)


def test_fidelity_is_told_from_what_was_heard_however_many_classes(batch):
    class Flat(Classifier):
        """500 classes, all nearly as probable."""

        representation_channels, config = (), {}

        def __init__(self):
            super().__init__([str(i) for i in range(500)])
            self.register_buffer("weight", 1e-3 * torch.randn(self.frontend.bins, 500))

        def forward(self, log_magnitude, frames=None):
            return Prediction(log_magnitude.mean(-1) @ self.weight, ())

    flat = classify_batch(Flat().freeze(), batch, seed=7)
    order = rank_bins(flat.spectrogram.log_magnitude, flat.order, flat.frames)
    seen = ask(flat, order.mask(0.1)[None], hear=False).seen[0]
    assert ((seen - flat.prediction.probabilities).abs() < 1e-5).float().mean() > 0.1
    found = score(control("loudest", flat, 0), flat, (0.1,), False)
    agrees = (seen.argmax(1) == flat.prediction.predicted).float().tolist()
    assert [clip.scores["0.1"]["mask"]["Fid-In"] for clip in found] == agrees


def test_who_knows_the_truth_localises_best(ready):
    ideal, random = (score(control(name, ready, 0), ready, AREAS, True) for name in ("ideal", "random"))
    for knowing, blind in zip(ideal, random, strict=True):
        assert knowing.scores["own"]["mask"]["IoU"] == 1
        assert knowing.scores["map"]["mask"]["AUROC"] > 0.99
        assert blind.scores["map"]["mask"]["AUROC"] == pytest.approx(0.5, abs=0.05)
        assert knowing.scores["0.1"]["heard"]["SI-SDRi"] > blind.scores["0.1"]["heard"]["SI-SDRi"]


def test_nan_stays_with_its_clip(classifier, kinds, ready):
    found = score(decode(kinds["broken"](classifier), ready), ready, AREAS, curves=True)
    broken, sound = found[0], found[1]
    for key in ("own", "0.1"):
        assert np.isnan(broken.scores[key]["mask"]["AD"])
        assert np.isnan(broken.scores[key]["heard"]["SI-SDRi" if key == "own" else "AD"])
        assert np.isfinite(sound.scores[key]["mask"]["AD"])
    assert np.isnan(broken.scores["map"]["mask"]["insertion"])
    assert np.isfinite(sound.scores["map"]["mask"]["insertion"])


def test_own_mask_alone_is_enough(ready):
    whole = torch.ones_like(ready.spectrogram.log_magnitude)
    for clip in score(MaskSource(own=ready.inside(whole)), ready, AREAS, curves=True):
        assert list(clip.scores) == ["own"]
        assert not clip.curves


def test_no_more_inputs_at_once_than_allowed(classifier, ready, monkeypatch):
    sizes = []
    forward = classifier.forward
    monkeypatch.setattr(classifier, "forward", lambda x, frames=None: sizes.append(len(x)) or forward(x, frames))
    score(control("random", ready, 0), ready, (0.1, 0.2, 0.3, 0.4), curves=True)
    assert max(sizes) <= ready.at_once == 8


class Waveforms(Classifier):
    """Hears waveforms, several labels a clip: the loudness of two halves of the sound."""

    needs_phase = True
    multi_label = True
    representation_channels = ()
    config: dict = {}  # noqa: RUF012

    def forward(self, log_magnitude, frames=None, phase=None):
        assert phase is not None
        from otoscope.audio import Spectrogram

        sound = self.frontend.inverse(Spectrogram(log_magnitude, phase))
        halves = sound.unflatten(1, (2, -1)).square().mean(2)
        return Prediction(halves.log(), (), multi_label=True, phase=phase)


def test_phase_reaches_classifiers_that_hear_waveforms():
    classifier = Waveforms(["early", "late"])
    from otoscope.data import Clip, collate

    sound = torch.randn(2, 7440) * torch.linspace(0.1, 1, 7440)
    clips = [Clip(one, 1, str(i), str(i)) for i, one in enumerate(sound)]
    ready = classify_batch(classifier, collate(clips), 0)
    assert ready.prediction.predicted.tolist() == [1, 1]
    everything = torch.ones_like(ready.spectrogram.log_magnitude)
    answers = ask(ready, torch.stack([everything, 0.5 * everything]), hear=True)
    assert torch.allclose(answers.seen[0], ready.prediction.probabilities, atol=1e-4)
    assert torch.allclose(answers.heard[0], ready.prediction.probabilities, atol=1e-4)
    assert (answers.seen[1] < answers.seen[0]).all()  # sigmoids: both fall, as no softmax would have it


def test_a_map_without_numbers_has_no_scores_with_a_foreign_network_either(batch):
    net = torch.nn.Sequential(torch.nn.Flatten(1, 2), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    network = torch.nn.Sequential(net, torch.nn.Linear(513, 3))
    foreign = classify_batch(TorchClassifier(network, ["a", "b", "c"]), batch, seed=7)
    nothing = torch.full_like(foreign.spectrogram.log_magnitude, torch.nan)
    for clip in score(MaskSource(own=nothing, map=nothing), foreign, AREAS, True):
        assert np.isnan(clip.scores["own"]["mask"]["AD"])
        assert np.isnan(clip.scores["0.1"]["heard"]["Fid-In"])
