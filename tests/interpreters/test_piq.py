"""PIQ: mask, loss and codes, for clips alone and padded in a batch."""

import itertools
import math

import pytest
import torch

from otoscope.audio import Spectrogram
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
    {"code_stride": 1},
]


@pytest.fixture
def classifier(experienced):
    return experienced(Conv2dClassifier(LABELS, width=4, head_width=5)).freeze()


@pytest.fixture
def make(classifier, experienced):
    """Factory of interpreters as after training: distant codes, biases and statistics, a mask with contrast."""

    def make(**options):
        interpreter = experienced(PIQInterpreter(classifier, **{"codes": 12, **options})).eval()
        if interpreter.use_vq:
            torch.nn.init.normal_(interpreter.quantizer.codebook.weight)
        last = interpreter.decoder.layers[-1]
        last.weight.data *= 5
        return interpreter

    return make


def slow_reconstruction(logits, log_magnitude, use_mask_output, threshold=0.35):
    """Return the reconstruction term of one clip (docs/methods/piq.md), bin by bin."""
    loudest, total = max(log_magnitude.flatten().tolist()), 0.0
    for logit, x in zip(logits.flatten().tolist(), log_magnitude.flatten().tolist(), strict=True):
        if use_mask_output:
            mask = 1 / (1 + math.exp(-logit))
            total -= math.log(mask) if x > threshold * loudest else math.log(1 - mask)
        else:
            total += (math.log1p(math.exp(logit)) - x) ** 2
    return total / logits.numel()


def slow_distance(adapted, codebook, class_of_code, label):
    """Return the mean squared distance of vectors, (dim, rows, columns), to the nearest code of a class."""
    pairs = zip(codebook.tolist(), class_of_code.tolist(), strict=True)
    permitted = [code for code, code_label in pairs if code_label in (label, -1)]
    vectors = adapted.flatten(1).t().tolist()
    nearest = [min(math.dist(vector, code) ** 2 for code in permitted) for vector in vectors]
    return sum(nearest) / adapted.numel()


@pytest.mark.parametrize("use_mask_output", [True, False])
@pytest.mark.parametrize("mask_threshold", [0.35, 0.6])
def test_loss_equals_a_slow_loop(classifier, make, use_mask_output, mask_threshold):
    interpreter = make(use_mask_output=use_mask_output, mask_threshold=mask_threshold, shared_codes=3)
    levels = torch.tensor([0.2, 1.0, 3.0])[:, None, None]
    spectrogram = Spectrogram(levels * torch.rand(3, 65, 40))
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    terms = interpreter.loss(decoded, spectrogram, prediction)
    clips = list(zip(decoded.logits.detach(), spectrogram.log_magnitude, strict=True))
    expected = [slow_reconstruction(*clip, use_mask_output, mask_threshold) for clip in clips]
    assert terms["reconstruction"].item() == pytest.approx(sum(expected) / 3, rel=1e-4)
    class_of_code = torch.cat([class_of_codes(9, 3), torch.full((3,), -1)])
    codebook = interpreter.quantizer.codebook.weight.detach()
    distances = [
        slow_distance(adapted, codebook, class_of_code, label)
        for adapted, label in zip(decoded.adapted.detach(), prediction.predicted.tolist(), strict=True)
    ]
    for term in ("codebook", "commitment"):
        assert terms[term].item() == pytest.approx(sum(distances) / 3, rel=1e-4)
    assert set(terms) == {"reconstruction", "codebook", "commitment"}


def test_loss_without_codes_is_the_reconstruction(classifier, make):
    interpreter, spectrogram = make(use_vq=False), Spectrogram(torch.rand(1, 65, 40))
    prediction = classifier.predict(spectrogram)
    terms = interpreter.loss(interpreter.decode(spectrogram, prediction), spectrogram, prediction)
    assert set(terms) == {"reconstruction"}


def test_codebook_term_trains_the_codes_and_commitment_the_encoder(classifier, make):
    spectrogram = Spectrogram(torch.rand(2, 65, 40))
    prediction = classifier.predict(spectrogram)
    for term in ("codebook", "commitment"):
        interpreter = make()
        decoded = interpreter.decode(spectrogram, prediction)
        interpreter.loss(decoded, spectrogram, prediction)[term].backward()
        trained = {name.split(".")[0] for name, value in interpreter.named_parameters() if value.grad is not None}
        assert trained == ({"quantizer"} if term == "codebook" else {"adapter", "down"})


