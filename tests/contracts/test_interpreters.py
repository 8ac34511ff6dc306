"""Rules that every interpreter keeps with every classifier that it can explain.

A new interpreter or classifier is one more line in the tables.
"""

import dataclasses
import itertools

import pytest
import torch

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import (
    Classifier,
    Cnn14Classifier,
    Conv2dClassifier,
    FocalNetClassifier,
    TorchClassifier,
    ViTClassifier,
)
from otoscope.interpreters import (
    AMTInterpreter,
    ExpectedGradientsInterpreter,
    GradCAMInterpreter,
    HeardLMACInterpreter,
    IntegratedGradientsInterpreter,
    L2IInterpreter,
    LMACInterpreter,
    OptimisedMaskInterpreter,
    PIQInterpreter,
    RefinedInterpreter,
    RISEInterpreter,
    SegmentRegressionInterpreter,
    save_interpreter,
)
from otoscope.loading import load_classifier, load_interpreter
from otoscope.nn import NMFDictionary

LABELS = ["dog", "rain", "clock"]
FRONTEND = {"n_fft": 512, "window_ms": 23.2199, "hop_ms": 11.6099}
BINS, FRAMES = 257, 67
FOCALNET = {"embed_dim": 4, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 32], "image_size": 64}
VIT = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 64,
}


class MelNet(torch.nn.Module):
    """A user's network on mel spectrograms, with time before frequency."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 6, 4, stride=4)
        self.norm = torch.nn.BatchNorm2d(6)
        self.head = torch.nn.Linear(6, 3)

    def forward(self, mel):
        return self.head(self.norm(self.conv(torch.nn.functional.pad(mel, (0, 0, 2, 2)))).relu().mean((2, 3)))


class WaveNet(torch.nn.Module):
    """A user's network on waveforms."""

    def __init__(self):
        super().__init__()
        self.early = torch.nn.Conv1d(1, 4, 32, stride=16)
        self.late = torch.nn.Conv1d(4, 6, 16, stride=8)
        self.head = torch.nn.Linear(6, 3)

    def forward(self, waveform):
        return self.head(self.late(self.early(waveform[:, None]).relu()).relu().mean(-1))


def torch_classifier(kind, **options):
    return TorchClassifier({"class_path": f"{__name__}.{kind.__name__}"}, LABELS, Frontend(**FRONTEND), **options)


CLASSIFIERS = {
    "conv2d": lambda: Conv2dClassifier(LABELS, Frontend(**FRONTEND), width=6, head_width=5),
    "conv2d-deep": lambda: Conv2dClassifier(LABELS, Frontend(**FRONTEND), width=4, depth=6, head_width=5),
    "cnn14": lambda: Cnn14Classifier(LABELS, Frontend(**FRONTEND), width=1, mel_bins=64),
    "focalnet": lambda: FocalNetClassifier(LABELS, Frontend(**FRONTEND), backbone=FOCALNET, head_width=5),
    "torch-mel": lambda: torch_classifier(MelNet, input="mel", axes="bctf", representation="norm"),
    "torch-waveform": lambda: torch_classifier(WaveNet, input="waveform", representation=["early", "late"]),
    "vit": lambda: ViTClassifier(LABELS, Frontend(**FRONTEND), backbone=VIT, head_width=5),
}


def l2i(classifier, **options):
    """Make an interpreter with active components: where the model is almost silent, shares are only rounding."""
    dictionary = NMFDictionary(torch.rand(BINS, 9) ** 2, Frontend(**FRONTEND))
    interpreter = L2IInterpreter(classifier, dictionary, **options)
    for name, value in interpreter.decoder.named_parameters():
        if name in ("last.bias", "linear.bias"):
            torch.nn.init.uniform_(value, 0.1, 0.5)
    return interpreter


INTERPRETERS = {
    "piq": lambda classifier: PIQInterpreter(classifier, codes=12),
    "piq-shared": lambda classifier: PIQInterpreter(classifier, codes=20, shared_codes=2),
    "piq-softplus": lambda classifier: PIQInterpreter(classifier, codes=12, use_mask_output=False),
    "piq-without-vq": lambda classifier: PIQInterpreter(classifier, use_vq=False),
    "piq-published": lambda classifier: PIQInterpreter(classifier, codes=12, decoder="published"),
    "l2i": l2i,
    "l2i-published": lambda classifier: l2i(classifier, decoder="published"),
    # the logits of untrained heads of scale 30 jump: here the area dominates the loss instead
    "lmac": lambda classifier: LMACInterpreter(classifier, l_in=0.5, l_out=0.02),
    "lmac-guided": lambda classifier: LMACInterpreter(
        classifier, l_in=0, l_out=0, guidance=4, guidance_correlation=0
    ),
    "lmac-published": lambda classifier: LMACInterpreter(classifier, decoder="published"),
    "heard-lmac": HeardLMACInterpreter,
    "amt": AMTInterpreter,
    # one attribution of each kind: by gradient, by representation, by random masks, by optimisation
    "integrated-gradients": lambda classifier: IntegratedGradientsInterpreter(classifier, steps=2),
    "refined": lambda classifier: RefinedInterpreter(classifier, steps=2, refinements=1),
    "expected-gradients": lambda classifier: ExpectedGradientsInterpreter(
        classifier, samples=2, baselines=[0.1 * torch.randn(20_000)]
    ),
    "grad-cam": GradCAMInterpreter,
    "rise": lambda classifier: RISEInterpreter(classifier, masks=3, score="logit"),
    "segment-regression": lambda classifier: SegmentRegressionInterpreter(
        classifier, passes=4, bands=3, slices=3, patches=[2, 2]
    ),
    "optimised-mask": lambda classifier: OptimisedMaskInterpreter(classifier, steps=1),
}

