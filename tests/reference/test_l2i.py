"""L2I compared with the reference, with the same weights, and with plain loops over the formulas of the paper."""

import importlib.util
import math
from dataclasses import replace

import pytest
import torch

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier
from otoscope.interpreters import L2IInterpreter
from otoscope.nn import NMFDictionary
from otoscope.scoring import score_prediction

SHORT = 110 * 186  # samples of a clip of 111 frames; the published network for Conv2d returns 97 of them
WIDTHS = {"conv2d": 16, "cnn14": 4}


@pytest.fixture
def make(reference, scramble, generator):
    """Function that builds our classifier and interpreter, and the reference with the same weights."""

    def build(name, frames=None, classes=10, components=60):
        labels = [f"class {index}" for index in range(classes)]
        if name == "conv2d":
            classifier = Conv2dClassifier(labels, width=WIDTHS[name], scale=1)
        else:
            classifier = Cnn14Classifier(labels, width=WIDTHS[name])
        classifier = scramble(classifier).freeze()
        spectra = torch.rand(513, components, generator=generator)
        frames = frames or reference.FRAMES[name]
        interpreter = L2IInterpreter(
            classifier,
            NMFDictionary(spectra, classifier.frontend),
            decoder="published",
            pooling_frames=frames,
            temperature=reference.TEMPERATURES[name],
        )
        published = reference.ReferenceL2I(name, classes, WIDTHS[name], components, frames)
        published.load(classifier, scramble(interpreter))
        return classifier, interpreter.eval(), published

    return build


@pytest.mark.parametrize("name", ["conv2d", "cnn14"])
@torch.no_grad()
def test_relevance_and_mask(make, waveforms, agree, name):
    classifier, interpreter, published = make(name)
    spectrogram = classifier.frontend(waveforms)
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    relevant = (decoded.relevance > 0.2).sum(1)
    assert (relevant > 0).all()
    assert (relevant < 60).all()
    published.network.eval()
    result = published.forward(waveforms)
    frames = published.frames
    agree(decoded.activations[..., :frames], result.activations)
    agree(decoded.logits.softmax(-1), result.imitation)
    assert torch.equal(prediction.predicted, result.logits.argmax(1))

    mask = interpreter.mask(decoded, spectrogram)
    masks = published.masks(waveforms)
    assert mask.shape == (2, 513, 431)
    assert masks.shape == (2, 513, frames)
    agree(mask[..., :frames], masks)
    masked, whole, _ = published.interpretation(waveforms)
    agree(spectrogram.masked(mask).log_magnitude[..., :frames], masked.transpose(1, 2)[..., :frames])
    assert not whole[:, frames:].any()
    assert not masked[:, frames:].any()


