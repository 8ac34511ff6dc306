"""What every interpreter keeps, with every classifier that it can explain.

A new interpreter or classifier is one more line in the tables.
"""

import pytest
import torch

from otoscope.audio import Frontend
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
    GradCAMInterpreter,
    IntegratedGradientsInterpreter,
    L2IInterpreter,
    LMACInterpreter,
    OptimisedMaskInterpreter,
    PIQInterpreter,
    RefinedInterpreter,
    RISEInterpreter,
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
    """A network of the user's that takes mel spectrograms, time before frequency."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 6, 4, stride=4)
        self.norm = torch.nn.BatchNorm2d(6)
        self.head = torch.nn.Linear(6, 3)

    def forward(self, mel):
        return self.head(self.norm(self.conv(torch.nn.functional.pad(mel, (0, 0, 2, 2)))).relu().mean((2, 3)))


class WaveNet(torch.nn.Module):
    """A network of the user's that takes waveforms."""

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
    """A model in which every component sounds: the shares in a model that is almost silent are all rounding."""
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
    # random heads of scale 30 answer in leaps: the area leads here
    "lmac": lambda classifier: LMACInterpreter(classifier, l_in=0.5, l_out=0.02),
    "lmac-guided": lambda classifier: LMACInterpreter(
        classifier, l_in=0, l_out=0, guidance=4, guidance_correlation=0
    ),
    "lmac-published": lambda classifier: LMACInterpreter(classifier, decoder="published"),
    "amt": AMTInterpreter,
    # of the attributions one of a kind: by gradient, by representation, by random masks, by steps
    "integrated-gradients": lambda classifier: IntegratedGradientsInterpreter(classifier, steps=2),
    "refined": lambda classifier: RefinedInterpreter(classifier, steps=2, refinements=1),
    "grad-cam": GradCAMInterpreter,
    "rise": lambda classifier: RISEInterpreter(classifier, masks=3, score="logit"),
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

PAIRS = [(one, other) for one in INTERPRETERS for other in CLASSIFIERS if (one, other) not in INCOMPATIBLE]


def predict(classifier, log_magnitude, frames=None):
    """What any classifier says; those that hear waveforms hear these in phase."""
    return classifier.predict(log_magnitude, frames, torch.zeros_like(log_magnitude))


def accustomed(classifier, log_magnitude):
    """Norms that know the data, as training leaves them: with random ones hardly any of it gets through."""
    for part in classifier.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        predict(classifier.train(), log_magnitude)
    return classifier.freeze()


@pytest.fixture(params=PAIRS, ids="-with-".join)
def pair(request, experienced):
    interpreter, classifier = request.param
    classifier = accustomed(experienced(CLASSIFIERS[classifier]()), torch.rand(6, BINS, FRAMES))
    return INTERPRETERS[interpreter](classifier), classifier


@pytest.fixture
def interpreter(pair):
    return pair[0]


@pytest.fixture
def classifier(pair):
    return pair[1]


@pytest.fixture
def log_magnitude(classifier):
    """Four clips, each with a steady band of its own and silence elsewhere."""
    values = 0.05 * torch.rand(4, BINS, FRAMES)
    for clip in range(4):
        values[clip, 40 * clip : 40 * clip + 60] += 1 + torch.rand(60, FRAMES)
    return values


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def train(interpreter, classifier, log_magnitude, steps, frames=None):
    """Losses before each of so many optimisation steps."""
    interpreter.train()
    optimizer = torch.optim.Adam(interpreter.parameters(), lr=1e-3)
    losses = []
    with torch.no_grad():
        prediction = predict(classifier, log_magnitude, frames)
    for _ in range(steps):
        decoded = interpreter.decode(log_magnitude, prediction, frames)
        terms = interpreter.loss(decoded, log_magnitude, prediction, frames)
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
    log_magnitude = torch.rand(2, BINS, frames)
    mask = interpreter.eval()(log_magnitude, predict(classifier, log_magnitude))
    assert mask.shape == log_magnitude.shape
    assert mask.dtype == torch.float32
    assert ((mask >= 0) & (mask <= 1)).all()


def test_a_clip_alone_gets_its_row_of_the_batch(interpreter, classifier, log_magnitude):
    mask = interpreter.eval()(log_magnitude, predict(classifier, log_magnitude))
    for row, clip in zip(mask, log_magnitude, strict=True):
        alone = interpreter(clip[None], predict(classifier, clip[None]))[0]
        # where the mask is 0 or 1, a bin on the threshold may fall on either side
        assert ((row - alone).abs() > 1e-5).float().mean() < 1e-4