INCOMPATIBLE = {
    ("amt", "conv2d"),
    ("amt", "conv2d-deep"),
    ("amt", "cnn14"),
    ("lmac-published", "conv2d"),
    ("lmac-published", "conv2d-deep"),
    ("lmac-published", "focalnet"),
    ("lmac-published", "vit"),
    ("l2i-published", "torch-waveform"),
    *((method, kind) for method in ("amt", "lmac-published") for kind in ("torch-mel", "torch-waveform")),
}
"""Pairs of interpreter and classifier that refuse one another."""

PAIRS = [pair for pair in itertools.product(INTERPRETERS, CLASSIFIERS) if pair not in INCOMPATIBLE]


def spectrogram_of(log_magnitude, frames=None):
    """Return a spectrogram with a phase, which classifiers of waveforms need."""
    return Spectrogram(log_magnitude, torch.zeros_like(log_magnitude), frames=frames)


def normalized_on(classifier, spectrogram):
    """Set the statistics of batch norms to those of the data, as training does; random ones damp the input."""
    for part in classifier.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        classifier.train().predict(spectrogram)
    return classifier.freeze()


@pytest.fixture(params=PAIRS, ids="-with-".join)
def pair(request, experienced):
    interpreter, classifier = request.param
    classifier = normalized_on(experienced(CLASSIFIERS[classifier]()), spectrogram_of(torch.rand(6, BINS, FRAMES)))
    return INTERPRETERS[interpreter](classifier), classifier


@pytest.fixture
def interpreter(pair):
    return pair[0]


@pytest.fixture
def classifier(pair):
    return pair[1]


@pytest.fixture
def spectrogram():
    """Four clips, each with a steady band at frequencies of its own and near silence elsewhere."""
    values = 0.05 * torch.rand(4, BINS, FRAMES)
    for clip in range(4):
        values[clip, 40 * clip : 40 * clip + 60] += 1 + torch.rand(60, FRAMES)
    return spectrogram_of(values)


@pytest.fixture
def padded(spectrogram):
    """The same clips, three of them shortened."""
    return dataclasses.replace(spectrogram, frames=torch.tensor([FRAMES, 40, 16, 3]))


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def train(interpreter, classifier, spectrogram, steps):
    """Return the loss before each optimisation step."""
    interpreter.train()
    optimizer = torch.optim.Adam(interpreter.parameters(), lr=1e-3)
    losses = []
    with torch.no_grad():
        prediction = classifier.predict(spectrogram)
    for _ in range(steps):
        decoded = interpreter.decode(spectrogram, prediction)
        terms = interpreter.loss(decoded, spectrogram, prediction)
        assert all(term.shape == () for term in terms.values())
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def trainable(interpreter):
    return any(value.requires_grad for value in interpreter.parameters())


@pytest.mark.parametrize("frames", [3, 17, FRAMES, 100])
def test_mask_covers_every_bin_of_every_frame(interpreter, classifier, frames):
    spectrogram = spectrogram_of(torch.rand(2, BINS, frames))
    mask = interpreter.eval()(spectrogram, classifier.predict(spectrogram))
    assert mask.shape == spectrogram.log_magnitude.shape
    assert mask.dtype == torch.float32
    assert ((mask >= 0) & (mask <= 1)).all()


def test_clip_has_the_same_mask_alone_and_in_a_batch(interpreter, classifier, spectrogram):
    masks = interpreter.eval()(spectrogram, classifier.predict(spectrogram))
    for mask, log_magnitude in zip(masks, spectrogram.log_magnitude, strict=True):
        clip = spectrogram_of(log_magnitude[None])
        alone = interpreter(clip, classifier.predict(clip))[0]
        # where the mask is 0 or 1, a bin on the threshold may fall on either side
        assert ((mask - alone).abs() > 1e-5).float().mean() < 1e-4