def test_reconstruction_reaches_the_adapter_through_the_codes(classifier, make):
    interpreter, spectrogram = make(), Spectrogram(torch.rand(2, 65, 40))
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    interpreter.loss(decoded, spectrogram, prediction)["reconstruction"].backward()
    assert interpreter.down.weight.grad.abs().max() > 0
    assert interpreter.quantizer.codebook.weight.grad is None


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("frames", [3, 15, 16, 31, 32, 47, 100, 111])
def test_mask_covers_every_bin(classifier, make, options, frames):
    interpreter, spectrogram = make(**options), Spectrogram(torch.rand(2, 513, frames))
    mask = interpreter(spectrogram, classifier.predict(spectrogram))
    assert mask.shape == (2, 513, frames)
    assert ((mask >= 0) & (mask <= 1)).all()
    if interpreter.use_mask_output:
        assert ((mask > 0) & (mask < 1)).all()
    else:
        assert mask.unique().tolist() == [0.0, 1.0]


def test_sigmoid_mask_is_the_sigmoid_of_the_logits(make):
    logits, spectrogram = torch.randn(2, 5, 7), Spectrogram(torch.rand(2, 5, 7))
    assert torch.equal(make().mask(PIQDecoded(logits), spectrogram), logits.sigmoid())
    assert torch.equal(make().output(PIQDecoded(logits), spectrogram), logits.sigmoid())


