"""CNN14: sizes, comparison with a plain implementation, padding, gradients."""

import pytest
import torch
from torch.nn import functional as F

from otoscope.audio import Frontend
from otoscope.audio.mel import mel_filters
from otoscope.classifiers import Cnn14Classifier, save_classifier
from otoscope.errors import ConfigurationError
from otoscope.loading import load_classifier

LABELS = ["dog", "rain", "clock"]


def with_norms_of(classifier, log_magnitude):
    """Set the batch norms to the statistics of the data; with random ones hardly any signal passes six blocks."""
    for part in classifier.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        classifier.train()(log_magnitude)
    return classifier.freeze()


@pytest.fixture
def make(experienced):
    def make(**options):
        return with_norms_of(
            experienced(Cnn14Classifier(LABELS, **{"width": 4, **options})), torch.rand(6, 513, 100)
        )

    return make


def test_sizes_of_five_seconds(make):
    classifier = make()
    prediction = classifier(torch.rand(1, 513, 431))
    shapes = [tuple(values.shape) for values in prediction.representations]
    assert shapes == [(1, 16, 10, 53), (1, 32, 5, 26), (1, 64, 2, 13), (1, 128, 2, 13)]
    assert classifier.representation_names == ("block3", "block4", "block5", "block6")
    assert classifier.representation_channels == (16, 32, 64, 128)
    assert prediction.logits.shape == (1, 3)


def test_published_sizes(monkeypatch):
    filters = mel_filters(80, 513, 16_000).to("meta")  # they cannot be computed on the meta device
    monkeypatch.setattr("otoscope.audio.mel.mel_filters", lambda *_: filters)
    with torch.device("meta"):
        classifier = Cnn14Classifier([str(label) for label in range(50)]).eval()
        prediction = classifier(torch.empty(1, 513, 431))
    assert classifier.representation_channels == (256, 512, 1024, 2048)
    shapes = [tuple(values.shape) for values in prediction.representations]
    assert shapes == [(1, 256, 10, 53), (1, 512, 5, 26), (1, 1024, 2, 13), (1, 2048, 2, 13)]
    assert [block.conv2.out_channels for block in classifier.blocks] == [64, 128, 256, 512, 1024, 2048]
    assert classifier.head.weight.shape == (50, 2048)
    sizes = {"width": 64, "mel_bins": 80, "max_width": None, "frame_pool": 1, "time_halvings": 5}
    assert classifier.config == {**sizes, "dropout": 0.2}


def test_network_agrees_with_a_plain_implementation(make):
    """The network: mel spectrogram, norm over mel bins, six blocks with pooling, maximum plus mean over time."""
    classifier, log_magnitude = make(), torch.rand(2, 513, 70)

    def normalized(values, norm):
        return F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    mel = classifier.mel(log_magnitude.exp() - 1).log1p()
    assert mel.shape == (2, 80, 70)
    hidden = normalized(mel, classifier.norm).transpose(1, 2)[:, None]
    outputs = []
    for number, block in enumerate(classifier.blocks):
        hidden = normalized(F.conv2d(hidden, block.conv1.weight, padding=1), block.norm1).relu()
        hidden = normalized(F.conv2d(hidden, block.conv2.weight, padding=1), block.norm2).relu()
        hidden = F.avg_pool2d(hidden, 2) if number < 5 else hidden
        outputs.append(hidden.transpose(2, 3))
    prediction = classifier(log_magnitude)
    for representation, expected in zip(prediction.representations, outputs[2:], strict=True):
        torch.testing.assert_close(representation, expected, rtol=1e-4, atol=1e-4)
    over_frequency = hidden.mean(3)
    embedding = over_frequency.amax(2) + over_frequency.mean(2)
    expected = embedding @ classifier.head.weight.T + classifier.head.bias
    torch.testing.assert_close(prediction.logits, expected, rtol=1e-4, atol=1e-4)
    assert prediction.logits.std() > 1e-2


