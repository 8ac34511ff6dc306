"""Methods based on gradients: equal to captum called by hand, and with the properties that their papers prove."""

import captum.attr
import pytest
import torch
from attributions import AREA, FRONTEND, RectangleClassifier, attribution_of, make, silence, sounds
from torch import nn

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Classifier, Cnn14Classifier, Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError, GradientError, UnsuitableMethodError
from otoscope.interpreters.guided_backprop import GuidedReLU

LABELS = ["dog", "rain", "clock"]
NETWORKS = {
    "conv2d": lambda: Conv2dClassifier(LABELS, RectangleClassifier().frontend, width=4, head_width=4),
    "cnn14": lambda: Cnn14Classifier(LABELS, RectangleClassifier().frontend, width=2, mel_bins=32),
}


class ModuleClassifier(Classifier):
    """A network that captum can hook: every ReLU is a module that does not work in place."""

    def __init__(self):
        super().__init__(["dog", "rain"], Frontend(**FRONTEND))
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 4, 4, stride=4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        )
        self.linear = nn.Linear(4, 2)

    @property
    def representation_channels(self):
        return (4,)

    def forward(self, log_magnitude, frames=None):
        hidden = self.convolutions(log_magnitude[:, None])
        return Prediction(self.linear(hidden.mean((2, 3))), (hidden,))


@pytest.fixture(params=NETWORKS)
def classifier(request, experienced):
    return experienced(NETWORKS[request.param]()).freeze()


def logits_of(classifier):
    """Return the function that a user of captum would write."""
    return lambda log_magnitude: classifier(log_magnitude).logits


def inputs_of(spectrogram):
    return spectrogram.log_magnitude.clone().requires_grad_()


def top_mask(attribution, area):
    """Return a mask of the largest attributions by the shortest code."""
    flat = attribution.flatten(1)
    mask = torch.zeros_like(flat)
    return mask.scatter(1, flat.topk(round(area * flat.shape[1])).indices, 1.0).view_as(attribution)


@pytest.mark.parametrize("target", [None, 1])
def test_saliency_equals_captum(classifier, target):
    spectrogram = sounds(3)
    prediction = classifier.predict(spectrogram)
    labels = prediction.predicted if target is None else torch.full((3,), target)
    expected = captum.attr.Saliency(logits_of(classifier)).attribute(inputs_of(spectrogram), labels).detach()
    mask = make("saliency", classifier, area=0.2)(spectrogram, prediction.towards(labels))
    attribution = attribution_of("saliency", classifier, spectrogram, target)
    torch.testing.assert_close(attribution.abs(), expected)
    torch.testing.assert_close(mask, top_mask(expected, 0.2))


@pytest.mark.parametrize("target", [None, 1])
def test_integrated_gradients_equal_captum(classifier, target):
    spectrogram = sounds(3)
    prediction = classifier.predict(spectrogram)
    labels = prediction.predicted if target is None else torch.full((3,), target)
    method = captum.attr.IntegratedGradients(logits_of(classifier))
    expected = method.attribute(inputs_of(spectrogram), 0.0, labels, n_steps=8).detach()
    interpreter = make("integrated_gradients", classifier, steps=8, area=0.2)
    decoded = interpreter.decode(spectrogram, prediction.towards(labels))
    torch.testing.assert_close(decoded, expected, atol=1e-6, rtol=1e-3)
    # sums in another order: a bin on the edge may fall on either side
    assert (interpreter.mask(decoded, spectrogram) != top_mask(expected, 0.2)).float().mean() < 1e-3


def test_input_x_gradient_equals_captum(classifier):
    spectrogram = sounds(2)
    labels = classifier.predict(spectrogram).predicted
    method = captum.attr.InputXGradient(logits_of(classifier))
    expected = method.attribute(inputs_of(spectrogram), labels).detach()
    torch.testing.assert_close(attribution_of("input_x_gradient", classifier, spectrogram), expected)


def test_integrated_gradients_are_complete():
    """They sum to the difference of the score to that of silence; exactly so for a linear classifier."""
    classifier = RectangleClassifier().freeze()
    spectrogram = sounds(2)
    difference = (classifier.logits(spectrogram) - classifier.logits(silence(2)))[:, 0]
    for steps in (1, 5):
        attribution = attribution_of("integrated_gradients", classifier, spectrogram, 0, steps=steps)
        torch.testing.assert_close(attribution.sum((1, 2)), difference, rtol=1e-4, atol=1e-4)


