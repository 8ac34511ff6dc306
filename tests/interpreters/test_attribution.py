"""Behaviour shared by all attribution methods: from attribution to mask, batches, padding, options, randomness."""

import pytest
import torch
from attributions import (
    AREA,
    EARLY,
    FRAMES,
    HIGH,
    LATE,
    LOW,
    METHODS,
    RectangleClassifier,
    attribution_of,
    make,
    silence,
    sounds,
)

from otoscope.audio import Spectrogram
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError, GradientError
from otoscope.interpreters import AttributionInterpreter, make_untrained
from otoscope.interpreters.attribution import copies_of, each_clip

SMALL_NETWORKS = {
    "conv2d": lambda: Conv2dClassifier(["dog", "rain"], RectangleClassifier().frontend, width=4, head_width=4),
    "cnn14": lambda: Cnn14Classifier(["dog", "rain"], RectangleClassifier().frontend, width=2, mel_bins=32),
}
FEW_STEPS = {
    "expected_gradients": {"samples": 3},
    "gradient_shap": {"samples": 3},
    "occlusion": {"patch_hz": 4000.0, "patch_s": 0.2},
    "optimised_mask": {"steps": 2},
    "rise": {"masks": 5, "score": "logit"},
    "segment_regression": {"passes": 6, "score": "logit"},
    "slime": {"samples": 5, "score": "logit"},
    "smoothgrad": {"samples": 3},
}


class LogMagnitudeInterpreter(AttributionInterpreter):
    """Attribution method whose attribution is the log magnitude itself."""

    def attribute(self, spectrogram, target):
        return spectrogram.log_magnitude


class PhaseClassifier(Conv2dClassifier):
    """A classifier that weights each bin by its phase, as networks on waveforms do in effect."""

    needs_phase = True

    def predict(self, spectrogram):
        weights = 1 + 0.5 * spectrogram.require_phase("this classifier").cos()
        return self(spectrogram.log_magnitude * weights, spectrogram.frames)


def mask_of(attribution, frames=None, **options):
    """Return the mask that is made of a given attribution."""
    prediction = Prediction(torch.zeros(len(attribution), 2), ())
    interpreter = LogMagnitudeInterpreter(RectangleClassifier(), **options)
    return interpreter(Spectrogram(attribution, frames=frames), prediction)


@pytest.fixture
def conv2d(experienced):
    return experienced(SMALL_NETWORKS["conv2d"]()).freeze()


@pytest.mark.parametrize("method", METHODS)
def test_mask_covers_the_bins_that_the_decision_rests_on(method):
    classifier, spectrogram = RectangleClassifier().freeze(), sounds()
    prediction = classifier.predict(spectrogram).towards(torch.tensor([0, 0]))
    mask = make(method, classifier, area=AREA)(spectrogram, prediction)
    # a method may blur the edge: its cells have 8 x 8 bins, its patches more
    inside = mask[:, LOW:HIGH, EARLY:LATE].sum((1, 2))
    assert (inside / mask.sum((1, 2)) > 0.6).all()  # by chance: 0.09


@pytest.mark.parametrize("method", METHODS)
def test_evidence_for_one_class_is_evidence_against_the_other(method):
    classifier = RectangleClassifier().freeze()
    if method in ("guided_backprop", "guided_grad_cam"):
        pytest.skip("has no negative attribution")
    if method == "optimised_mask":
        pytest.skip("orders the bins; its values have no sign")
    spectrogram = sounds(1)
    dog, rain = (attribution_of(method, classifier, spectrogram, target) for target in (0, 1))
    inside = (slice(None), slice(LOW, HIGH), slice(EARLY, LATE))
    assert dog[inside].mean() > 0
    assert rain[inside].mean() <= 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", SMALL_NETWORKS)