@pytest.mark.parametrize("frames", [1, 2, 31, 32, 33, 64, 100])
def test_short_clip_is_continued_with_silence(make, frames):
    classifier, log_magnitude = make(), torch.rand(2, 513, frames)
    prediction = classifier(log_magnitude)
    assert [values.shape[-1] for values in prediction.representations] == [
        max(frames, 32) // stride for stride in (8, 16, 32, 32)
    ]
    longer = F.pad(log_magnitude, (0, max(32 - frames, 0)))
    torch.testing.assert_close(prediction.logits, classifier(longer).logits)
    padded = classifier(F.pad(log_magnitude, (0, 40)), torch.tensor([frames, frames]))
    torch.testing.assert_close(padded.logits, prediction.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lengths", [[80_000, 31_000, 52_345, 12_000], [9_000, 6_000, 5_400, 2_000, 1]], ids=str)
@pytest.mark.parametrize("options", [{}, {"frame_pool": 2, "max_width": 8, "time_halvings": 2}], ids=str)
def test_padded_clip_gets_the_same_result_as_alone(make, pad_sounds, lengths, options):
    classifier = make(**options)
    clips, batch, lengths = pad_sounds(lengths)
    prediction = classifier.predict(classifier.frontend(batch, lengths))
    for row, clip in enumerate(clips):
        alone = classifier(classifier.frontend.log_magnitude(clip[None]))
        torch.testing.assert_close(prediction.logits[row], alone.logits[0], rtol=1e-4, atol=1e-4)
        for padded, expected in zip(prediction.representations, alone.representations, strict=True):
            columns = expected.shape[-1]
            torch.testing.assert_close(padded[row, ..., :columns], expected[0], rtol=1e-4, atol=1e-4)
            assert padded[row, ..., columns:].count_nonzero() == 0


@pytest.mark.parametrize("lengths", [(150, 90, 33), (60, 31, 1)])
def test_content_of_the_padding_does_not_matter(make, lengths):
    classifier, frames = make(), torch.tensor(lengths)
    log_magnitude = torch.rand(3, 513, lengths[0])
    before = classifier(log_magnitude, frames)
    for clip, length in zip(log_magnitude, lengths, strict=True):
        clip[:, length:] = 7
    after = classifier(log_magnitude, frames)
    torch.testing.assert_close(after.logits, before.logits)
    torch.testing.assert_close(after.representations, before.representations)


def test_all_frames_valid_is_the_same_as_no_frames_given(make):
    classifier, log_magnitude = make(), torch.rand(2, 513, 45)
    whole = classifier(log_magnitude, torch.tensor([45, 45]))
    torch.testing.assert_close(whole.logits, classifier(log_magnitude).logits)


def test_clip_does_not_depend_on_the_rest_of_the_batch(make):
    classifier, log_magnitude = make(), torch.rand(3, 513, 45)
    alone = torch.cat([classifier(row[None]).logits for row in log_magnitude])
    torch.testing.assert_close(classifier(log_magnitude).logits, alone, rtol=1e-5, atol=1e-5)


def test_dropout_acts_in_training_only(make):
    log_magnitude = torch.rand(2, 513, 40)
    classifier = make(dropout=0.5)
    assert torch.equal(classifier(log_magnitude).logits, classifier(log_magnitude).logits)
    for dropout, varies in ((0.5, True), (0.0, False)):
        classifier = make(dropout=dropout).train()
        for module in classifier.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()  # dropout is then the only source of variation
        first, second = classifier(log_magnitude).logits, classifier(log_magnitude).logits
        assert torch.equal(first, second) is not varies


def test_representations_are_read_before_dropout(make):
    classifier, log_magnitude = make(dropout=0.9), torch.rand(1, 513, 40)
    expected = classifier(log_magnitude).representations[0].shape
    classifier.train()
    (values, *_), zeros = classifier(log_magnitude).representations, []
    for _ in range(3):
        zeros.append((classifier(log_magnitude).representations[-1] == 0).float().mean().item())
    assert values.shape == expected
    assert max(zeros) < 0.85  # zeros of the ReLU; dropout would make 0.9


def test_logits_of_silence_are_finite(make):
    classifier = make()
    assert classifier(classifier.frontend.log_magnitude(torch.zeros(1, 3_000))).logits.isfinite().all()


def test_input_is_not_modified(make):
    log_magnitude = torch.rand(2, 513, 40)
    before = log_magnitude.clone()
    make()(log_magnitude, torch.tensor([20, 40]))
    assert torch.equal(log_magnitude, before)


def test_gradient_reaches_the_spectrogram_of_a_frozen_classifier(make):
    log_magnitude = torch.rand(1, 513, 64, requires_grad=True)
    classifier = make()
    classifier(log_magnitude).logits[0, 1].backward()
    assert log_magnitude.grad.isfinite().all()
    assert (log_magnitude.grad != 0).any(1).all()  # every frame counts
    assert all(value.grad is None for value in classifier.parameters())


def test_gradient_reaches_every_parameter():
    classifier = Cnn14Classifier(LABELS, width=2)
    F.cross_entropy(classifier(torch.rand(3, 513, 40)).logits, torch.tensor([0, 1, 2])).backward()
    gradients = [value.grad for value in classifier.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_widths_are_limited(make):
    classifier = make(max_width=10)
    assert classifier.representation_channels == (10, 10, 10, 10)
    assert [block.conv2.out_channels for block in classifier.blocks] == [4, 8, 10, 10, 10, 10]
    assert classifier(torch.rand(1, 513, 64)).logits.shape == (1, 3)


def test_blocks_that_do_not_halve_time_leave_finer_representations(make):
    classifier = make(time_halvings=2)
    shapes = [tuple(values.shape) for values in classifier(torch.rand(1, 513, 431)).representations]
    assert shapes == [(1, 16, 10, 107), (1, 32, 5, 107), (1, 64, 2, 107), (1, 128, 2, 107)]
    assert classifier(torch.rand(1, 513, 3)).representations[-1].shape == (1, 128, 2, 1)


@pytest.mark.parametrize("frames", [40, 101])
def test_pooled_frames_are_averaged_before_the_logarithm(make, frames):
    classifier, log_magnitude = make(frame_pool=2), torch.rand(2, 513, frames)
    pairs = log_magnitude[..., : frames // 2 * 2].expm1().unflatten(-1, (-1, 2)).mean(-1)
    plain = make()
    plain.load_state_dict(classifier.state_dict())
    # the mel bank is linear, so that the mean may come before it
    expected = plain(pairs.log1p())
    torch.testing.assert_close(classifier(log_magnitude).logits, expected.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "option",
    [
        {"width": 0},
        {"mel_bins": 31},
        {"mel_bins": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"max_width": 0},
        {"frame_pool": 0},
        {"time_halvings": 6},
        {"time_halvings": -1},
    ],
    ids=str,
)
def test_impossible_options_are_refused(option):
    with pytest.raises(
        ConfigurationError, match=rf"cnn14: .*{next(iter(option))} \({next(iter(option.values()))}\)"
    ):
        Cnn14Classifier(LABELS, **option)


@pytest.mark.parametrize("mel_bins", [32, 64, 100])
def test_mel_bins(make, mel_bins):
    prediction = make(mel_bins=mel_bins)(torch.rand(1, 513, 40))
    assert [values.shape[2] for values in prediction.representations] == [
        mel_bins // stride for stride in (8, 16, 32, 32)
    ]


def test_another_frontend():
    frontend = Frontend(sample_rate_hz=8_000, n_fft=512)
    classifier = Cnn14Classifier(LABELS, frontend, width=2).freeze()
    assert classifier(frontend.log_magnitude(torch.randn(2, 8_000))).logits.isfinite().all()


def test_save_and_load(make, tmp_path):
    classifier, log_magnitude = make(width=2, mel_bins=64, dropout=0.1), torch.rand(2, 513, 40)
    loaded = load_classifier(save_classifier(classifier, tmp_path / "model"))
    assert type(loaded) is Cnn14Classifier
    small = {"max_width": None, "frame_pool": 1, "time_halvings": 5}
    assert loaded.config == classifier.config == {"width": 2, "mel_bins": 64, "dropout": 0.1, **small}
    assert torch.equal(loaded(log_magnitude).logits, classifier(log_magnitude).logits)


def test_a_few_steps_of_training_separate_two_sounds():
    classifier = Cnn14Classifier(["low", "high"], width=2, dropout=0.0)
    time_s = torch.arange(6_000) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * hz * time_s) for hz in (300, 400, 4_000, 5_000)])
    log_magnitude, label = classifier.frontend.log_magnitude(tones), torch.tensor([0, 0, 1, 1])
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(classifier(log_magnitude).logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_gradient_is_the_slope(make):
    """PyTorch's batch norm of an input with an axis of length 1 once gave a wrong gradient here."""
    classifier = make().double()
    log_magnitude = torch.rand(1, 513, 64, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(classifier(log_magnitude).logits[0, 0], log_magnitude)
    step = 1e-7 * log_magnitude.detach()
    with torch.no_grad():
        higher, lower = (classifier(log_magnitude + sign * step).logits[0, 0] for sign in (1, -1))
    torch.testing.assert_close((gradient * step).sum(), (higher - lower) / 2, rtol=1e-3, atol=0)
