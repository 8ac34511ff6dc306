"""Designed listeners: their decision depends on the parts of their design, and on nothing else."""

import pytest
import torch

from otoscope.classifiers import ListenerClassifier
from otoscope.classifiers.listeners import AUDIBLE, TOLERANCE
from otoscope.data.planted import LISTENER_DESIGNS, make_scene
from otoscope.errors import ConfigurationError
from otoscope.loading import load_classifier

SCENES = 4
SURE, LOST = 1.0, 0.0


@pytest.mark.parametrize("roughness", [0.0, 10.0])
@pytest.mark.parametrize("design", LISTENER_DESIGNS)
def test_the_decision_depends_on_the_known_part_only(design, roughness):
    listener = ListenerClassifier(design=design, roughness=roughness).freeze()
    frontend = listener.frontend
    for index in range(SCENES):
        scene = make_scene(design, index)
        spectrogram = frontend(scene.waveform[None])
        logits = listener.logits(spectrogram)[0]
        # all sound but the cues is removed: distractors and background, which are louder
        cues_alone = listener.logits(frontend(sum(scene.cues.values())[None]))[0]
        assert (logits - cues_alone).abs().max() < 0.1 + 2 * TOLERANCE * (roughness > 0)
        for label in listener.labels[:-1]:
            assert (logits[listener.index_of(label)] > SURE) == (label in scene.cues)
        for label in scene.cues:
            truth, target = scene.truth(label, frontend, AUDIBLE)[None], listener.index_of(label)
            without = listener.logits(spectrogram.masked((~truth).float()))[0]
            alone = listener.logits(spectrogram.masked(truth.float()))[0]
            assert without[target] < LOST < SURE < alone[target]
            assert 0 < truth.float().mean() < 0.05


@pytest.mark.parametrize("design", ["band", "harmonics", "and_not", "either"])
def test_bins_outside_the_parts_change_nothing_at_all(design):
    listener = ListenerClassifier(design=design).freeze()
    inside = (listener.bands > 0).any(0)[:, None]
    log_magnitude = 3 * torch.rand(1, 513, 60)
    changed = torch.where(inside, log_magnitude, 5 * torch.rand(1, 513, 60))
    assert torch.equal(listener(log_magnitude).logits, listener(changed).logits)


def test_the_forbidden_part_loses_the_decision():
    listener = ListenerClassifier(design="and_not").freeze()
    scene = make_scene("and_not", 0)
    label = scene.label
    log_magnitude = listener.frontend.log_magnitude(scene.waveform[None])
    low_hz, high_hz = listener.rules.parts[label][1].low_hz, listener.rules.parts[label][1].high_hz
    rows = [int(hz * listener.frontend.n_fft / 16_000) for hz in (low_hz, high_hz)]
    log_magnitude[:, rows[0] : rows[1], 40:80] = 3.0
    assert listener(log_magnitude).logits[0, listener.index_of(label)] < LOST


def test_padding_changes_nothing():
    listener = ListenerClassifier(design="onset", roughness=10.0).freeze()
    short = 3 * torch.rand(1, 513, 40)
    padded = torch.cat([short, torch.rand(1, 513, 30)], dim=2)
    assert torch.allclose(listener(short).logits, listener(padded, torch.tensor([40])).logits, atol=1e-5)


def test_gradients_reach_the_spectrogram_and_the_ripple_roughens_them():
    log_magnitude = make_scene("band", 0).waveform[None]
    noise = {}
    for roughness in (0.0, 10.0):
        listener = ListenerClassifier(design="band", roughness=roughness).freeze()
        inputs = listener.frontend.log_magnitude(log_magnitude).requires_grad_()
        (gradient,) = torch.autograd.grad(listener(inputs).logits[0, 0], inputs)
        outside = (listener.bands == 0).all(0)
        noise[roughness] = float(gradient[0, outside].abs().amax())
    assert noise[0.0] == 0 < noise[10.0]


def test_saved_listener_is_the_same(tmp_path):
    listener = ListenerClassifier(design="rhythm", roughness=5.0).freeze()
    listener.save_pretrained(tmp_path / "listener")
    loaded = load_classifier(tmp_path / "listener")
    inputs = 3 * torch.rand(1, 513, 80)
    assert isinstance(loaded, ListenerClassifier)
    assert loaded.config == {"design": "rhythm", "gain": 4.0, "roughness": 5.0}
    assert torch.equal(loaded(inputs).logits, listener(inputs).logits)


@pytest.mark.parametrize("options", [{"design": "melody"}, {"gain": 0}, {"labels": ["a"]}, {"roughness": -1}])
def test_wrong_options_are_reported(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ListenerClassifier(**options)
