"""How many inputs one run of a classifier takes, and that results do not depend on it."""

import pytest
import torch
from attributions import QUICK, attribution_of

from otoscope.audio import Spectrogram
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier
from otoscope.classifiers.contrast import ContrastClassifier
from otoscope.interpreters import runs

LABELS = ["dog", "rain"]


@pytest.mark.parametrize("classifier", [Conv2dClassifier(LABELS, width=8), Cnn14Classifier(LABELS, width=16)])
def test_the_largest_feature_map_is_that_of_a_layer(classifier):
    sizes = []
    for module in classifier.freeze().modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
    frames = 64
    classifier(torch.rand(1, classifier.frontend.bins, frames))
    stated = classifier.largest_activation(frames)
    assert 0.9 * max(sizes) <= stated <= 1.1 * max(sizes)
    assert ContrastClassifier(classifier, "dog", "rain").largest_activation(frames) == stated


def test_a_classifier_that_states_no_size_gets_whole_batches():
    classifier = Conv2dClassifier(LABELS, width=256)
    clip = Spectrogram(torch.zeros(1, 513, 431))
    assert runs.inputs_per_run(classifier, clip, 16) == 1
    classifier.largest_activation = lambda frames: None
    assert runs.inputs_per_run(classifier, clip, 16) == 16


@pytest.mark.parametrize(
    "method", ["saliency", "integrated_gradients", "smoothgrad", "gradient_shap", "occlusion", "rise", "slime"]
)
def test_results_do_not_depend_on_the_inputs_of_a_run(method, monkeypatch):
    torch.manual_seed(0)
    classifier = Conv2dClassifier(LABELS, width=4).freeze()
    sizes = []
    classifier.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    clips = Spectrogram(torch.rand(2, 513, 64), torch.rand(2, 513, 64))
    options = {**QUICK.get(method, {}), **({"masks": 9} if method == "rise" else {})}
    options |= {"samples": 9} if method == "slime" else {}
    expected = attribution_of(method, classifier, clips, 0, **options)
    monkeypatch.setattr(runs, "_LARGEST_BLOCK", 1)
    sizes.clear()
    divided = attribution_of(method, classifier, clips, 0, **options)
    assert sizes[0] == 2  # the prediction
    assert set(sizes[1:]) == {1}
    # occlusion takes differences of scores, which are some tens
    torch.testing.assert_close(divided, expected, rtol=1e-3, atol=max(2e-6, 1e-5 * float(expected.abs().max())))