def test_softplus_mask_is_relative_to_the_maximum_of_each_clip(make):
    interpreter = make(use_mask_output=False)
    level = torch.tensor([[0.1, 0.34, 0.36, 1.0], [1.0, 3.4, 3.6, 10.0], [5.0, 5.0, 5.0, 5.0]])[:, None]
    whole = Spectrogram(torch.zeros_like(level))
    padded = Spectrogram(torch.zeros_like(level), frames=torch.tensor([4, 3, 2]))
    decoded = PIQDecoded(torch.log(torch.expm1(level)))  # the softplus of it is the level
    torch.testing.assert_close(interpreter.output(decoded, whole), level)
    mask = interpreter.mask(decoded, whole)
    assert mask[:, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    # 10 is in the padding of the second clip, whose maximum then is 3.6
    mask = interpreter.mask(decoded, padded)
    assert mask[:, 0].tolist() == [[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]]


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
def test_padded_clip_has_the_same_mask_as_alone(classifier, make, pad_sounds, options, lengths):
    if lengths[0] == 80_000 and options.get("decoder") == "published":
        lengths = [40_000, *lengths[1:2], *lengths[3:]]
    interpreter = make(**options)
    clips, batch, lengths = pad_sounds(lengths)
    spectrogram = classifier.frontend(batch, lengths)
    masks = interpreter(spectrogram, classifier.predict(spectrogram))
    for mask, waveform in zip(masks, clips, strict=True):
        clip = classifier.frontend(waveform[None])
        alone = interpreter(clip, classifier.predict(clip))[0]
        count = alone.shape[-1]
        if interpreter.use_mask_output:
            torch.testing.assert_close(mask[:, :count], alone, rtol=0, atol=1e-4)
        else:  # a bin on the threshold may fall on either side
            assert (mask[:, :count] != alone).float().mean() < 1e-3
        assert mask[:, count:].count_nonzero() == 0


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("lengths", [[30_000, 31_000, 2_000, 5_400], [20_520, 18_600, 5_000, 372]], ids=str)
def test_loss_of_a_padded_batch_is_the_mean_over_its_clips(classifier, make, pad_sounds, options, lengths):
    interpreter = make(**options)
    clips, batch, lengths = pad_sounds(lengths)
    spectrogram = classifier.frontend(batch, lengths)
    prediction = classifier.predict(spectrogram)
    terms = interpreter.loss(interpreter.decode(spectrogram, prediction), spectrogram, prediction)
    sums, weights = dict.fromkeys(terms, 0.0), dict.fromkeys(terms, 0)
    for waveform in clips:
        clip = classifier.frontend(waveform[None])
        prediction = classifier.predict(clip)
        decoded = interpreter.decode(clip, prediction)
        for name, value in interpreter.loss(decoded, clip, prediction).items():
            # the mean over a batch weights clips by their frames, or by their columns of codes
            weight = decoded.logits.shape[-1] if name == "reconstruction" else decoded.adapted.shape[-2]
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
def test_valid_columns_of_each_clip(make, width, time, frames, columns):
    prediction = Prediction(torch.zeros(len(frames), 3), (torch.randn(len(frames), 4, 8, width),))
    spectrogram = Spectrogram(torch.rand(len(frames), 129, time), frames=torch.tensor(frames))
    decoded = make().decode(spectrogram, prediction)
    assert decoded.columns.tolist() == [max(column // 2, 1) for column in columns]
    for row, column in zip(decoded.adapted, decoded.columns, strict=True):
        assert row[:, column:].count_nonzero() == 0
        assert row[:, :column].count_nonzero() > 0


def test_click_at_the_end_of_a_padded_clip_does_not_change_the_target(classifier, make):
    """The first frame of the padding also contains the click, nearer to the middle of its window, hence louder."""
    interpreter = make()
    click = torch.zeros(186 * 30 + 185)
    click[-1] = 1
    click += 0.01 * torch.randn(len(click))
    batch = torch.nn.functional.pad(click, (0, 4_000))[None]
    spectrogram = classifier.frontend(batch, torch.tensor([len(click)]))
    alone = classifier.frontend(click[None])
    assert spectrogram.log_magnitude.max() > 1.5 * alone.log_magnitude.max()
    logits, prediction = torch.randn_like(spectrogram.log_magnitude), classifier.predict(alone)
    padded = interpreter.loss(PIQDecoded(logits), spectrogram, prediction)
    expected = interpreter.loss(PIQDecoded(logits[..., : alone.log_magnitude.shape[-1]]), alone, prediction)
    torch.testing.assert_close(padded["reconstruction"], expected["reconstruction"])


@pytest.mark.parametrize("use_mask_output", [True, False])
def test_mask_depends_on_the_class_only_with_codes(classifier, make, use_mask_output):
    spectrogram = Spectrogram(torch.rand(2, 513, 60))
    prediction = classifier.predict(spectrogram)
    for use_vq in (True, False):
        interpreter = make(use_vq=use_vq, use_mask_output=use_mask_output)
        masks = [interpreter(spectrogram, prediction.towards(torch.full((2,), label))) for label in range(3)]
        pairs = itertools.combinations(masks, 2)
        differs = [(first - second).abs().mean() > 1e-3 for first, second in pairs]
        assert differs == [use_vq] * 3
        assert interpreter.class_specific is use_vq
        # without a target, the predicted class is explained
        expected = torch.stack([masks[label][clip] for clip, label in enumerate(prediction.predicted.tolist())])
        torch.testing.assert_close(interpreter(spectrogram, prediction), expected)


def test_only_codes_of_the_explained_class_are_used(classifier, make):
    interpreter, spectrogram = make(codes=30), Spectrogram(torch.rand(3, 513, 90))
    target = torch.tensor([2, 0, 1])
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram).towards(target))
    labels = class_of_codes(30, 3)[decoded.quantized.indices]
    assert torch.equal(labels, target[:, None, None].expand_as(labels))


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
def test_save_and_load(classifier, make, tmp_path, options):
    interpreter, spectrogram = make(mask_threshold=0.4, **options), Spectrogram(torch.rand(2, 513, 50))
    prediction = classifier.predict(spectrogram)
    loaded, same = load_interpreter(save_interpreter(interpreter, classifier, tmp_path / "model"))
    assert loaded.config == interpreter.config
    assert loaded.mask_threshold == 0.4
    assert torch.equal(loaded(spectrogram, same.predict(spectrogram)), interpreter(spectrogram, prediction))


def test_mask_and_loss_of_silence_are_finite(classifier, make):
    spectrogram = classifier.frontend(torch.zeros(1, 4_000))
    prediction = classifier.predict(spectrogram)
    for options in MODES:
        interpreter = make(**options)
        decoded = interpreter.decode(spectrogram, prediction)
        assert interpreter.mask(decoded, spectrogram).isfinite().all()
        assert all(value.isfinite() for value in interpreter.loss(decoded, spectrogram, prediction).values())


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 35.0])
def test_thresholds_out_of_range_are_refused(classifier, threshold):
    with pytest.raises(ConfigurationError, match="mask_threshold"):
        PIQInterpreter(classifier, mask_threshold=threshold)


def test_too_few_codes_are_refused(classifier):
    with pytest.raises(ConfigurationError, match="codes: 2 class-specific codes cannot serve 3 classes"):
        PIQInterpreter(classifier, codes=4, shared_codes=2)


def test_unknown_decoder_is_refused(classifier):
    with pytest.raises(ConfigurationError, match="decoder: 'heavy' is unknown"):
        PIQInterpreter(classifier, decoder="heavy")


def test_unknown_stride_is_refused(classifier):
    with pytest.raises(ConfigurationError, match="code_stride: 3 must be 1 or 2"):
        PIQInterpreter(classifier, code_stride=3)


def test_stride_of_one_makes_four_times_as_many_codes(classifier, make):
    spectrogram = classifier.frontend(torch.randn(1, 80_000))
    prediction = classifier.predict(spectrogram)
    counts = [
        make(code_stride=stride).decode(spectrogram, prediction).quantized.indices.numel() for stride in (1, 2)
    ]
    assert counts[0] == pytest.approx(4 * counts[1], rel=0.1)
