import math

import pytest
import torch

from otoscope.classifiers import Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError
from otoscope.interpreters import PIQDecoded, PIQInterpreter, save_interpreter
from otoscope.loading import load_interpreter
from otoscope.nn import class_of_codes

LABELS = ["dog", "rain", "clock"]
MODES = [
    {},
    {"use_mask_output": False},
    {"use_vq": False},
    {"use_vq": False, "use_mask_output": False},
    {"decoder": "published"},
    {"decoder": "published", "use_mask_output": False},
    {"shared_codes": 3},
]


@pytest.fixture
def classifier(experienced):
    return experienced(Conv2dClassifier(LABELS, width=4, head_width=5)).freeze()


@pytest.fixture
def make(classifier, experienced):
    """An interpreter as after training: codes far apart, biases and statistics, a mask with contrast."""

    def make(**options):
        interpreter = experienced(PIQInterpreter(classifier, **{"codes": 12, **options})).eval()
        if interpreter.use_vq:
            torch.nn.init.normal_(interpreter.quantizer.codebook.weight)
        last = interpreter.decoder.layers[-1]
        last.weight.data *= 5
        return interpreter

    return make


def slow_reconstruction(logits, log_magnitude, use_mask_output, threshold=0.35):
    """METHODS, "PIQ", bin by bin for one clip."""
    loudest, total = max(log_magnitude.flatten().tolist()), 0.0
    for logit, x in zip(logits.flatten().tolist(), log_magnitude.flatten().tolist(), strict=True):
        if use_mask_output:
            mask = 1 / (1 + math.exp(-logit))
            total -= math.log(mask) if x > threshold * loudest else math.log(1 - mask)
        else:
            total += (math.log1p(math.exp(logit)) - x) ** 2
    return total / logits.numel()


def slow_distance(adapted, codebook, owner, label):
    """Mean squared distance of one clip's vectors, (dim, rows, columns), to their nearest own code."""
    permitted = [code for code, of in zip(codebook.tolist(), owner.tolist(), strict=True) if of in (label, -1)]
    vectors = adapted.flatten(1).t().tolist()
    nearest = [min(math.dist(vector, code) ** 2 for code in permitted) for vector in vectors]
    return sum(nearest) / adapted.numel()


@pytest.mark.parametrize("use_mask_output", [True, False])
@pytest.mark.parametrize("mask_threshold", [0.35, 0.6])
def test_loss_is_that_of_the_methods(classifier, make, use_mask_output, mask_threshold):
    interpreter = make(use_mask_output=use_mask_output, mask_threshold=mask_threshold, shared_codes=3)
    log_magnitude = torch.rand(3, 65, 40) * torch.tensor([0.2, 1.0, 3.0])[:, None, None]
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    terms = interpreter.loss(decoded, spectrogram, prediction)
    clips = list(zip(decoded.logits.detach(), log_magnitude, strict=True))
    expected = [slow_reconstruction(*clip, use_mask_output, mask_threshold) for clip in clips]
    assert terms["reconstruction"].item() == pytest.approx(sum(expected) / 3, rel=1e-4)
    owner = torch.cat([class_of_codes(9, 3), torch.full((3,), -1)])
    codebook = interpreter.quantizer.codebook.weight.detach()
    distances = [
        slow_distance(adapted, codebook, owner, label)
        for adapted, label in zip(decoded.adapted.detach(), prediction.predicted.tolist(), strict=True)
    ]
    for term in ("codebook", "commitment"):
        assert terms[term].item() == pytest.approx(sum(distances) / 3, rel=1e-4)
    assert set(terms) == {"reconstruction", "codebook", "commitment"}


def test_without_codes_the_loss_is_the_reconstruction(classifier, make):
    interpreter, spectrogram = make(use_vq=False), Spectrogram(torch.rand(1, 65, 40))
    prediction = classifier.predict(spectrogram)
    terms = interpreter.loss(interpreter.decode(spectrogram, prediction), spectrogram, prediction)
    assert set(terms) == {"reconstruction"}


def test_codebook_term_moves_codes_and_commitment_the_encoder(classifier, make):
    spectrogram = Spectrogram(torch.rand(2, 65, 40))
    prediction = classifier.predict(spectrogram)
    for term in ("codebook", "commitment"):
        interpreter = make()
        decoded = interpreter.decode(spectrogram, prediction)
        interpreter.loss(decoded, spectrogram, prediction)[term].backward()
        moved = {name.split(".")[0] for name, value in interpreter.named_parameters() if value.grad is not None}
        assert moved == ({"quantizer"} if term == "codebook" else {"adapter", "down"})