def test_clip_has_the_same_attribution_alone_and_in_a_batch(method, network, experienced):
    classifier = experienced(SMALL_NETWORKS[network]()).freeze()
    spectrogram = sounds(17)
    interpreter = make(method, classifier, **FEW_STEPS.get(method, {}))
    together = interpreter.decode(spectrogram, classifier.predict(spectrogram))[[0, 16]]
    clips = [Spectrogram(spectrogram.log_magnitude[i : i + 1]) for i in (0, 16)]
    alone = torch.cat([interpreter.decode(clip, classifier.predict(clip)) for clip in clips])
    if method == "optimised_mask":  # returns ranks: two bins that are equal but for rounding may change places
        assert ((together - alone).abs() > 1e-5).float().mean() < 1e-3
        return
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_padded_clip_has_the_same_attribution_as_alone(method, conv2d):
    log_magnitude, frames = sounds(3).log_magnitude, torch.tensor([FRAMES, 33, 50])
    spectrogram = Spectrogram(log_magnitude, frames=frames)
    interpreter = make(method, conv2d, **FEW_STEPS.get(method, {}))
    together = interpreter.decode(spectrogram, conv2d.predict(spectrogram))
    for row, values, count in zip(together, log_magnitude, frames, strict=True):
        clip = Spectrogram(values[None, :, :count])
        alone = interpreter.decode(clip, conv2d.predict(clip))
        torch.testing.assert_close(row[:, :count], alone[0], atol=1e-5, rtol=1e-4)
        assert row[:, count:].count_nonzero() == 0


@pytest.mark.parametrize("method", METHODS)
def test_each_clip_keeps_its_phase(method, experienced):
    classifier = experienced(
        PhaseClassifier(["dog", "rain"], RectangleClassifier().frontend, width=4, head_width=4)
    )
    classifier.freeze()
    log_magnitude, frames = sounds(3).log_magnitude, torch.tensor([FRAMES, 33, FRAMES])
    phase = 3 * torch.randn_like(log_magnitude)
    spectrogram = Spectrogram(log_magnitude, phase, frames=frames)
    interpreter = make(method, classifier, **FEW_STEPS.get(method, {}))
    together = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    for i, count in enumerate(frames):
        clip = Spectrogram(log_magnitude[i : i + 1, :, :count], phase[i : i + 1, :, :count])
        alone = interpreter.decode(clip, classifier.predict(clip))
        different = (together[i, :, :count] - alone[0]).abs() > 1e-5 + 1e-4 * alone[0].abs()
        # ranks: two bins that are equal but for rounding may change places
        assert different.float().mean() <= (1e-3 if method == "optimised_mask" else 0)


@pytest.mark.parametrize("method", METHODS)
def test_weights_random_state_and_inputs_stay_unchanged(method, conv2d):
    spectrogram = sounds(1)
    weights = {name: value.clone() for name, value in conv2d.state_dict().items()}
    random_state = torch.get_rng_state()
    with torch.no_grad():
        interpreter = make(method, conv2d, **FEW_STEPS.get(method, {}))
        attribution = interpreter.decode(spectrogram, conv2d.predict(spectrogram))
    assert not attribution.requires_grad
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, weights[name]) for name, value in conv2d.state_dict().items())
    assert all(value.grad is None for value in conv2d.parameters())
    assert not spectrogram.log_magnitude.requires_grad


@pytest.mark.parametrize(
    "method", ["expected_gradients", "gradient_shap", "rise", "segment_regression", "slime", "smoothgrad"]
)
def test_seed_decides_what_is_drawn(method, conv2d):
    spectrogram = sounds(1)
    prediction = conv2d.predict(spectrogram)
    first, again, other = (
        make(method, conv2d, seed=seed, **FEW_STEPS[method]).decode(spectrogram, prediction) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("optimised_mask", "grad_cam")])