def test_more_steps_are_closer_to_completeness(classifier):
    spectrogram = sounds(1)
    differences = classifier.logits(spectrogram) - classifier.logits(silence())
    difference = differences[0, classifier.predict(spectrogram).predicted[0]]
    sums = [attribution_of("integrated_gradients", classifier, spectrogram, steps=steps).sum() for steps in (1, 64)]
    few, many = ((total - difference).abs().item() for total in sums)
    assert many < 0.05 * difference.abs().item() + 0.05 * few


def test_smoothgrad_without_noise_equals_saliency(classifier):
    spectrogram = sounds(2)
    smooth = attribution_of("smoothgrad", classifier, spectrogram, samples=3, noise=1e-9)
    torch.testing.assert_close(smooth, attribution_of("saliency", classifier, spectrogram), rtol=1e-3, atol=1e-5)


def test_smoothgrad_is_the_mean_over_noisy_copies(classifier):
    spectrogram = sounds(1)
    log_magnitude = spectrogram.log_magnitude
    deviation = 0.3 * (log_magnitude.max() - log_magnitude.min())
    # the noise that captum draws from this seed
    torch.manual_seed(7)
    noise = torch.normal(0, deviation.expand(5, *log_magnitude.shape[1:]))
    target = int(classifier(log_magnitude).predicted)
    gradients = []
    for values in noise:
        noisy = (log_magnitude + values).clamp(min=0).requires_grad_()
        gradients.append(torch.autograd.grad(classifier(noisy).logits[0, target], noisy)[0])
    smooth = attribution_of("smoothgrad", classifier, spectrogram, samples=5, noise=0.3, seed=7)
    torch.testing.assert_close(smooth, torch.stack(gradients).mean(0), rtol=1e-3, atol=1e-5)


def test_gradient_shap_of_a_linear_classifier_is_exact():
    classifier, spectrogram = RectangleClassifier().freeze(), sounds(1)
    attribution = attribution_of("gradient_shap", classifier, spectrogram, 0, samples=40, noise=1e-9)
    expected = attribution_of("input_x_gradient", classifier, spectrogram, 0)
    torch.testing.assert_close(attribution, expected, rtol=1e-3, atol=1e-5)


def test_gradient_shap_draws_at_most_a_batch_at_a_time():
    classifier, sizes = RectangleClassifier().freeze(), []
    classifier.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    attribution_of("gradient_shap", classifier, sounds(1), samples=10, batch=4)
    assert max(sizes) == 4
    assert sum(sizes) == 1 + 10


def test_guided_backpropagation_equals_captum():
    classifier = ModuleClassifier().freeze()
    spectrogram = sounds(2)

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = classifier

        def forward(self, log_magnitude):
            return self.inner(log_magnitude).logits

    method = captum.attr.GuidedBackprop(Logits())
    labels = classifier.predict(spectrogram).predicted
    with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
        expected = method.attribute(inputs_of(spectrogram), labels).detach()
    attribution = attribution_of("guided_backprop", classifier, spectrogram)
    torch.testing.assert_close(attribution, expected)
    assert not torch.allclose(attribution, attribution_of("saliency", classifier, spectrogram))


def test_guided_backpropagation_differs_from_saliency_where_captum_cannot_hook(classifier):
    spectrogram = sounds(1)
    guided, plain = (attribution_of(name, classifier, spectrogram) for name in ("guided_backprop", "saliency"))
    assert not torch.allclose(guided, plain)


@pytest.mark.parametrize(
    "relu", [nn.functional.relu, torch.relu, torch.Tensor.relu, nn.ReLU(), nn.ReLU(inplace=True)]
)
def test_every_form_of_relu_is_guided(relu):
    value = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
    with GuidedReLU() as guided:
        output = relu(value * 1)
    assert guided.calls >= 1
    assert output.tolist() == [0.0, 2.0, 3.0]
    (gradient,) = torch.autograd.grad(output, value, torch.tensor([5.0, -1.0, 2.0]))
    assert gradient.tolist() == [0.0, 0.0, 2.0]


def test_relus_in_place_change_their_input():
    value = torch.tensor([-1.0, 2.0])
    with GuidedReLU():
        torch.relu_(value)
    assert value.tolist() == [0.0, 2.0]