def test_reconstruction_reaches_the_adapter_through_the_codes(classifier, make):
    interpreter, spectrogram = make(), Spectrogram(torch.rand(2, 65, 40))
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    interpreter.loss(decoded, spectrogram, prediction)["reconstruction"].backward()
    assert interpreter.down.weight.grad.abs().max() > 0
    assert interpreter.quantizer.codebook.weight.grad is None


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("frames", [3, 15, 16, 31, 32, 47, 100, 111])
def test_every_bin_gets_a_mask(classifier, make, options, frames):
    interpreter, spectrogram = make(**options), Spectrogram(torch.rand(2, 513, frames))
    mask = interpreter(spectrogram, classifier.predict(spectrogram))
    assert mask.shape == (2, 513, frames)
    assert ((mask >= 0) & (mask <= 1)).all()
    if interpreter.use_mask_output:
        assert ((mask > 0) & (mask < 1)).all()
    else:
        assert mask.unique().tolist() == [0.0, 1.0]


def test_mask_mode_is_the_sigmoid(make):
    logits = torch.randn(2, 5, 7)
    assert torch.equal(make().mask(PIQDecoded(logits)), logits.sigmoid())
    assert torch.equal(make().output(PIQDecoded(logits)), logits.sigmoid())


def test_softplus_mask_compares_with_the_maximum_of_each_clip(make):
    interpreter = make(use_mask_output=False)
    level = torch.tensor([[0.1, 0.34, 0.36, 1.0], [1.0, 3.4, 3.6, 10.0], [5.0, 5.0, 5.0, 5.0]])[:, None]
    decoded = PIQDecoded(torch.log(torch.expm1(level)))
    torch.testing.assert_close(interpreter.output(decoded), level)
    assert interpreter.mask(decoded, spectrogram)[:, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    # 10 is padding of the second clip, whose maximum then is 3.6
    shorter = interpreter.mask(decoded, torch.tensor([4, 3, 2]))
    assert shorter[:, 0].tolist() == [[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]]


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize(
    "lengths",
    [
        [80_000, 31_000, 52_345, 2_000, 5_400],
        [20_520, 18_600, 20_461, 2_000, 372],  # up to 111 frames, six columns
        [8_600, 5_900, 6_100, 2_900, 3_000],  # up to 47 frames, two columns
        [5_600, 2_000, 3_000],  # one column
    ],
    ids=str,
)
def test_mask_of_a_padded_clip_is_as_alone(classifier, make, pad_sounds, options, lengths):
    if lengths[0] == 80_000 and options.get("decoder") == "published":
        lengths = [40_000, *lengths[1:2], *lengths[3:]]
    interpreter = make(**options)
    clips, batch, lengths = pad_sounds(lengths)
    spectrogram = classifier.frontend(batch, lengths)
    prediction = classifier(spectrogram.log_magnitude, spectrogram.frames)
    mask = interpreter(spectrogram.log_magnitude, prediction, spectrogram.frames)
    for row, clip in enumerate(clips):
        log_magnitude = classifier.frontend.log_magnitude(clip[None])
        alone = interpreter(spectrogram, classifier.predict(spectrogram))[0]
        own = mask[row, :, : alone.shape[-1]]
        if interpreter.use_mask_output:
            torch.testing.assert_close(own, alone, rtol=0, atol=1e-4)
        else:  # a bin on the threshold may fall on either side
            assert (own != alone).float().mean() < 1e-3
        assert mask[row, :, alone.shape[-1] :].count_nonzero() == 0


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("lengths", [[30_000, 31_000, 2_000, 5_400], [20_520, 18_600, 5_000, 372]], ids=str)
def test_loss_of_a_padded_batch_is_that_of_its_clips(classifier, make, pad_sounds, options, lengths):
    interpreter = make(**options)
    clips, batch, lengths = pad_sounds(lengths)
    spectrogram = classifier.frontend(batch, lengths)
    prediction = classifier(spectrogram.log_magnitude, spectrogram.frames)
    decoded = interpreter.decode(spectrogram.log_magnitude, prediction, spectrogram.frames)
    terms = interpreter.loss(decoded, spectrogram.log_magnitude, prediction, spectrogram.frames)
    sums, weights = dict.fromkeys(terms, 0.0), dict.fromkeys(terms, 0)
    for clip in clips:
        log_magnitude = classifier.frontend.log_magnitude(clip[None])
        alone = interpreter.decode(spectrogram, classifier.predict(spectrogram))
        for name, value in interpreter.loss(alone, log_magnitude, classifier.predict(spectrogram)).items():
            weight = alone.logits.shape[-1] if name == "reconstruction" else alone.adapted.shape[-2]
            sums[name] += weight * value.item()
            weights[name] += weight
    for name, value in terms.items():
        assert value.item() == pytest.approx(sums[name] / weights[name], rel=1e-4)


@pytest.mark.parametrize(
    ("width", "time", "frames", "columns"),
    [
        (26, 431, [431, 416, 415, 16, 3], [26, 26, 25, 1, 1]),  # four halvings, rounded down
        (13, 431, [431, 416, 100], [13, 13, 3]),  # five
        (2, 47, [47, 32, 31], [2, 2, 1]),
        (14, 431, [431, 215, 10], [14, 7, 1]),  # resized to a fixed width
        (28, 20, [20, 10, 1], [28, 14, 2]),  # raised above the frames
    ],
)
def test_columns_of_each_clip(make, width, time, frames, columns):
    prediction = Prediction(torch.zeros(len(frames), 3), (torch.randn(len(frames), 4, 8, width),))
    decoded = make().decode(torch.rand(len(frames), 129, time), prediction, torch.tensor(frames))
    assert decoded.columns.tolist() == [max(column // 2, 1) for column in columns]
    for row, column in zip(decoded.adapted, decoded.columns, strict=True):
        assert row[:, column:].count_nonzero() == 0
        assert row[:, :column].count_nonzero() > 0


def test_a_click_at_the_very_end_does_not_shift_the_target_in_a_batch(classifier, make):
    """The frame after the end still hears the click, nearer to the middle of its window."""
    interpreter = make()
    click = torch.zeros(186 * 30 + 185)
    click[-1] = 1
    click += 0.01 * torch.randn(len(click))
    batch = torch.nn.functional.pad(click, (0, 4_000))[None]
    spectrogram = classifier.frontend(batch, torch.tensor([len(click)]))
    alone = classifier.frontend.log_magnitude(click[None])
    assert spectrogram.log_magnitude.max() > 1.5 * alone.max()
    logits = torch.randn_like(spectrogram.log_magnitude)
    prediction = classifier(alone)
    padded = interpreter.loss(PIQDecoded(logits), spectrogram.log_magnitude, prediction, spectrogram.frames)
    expected = interpreter.loss(PIQDecoded(logits[..., : alone.shape[-1]]), alone, prediction)
    torch.testing.assert_close(padded["reconstruction"], expected["reconstruction"])


@pytest.mark.parametrize("use_mask_output", [True, False])
def test_another_class_has_another_mask_only_with_codes(classifier, make, use_mask_output):
    spectrogram = Spectrogram(torch.rand(2, 513, 60))
    prediction = classifier.predict(spectrogram)
    for use_vq in (True, False):
        interpreter = make(use_vq=use_vq, use_mask_output=use_mask_output)
        masks = [interpreter(spectrogram, prediction.towards(torch.full((2,), label))) for label in range(3)]
        differs = [(masks[one] - masks[other]).abs().mean() > 1e-3 for one, other in ((0, 1), (0, 2), (1, 2))]
        assert differs == [use_vq] * 3
        assert interpreter.class_specific is use_vq
        own = torch.stack([masks[label][clip] for clip, label in enumerate(prediction.predicted.tolist())])
        torch.testing.assert_close(interpreter(spectrogram, prediction), own)


def test_only_codes_of_the_explained_class_are_used(classifier, make):
    interpreter, spectrogram = make(codes=30), Spectrogram(torch.rand(3, 513, 90))
    target = torch.tensor([2, 0, 1])
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram).towards(target))
    owner = class_of_codes(30, 3)[decoded.quantized.indices]
    assert torch.equal(owner, target[:, None, None].expand_as(owner))


def test_published_sizes():
    with torch.device("meta"):
        classifier = Conv2dClassifier([str(label) for label in range(50)]).eval()
        interpreter = PIQInterpreter(classifier, decoder="published").eval()
        spectrogram = Spectrogram(torch.empty(1, 513, 431))
        decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram).towards(torch.zeros(1).long()))
    assert interpreter.quantizer.codebook.weight.shape == (1024, 256)
    assert decoded.quantized.indices.shape == (1, 13, 16)
    assert decoded.logits.shape == (1, 513, 431)