def test_padding_gets_no_mask(interpreter, classifier, padded):
    masks = interpreter.eval()(padded, classifier.predict(padded))
    assert masks.isfinite().all()
    for mask, length in zip(masks, padded.frames, strict=True):
        assert mask[:, length:].count_nonzero() == 0


def test_content_of_the_padding_does_not_matter(interpreter, classifier, padded):
    results = []
    for noise in (0, 7):
        for row, length in zip(padded.log_magnitude, padded.frames, strict=True):
            row[:, length:] = noise
        prediction = classifier.predict(padded)
        decoded = interpreter.eval().decode(padded, prediction)
        terms = interpreter.loss(decoded, padded, prediction) if trainable(interpreter) else {}
        results.append((interpreter.mask(decoded, padded), dict(terms)))
    torch.testing.assert_close(results[0], results[1])


def test_calling_is_decoding_and_masking(interpreter, classifier, spectrogram):
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.eval().decode(spectrogram, prediction)
    assert torch.equal(interpreter.mask(decoded, spectrogram), interpreter(spectrogram, prediction))
    assert interpreter.output(decoded, spectrogram).shape == spectrogram.log_magnitude.shape


def test_input_and_prediction_stay_unchanged(interpreter, classifier, padded):
    prediction = classifier.predict(padded)
    inputs = (padded.log_magnitude, padded.phase, padded.frames, prediction.logits, *prediction.representations)
    before = [value.clone() for value in inputs]
    interpreter.eval()(padded, prediction)
    assert all(torch.equal(value, copy) for value, copy in zip(inputs, before, strict=True))


def test_interpreter_holds_no_classifier(interpreter, classifier):
    addresses = {value.data_ptr() for value in (*classifier.parameters(), *classifier.buffers())}
    assert addresses.isdisjoint(value.data_ptr() for value in interpreter.state_dict().values())
    assert not any(isinstance(module, Classifier) for module in interpreter.modules())


def test_training_changes_the_interpreter_and_not_the_classifier(interpreter, classifier, spectrogram):
    if not trainable(interpreter):
        pytest.skip("has nothing to train")
    classifier_weights, interpreter_weights = weights_of(classifier), weights_of(interpreter)
    train(interpreter, classifier, spectrogram, steps=1)
    after = classifier.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in classifier_weights.items())
    assert all(value.grad is None for value in classifier.parameters())
    assert not any(module.training for module in classifier.modules())
    trained = interpreter.state_dict()
    assert any(not torch.equal(value, trained[name]) for name, value in interpreter_weights.items())


@pytest.mark.parametrize("clips", ["spectrogram", "padded"])
def test_a_few_steps_lower_the_loss(interpreter, classifier, clips, request):
    if not trainable(interpreter):
        pytest.skip("has nothing to train")
    if isinstance(interpreter, HeardLMACInterpreter):
        pytest.skip(
            "areas are drawn and masks are hard, so that losses of successive steps jump; its own test trains it"
        )
    losses = train(interpreter, classifier, request.getfixturevalue(clips), steps=5)
    assert losses[-1] < losses[0]
    assert all(value.isfinite().all() for value in interpreter.state_dict().values())


def test_every_parameter_learns(interpreter, classifier, spectrogram):
    if not trainable(interpreter):
        pytest.skip("has nothing to train")
    train(interpreter, classifier, spectrogram, steps=1)
    idle = [name for name, value in interpreter.named_parameters() if value.grad is None]
    assert idle == []


def test_save_and_load(interpreter, classifier, spectrogram, tmp_path):
    if trainable(interpreter):
        train(interpreter, classifier, spectrogram, steps=1)
    expected = interpreter.eval()(spectrogram, classifier.predict(spectrogram))
    folder = save_interpreter(interpreter, classifier, tmp_path / "model")
    loaded, loaded_classifier = load_interpreter(folder)
    assert type(loaded) is type(interpreter)
    assert loaded.config == interpreter.config
    assert torch.equal(loaded_classifier.logits(spectrogram), classifier.logits(spectrogram))
    assert torch.equal(loaded(spectrogram, loaded_classifier.predict(spectrogram)), expected)
    assert load_classifier(folder).labels == LABELS


def test_mask_depends_on_the_class_if_the_interpreter_is_class_specific(interpreter, classifier, spectrogram):
    prediction = classifier.predict(spectrogram)
    for module in interpreter.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight)  # untrained codes are too close to one another
    outputs = []
    for label in range(len(LABELS)):
        decoded = interpreter.eval().decode(spectrogram, prediction.towards(torch.full((4,), label)))
        outputs.append(interpreter.output(decoded, spectrogram))
    differs = any(not torch.equal(output, outputs[0]) for output in outputs[1:])
    assert differs is interpreter.class_specific