@pytest.mark.parametrize("pooling_frames", [None, 30])
@torch.no_grad()
def test_agrees_with_the_formulas_of_the_paper(scramble, generator, pooling_frames):
    frontend = Frontend(n_fft=64, window_ms=4, hop_ms=2)
    classifier = scramble(Conv2dClassifier(["dog", "rain", "sea"], frontend, width=8)).freeze()
    dictionary = NMFDictionary(torch.rand(33, 7, generator=generator), frontend)
    options = {"pooling_frames": pooling_frames, "alpha": 3.0, "beta": 0.5, "temperature": 0.1}
    interpreter = scramble(L2IInterpreter(classifier, dictionary, **options)).eval()
    spectrogram = Spectrogram(torch.rand(2, 33, 40, generator=generator))
    prediction = classifier.predict(spectrogram)
    selections = set()
    for label in range(3):
        decoded = interpreter.decode(spectrogram, prediction.towards(torch.full((2,), label)))
        masks = interpreter.mask(decoded, spectrogram)
        for clip in range(2):
            activations = decoded.activations[clip].tolist()
            relevance = relevance_of(interpreter, activations, label)
            relevant = [k for k, r in enumerate(relevance) if r > 0.2]
            selections.add(tuple(relevant))
            mask = mask_of(dictionary.components.tolist(), activations, relevant)
            torch.testing.assert_close(decoded.relevance[clip], torch.tensor(relevance), rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(masks[clip], torch.tensor(mask), rtol=1e-4, atol=1e-4)
    assert len(selections) > 2
    decoded = interpreter.decode(spectrogram, prediction)
    terms = interpreter.loss(decoded, spectrogram, prediction)
    clips = decoded.activations.tolist()
    expected = terms_of(interpreter, clips, spectrogram.log_magnitude.tolist(), prediction.logits.tolist())
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(expected, rel=1e-4)


def pooled_of(interpreter, activations):
    """Return one value per component: the weighted sum of its activation over time."""
    frames = range(len(activations[0]))
    weights = dict(interpreter.pooling.named_parameters())
    if "linear.weight" in weights:
        share = weights["linear.weight"][0].tolist()
    else:
        inner, shift = weights["inner.weight"].tolist(), weights["inner.bias"].tolist()
        outer = weights["outer.weight"][0].tolist()
        score = []
        for t in frames:
            hidden = [sum(w * row[t] for w, row in zip(row, activations, strict=True)) for row in inner]
            score.append(sum(v * math.tanh(h + b) for v, h, b in zip(outer, hidden, shift, strict=True)))
        total = sum(math.exp(s) for s in score)
        share = [math.exp(s) / total for s in score]
    return [sum(weight * row[t] for t, weight in enumerate(share)) for row in activations]


def relevance_of(interpreter, activations, label):
    """Return r_k = z_k theta_ck / max_j |z_j theta_cj| for each component k."""
    pooled = pooled_of(interpreter, activations)
    weights = interpreter.head.weight[label].tolist()
    largest = max(abs(z * w) for z, w in zip(pooled, weights, strict=True))
    return [z * w / largest for z, w in zip(pooled, weights, strict=True)]


def mask_of(spectra, activations, relevant):
    """Return the share of the relevant components in each bin."""
    mask = []
    for spectrum in spectra:
        row = []
        for t in range(len(activations[0])):
            parts = [w * h[t] for w, h in zip(spectrum, activations, strict=True)]
            row.append(sum(parts[k] for k in relevant) / (sum(parts) + 1e-10))
        mask.append(row)
    return mask


def terms_of(interpreter, activations, spectrograms, logits):
    """Return the three terms of the loss."""
    spectra = interpreter.dictionary.tolist()
    theta = interpreter.head.weight.tolist()
    errors, levels, fidelity = [], [], []
    for clip, spectrogram, scores in zip(activations, spectrograms, logits, strict=True):
        for spectrum, row in zip(spectra, spectrogram, strict=True):
            for t, value in enumerate(row):
                errors.append((sum(w * h[t] for w, h in zip(spectrum, clip, strict=True)) - value) ** 2)
        levels += [value for row in clip for value in row]
        pooled = pooled_of(interpreter, clip)
        imitation = softmax([sum(z * w for z, w in zip(pooled, weights, strict=True)) for weights in theta])
        target = softmax([score / interpreter.temperature for score in scores])
        fidelity.append(-sum(p * math.log(q) for p, q in zip(target, imitation, strict=True)))
    return {
        "reconstruction": interpreter.alpha * sum(errors) / len(errors),
        "fidelity": sum(fidelity) / len(fidelity),
        "sparsity": interpreter.beta * sum(levels) / len(levels),
    }


def softmax(scores):
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("name", ["conv2d", "cnn14"])
def test_loss_and_its_gradient(reference, make, waveforms, monkeypatch, name):
    frames = {"conv2d": 97, "cnn14": 111}[name]
    classifier, interpreter, published = make(name, frames)
    interpreter.train()
    published.network.train()
    # in double precision, for the reason given in test_piq.py
    for module in (classifier, interpreter, published.classifier, published.network, published.dictionary):
        module.double()
    log_magnitude = classifier.frontend.log_magnitude(waveforms[:, :SHORT]).double()
    magnitude = log_magnitude.expm1().transpose(1, 2)
    monkeypatch.setattr(published, "analyze", lambda waveforms: (magnitude, None))
    monkeypatch.setattr(published, "interpretation", lambda waveforms: (magnitude, magnitude, None))
    if name == "cnn14":  # their mel bank is in single precision
        monkeypatch.setattr(published.classifier.mel, "forward", lambda x: x @ classifier.mel.filters.T)

    spectrogram = Spectrogram(log_magnitude)
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    decoded = replace(decoded, activations=decoded.activations[..., :frames])
    ours = interpreter.loss(decoded, Spectrogram(log_magnitude[..., :frames]), prediction)
    terms, _ = published.objectives(waveforms, None, published.forward(waveforms), training=True)
    terms["fidelity"] = 10 * terms["fidelity"]  # theirs is the mean over the ten classes, ours the sum
    assert ours.keys() == terms.keys()
    for term, value in terms.items():
        torch.testing.assert_close(ours[term], value, rtol=1e-6, atol=1e-6)

    sum(ours.values()).backward()
    sum(terms.values()).backward()
    gradients = {}
    for network, names in (
        (published.psi, reference.ACTIVATION_NAMES[name]),
        (published.theta, reference.THETA_NAMES),
    ):
        theirs = {key: weight.grad for key, weight in network.named_parameters()}
        gradients |= reference.renamed(theirs, reference.inverted(names))
    mine = {key: weight.grad for key, weight in interpreter.named_parameters()}
    assert mine.keys() == gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(mine[key], gradient, rtol=1e-6, atol=1e-6, msg=key)
        assert gradient.abs().max() > 1e-5, key
    assert all(weight.grad is None for weight in classifier.parameters())
    # their gradient reaches the classifier
    assert any(weight.grad is not None and weight.grad.any() for weight in published.classifier.parameters())


@pytest.mark.parametrize("name", ["conv2d", "cnn14"])
@torch.no_grad()
def test_sound(make, waveforms, agree, name):
    classifier, interpreter, published = make(name)
    spectrogram = classifier.frontend(waveforms[:1])
    mask = interpreter(spectrogram, classifier.predict(spectrogram))
    sound = published.interpret(waveforms[0])
    ours = classifier.frontend.inverse(spectrogram.masked(mask))[0]
    assert sound.shape == (430 * 186,)
    samples = (published.frames - 1) * 186 - 1024  # theirs may be silent after these
    agree(ours[:samples], sound[:samples])


@pytest.mark.parametrize("name", ["conv2d", "cnn14"])
def test_training_steps_lower_the_loss(make, waveforms, name):
    _, _, published = make(name, frames={"conv2d": 97, "cnn14": 111}[name])
    published.optimizer.param_groups[0]["lr"] = 1e-3
    before = {key: value.clone() for key, value in published.dictionary.state_dict().items()}
    losses = [published.training_step(waveforms[:, :SHORT]) for _ in range(3)]
    assert losses[-1]["reconstruction"] < losses[0]["reconstruction"]
    terms = {"reconstruction", "sparsity", "fidelity"}
    scores = {"accuracy", "accuracy_imitation", "AI", "AD_published", "AG", "FF", "Fid-In_published"}
    assert set(losses[0]) == terms | scores
    assert torch.equal(published.dictionary.W, before["W"])


@pytest.mark.parametrize("name", ["conv2d", "cnn14"])
def test_scores(make, waveforms, name):
    """Correct scores of the recipe equal ours; the others are reproduced with the faults of the recipe."""
    if importlib.util.find_spec("quantus") is None:
        pytest.skip("quantus is not installed: pip install otoscope[parity]")
    classifier, interpreter, published = make(name)
    spectrogram = classifier.frontend(waveforms)
    prediction = classifier.predict(spectrogram)
    mask = interpreter(spectrogram, prediction).detach().clone()
    mask[..., published.frames :] = 0
    ours = score_prediction(classifier, spectrogram, prediction, mask)
    theirs = published.evaluation_step(waveforms, prediction.predicted)
    assert theirs["accuracy"] == 1
    correct = ["SPS", "COMP"]
    if name == "cnn14":
        correct += ["AI", "AD_published", "AG"]
    else:
        # the recipe classifies the magnitude of the evidence, and subtracts it from the log magnitude
        evidence = spectrogram.masked(mask).magnitude
        remainder = spectrogram.log_magnitude - evidence
        of_evidence, of_remainder = (
            classifier.probabilities(spectrogram.with_log_magnitude(values)).gather(
                1, prediction.predicted[:, None]
            )
            for values in (evidence, remainder)
        )
        whole = prediction.probabilities.amax(1, keepdim=True)
        assert theirs["FF"] == pytest.approx(float((whole - of_remainder).mean()), rel=1e-4, abs=1e-4)
        assert theirs["AI"] == pytest.approx(float(100 * (of_evidence > whole).float().mean()))
    for score in correct:
        assert float(ours[score].mean()) == pytest.approx(theirs[score], rel=1e-4, abs=1e-4), score