@pytest.mark.parametrize("method", ["guided_backprop", "guided_grad_cam"])
def test_network_without_relu_is_refused(method):
    class Smooth(RectangleClassifier):
        def forward(self, log_magnitude, frames=None):
            hidden = nn.functional.gelu(log_magnitude)[:, None]
            return Prediction(hidden.mean((2, 3)).expand(-1, 2), (hidden,))

    with pytest.raises(UnsuitableMethodError, match=r"Smooth has no ReLU to guide.*use saliency"):
        make(method, Smooth())


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("integrated_gradients", {"steps": 0}, "steps: 0 must be a whole number, 1 or more"),
        ("smoothgrad", {"samples": 0}, "samples: 0 must be a whole number, 1 or more"),
        ("smoothgrad", {"noise": 0.0}, r"noise: 0\.0 must be a positive number"),
        ("gradient_shap", {"samples": 0}, "samples: 0 must be a whole number, 1 or more"),
        ("integrated_gradients", {"stepz": 3}, "method integrated_gradients: .*stepz"),
    ],
)
def test_invalid_options_are_refused(method, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make(method, RectangleClassifier(), area=AREA, **options)


class StepClassifier(RectangleClassifier):
    """The linear classifier with one more step in front of it."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, log_magnitude, frames=None):
        return super().forward(self.step(log_magnitude), frames)


def _relu_with_unused_return_value(values):
    values = values.clone()
    nn.functional.relu(values, inplace=True)
    return values


def test_relu_in_place_is_guided_even_if_its_return_value_is_unused():
    classifier = StepClassifier(_relu_with_unused_return_value).freeze()
    plain = StepClassifier(nn.functional.relu).freeze()
    spectrogram = Spectrogram(sounds(2).log_magnitude - 0.8)
    with GuidedReLU() as guided:
        logits = classifier.logits(spectrogram)
    assert guided.calls == 2
    torch.testing.assert_close(logits, plain.logits(spectrogram))
    expected = attribution_of("guided_backprop", plain, spectrogram)
    torch.testing.assert_close(attribution_of("guided_backprop", classifier, spectrogram), expected)


@pytest.mark.parametrize("step", [torch.detach, lambda values: torch.from_numpy(values.detach().numpy())])
def test_error_about_a_missing_gradient_names_the_remedy(step):
    with pytest.raises(
        GradientError, match=r"no gradient comes through StepClassifier.*differentiable=False.*rise"
    ):
        attribution_of("saliency", StepClassifier(step).freeze(), sounds(1))


def test_network_in_training_mode_is_explained_in_evaluation_mode(experienced):
    classifier = experienced(NETWORKS["cnn14"]()).freeze()
    spectrogram = sounds(2)
    weights = {name: value.clone() for name, value in classifier.state_dict().items()}
    expected = attribution_of("saliency", classifier, spectrogram)
    prediction = classifier.predict(spectrogram)
    classifier.blocks.train()
    torch.testing.assert_close(make("saliency", classifier).decode(spectrogram, prediction), expected)
    assert all(torch.equal(weights[name], value) for name, value in classifier.state_dict().items())


def test_gradients_are_computed_in_inference_mode():
    classifier, spectrogram = RectangleClassifier().freeze(), sounds(1)
    expected = attribution_of("integrated_gradients", classifier, spectrogram, 0)
    with torch.inference_mode():
        prediction = classifier.predict(spectrogram).towards(torch.tensor([0]))
        made_inside = Spectrogram(spectrogram.log_magnitude.clone())
        attribution = make("integrated_gradients", classifier).decode(made_inside, prediction)
    torch.testing.assert_close(attribution, expected)


class _UndefinedAtSilence(torch.autograd.Function):
    """Identity whose gradient is NaN at 0, like that of a square root times zero."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values

    @staticmethod
    def backward(ctx, gradient):
        (values,) = ctx.saved_tensors
        return gradient.masked_fill(values == 0, torch.nan)


def test_undefined_gradients_count_as_zero_unless_all_are_undefined():
    classifier, spectrogram = StepClassifier(_UndefinedAtSilence.apply).freeze(), sounds(2)
    spectrogram.log_magnitude[0, 40:50, 20:30] = 0
    spectrogram.log_magnitude[1] = 0
    attribution = attribution_of("saliency", classifier, spectrogram)
    plain = attribution_of("saliency", RectangleClassifier().freeze(), spectrogram)
    assert attribution[0, 40:50, 20:30].count_nonzero() == 0
    torch.testing.assert_close(attribution[0, :, 30:], plain[0, :, 30:])
    # where nothing is defined there is no mask either
    assert attribution[1].isnan().all()
    assert make("saliency", classifier)(spectrogram, classifier.predict(spectrogram))[1].isnan().all()
