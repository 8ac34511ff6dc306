"""L2I: relevance, mask, loss, components, scores and options, against slow code from the paper's equations."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier, Prediction, save_classifier
from otoscope.errors import CheckpointError, ConfigurationError, ShapeError
from otoscope.interpreters import L2IDecoded, L2IInterpreter, save_interpreter
from otoscope.loading import load_interpreter
from otoscope.nn import NMFDictionary

LABELS = ["dog", "rain", "clock", "siren"]
FRONTEND = {"n_fft": 256, "window_ms": 16.0, "hop_ms": 8.0}
BINS, SIZE, FRAMES = 129, 7, 45
CLASSIFIERS = {
    "conv2d": lambda: Conv2dClassifier(LABELS, Frontend(**FRONTEND), width=4, head_width=5),
    "cnn14": lambda: Cnn14Classifier(LABELS, Frontend(**FRONTEND), width=2, mel_bins=64),
}
LENGTHS = (FRAMES, 33, 17, 3)


def normalized_on(classifier, log_magnitude):
    """Set the statistics of batch norms to those of the data, as training does; random ones damp the input."""
    for part in classifier.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        classifier.train()(log_magnitude)
    return classifier.freeze()


@pytest.fixture(params=CLASSIFIERS)
def classifier(request, experienced):
    return normalized_on(experienced(CLASSIFIERS[request.param]()), torch.rand(6, BINS, FRAMES))


@pytest.fixture
def dictionary():
    return NMFDictionary(torch.rand(BINS, SIZE) ** 2, Frontend(**FRONTEND))


@pytest.fixture
def make(classifier, dictionary, experienced):
    """Factory of interpreters as after training: activations differ, contributions have both signs."""

    def make(**options):
        interpreter = experienced(L2IInterpreter(classifier, **{"dictionary": dictionary, **options}))
        torch.nn.init.normal_(interpreter.head.weight)
        for name, value in interpreter.decoder.named_parameters():
            if name in ("last.bias", "linear.bias"):
                torch.nn.init.uniform_(value, 0.2, 1.0)
        return interpreter.eval().requires_grad_(False)

    return make


@pytest.fixture
def spectrogram():
    return Spectrogram(torch.rand(4, BINS, FRAMES))


def padded_to(spectrogram, lengths):
    """Return the spectrogram with these numbers of valid frames; None: no padding."""
    return spectrogram if lengths is None else replace(spectrogram, frames=torch.tensor(lengths))


def slow_relevance(pooled, theta, label):
    """Return equation 4 of arXiv 2202.11479 for one clip: contributions relative to the largest."""
    contributions = [float(z) * float(w) for z, w in zip(pooled, theta[label], strict=True)]
    largest = max(abs(value) for value in contributions)
    return [value / largest for value in contributions]


def slow_mask(dictionary, activations, relevance, threshold):
    """Return the share of the relevant components in the model of one clip, bin by bin."""
    chosen = [k for k, value in enumerate(relevance) if value > threshold]
    rows, columns = dictionary.tolist(), activations.T.tolist()
    mask = []
    for row in rows:
        parts = [[w * h for w, h in zip(row, column, strict=True)] for column in columns]
        mask.append([sum(part[k] for k in chosen) / (sum(part) + 1e-10) for part in parts])
    return torch.tensor(mask)


# relevance and mask --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"decoder": "published"}, {"pooling_frames": FRAMES}], ids=str)
def test_relevance_equals_the_equation_of_the_paper(classifier, make, spectrogram, options):
    interpreter, prediction = make(**options), classifier.predict(spectrogram).towards(torch.tensor([2, 0, 3, 1]))
    decoded = interpreter.decode(spectrogram, prediction)
    expected = [
        slow_relevance(pooled, interpreter.head.weight, label)
        for pooled, label in zip(decoded.pooled, prediction.target.tolist(), strict=True)
    ]
    torch.testing.assert_close(decoded.relevance, torch.tensor(expected), rtol=1e-4, atol=1e-6)
    assert (decoded.relevance.abs().amax(1) == 1).all()
    torch.testing.assert_close(decoded.pooled, interpreter.pooling(decoded.activations))
    for label, row in enumerate(interpreter.head.weight):
        expected = [float(torch.dot(row, pooled)) for pooled in decoded.pooled]
        torch.testing.assert_close(decoded.logits[:, label], torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threshold", [-1.0, -0.3, 0.0, 0.2, 0.7, 0.999])
def test_mask_equals_a_slow_loop(classifier, make, spectrogram, threshold):
    interpreter = make(relevance_threshold=threshold)
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    mask = interpreter.mask(decoded, spectrogram)
    for values, activations, relevance in zip(mask, decoded.activations, decoded.relevance.tolist(), strict=True):
        expected = slow_mask(interpreter.dictionary, activations, relevance, threshold)
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)
    assert threshold < 0 or mask.std() > 1e-3
    assert ((mask >= 0) & (mask <= 1)).all()


def test_relevance_and_mask_by_hand(classifier, make):
    """Two components, with one bin of their own each and one that they share."""
    dictionary = torch.zeros(BINS, 2)
    dictionary[3, 0] = dictionary[5, 1] = 1
    dictionary[7] = torch.tensor([1.0, 3.0])
    interpreter = make(dictionary=NMFDictionary(dictionary, Frontend(**FRONTEND)))
    interpreter.head.weight.copy_(torch.tensor([[1.0, -0.5], [0.1, 1.0], [0.0, 0.0], [0.0, 0.0]]))
    interpreter.decoder.forward = lambda *_: torch.full((1, 2, 4), 2.0)
    silence = Spectrogram(torch.zeros(1, BINS, 4))
    prediction = classifier.predict(silence)
    for label, relevance, shares in (
        (0, [1.0, -0.5], {3: 1.0, 5: 0.0, 7: 0.25, 9: 0.0}),
        (1, [0.1, 1.0], {3: 0.0, 5: 1.0, 7: 0.75, 9: 0.0}),
        (2, [0.0, 0.0], {3: 0.0, 5: 0.0, 7: 0.0, 9: 0.0}),
    ):
        decoded = interpreter.decode(silence, prediction.towards(torch.tensor([label])))
        torch.testing.assert_close(decoded.relevance, torch.tensor([relevance]))
        mask = interpreter.mask(decoded, silence)
        assert {f: round(mask[0, f, 0].item(), 5) for f in shares} == shares
        torch.testing.assert_close(mask, mask[..., :1].expand_as(mask))


def test_lower_threshold_gives_a_larger_mask(classifier, make, spectrogram):
    interpreter = make()
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    means = []
    smaller = torch.zeros_like(spectrogram.log_magnitude)
    for threshold in (0.99, 0.5, 0.2, 0.0, -0.5, -1.0):
        interpreter.relevance_threshold = threshold
        mask = interpreter.mask(decoded, spectrogram)
        assert (mask >= smaller - 1e-6).all()
        means.append(mask.mean().item())
        smaller = mask
    assert len(set(means)) > 3
    assert means[0] > 0  # the mask always has the most relevant component


def test_lowest_threshold_excludes_only_the_component_most_against_the_class(classifier, make, spectrogram):
    interpreter = make(relevance_threshold=-1)
    prediction = classifier.predict(spectrogram)
    interpreter.head.weight.abs_()
    decoded = interpreter.decode(spectrogram, prediction)
    audible = (interpreter.dictionary @ decoded.activations) > 1e-5
    assert audible.any()
    torch.testing.assert_close(interpreter.mask(decoded, spectrogram), audible.float(), rtol=0, atol=1e-4)
    interpreter.head.weight.neg_()
    decoded = interpreter.decode(spectrogram, prediction)
    expected = [
        slow_mask(interpreter.dictionary, activations, relevance, -1)
        for activations, relevance in zip(decoded.activations, decoded.relevance.tolist(), strict=True)
    ]
    torch.testing.assert_close(interpreter.mask(decoded, spectrogram), torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert (decoded.relevance == -1).any(1).all()


def test_threshold_can_be_changed_without_decoding_again(classifier, make, spectrogram):
    interpreter = make()
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    before = interpreter.mask(decoded, spectrogram)
    with interpreter.at_threshold(-1):
        other = interpreter.mask(decoded, spectrogram)
        assert interpreter.config["relevance_threshold"] == -1
    assert not torch.equal(other, before)
    assert torch.equal(other, mask_at(interpreter, decoded, -1))
    assert torch.equal(interpreter.mask(decoded, spectrogram), before)
    assert interpreter.relevance_threshold == 0.2


def mask_at(interpreter, decoded, threshold):
    """Return the mask of the components above a threshold in one expression."""
    relevant = (decoded.relevance > threshold).float()[..., None]
    model = interpreter.dictionary @ decoded.activations + 1e-10
    return (interpreter.dictionary @ (decoded.activations * relevant) / model).clamp(max=1)


@pytest.mark.parametrize("threshold", [1.0, -1.01, 20, math.nan])
def test_thresholds_out_of_range_are_refused(make, threshold):
    interpreter = make()
    with pytest.raises(ConfigurationError, match=r"relevance_threshold: .* must lie in \[-1, 1\)"):
        interpreter.relevance_threshold = threshold
    assert interpreter.relevance_threshold == 0.2
    with pytest.raises(ConfigurationError, match="relevance_threshold"):
        make(relevance_threshold=threshold)


def test_relevance_depends_on_the_explained_class(classifier, make, spectrogram):
    interpreter, prediction = make(), classifier.predict(spectrogram)
    by_class = [interpreter.decode(spectrogram, prediction.towards(torch.full((4,), label))) for label in range(4)]
    for label, decoded in enumerate(by_class):
        assert torch.equal(decoded.activations, by_class[0].activations)
        assert torch.equal(decoded.logits, by_class[0].logits)
        for other in by_class[:label]:
            assert (decoded.relevance - other.relevance).abs().max() > 1e-2
    decoded = interpreter.decode(spectrogram, prediction)
    expected = [by_class[label].relevance[clip] for clip, label in enumerate(prediction.predicted.tolist())]
    torch.testing.assert_close(decoded.relevance, torch.stack(expected))


def test_silent_model_has_no_mask(classifier, make):
    interpreter, silence = make(), Spectrogram(torch.zeros(2, BINS, 5))
    decoded = L2IDecoded(torch.zeros(2, SIZE, 5), torch.zeros(2, SIZE), torch.zeros(2, 4), torch.ones(2, SIZE))
    assert interpreter.mask(decoded, silence).count_nonzero() == 0
    interpreter.decoder.forward = lambda *_: torch.zeros(2, SIZE, 5)
    prediction = classifier.predict(silence)
    decoded = interpreter.decode(silence, prediction)
    assert decoded.relevance.count_nonzero() == 0
    assert interpreter.mask(decoded, silence).count_nonzero() == 0
    terms = interpreter.loss(decoded, silence, prediction)
    assert all(term.isfinite() for term in terms.values())


@pytest.mark.parametrize("decoder", ["light", "published"])
@pytest.mark.parametrize("lengths", [LENGTHS, (150, 90, 16, 2)], ids=str)
def test_padded_clip_has_the_same_result_as_alone(classifier, make, decoder, lengths):
    spectrogram = padded_to(Spectrogram(torch.rand(4, BINS, lengths[0])), lengths)
    interpreter = make(decoder=decoder)
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    mask = interpreter.mask(decoded, spectrogram)
    for row, length in enumerate(lengths):
        clip = Spectrogram(spectrogram.log_magnitude[row : row + 1, :, :length])
        alone = interpreter.decode(clip, classifier.predict(clip))
        torch.testing.assert_close(decoded.activations[row, :, :length], alone.activations[0], rtol=1e-4, atol=1e-4)
        assert decoded.activations[row, :, length:].count_nonzero() == 0
        for name in ("pooled", "logits", "relevance"):
            values, expected = getattr(decoded, name)[row], getattr(alone, name)[0]
            torch.testing.assert_close(values, expected, rtol=1e-3, atol=1e-3)
        assert mask[row, :, length:].count_nonzero() == 0


# loss ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.2])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_loss_equals_a_slow_loop(classifier, make, spectrogram, temperature, lengths):
    spectrogram = padded_to(spectrogram, lengths)
    interpreter = make(alpha=3.0, beta=0.7, temperature=temperature)
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    terms = interpreter.loss(decoded, spectrogram, prediction)
    squares, activity, fidelity = [], [], []
    for clip, length in enumerate(lengths or [FRAMES] * 4):
        activations = decoded.activations[clip, :, :length].double()
        model = interpreter.dictionary.double() @ activations
        squares += (model - spectrogram.log_magnitude[clip, :, :length]).square().flatten().tolist()
        activity += [abs(value) for value in activations.flatten().tolist()]
        target = [math.exp(value / temperature) for value in prediction.logits[clip].tolist()]
        imitation = [math.exp(value) for value in decoded.logits[clip].tolist()]
        pairs = zip(target, imitation, strict=True)
        # summed over classes, where the published code averages
        fidelity.append(-sum(p / sum(target) * math.log(q / sum(imitation)) for p, q in pairs))
    expected = {
        "reconstruction": 3.0 * sum(squares) / len(squares),
        "fidelity": sum(fidelity) / 4,
        "sparsity": 0.7 * sum(activity) / len(activity),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4)


def test_fidelity_term_is_smallest_where_the_decisions_agree(classifier, make, spectrogram):
    interpreter, prediction = make(temperature=0.5), classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    values = []
    for logits in (prediction.logits / 0.5, prediction.logits, -prediction.logits):
        decoded.logits = logits
        values.append(interpreter.loss(decoded, spectrogram, prediction)["fidelity"].item())
    assert values[0] < values[1] < values[2]
    # the cross-entropy of a distribution with itself is its entropy
    p = (prediction.logits / 0.5).softmax(1)
    assert values[0] == pytest.approx(-(p * p.log()).sum(1).mean().item(), rel=1e-4)


def test_multi_label_fidelity_is_decided_class_by_class(classifier, make, spectrogram):
    interpreter = make().train()
    prediction = replace(classifier.predict(spectrogram), multi_label=True)
    decoded = interpreter.decode(spectrogram, prediction)
    targets, imitations = prediction.probabilities.tolist(), decoded.logits.sigmoid().tolist()
    expected = sum(
        -p * math.log(q) - (1 - p) * math.log(1 - q)
        for row, values in zip(targets, imitations, strict=True)
        for p, q in zip(row, values, strict=True)
    ) / len(targets)
    fidelity = interpreter.loss(decoded, spectrogram, prediction)["fidelity"].item()
    assert fidelity == pytest.approx(expected, rel=1e-4)


def test_loss_does_not_depend_on_the_explained_class(classifier, make, spectrogram):
    interpreter, prediction = make(), classifier.predict(spectrogram)
    terms = []
    for label in (0, 3):
        towards = prediction.towards(torch.full((4,), label))
        decoded = interpreter.decode(spectrogram, towards)
        terms.append(interpreter.loss(decoded, spectrogram, towards))
    assert terms[0] == terms[1]


@pytest.mark.parametrize(
    ("term", "parts"),
    [("reconstruction", {"decoder"}), ("sparsity", {"decoder"}), ("fidelity", {"decoder", "pooling", "head"})],
)
def test_parts_that_each_term_trains(classifier, make, spectrogram, term, parts):
    interpreter = make().requires_grad_(True)
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    interpreter.loss(decoded, spectrogram, prediction)[term].backward()
    trained = {name.split(".")[0] for name, value in interpreter.named_parameters() if value.grad is not None}
    assert trained == parts
    assert interpreter.dictionary.grad is None


def test_dictionary_is_saved_but_not_trained(make, dictionary):
    interpreter = make()
    assert "dictionary" not in dict(interpreter.named_parameters())
    assert "dictionary" in dict(interpreter.named_buffers())
    assert torch.equal(interpreter.state_dict()["dictionary"], dictionary.components)
    dictionary.components.fill_(3)
    assert not (interpreter.dictionary == 3).any()


# components and scores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_components_sum_to_the_mask_of_each_clip(classifier, make, spectrogram, lengths):
    spectrogram = padded_to(spectrogram, lengths)
    interpreter = make(relevance_threshold=0.1)
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    mask, clips = interpreter.mask(decoded, spectrogram), interpreter.components(decoded, spectrogram)
    assert len(clips) == 4
    for clip, values, length in zip(clips, mask, lengths or [FRAMES] * 4, strict=True):
        assert clip.activations.shape == (SIZE, length)
        torch.testing.assert_close(clip.mask(), values[:, :length], rtol=1e-5, atol=1e-6)
        expected = slow_mask(clip.dictionary, clip.activations, clip.relevance.tolist(), clip.threshold)
        torch.testing.assert_close(clip.mask(), expected, rtol=1e-4, atol=1e-5)


def test_components_are_ranked_by_relevance(classifier, make, spectrogram):
    interpreter = make(relevance_threshold=0.05)
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    clips = interpreter.components(decoded, spectrogram)
    for clip, relevance in zip(clips, decoded.relevance.tolist(), strict=True):
        ranked = sorted(range(SIZE), key=relevance.__getitem__, reverse=True)
        assert clip.relevant == [k for k in ranked if relevance[k] > 0.05]
        assert clip.threshold == 0.05


def test_components_follow_the_threshold(classifier, make, spectrogram):
    interpreter = make()
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    with interpreter.at_threshold(-0.9):
        (clip, *_), mask = interpreter.components(decoded, spectrogram), interpreter.mask(decoded, spectrogram)
    torch.testing.assert_close(clip.mask(), mask[0], rtol=1e-5, atol=1e-6)


def test_masks_of_all_components_sum_to_one_where_the_model_is_audible(classifier, make, spectrogram):
    interpreter = make()
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    (clip, *_) = interpreter.components(decoded, spectrogram)
    total = sum(clip.mask([k]) for k in range(SIZE))
    audible = clip.dictionary @ clip.activations > 1e-4
    assert audible.float().mean() > 0.5
    torch.testing.assert_close(total[audible], torch.ones(int(audible.sum())), rtol=0, atol=1e-4)


def test_fidelity_scores_by_hand(make):
    interpreter = make()
    logits = torch.tensor([[4.0, 3, 2, 1], [1, 4, 3, 2], [2, 3, 1, 4], [3.0, 1, 2, 4]])
    decoded = L2IDecoded(torch.zeros(4, SIZE, 1), torch.zeros(4, SIZE), logits, torch.zeros(4, SIZE))
    prediction = Prediction(torch.eye(4), ())  # predicts 0, 1, 2, 3
    scores = interpreter.own_scores(decoded, prediction)
    assert scores["Fid-L2I"].tolist() == [1, 1, 0, 1]
    assert scores["Fid-L2I@3"].tolist() == [1, 1, 0, 1]
    scores = interpreter.own_scores(decoded, prediction.towards(torch.tensor([1, 0, 0, 2])))
    assert scores["Fid-L2I"].tolist() == [0, 0, 0, 0]
    assert scores["Fid-L2I@3"].tolist() == [1, 0, 1, 1]
    assert tuple(scores) == interpreter.own_score_names


def test_fidelity_scores_of_two_classes():
    classifier = Conv2dClassifier(["dog", "rain"], width=2, head_width=3).freeze()
    interpreter = L2IInterpreter(classifier, NMFDictionary(torch.rand(513, 3), classifier.frontend)).eval()
    spectrogram = Spectrogram(torch.rand(2, 513, 20))
    prediction = classifier.predict(spectrogram)
    scores = interpreter.own_scores(interpreter.decode(spectrogram, prediction), prediction)
    assert scores["Fid-L2I@3"].tolist() == [1, 1]


# dictionary and options ----------------------------------------------------------------------------------


def test_dictionary_may_be_a_folder(classifier, dictionary, tmp_path):
    folder = dictionary.save(tmp_path / "nmf")
    interpreter = L2IInterpreter(classifier, folder)
    assert torch.equal(interpreter.dictionary, dictionary.components)
    assert interpreter.config["components"] == SIZE
    assert torch.equal(L2IInterpreter(classifier, str(folder), components=SIZE).dictionary, dictionary.components)


def test_dictionary_is_empty_by_default(classifier):
    assert L2IInterpreter(classifier, components=5).dictionary.shape == (BINS, 5)
    assert L2IInterpreter(classifier).dictionary.shape == (BINS, 100)


def test_dictionary_of_another_frontend_is_refused(classifier, tmp_path):
    other = Frontend(n_fft=256, window_ms=16.0, hop_ms=4.0)
    dictionary = NMFDictionary(torch.rand(BINS, SIZE), other)
    with pytest.raises(ConfigurationError, match=r"^dictionary: the dictionary was made with another") as caught:
        L2IInterpreter(classifier, dictionary)
    assert other.describe() in str(caught.value)
    assert classifier.frontend.describe() in str(caught.value)
    folder = dictionary.save(tmp_path / "nmf")
    with pytest.raises(ConfigurationError) as caught:
        L2IInterpreter(classifier, folder)
    assert str(folder) in str(caught.value)


def test_dictionary_of_an_equivalent_frontend_is_accepted(classifier):
    same = Frontend(n_fft=256, window_ms=16.01, hop_ms=8.01)
    assert same.config != classifier.frontend.config
    components = torch.rand(BINS, SIZE)
    interpreter = L2IInterpreter(classifier, NMFDictionary(components, same))
    assert torch.equal(interpreter.dictionary, components)


def test_other_number_of_components_is_refused(classifier, dictionary):
    with pytest.raises(ConfigurationError, match="components: 5 asked for, the dictionary has 7"):
        L2IInterpreter(classifier, dictionary, components=5)


def test_folder_of_another_model_is_refused(classifier, tmp_path):
    folder = save_classifier(classifier, tmp_path / "model")
    with pytest.raises(CheckpointError, match="holds no NMF dictionary"):
        L2IInterpreter(classifier, folder)


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ({"alpha": -1.0}, r"l2i: alpha \(-1\.0\)"),
        ({"beta": -0.1}, r"l2i: .*beta \(-0\.1\)"),
        ({"temperature": 0.0}, r"l2i: .*temperature \(0\.0\)"),
        ({"decoder": "heavy"}, "decoder: 'heavy' is unknown"),
        ({"pooling_frames": 0}, "pooling_frames: 0 must be positive"),
    ],
    ids=str,
)
def test_invalid_options_are_refused(make, option, fault):
    with pytest.raises(ConfigurationError, match=fault):
        make(**option)


def test_published_pooling_refuses_shorter_clips(classifier, make):
    interpreter = make(pooling_frames=30)
    for frames, lengths in ((29, None), (FRAMES, (FRAMES, 29))):
        spectrogram = padded_to(Spectrogram(torch.rand(2, BINS, frames)), lengths)
        prediction = classifier.predict(spectrogram)
        with pytest.raises(ShapeError, match="a clip of 29 frames: the published pooling"):
            interpreter(spectrogram, prediction)


@pytest.mark.parametrize(
    "options",
    [
        {"relevance_threshold": -0.4, "temperature": 0.01},
        {"decoder": "published", "alpha": 5.0, "beta": 0.4},
        {"pooling_frames": 20},
        {"decoder_width": 24},
    ],
    ids=str,
)
def test_save_and_load(classifier, make, dictionary, spectrogram, tmp_path, options):
    interpreter = make(**options)
    expected = interpreter(spectrogram, classifier.predict(spectrogram))
    loaded, same = load_interpreter(save_interpreter(interpreter, classifier, tmp_path / "model"))
    assert type(loaded) is L2IInterpreter
    assert loaded.config == interpreter.config
    assert all(loaded.config[name] == value for name, value in options.items())
    assert loaded.relevance_threshold == interpreter.relevance_threshold
    assert torch.equal(loaded.dictionary, dictionary.components)
    assert torch.equal(loaded(spectrogram, same.predict(spectrogram)), expected)


def test_threshold_that_was_set_last_is_saved(classifier, make, tmp_path):
    interpreter = make(relevance_threshold=0.3)
    interpreter.relevance_threshold = 0.6
    loaded, _ = load_interpreter(save_interpreter(interpreter, classifier, tmp_path / "model"))
    assert loaded.relevance_threshold == 0.6


def test_training_approaches_the_sound_and_the_decision(classifier, dictionary):
    """The dictionary can model the sound exactly: a few steps lower the loss, and the dictionary stays the same."""
    spectrogram = Spectrogram(dictionary.components @ (2 * torch.rand(4, SIZE, FRAMES) ** 4))
    interpreter = L2IInterpreter(classifier, dictionary).train()
    optimizer = torch.optim.Adam(interpreter.parameters(), lr=3e-4)
    with torch.no_grad():
        prediction = classifier.predict(spectrogram)
    history = []
    for _ in range(15):
        decoded = interpreter.decode(spectrogram, prediction)
        terms = interpreter.loss(decoded, spectrogram, prediction)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        history.append({name: term.item() for name, term in terms.items()})
    assert history[-1]["reconstruction"] < 0.7 * history[0]["reconstruction"]
    assert sum(history[-1].values()) < sum(history[0].values())
    assert torch.equal(interpreter.dictionary, dictionary.components)


def test_published_sizes():
    classifier = Conv2dClassifier([str(label) for label in range(50)], width=2).freeze()
    interpreter = L2IInterpreter(classifier, decoder="published", pooling_frames=417)
    assert interpreter.dictionary.shape == (513, 100)
    assert interpreter.decoder.linear.weight.shape == (100, 513)
    assert interpreter.pooling.linear.weight.shape == (1, 417)
    assert interpreter.head.weight.shape == (50, 100)
    assert interpreter.head.bias is None
    spectrogram = Spectrogram(torch.rand(1, 513, 431))
    decoded = interpreter.decode(spectrogram, classifier.predict(spectrogram))
    expected = F.linear(decoded.activations[..., :417], interpreter.pooling.linear.weight)[..., 0]
    torch.testing.assert_close(decoded.pooled, expected)
