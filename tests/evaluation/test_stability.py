"""Stability of explanations under inaudible changes."""

import pytest
import torch

from otoscope.classifiers import ListenerClassifier
from otoscope.data.planted import make_scene
from otoscope.errors import ShapeError
from otoscope.evaluation.stability import CHANGES, inaudible_change, score_stability
from otoscope.interpreters import make_untrained


def test_changes_are_as_small_as_stated():
    waveform = torch.randn(1600)
    noise = inaudible_change(waveform, "noise", 16_000, "clip", 0) - waveform
    assert 20 * float((noise.norm() / waveform.norm()).log10()) == pytest.approx(-50, abs=1e-3)
    assert torch.equal(inaudible_change(waveform, "shift", 16_000, "clip", 0)[16:], waveform[:-16])
    assert torch.allclose(inaudible_change(waveform, "level", 16_000, "clip", 0), 0.89125 * waveform, atol=1e-4)
    with pytest.raises(ShapeError):
        inaudible_change(waveform[None], "noise", 16_000, "clip", 0)


def test_rough_gradients_are_less_stable_than_smooth_ones():
    waveform = make_scene("band", 0).waveform
    overlap = {}
    for roughness in (0.0, 20.0):
        listener = ListenerClassifier(roughness=roughness).freeze()
        scores = score_stability(make_untrained("input_x_gradient", listener), listener, waveform, "clip")
        assert set(scores) == set(CHANGES)
        assert all(of_change["same_decision"] == 1 for of_change in scores.values())
        overlap[roughness] = scores["noise"]["overlap"]
    assert overlap[0.0] > overlap[20.0]
