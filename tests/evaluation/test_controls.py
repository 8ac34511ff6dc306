"""The controls of a clip are the same in `explain` and in an evaluation, and in every batch."""

from functools import partial

import pytest
import torch

from otoscope import scoring
from otoscope.data import Clip, collate
from otoscope.evaluation.batch import classify_batch
from otoscope.evaluation.mask_scores import control
from otoscope.explain import Explainer
from otoscope.metrics.ranking import rank_bins

CONTROLS = {"random": "random_of_equal_area", "loudest": "loudest_of_equal_area"}
LENGTHS = {"dog": 8000, "rain": 6000, "clock": 8000, "train": 5100}


@pytest.fixture
def waveforms():
    """Noise at a peak of 1 that ends in digital silence, where all bins are equally loud."""
    sounds = {}
    for name, length in LENGTHS.items():
        sound = torch.randn(length)
        sound[length // 2 :] = 0
        sounds[name] = sound / sound.abs().max()
    return sounds


@pytest.fixture
def controls_of_explain(classifier, kinds, monkeypatch):
    """Function that explains clips with a mask of 0.5 and returns the controls by name and clip."""
    masks = {}

    def record(name, compute, *arguments):
        masks[name] = compute(*arguments)
        return masks[name]

    for name, function in CONTROLS.items():
        monkeypatch.setattr(scoring, function, partial(record, name, getattr(scoring, function)))

    def explain(waveforms):
        results = Explainer(classifier, kinds["constant"](classifier)).explain_batch(
            list(waveforms.values()), names=list(waveforms)
        )
        return {
            name: {result.name: mask[i, :, : result.mask.shape[1]] for i, result in enumerate(results)}
            for name, mask in masks.items()
        }

    return explain


def controls_of_evaluation(classifier, waveforms, seed=1234):
    """Return the controls that an evaluation matches to a mask of 0.5, by name and clip."""
    clips = [Clip(sound, 0, name, name) for name, sound in waveforms.items()]
    batch = classify_batch(classifier, collate(clips), seed)
    mask = batch.zero_padding(torch.full_like(batch.spectrogram.log_magnitude, 0.5))
    masks = {}
    for name in CONTROLS:
        ranking = rank_bins(control(name, batch, seed).importance, batch.order, batch.frames)
        rows = zip(waveforms, ranking.mask_like(mask), batch.spectrogram.frame_counts, strict=True)
        masks[name] = {clip: values[:, :count] for clip, values, count in rows}
    return masks


@pytest.mark.parametrize("name", list(CONTROLS))
def test_explain_and_evaluate_give_a_clip_the_same_controls(classifier, controls_of_explain, waveforms, name):
    expected = controls_of_evaluation(classifier, waveforms)[name]
    together = controls_of_explain(dict(reversed(waveforms.items())))[name]
    for clip, waveform in waveforms.items():
        alone = controls_of_explain({clip: waveform})[name][clip]
        assert 0.49 < expected[clip].mean() < 0.51
        assert torch.equal(together[clip], expected[clip])
        assert torch.equal(alone, expected[clip])
        assert torch.equal(alone, controls_of_evaluation(classifier, {clip: waveform})[name][clip])


def test_another_seed_gives_other_controls(classifier, waveforms):
    first, second = (controls_of_evaluation(classifier, waveforms, seed) for seed in (1, 2))
    assert not torch.equal(first["random"]["dog"], second["random"]["dog"])
