"""Local layers: what their outputs see, and who has them."""

from itertools import product

import pytest
import torch

from otoscope.audio import Frontend
from otoscope.classifiers import Cnn14Classifier, ContrastClassifier, Conv2dClassifier
from otoscope.classifiers.local import LocalLayers

LABELS = ["dog", "rain", "clock"]
FRONTEND = {"n_fft": 256, "window_ms": 16.0, "hop_ms": 8.0}


@pytest.fixture
def classifier(experienced):
    return experienced(Conv2dClassifier(LABELS, Frontend(**FRONTEND), width=4, depth=5)).freeze().double()


@pytest.mark.parametrize(("step", "before", "after"), [(1, 0, 0), (4, 3, 6), (8, 7, 14), (3, 0, 1)])
def test_outputs_of_inputs_are_those_whose_window_meets_them(step, before, after):
    layers = LocalLayers(torch.relu, torch.relu, step, before, after)
    windows = [range(step * j - before, step * j + after + 1) for j in range(40)]
    assert layers.extent == len(windows[0])
    assert layers.first_inputs(40).tolist() == [max(0, window[0]) for window in windows]
    for start, size in product(range(30), (1, 2, 9)):
        seeing = [j for j, window in enumerate(windows) if set(window) & set(range(start, start + size))]
        assert list(range(40))[layers.outputs_of(slice(start, start + size))] == seeing


@pytest.mark.parametrize("frames", [64, 37, 11])  # 11: shorter than the receptive field, hence padded
def test_local_layers_and_the_rest_are_the_network(classifier, frames):
    log_magnitude = torch.rand(3, 129, frames).double()
    assert [layers.step for layers in classifier.local_layers()] == [32, 16, 8, 4]
    for layers in classifier.local_layers():
        maps = layers.run(log_magnitude)
        assert maps.shape == (3, max(frames, 32) // layers.step, 129 // layers.step, 4)
        torch.testing.assert_close(layers.rest(maps), classifier(log_magnitude).logits)


def test_a_bin_changes_the_outputs_that_see_it(classifier):
    log_magnitude = torch.rand(1, 129, 75).double()
    for layers in classifier.local_layers():
        maps, reached = layers.run(log_magnitude), []
        for row, column in ((0, 0), (128, 74), (31, 47), (64, 40), (77, 22)):
            changed = log_magnitude.clone()
            changed[0, row, column] += 100
            difference = (layers.run(changed) - maps)[0].abs().amax(-1) > 0
            seeing = layers.outputs_of(slice(column, column + 1)), layers.outputs_of(slice(row, row + 1))
            reached.append(difference[seeing].float().mean())
            difference[seeing] = False
            assert not difference.any()
        # no larger than needed: ReLU hides the change from some outputs
        assert max(reached) > 0.5


def test_local_layers_of_a_contrast_lead_to_its_logits(classifier):
    contrast, log_magnitude = ContrastClassifier(classifier, "clock", "dog"), torch.rand(2, 129, 50).double()
    for layers in contrast.local_layers():
        torch.testing.assert_close(layers.rest(layers.run(log_magnitude)), contrast(log_magnitude).logits)


def test_classifiers_that_compute_otherwise_have_no_local_layers(classifier):
    class Louder(Conv2dClassifier):
        def predict(self, spectrogram):
            return super().predict(spectrogram.with_log_magnitude(2 * spectrogram.log_magnitude))

    assert list(Louder(LABELS, width=4).local_layers()) == []
    assert list(Cnn14Classifier(LABELS, width=2).local_layers()) == []
    assert list(Conv2dClassifier(LABELS, width=4, depth=1).local_layers()) == []
    hook = classifier.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    assert (
        list(classifier.local_layers()) == list(ContrastClassifier(classifier, "dog", "rain").local_layers()) == []
    )
    hook.remove()
    assert len(classifier.local_layers()) == 4
    classifier.forward = lambda *inputs: Conv2dClassifier.forward(classifier, *inputs)
    assert list(classifier.local_layers()) == []
