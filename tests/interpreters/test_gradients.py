"""Methods that go by the gradient: the same as captum called by hand, and what their papers promise."""

import captum.attr
import pytest
import torch
from attributions import AREA, Window, attribution_of, make, sounds
from torch import nn

from otoscope.audio import Frontend
from otoscope.classifiers import Classifier, Cnn14Classifier, Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError, GradientError, UnsuitableMethodError
from otoscope.interpreters.guided_backprop import GuidedReLU

NETWORKS = {
    "conv2d": lambda: Conv2dClassifier(["dog", "rain", "clock"], Window().frontend, width=4, head_width=4),
    "cnn14": lambda: Cnn14Classifier(["dog", "rain", "clock"], Window().frontend, width=2, mel_bins=32),
}


class Plain(Classifier):
    """A network of modules that captum can hook: no function for a ReLU, none in place."""

    def __init__(self):
        super().__init__(["dog", "rain"], Frontend(n_fft=256, window_ms=16.0, hop_ms=8.0))
        self.layers_of_it = nn.Sequential(
            nn.Conv2d(1, 4, 4, stride=4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        )
        self.linear = nn.Linear(4, 2)

    @property
    def representation_channels(self):
        return (4,)

    @property
    def config(self):
        return {}

    def forward(self, log_magnitude, frames=None):
        hidden = self.layers_of_it(log_magnitude[:, None])
        return Prediction(self.linear(hidden.mean((2, 3))), (hidden,))


@pytest.fixture(params=NETWORKS)
def classifier(request, experienced):
    return experienced(NETWORKS[request.param]()).freeze()


def by_hand(classifier):
    """What a user of captum would write."""
    return lambda log_magnitude: classifier(log_magnitude).logits


def top(attribution, area):
    """A mask from an attribution, as anybody would cut it."""
    flat = attribution.flatten(1)
    mask = torch.zeros_like(flat)
    return mask.scatter(1, flat.topk(round(area * flat.shape[1])).indices, 1.0).view_as(attribution)


@pytest.mark.parametrize("target", [None, 1])
def test_saliency_masks_are_those_of_captum(classifier, target):
    clips = sounds(3)
    prediction = classifier(clips)
    wanted = prediction.predicted if target is None else torch.full((3,), target)
    expected = captum.attr.Saliency(by_hand(classifier)).attribute(clips.clone().requires_grad_(), wanted)
    mask = make("saliency", classifier, area=0.2)(clips, prediction.towards(wanted))
    torch.testing.assert_close(attribution_of("saliency", classifier, clips, target).abs(), expected.detach())
    torch.testing.assert_close(mask, top(expected.detach(), 0.2))


@pytest.mark.parametrize("target", [None, 1])
def test_masks_of_integrated_gradients_are_those_of_captum(classifier, target):
    clips = sounds(3)
    prediction = classifier(clips)
    wanted = prediction.predicted if target is None else torch.full((3,), target)
    method = captum.attr.IntegratedGradients(by_hand(classifier))
    expected = method.attribute(clips.clone().requires_grad_(), 0.0, wanted, n_steps=8).detach()
    interpreter = make("integrated_gradients", classifier, steps=8, area=0.2)
    decoded = interpreter.decode(clips, prediction.towards(wanted))
    torch.testing.assert_close(decoded, expected, atol=1e-6, rtol=1e-3)
    # sums in another order: a bin on the edge may fall on either side
    assert (interpreter.mask(decoded) != top(expected, 0.2)).float().mean() < 1e-3


def test_input_x_gradient_is_that_of_captum(classifier):
    clips = sounds(2)
    method = captum.attr.InputXGradient(by_hand(classifier))
    expected = method.attribute(clips.clone().requires_grad_(), classifier(clips).predicted).detach()
    torch.testing.assert_close(attribution_of("input_x_gradient", classifier, clips), expected)


def test_integrated_gradients_are_complete():
    """They sum to what the clip adds to the score of silence; exactly so for a linear classifier."""
    classifier = Window().freeze()
    clips = sounds(2)
    gained = classifier(clips).logits[:, 0] - classifier(torch.zeros_like(clips)).logits[:, 0]
    for steps in (1, 5):
        found = attribution_of("integrated_gradients", classifier, clips, 0, steps=steps)
        torch.testing.assert_close(found.sum((1, 2)), gained, rtol=1e-4, atol=1e-4)


def test_more_steps_come_closer_to_completeness(classifier):
    clips = sounds(1)
    logits = classifier(clips).logits - classifier(torch.zeros_like(clips)).logits
    gained = logits[0, classifier(clips).predicted[0]]
    errors = [
        (attribution_of("integrated_gradients", classifier, clips, steps=steps).sum() - gained).abs().item()
        for steps in (1, 64)
    ]
    assert errors[1] < 0.05 * gained.abs().item() + 0.05 * errors[0]


def test_smoothgrad_without_noise_is_saliency(classifier):
    clips = sounds(2)
    smooth = attribution_of("smoothgrad", classifier, clips, samples=3, noise=1e-9)
    torch.testing.assert_close(smooth, attribution_of("saliency", classifier, clips), rtol=1e-3, atol=1e-5)


def test_smoothgrad_is_the_mean_over_noisy_copies(classifier):
    """Slowly, with the noise that captum draws."""
    clip = sounds(1)
    spread = 0.3 * (clip.max() - clip.min())
    torch.manual_seed(7)
    noise = torch.normal(0, spread.expand(5, *clip.shape[1:]))
    target = int(classifier(clip).predicted)
    gradients = []
    for one in noise:
        noisy = (clip + one).clamp(min=0).requires_grad_()
        gradients.append(torch.autograd.grad(classifier(noisy).logits[0, target], noisy)[0])
    smooth = attribution_of("smoothgrad", classifier, clip, samples=5, noise=0.3, seed=7)
    torch.testing.assert_close(smooth, torch.stack(gradients).mean(0), rtol=1e-3, atol=1e-5)


def test_gradient_shap_of_a_linear_classifier_is_exact():
    classifier = Window().freeze()
    clips = sounds(1)
    found = attribution_of("gradient_shap", classifier, clips, 0, samples=40, noise=1e-9)
    expected = attribution_of("input_x_gradient", classifier, clips, 0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_gradient_shap_draws_at_most_a_batch_at_a_time():
    classifier, sizes = Window().freeze(), []
    classifier.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    attribution_of("gradient_shap", classifier, sounds(1), samples=10, batch=4)
    assert max(sizes) == 4
    assert sum(sizes) == 1 + 10


def test_guided_backpropagation_is_that_of_captum():
    classifier = Plain().freeze()
    clips = sounds(2)

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = classifier

        def forward(self, log_magnitude):
            return self.inner(log_magnitude).logits

    method = captum.attr.GuidedBackprop(Logits())
    with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
        expected = method.attribute(clips.clone().requires_grad_(), classifier(clips).predicted).detach()
    found = attribution_of("guided_backprop", classifier, clips)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, attribution_of("saliency", classifier, clips))


def test_guided_backpropagation_differs_where_relus_are_functions_or_in_place(classifier):
    clips = sounds(1)
    found = attribution_of("guided_backprop", classifier, clips)
    assert not torch.allclose(found, attribution_of("saliency", classifier, clips))


@pytest.mark.parametrize(
    "relu", [nn.functional.relu, torch.relu, torch.Tensor.relu, nn.ReLU(), nn.ReLU(inplace=True)]
)
def test_every_kind_of_relu_is_guided(relu):
    value = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
    with GuidedReLU() as guided:
        passed = relu(value * 1)
    assert guided.met >= 1
    assert passed.tolist() == [0.0, 2.0, 3.0]
    (gradient,) = torch.autograd.grad(passed, value, torch.tensor([5.0, -1.0, 2.0]))
    assert gradient.tolist() == [0.0, 0.0, 2.0]


def test_relus_in_place_change_their_input():
    value = torch.tensor([-1.0, 2.0])
    with GuidedReLU():
        torch.relu_(value)
    assert value.tolist() == [0.0, 2.0]


@pytest.mark.parametrize("method", ["guided_backprop", "guided_grad_cam"])
def test_a_network_without_relu_is_refused(method):
    class Smooth(Window):
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
def test_mistakes_are_named(method, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make(method, Window(), area=AREA, **options)


class Wrapped(Window):
    """Adds a step of its own in front of the linear classifier."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, log_magnitude, frames=None):
        return super().forward(self.step(log_magnitude), frames)


def _relu_whose_answer_nobody_takes(values):
    values = values.clone()
    nn.functional.relu(values, inplace=True)
    return values


def test_a_relu_in_place_is_one_though_nobody_takes_its_answer():
    classifier, plain = Wrapped(_relu_whose_answer_nobody_takes).freeze(), Wrapped(nn.functional.relu).freeze()
    clips = sounds(2) - 0.8
    with GuidedReLU() as guided:
        found = classifier(clips).logits
    assert guided.met == 2
    torch.testing.assert_close(found, plain(clips).logits)
    expected = attribution_of("guided_backprop", plain, clips)
    torch.testing.assert_close(attribution_of("guided_backprop", classifier, clips), expected)


@pytest.mark.parametrize("step", [torch.detach, lambda values: torch.from_numpy(values.detach().numpy())])
def test_a_network_without_gradient_is_told_what_to_do(step):
    with pytest.raises(GradientError, match=r"no gradient comes through Wrapped.*differentiable=False.*rise"):
        attribution_of("saliency", Wrapped(step).freeze(), sounds(1))


def test_a_network_that_was_set_to_training_is_explained_in_evaluation_mode(experienced):
    classifier = experienced(NETWORKS["cnn14"]()).freeze()
    clips, before = sounds(2), {name: value.clone() for name, value in classifier.state_dict().items()}
    expected = attribution_of("saliency", classifier, clips)
    prediction = classifier(clips)
    classifier.blocks.train()
    torch.testing.assert_close(make("saliency", classifier).decode(clips, prediction), expected)
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())


def test_works_under_inference_mode():
    classifier, clips = Window().freeze(), sounds(1)
    expected = attribution_of("integrated_gradients", classifier, clips, 0)
    with torch.inference_mode():
        prediction = classifier(clips).towards(torch.tensor([0]))
        found = make("integrated_gradients", classifier).decode(clips.clone(), prediction)
    torch.testing.assert_close(found, expected)


class _Root(torch.autograd.Function):
    """Its gradient is not defined at silence."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values

    @staticmethod
    def backward(ctx, gradient):
        (values,) = ctx.saved_tensors
        return gradient.masked_fill(values == 0, torch.nan)


def test_where_a_gradient_is_not_defined_it_counts_nothing():
    classifier, clips = Wrapped(_Root.apply).freeze(), sounds(2)
    clips[0, 40:50, 20:30] = 0
    clips[1] = 0
    found = attribution_of("saliency", classifier, clips)
    plain = attribution_of("saliency", Window().freeze(), clips)
    assert found[0, 40:50, 20:30].count_nonzero() == 0
    torch.testing.assert_close(found[0, :, 30:], plain[0, :, 30:])
    assert found[1].isnan().all()  # nothing is known of it: no mask
    assert make("saliency", classifier)(clips, classifier(clips))[1].isnan().all()