@pytest.mark.parametrize("batch", [1, 3])
def test_batch_option_changes_no_result(method, batch, conv2d):
    if method in ("smoothgrad", "gradient_shap"):
        pytest.skip("draws in the order of its batches")
    spectrogram = sounds(2)
    prediction = conv2d.predict(spectrogram)
    small, large = (
        make(method, conv2d, batch=size, **FEW_STEPS.get(method, {})).decode(spectrogram, prediction)
        for size in (batch, 16)
    )
    torch.testing.assert_close(small, large, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_multi_label_classifiers_are_explained(method):
    classifier = RectangleClassifier(multi_label=True).freeze()
    attribution = attribution_of(method, classifier, sounds(1), 0)
    assert attribution.isfinite().all()
    assert attribution[:, LOW:HIGH, EARLY:LATE].mean() > attribution.mean()


@pytest.mark.parametrize("method", METHODS)
def test_silence_has_a_mask_unless_its_attribution_is_zero(method, conv2d):
    spectrogram = silence()
    interpreter = make(method, conv2d, area=0.25, **FEW_STEPS.get(method, {}))
    decoded = interpreter.decode(spectrogram, conv2d.predict(spectrogram))
    mask = interpreter.mask(decoded, spectrogram)
    assert mask.isfinite().all()
    assert mask.sum() == (round(0.25 * mask.numel()) if decoded.any() else 0)


def test_an_attribution_of_zero_keeps_nothing():
    values = torch.rand(2, 129, 10)
    values[0] = 0
    values[1, :, 4:] = 0
    values[0, :, 6:] = 1  # in the padding
    for options in ({"area": 0.5}, {"mask": "soft"}):
        mask = mask_of(values, torch.tensor([6, 10]), **options)
        assert not mask[0].any()
        assert mask[1].any()


@pytest.mark.parametrize("area", [0.1, 0.25, 1.0])
def test_quantile_mask_has_exactly_the_area(area):
    mask = mask_of(torch.rand(2, 129, 10), area=area)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert mask.sum((1, 2)).tolist() == [round(area * 1290)] * 2


def test_area_is_a_share_of_the_valid_bins():
    mask = mask_of(torch.rand(2, 129, 10), torch.tensor([10, 4]), area=0.5)
    assert mask.sum((1, 2)).tolist() == [645, 258]
    assert mask[1, :, 4:].count_nonzero() == 0


def test_soft_mask_is_relative_to_the_robust_maximum():
    values = torch.linspace(-1, 1, 1290).view(1, 129, 10)
    values[0, -1, -1] = 1000.0  # an outlier
    mask = mask_of(values, mask="soft")
    assert mask[0, 0].count_nonzero() == 0
    assert mask.max() == 1
    assert mask[0, 96, 7].item() == pytest.approx(values[0, 96, 7].item() / 0.98, abs=0.01)


def test_soft_mask_with_at_most_one_positive_bin():
    values = torch.zeros(2, 129, 10)
    values[0, 3, 3] = 2.0
    mask = mask_of(values, mask="soft")
    assert mask.sum() == mask[0, 3, 3] == 1


def test_absolute_sign_keeps_bins_that_speak_against_the_class():
    values = torch.rand(1, 129, 10)
    values[0, :20] = -2
    assert mask_of(values, sign="absolute", area=0.1)[0, :20].sum() == 129
    assert mask_of(values, area=0.5)[0, :20].count_nonzero() == 0


def test_area_can_be_changed_and_a_soft_mask_has_none():
    spectrogram = Spectrogram(torch.rand(1, 129, 10))
    interpreter = LogMagnitudeInterpreter(RectangleClassifier(), area=0.1)
    prediction = Prediction(torch.zeros(1, 2), ())
    with interpreter.at_threshold(0.5):
        assert interpreter(spectrogram, prediction).sum() == 645
    assert interpreter(spectrogram, prediction).sum() == 129
    with (
        pytest.raises(ConfigurationError, match="threshold: this interpreter has none"),
        LogMagnitudeInterpreter(RectangleClassifier(), mask="soft").at_threshold(0.5),
    ):
        pass


def test_score_option_selects_logits_log_probabilities_or_probabilities():
    spectrogram = sounds(2)
    for multi_label in (False, True):
        classifier = RectangleClassifier(multi_label)
        prediction = classifier.predict(spectrogram)
        for options, expected in (
            ({}, prediction.logits),
            ({"score": "log_probability"}, prediction.probabilities.log()),
            ({"score": "probability"}, prediction.probabilities),
            ({"score": "log_odds"}, prediction.probabilities.logit()),
        ):
            scores = LogMagnitudeInterpreter(classifier, **options).scores(spectrogram)
            torch.testing.assert_close(scores, expected)


def test_each_clip_is_a_batch_of_one_with_its_target():
    spectrogram, target = Spectrogram(torch.rand(3, 4, 5), torch.randn(3, 4, 5), length=99), torch.tensor([2, 0, 1])
    clips = list(each_clip(spectrogram, target))
    assert len(clips) == 3
    for i, (clip, label) in enumerate(clips):
        assert torch.equal(clip.log_magnitude, spectrogram.log_magnitude[i : i + 1])
        assert torch.equal(clip.phase, spectrogram.phase[i : i + 1])
        assert clip.length == 99
        assert label.tolist() == [target[i]]


def test_copies_share_the_phase_of_their_clip():
    clip, perturbed = Spectrogram(torch.rand(1, 4, 5), torch.randn(1, 4, 5), length=99), torch.rand(7, 4, 5)
    copies = copies_of(clip, perturbed)
    assert torch.equal(copies.log_magnitude, perturbed)
    assert torch.equal(copies.phase, clip.phase.repeat(7, 1, 1))
    assert copies.length == 99
    assert copies_of(Spectrogram(clip.log_magnitude), perturbed).phase is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": 0.0}, r"area: 0\.0 must lie in \(0, 1\]"),
        ({"area": 1.5}, "area: 1.5"),
        ({"mask": "hard"}, "mask: 'hard' is none of quantile, soft"),
        ({"sign": "negative"}, "sign: 'negative' is none of positive, absolute"),
        ({"score": "p"}, "score: 'p' is none of logit, log_probability, probability, log_odds"),
        ({"batch": 0}, "batch: 0 must be a whole number, 1 or more"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        LogMagnitudeInterpreter(RectangleClassifier(), **options)


@pytest.mark.parametrize("method", METHODS)
def test_methods_that_need_gradients_refuse_black_boxes(method):
    classifier = RectangleClassifier().freeze()
    classifier.differentiable = False
    if method in ("occlusion", "rise", "segment_regression", "slime"):
        assert attribution_of(method, classifier, sounds(1), **FEW_STEPS[method]).isfinite().all()
    else:
        with pytest.raises(GradientError, match=r"that need none: occlusion, rise, segment_regression, slime"):
            make(method, classifier)


@pytest.mark.parametrize("method", METHODS)
def test_configuration_makes_the_same_interpreter_again(method):
    classifier = RectangleClassifier().freeze()
    options = {"area": 0.3, "mask": "soft", "score": "probability", "batch": 3}
    interpreter = make(method, classifier, **options)
    again = type(interpreter)(classifier, **interpreter.config)
    assert again.config == interpreter.config
    assert interpreter.config.items() >= options.items()


@pytest.mark.parametrize("method", ["optimised_mask", "refined"])
def test_ties_at_silence_prefer_no_frequency(method):
    classifier, spectrogram = RectangleClassifier().freeze(), silence()
    interpreter = make_untrained(method, classifier, steps=2)
    order = interpreter.decode(spectrogram, classifier.predict(spectrogram)).flatten().double()
    rows = torch.arange(129).repeat_interleave(FRAMES).double()
    # a little noise, as constant ranks have no correlation
    order = order + 1e-9 * torch.rand_like(rows)
    assert torch.corrcoef(torch.stack([order, rows]))[0, 1].abs() < 0.1


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
def test_options_of_the_wrong_type_are_refused(method, options, message):
    with pytest.raises(ConfigurationError, match=message):
        make_untrained(method, RectangleClassifier(), **options)


def test_drawing_leaves_the_global_generator_unchanged():
    classifier, spectrogram = RectangleClassifier().freeze(), sounds(1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make("smoothgrad", classifier).decode(spectrogram, classifier.predict(spectrogram))
    assert torch.equal(torch.rand(3), expected)
