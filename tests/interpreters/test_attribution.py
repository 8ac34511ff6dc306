"""What all attribution methods share: from map to mask, batches, options; and that each finds what it should."""

import attributions
import pytest
import torch
from attributions import AREA, EARLY, FRAMES, HIGH, LATE, LOW, METHODS, Window, attribution_of, make, sounds

from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError, GradientError
from otoscope.interpreters import AttributionInterpreter, make_untrained
from otoscope.interpreters.attribution import to_audible

SMALL_NETWORKS = {
    "conv2d": lambda: Conv2dClassifier(["dog", "rain"], Window().frontend, width=4, head_width=4),
    "cnn14": lambda: Cnn14Classifier(["dog", "rain"], Window().frontend, width=2, mel_bins=32),
}
FEW = {
    "gradient_shap": {"samples": 3},
    "occlusion": {"patch_hz": 4000.0, "patch_s": 0.2},
    "optimised_mask": {"steps": 2},
    "rise": {"masks": 5, "score": "logit"},
    "slime": {"samples": 5, "score": "logit"},
    "smoothgrad": {"samples": 3},
}


class Given(AttributionInterpreter):
    """Takes the log magnitude itself for the attribution."""

    def attribute(self, clips):
        return clips.log_magnitude


def mask_of(values, frames=None, **options):
    values = torch.as_tensor(values)
    classifier = Window()
    prediction = Prediction(torch.zeros(len(values), 2), ())
    return Given(classifier, **options)(values, prediction, frames)


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_part_that_the_decision_rests_on(method):
    classifier = Window().freeze()
    # as coarse as its 8 x 8 cells, or its patches, a method may blur the edge
    mask = make(method, classifier, area=AREA)(sounds(), classifier(sounds()).towards(torch.tensor([0, 0])))
    inside = mask[:, LOW:HIGH, EARLY:LATE].sum((1, 2))
    assert (inside / mask.sum((1, 2)) > 0.6).all()  # by chance: 0.09


@pytest.mark.parametrize("method", METHODS)
def test_what_speaks_for_one_class_speaks_against_the_other(method):
    classifier = Window().freeze()
    if method in ("guided_backprop", "guided_grad_cam"):
        pytest.skip("lets nothing negative pass")
    if method == "optimised_mask":
        pytest.skip("gives an order, not an amount")
    clips = sounds(1)
    dog, rain = (attribution_of(method, classifier, clips, target) for target in (0, 1))
    inside = (slice(None), slice(LOW, HIGH), slice(EARLY, LATE))
    assert dog[inside].mean() > 0
    assert rain[inside].mean() <= 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", SMALL_NETWORKS)
