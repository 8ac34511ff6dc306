"""Predictions, labels and the calls that all classifiers share."""

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError


def test_probabilities_and_predicted_class():
    prediction = Prediction(torch.tensor([[0.0, 2.0, 1.0], [5.0, 0.0, 0.0]]), ())
    expected = prediction.logits.exp() / prediction.logits.exp().sum(1, keepdim=True)
    torch.testing.assert_close(prediction.probabilities, expected)
    assert prediction.predicted.tolist() == [1, 0]
    assert prediction.explained.tolist() == [1, 0]


def test_another_class_can_be_explained():
    prediction = Prediction(torch.tensor([[0.0, 2.0, 1.0]]), (torch.zeros(1),))
    other = prediction.towards(torch.tensor([2]))
    assert other.explained.tolist() == [2]
    assert other.predicted.tolist() == [1]
    assert other.representations is prediction.representations
    assert prediction.target is None


@pytest.mark.parametrize("labels", [[], ["dog", "dog"], ["a", "b", "a"]])
def test_labels_must_be_different_names(labels):
    with pytest.raises(ConfigurationError, match="labels: "):
        Conv2dClassifier(labels, width=2)


def test_labels_are_found_by_name():
    classifier = Conv2dClassifier(("dog", "rain"), width=2)
    assert classifier.labels == ["dog", "rain"]
    assert classifier.index_of("rain") == 1
    with pytest.raises(ConfigurationError, match=r"does not know 'cat'; there are dog, rain"):
        classifier.index_of("cat")


def test_frozen_classifier_is_in_evaluation_mode_without_gradients():
    classifier = Conv2dClassifier(["dog", "rain"], width=2)
    assert classifier.freeze() is classifier
    assert not any(module.training for module in classifier.modules())
    assert not any(value.requires_grad for value in classifier.parameters())


@pytest.mark.parametrize("multi_label", [False, True])
def test_logits_and_probabilities_are_those_of_the_prediction(multi_label):
    classifier, log_magnitude = Conv2dClassifier(["dog", "rain"], width=2).freeze(), torch.rand(2, 513, 40)
    classifier.multi_label = multi_label
    frames = torch.tensor([40, 20])
    expected = classifier(log_magnitude, frames)
    spectrogram = Spectrogram(log_magnitude, frames=frames)
    assert torch.equal(classifier.predict(spectrogram).logits, expected.logits)
    assert torch.equal(classifier.logits(spectrogram), expected.logits)
    probabilities = expected.logits.sigmoid() if multi_label else expected.probabilities
    assert torch.equal(classifier.probabilities(spectrogram), probabilities)
    assert not torch.equal(classifier.logits(Spectrogram(log_magnitude)), expected.logits)


KINDS = {
    "conv2d": lambda: Conv2dClassifier(["dog", "rain"], width=2, head_width=3),
    "cnn14": lambda: Cnn14Classifier(["dog", "rain"], width=2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 100, 512])
def test_representation_shapes_are_those_of_a_run(kind, frames):
    classifier = KINDS[kind]()
    shapes = classifier.representation_shapes(frames)
    prediction = classifier.freeze()(torch.rand(2, 513, frames))
    assert shapes == [tuple(values.shape[1:]) for values in prediction.representations]
    assert tuple(shape[0] for shape in shapes) == classifier.representation_channels
    assert len(classifier.representation_names) == len(shapes)


def test_shapes_are_those_of_512_frames_by_default():
    assert Conv2dClassifier(["dog", "rain"], width=2).representation_shapes() == [(2, 32, 32)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_measuring_shapes_changes_nothing(experienced, kind, training):
    classifier = experienced(KINDS[kind]()).train(training)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    classifier.representation_shapes()
    after = classifier.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any("num_batches_tracked" in name for name in before)
    assert {module.training for module in classifier.modules()} == {training}
    assert all(value.requires_grad and value.grad is None for value in classifier.parameters())


def test_measuring_shapes_leaves_frozen_parts_frozen():
    classifier = Conv2dClassifier(["dog", "rain"], width=2).train()
    classifier.blocks.eval()
    classifier.representation_shapes()
    assert classifier.training
    assert classifier.head.training
    assert not any(module.training for module in classifier.blocks.modules())