@pytest.mark.parametrize("options", MODES, ids=str)
def test_round_trip(classifier, make, tmp_path, options):
    interpreter, spectrogram = make(mask_threshold=0.4, **options), Spectrogram(torch.rand(2, 513, 50))
    prediction = classifier.predict(spectrogram)
    loaded, same = load_interpreter(save_interpreter(interpreter, classifier, tmp_path / "model"))
    assert loaded.config == interpreter.config
    assert loaded.mask_threshold == 0.4
    assert torch.equal(loaded(log_magnitude, same(log_magnitude)), interpreter(spectrogram, prediction))


def test_silence_is_explained_without_a_fault(classifier, make):
    log_magnitude = classifier.frontend.log_magnitude(torch.zeros(1, 4_000))
    prediction = classifier.predict(spectrogram)
    for options in MODES:
        interpreter = make(**options)
        decoded = interpreter.decode(spectrogram, prediction)
        assert interpreter.mask(decoded, spectrogram).isfinite().all()
        assert all(value.isfinite() for value in interpreter.loss(decoded, spectrogram, prediction).values())


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 35.0])
def test_impossible_thresholds_are_refused(classifier, threshold):
    with pytest.raises(ConfigurationError, match="mask_threshold"):
        PIQInterpreter(classifier, mask_threshold=threshold)


def test_too_few_codes_are_refused(classifier):
    with pytest.raises(ConfigurationError, match="codes: 2 class-specific codes cannot serve 3 classes"):
        PIQInterpreter(classifier, codes=4, shared_codes=2)


def test_unknown_decoder_is_refused(classifier):
    with pytest.raises(ConfigurationError, match="decoder: 'heavy' is unknown"):
        PIQInterpreter(classifier, decoder="heavy")