def test_a_clip_gets_the_same_alone_and_in_a_batch(method, network, experienced):
    classifier = experienced(SMALL_NETWORKS[network]()).freeze()
    clips = sounds(17)
    interpreter = make(method, classifier, **FEW.get(method, {}))
    together = interpreter.decode(clips, classifier(clips))
    one_by_one = torch.cat([interpreter.decode(clip[None], classifier(clip[None])) for clip in clips[[0, 16]]])
    if method == "optimised_mask":  # gives ranks: two bins that are equal but for rounding may change places
        different = (together[[0, 16]] - one_by_one).abs() > 1e-5
        assert different.float().mean() < 1e-3
        return
    torch.testing.assert_close(together[[0, 16]], one_by_one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_padded_clip_gets_what_it_gets_alone(method, experienced):
    classifier = experienced(SMALL_NETWORKS["conv2d"]()).freeze()
    clips, frames = sounds(3), torch.tensor([FRAMES, 33, 50])
    interpreter = make(method, classifier, **FEW.get(method, {}))
    together = interpreter.decode(clips, classifier(clips, frames), frames)
    for row, clip, count in zip(together, clips, frames, strict=True):
        alone = interpreter.decode(clip[None, :, :count], classifier(clip[None, :, :count]))
        torch.testing.assert_close(row[:, :count], alone[0], atol=1e-5, rtol=1e-4)
        assert row[:, count:].count_nonzero() == 0


@pytest.mark.parametrize("method", METHODS)
def test_neither_weights_nor_random_state_nor_modes_are_touched(method, experienced):
    classifier = experienced(SMALL_NETWORKS["conv2d"]()).freeze()
    clips = sounds(1)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        attribution = make(method, classifier, **FEW.get(method, {})).decode(clips, classifier(clips))
    assert not attribution.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert all(value.grad is None for value in classifier.parameters())
    assert not clips.requires_grad


@pytest.mark.parametrize("method", ["gradient_shap", "rise", "slime", "smoothgrad"])
def test_another_seed_makes_another_draw(method, experienced):
    classifier = experienced(SMALL_NETWORKS["conv2d"]()).freeze()
    clips = sounds(1)
    options = FEW[method]
    first, again, other = (
        make(method, classifier, seed=seed, **options).decode(clips, classifier(clips)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("optimised_mask", "grad_cam")])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_batch_size_inside_changes_nothing(method, batch, experienced):
    classifier = experienced(SMALL_NETWORKS["conv2d"]()).freeze()
    if method in ("smoothgrad", "gradient_shap"):
        pytest.skip("draws in the order of its batches")
    clips = sounds(2)
    few, many = (
        make(method, classifier, batch=size, **FEW.get(method, {})).decode(clips, classifier(clips))
        for size in (batch, 16)
    )
    torch.testing.assert_close(few, many, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_several_labels_a_clip(method):
    classifier = Window(multi_label=True).freeze()
    attribution = attribution_of(method, classifier, sounds(1), 0)
    assert attribution.isfinite().all()
    assert attribution[:, LOW:HIGH, EARLY:LATE].mean() > attribution.mean()


@pytest.mark.parametrize("method", METHODS)
def test_silence_has_a_mask(method, experienced):
    classifier = experienced(SMALL_NETWORKS["conv2d"]()).freeze()
    silence = torch.zeros(1, attributions.BINS, FRAMES)
    mask = make(method, classifier, area=0.25, **FEW.get(method, {}))(silence, classifier(silence))
    assert mask.isfinite().all()
    assert mask.sum() == round(0.25 * silence.numel())


@pytest.mark.parametrize("area", [0.1, 0.25, 1.0])
def test_quantile_mask_has_exactly_the_area(area):
    mask = mask_of(torch.rand(2, 129, 10), area=area)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert mask.sum((1, 2)).tolist() == [round(area * 1290)] * 2


def test_area_is_that_of_the_clip_without_padding():
    mask = mask_of(torch.rand(2, 129, 10), torch.tensor([10, 4]), area=0.5)
    assert mask.sum((1, 2)).tolist() == [645, 258]
    assert mask[1, :, 4:].count_nonzero() == 0


def test_soft_mask_is_a_share_of_the_robust_maximum():
    values = torch.linspace(-1, 1, 1290).view(1, 129, 10)
    values[0, -1, -1] = 1000.0  # an outlier
    mask = mask_of(values, mask="soft")
    assert mask[0, 0].count_nonzero() == 0
    assert mask.max() == 1
    assert mask[0, 96, 7].item() == pytest.approx(values[0, 96, 7].item() / 0.98, abs=0.01)


def test_soft_mask_of_a_few_bins_and_of_none():
    values = torch.zeros(2, 129, 10)
    values[0, 3, 3] = 2.0
    mask = mask_of(values, mask="soft")
    assert mask.sum() == mask[0, 3, 3] == 1


def test_absolute_counts_what_matters_either_way():
    values = torch.rand(1, 129, 10)
    values[0, :20] = -2
    assert mask_of(values, sign="absolute", area=0.1)[0, :20].sum() == 129
    assert mask_of(values, area=0.5)[0, :20].count_nonzero() == 0


def test_area_can_be_changed_and_a_soft_mask_has_none():
    values = torch.rand(1, 129, 10)
    interpreter = Given(Window(), area=0.1)
    prediction = Prediction(torch.zeros(1, 2), ())
    with interpreter.at_threshold(0.5):
        assert interpreter(values, prediction).sum() == 645
    assert interpreter(values, prediction).sum() == 129
    with (
        pytest.raises(ConfigurationError, match="threshold: this interpreter has none"),
        Given(Window(), mask="soft").at_threshold(0.5),
    ):
        pass


def test_scores_are_logits_or_log_probabilities_or_probabilities():
    clips = sounds(2)
    for multi_label in (False, True):
        classifier = Window(multi_label)
        probabilities = classifier(clips).probabilities
        torch.testing.assert_close(Given(classifier).scores(clips), classifier(clips).logits)
        torch.testing.assert_close(Given(classifier, score="log_probability").scores(clips), probabilities.log())
        torch.testing.assert_close(Given(classifier, score="probability").scores(clips), probabilities)


def test_noise_takes_no_bin_below_silence_and_gradients_pass():
    noisy = torch.tensor([-1.0, 2.0], requires_grad=True)
    audible = to_audible(noisy)
    assert audible.tolist() == [0.0, 2.0]
    assert torch.autograd.grad(audible.sum(), noisy)[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": 0.0}, r"area: 0\.0 must lie in \(0, 1\]"),
        ({"area": 1.5}, "area: 1.5"),
        ({"mask": "hard"}, "mask: 'hard' is none of quantile, soft"),
        ({"sign": "negative"}, "sign: 'negative' is none of positive, absolute"),
        ({"score": "p"}, "score: 'p' is none of logit, log_probability, probability"),
        ({"batch": 0}, "batch: 0 must be a whole number, 1 or more"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Given(Window(), **options)


@pytest.mark.parametrize("method", METHODS)
def test_black_boxes_are_refused_by_methods_that_need_gradients(method):
    classifier = Window().freeze()
    classifier.differentiable = False
    if method in ("occlusion", "rise", "slime"):
        assert attribution_of(method, classifier, sounds(1), **FEW[method]).isfinite().all()
    else:
        with pytest.raises(GradientError, match="methods that need none: occlusion, rise, slime"):
            make(method, classifier)


@pytest.mark.parametrize("method", METHODS)
def test_configuration_makes_the_same_again(method):
    classifier = Window().freeze()
    interpreter = make(method, classifier, area=0.3, mask="soft", score="probability", batch=3)
    again = type(interpreter)(classifier, **interpreter.config)
    assert again.config == interpreter.config
    assert interpreter.config["area"] == 0.3


@pytest.mark.parametrize("method", ["optimised_mask", "refined"])
def test_silence_prefers_no_frequency(method):
    classifier = Window().freeze()
    silence = torch.zeros(1, 129, FRAMES)
    interpreter = make_untrained(method, classifier, steps=2)
    order = interpreter.decode(silence, classifier(silence)).flatten()
    rows = torch.arange(129).repeat_interleave(FRAMES).double()
    assert torch.corrcoef(torch.stack([order.double() + 1e-9 * torch.rand_like(rows), rows]))[0, 1].abs() < 0.1


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("gradient_shap", {"noise": -0.1}, "noise: -0.1 must be a number of 0 or more"),
        ("occlusion", {"overlap": 2.5}, "overlap: 2.5 must be a whole number"),
        ("integrated_gradients", {"steps": 2.5}, "steps: 2.5 must be a whole number"),
        ("rise", {"cell_s": float("nan")}, "cell_s: nan must be a positive number"),
        ("rise", {"masks": "many"}, "masks: 'many' must be a whole number"),
        ("rise", {"area": "large"}, "area: 'large' must lie in"),
        ("rise", {"maskss": 5}, "method rise: there is no option 'maskss'"),
    ],
)
def test_options_of_the_wrong_kind_are_named(method, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make_untrained(method, Window(), **options)


def test_drawing_leaves_the_random_numbers_of_others_alone():
    classifier, clips = Window().freeze(), sounds(1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make("smoothgrad", classifier).decode(clips, classifier(clips))
    assert torch.equal(torch.rand(3), expected)
