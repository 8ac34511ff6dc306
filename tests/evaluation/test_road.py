"""ROAD: gaps and curves of maps whose worth is known."""

import numpy as np
import pytest
import torch

from otoscope.classifiers import ListenerClassifier
from otoscope.classifiers.listeners import AUDIBLE
from otoscope.data import Clip, collate
from otoscope.data.planted import make_scene
from otoscope.evaluation.batch import classify_batch
from otoscope.evaluation.mask_scores import MaskSource, control, score
from otoscope.evaluation.road import ROAD_AREAS, road, road_areas
from otoscope.metrics import random_importance
from otoscope.metrics.imputation import noisy_linear_imputation
from otoscope.metrics.ranking import rank_bins

AREAS = (0.1, 0.3)


@pytest.fixture(scope="module")
def scenes():
    """Two scenes of a listener that decides by a band, the second of them shorter, and the bins that it uses."""
    listener = ListenerClassifier(design="band").freeze()
    scenes = [make_scene("band", number, 1.8) for number in range(2)]
    waveforms = [scene.waveform[: len(scene.waveform) - 1500 * (place == 1)] for place, scene in enumerate(scenes)]
    clips = [
        Clip(waveform, listener.index_of(scene.label), scene.name, scene.name)
        for scene, waveform in zip(scenes, waveforms, strict=True)
    ]
    batch = classify_batch(listener, collate(clips), 0)
    truth = torch.zeros_like(batch.spectrogram.log_magnitude)
    for place, scene in enumerate(scenes):
        bins = scene.truth(scene.label, listener.frontend, AUDIBLE).float()
        count = batch.spectrogram.frame_counts[place]
        truth[place, :, :count] = bins[:, :count]
    return batch, truth


def _road(batch, importance):
    return road(rank_bins(importance, batch.order, batch.frames), batch, AREAS, seed=0)


def test_the_truth_scores_high_and_the_reverse_low(scenes):
    batch, truth = scenes
    right, wrong = _road(batch, truth), _road(batch, -truth)
    for area in AREAS:
        for domain in ("mask", "heard"):
            assert right.gaps[area][domain].min() > 0.3
            assert torch.allclose(wrong.gaps[area][domain], -right.gaps[area][domain], atol=0.05)
    areas = right.areas_under_curves()
    assert (areas["LeRF"] > areas["MoRF"] + 0.2).all()
    noise = random_importance(truth, batch.names, 1, batch.frames)
    assert _road(batch, noise).gaps[0.1]["mask"].abs().max() < right.gaps[0.1]["mask"].min()


def test_equals_imputation_and_classification_by_hand(scenes):
    batch, truth = scenes
    clip = 1
    count = batch.spectrogram.frame_counts[clip]
    importance = truth[clip : clip + 1, :, :count] + batch.spectrogram.log_magnitude[clip : clip + 1, :, :count]
    ranking = rank_bins(importance, [batch.order[clip]])
    alone = batch.spectrogram.clip(clip)
    padded = torch.zeros_like(truth)
    padded[clip : clip + 1, :, :count] = importance
    result = _road(batch, padded)
    label = int(batch.prediction.explained[clip])
    probabilities = []
    for removed in (ranking.mask(0.3), 1 - ranking.mask(0.7)):
        imputed = noisy_linear_imputation(alone.log_magnitude, removed, [batch.names[clip]], 0)
        changed = alone.with_log_magnitude(imputed)
        probabilities.append(float(batch.classifier.probabilities(changed)[0, label]))
    most, least = probabilities
    assert float(result.gaps[0.3]["mask"][clip]) == pytest.approx(least - most, abs=1e-4)
    place = road_areas().index(0.3)
    assert float(result.curves["MoRF"][clip, place]) == pytest.approx(most, abs=1e-4)
    whole = float(batch.prediction.probabilities[clip, label])
    assert float(result.curves["LeRF"][clip, 0]) == pytest.approx(whole)
    curve = result.curves["MoRF"][clip].numpy()
    expected = np.trapezoid(curve, road_areas()) / ROAD_AREAS[-1]
    assert float(result.areas_under_curves()["MoRF"][clip]) == pytest.approx(expected)


def test_scores_of_a_clip_hold_road_only_where_it_is_wanted(scenes):
    batch, truth = scenes
    importance = truth.clone()
    importance[1, 0, 0] = torch.nan
    source = MaskSource(importance=importance)
    plain = score(source, batch, AREAS, curves=False)
    wanted = score(source, batch, AREAS, curves=False, road_seed=0)
    assert not plain[0].road
    assert "ROAD" not in plain[0].scores["0.1"]["mask"]
    assert len(wanted[0].road["MoRF"]) == len(road_areas())
    assert {"MoRF", "LeRF"} <= wanted[0].scores["map"]["mask"].keys()
    assert wanted[0].scores["0.1"]["heard"]["ROAD"] > 0.3
    # a map that holds NaN has no ranking
    assert np.isnan(wanted[1].scores["0.1"]["mask"]["ROAD"])
    assert np.isnan(wanted[1].road["LeRF"]).all()
    all_pass = score(control("all-pass", batch, 0), batch, AREAS, curves=False, road_seed=0)
    assert not all_pass[0].road
