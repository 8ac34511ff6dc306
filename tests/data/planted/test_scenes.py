"""Scenes of designed listeners are reproducible, and their distractors are louder than their cues."""

import pytest
import torch

from otoscope.audio import Frontend
from otoscope.data import ListenerScenes
from otoscope.data.planted import LISTENER_DESIGNS, make_scene
from otoscope.errors import ConfigurationError


@pytest.mark.parametrize("design", LISTENER_DESIGNS)
def test_distractors_are_louder_than_cues(design):
    frontend = Frontend()
    for index in range(4):
        scene = make_scene(design, index, seed=5)
        rest = scene.waveform - sum(scene.cues.values())
        peaks = [float(frontend.log_magnitude(wave[None]).amax()) for wave in (rest, *scene.cues.values())]
        assert peaks[0] > max(peaks[1:])
        assert float(scene.waveform.abs().max()) == pytest.approx(1.0)
        assert len(scene.cues) == (1 if index < 2 else 2)


def test_a_scene_depends_on_seed_and_index_alone():
    data = ListenerScenes(["sequence", "onset"], clips=3, seed=7)
    data.setup("test")
    first = list(data.scenes("onset"))
    again = make_scene("onset", 2, seed=21)
    assert torch.equal(first[2].waveform, again.waveform)
    assert not torch.equal(first[0].waveform, make_scene("onset", 0, seed=22).waveform)
    clip = data.test_set[1]
    assert data.labels[clip.target] == make_scene("sequence", 1, seed=21).label
    assert clip.event.shape == clip.waveform.shape


@pytest.mark.parametrize("options", [{"designs": ["melody"]}, {"clips": 0}, {"designs": []}])
def test_wrong_options_are_reported(options):
    with pytest.raises(ConfigurationError):
        ListenerScenes(**options)
    with pytest.raises(ConfigurationError, match="duration_s"):
        make_scene("band", 0, duration_s=0.5)