def test_padding_gets_no_mask(interpreter, classifier, log_magnitude):
    frames = torch.tensor([FRAMES, 40, 16, 3])
    mask = interpreter.eval()(log_magnitude, predict(classifier, log_magnitude, frames), frames)
    assert mask.isfinite().all()
    for row, length in zip(mask, frames, strict=True):
        assert row[:, length:].count_nonzero() == 0


def test_what_lies_in_the_padding_does_not_matter(interpreter, classifier, log_magnitude):
    frames = torch.tensor([FRAMES, 40, 16, 3])
    results = []
    for noise in (0, 7):
        for row, length in zip(log_magnitude, frames, strict=True):
            row[:, length:] = noise
        prediction = predict(classifier, log_magnitude, frames)
        decoded = interpreter.eval().decode(log_magnitude, prediction, frames)
        terms = interpreter.loss(decoded, log_magnitude, prediction, frames) if trainable(interpreter) else {}
        results.append((interpreter.mask(decoded, frames), dict(terms)))
    torch.testing.assert_close(results[0], results[1])


def test_calling_is_decoding_and_masking(interpreter, classifier, log_magnitude):
    prediction = predict(classifier, log_magnitude)
    decoded = interpreter.eval().decode(log_magnitude, prediction)
    assert torch.equal(interpreter.mask(decoded), interpreter(log_magnitude, prediction))
    assert interpreter.output(decoded).shape == log_magnitude.shape


def test_input_and_prediction_are_left_alone(interpreter, classifier, log_magnitude):
    prediction = predict(classifier, log_magnitude)
    inputs = (log_magnitude, prediction.logits, *prediction.representations)
    before = [value.clone() for value in inputs]
    interpreter.eval()(log_magnitude, prediction)
    assert all(torch.equal(one, other) for one, other in zip(inputs, before, strict=True))


def test_interpreter_holds_no_classifier(interpreter, classifier):
    theirs = {value.data_ptr() for value in (*classifier.parameters(), *classifier.buffers())}
    assert theirs.isdisjoint(value.data_ptr() for value in interpreter.state_dict().values())
    assert not any(isinstance(module, Classifier) for module in interpreter.modules())


def test_training_leaves_the_classifier_alone(interpreter, classifier, log_magnitude):
    if not trainable(interpreter):
        pytest.skip("has nothing to train")
    before, own = weights_of(classifier), weights_of(interpreter)
    train(interpreter, classifier, log_magnitude, steps=1)
    after = classifier.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(value.grad is None for value in classifier.parameters())
    assert not any(module.training for module in classifier.modules())
    trained = interpreter.state_dict()
    assert any(not torch.equal(value, trained[name]) for name, value in own.items())


@pytest.mark.parametrize("frames", [None, (FRAMES, 40, 16, 3)], ids=["whole", "padded"])
def test_a_few_steps_lower_the_loss(interpreter, classifier, log_magnitude, frames):
    if not trainable(interpreter):
        pytest.skip("has nothing to train")
    frames = None if frames is None else torch.tensor(frames)
    losses = train(interpreter, classifier, log_magnitude, steps=5, frames=frames)
    assert losses[-1] < losses[0]
    assert all(value.isfinite().all() for value in interpreter.state_dict().values())


def test_every_parameter_learns(interpreter, classifier, log_magnitude):
    if not trainable(interpreter):
        pytest.skip("has nothing to train")
    train(interpreter, classifier, log_magnitude, steps=1)
    idle = [name for name, value in interpreter.named_parameters() if value.grad is None]
    assert idle == []


def test_save_and_load(interpreter, classifier, log_magnitude, tmp_path):
    if trainable(interpreter):
        train(interpreter, classifier, log_magnitude, steps=1)
    expected = interpreter.eval()(log_magnitude, predict(classifier, log_magnitude))
    folder = save_interpreter(interpreter, classifier, tmp_path / "model")
    loaded, same = load_interpreter(folder)
    assert type(loaded) is type(interpreter)
    assert loaded.config == interpreter.config
    assert torch.equal(predict(same, log_magnitude).logits, predict(classifier, log_magnitude).logits)
    assert torch.equal(loaded(log_magnitude, predict(same, log_magnitude)), expected)
    assert load_classifier(folder).labels == LABELS


def test_another_class_matters_as_promised(interpreter, classifier, log_magnitude):
    prediction = predict(classifier, log_magnitude)
    for module in interpreter.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight)  # as training would, codes apart from one another
    outputs = []
    for label in range(len(LABELS)):
        decoded = interpreter.eval().decode(log_magnitude, prediction.towards(torch.full((4,), label)))
        outputs.append(interpreter.output(decoded))
    differs = any(not torch.equal(output, outputs[0]) for output in outputs[1:])
    assert differs is interpreter.class_specific
