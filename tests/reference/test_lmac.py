import importlib.util

import pytest
import torch

from otoscope.classifiers import Cnn14Classifier
from otoscope.interpreters import LMACInterpreter
from otoscope.metrics import score_mask

WIDTH = 4
SHORT = 110 * 186  # samples of 111 frames
MADE = 425  # of 431 frames by the published network


@pytest.fixture
def make(reference, scramble):
    """Makes our classifier and interpreter, and the reference with the same weights."""

    def build(guidance=0.0, classes=10, **options):
        classifier = scramble(Cnn14Classifier([f"class {i}" for i in range(classes)], width=WIDTH)).freeze()
        interpreter = scramble(LMACInterpreter(classifier, "published", guidance=guidance, **options))
        published = reference.ReferenceLMAC(classes, WIDTH, guidance)
        published.load(classifier, interpreter)
        return classifier, interpreter.eval(), published

    return build


@torch.no_grad()
def test_mask(make, waveforms, agree):
    classifier, interpreter, published = make()
    log_magnitude = classifier.frontend.log_magnitude(waveforms)
    mask = interpreter(log_magnitude, classifier(log_magnitude))
    theirs = published.masks(waveforms)
    assert mask.shape == (2, 513, 431)
    assert theirs.shape == (2, 513, MADE)
    agree(mask[..., :MADE], theirs)
    masked, _, _ = published.interpretation(waveforms)
    agree((mask * log_magnitude)[..., :MADE], masked.transpose(1, 2))


@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_loss_and_its_gradient(reference, make, waveforms, monkeypatch, guidance):
    # at two clips a batch, the published sum over clips is twice the mean
    classifier, interpreter, published = make(guidance, l1=0.0 if guidance else 2 * 0.4)
    # in double precision, for the reason that test_piq.py gives
    for module in (classifier, interpreter, published.classifier, published.network):
        module.double()
    frames = 105  # what the network makes of them, so that both see the same frames
    log_magnitude = classifier.frontend.log_magnitude(waveforms[:, :SHORT]).double()
    magnitude = log_magnitude.expm1().transpose(1, 2)
    monkeypatch.setattr(published, "analyze", lambda waveforms: (magnitude, None))
    monkeypatch.setattr(published.classifier.mel, "forward", lambda x: x @ classifier.mel.filters.T)

    prediction = classifier(log_magnitude)
    decoded = interpreter.decode(log_magnitude, prediction)
    decoded.logits = decoded.logits[..., :frames]
    seen = log_magnitude[..., :frames]
    kept = interpreter.mask(decoded) * seen
    correlation = torch.nn.functional.cosine_similarity(kept.flatten(1), seen.flatten(1))
    if guidance:  # one clip of the two is guided
        interpreter.guidance_correlation = middle = correlation.mean().item()
        assert (correlation >= middle).sum() == 1
        monkeypatch.setattr(reference.lmac, "GUIDED", middle)
    ours = interpreter.loss(decoded, seen, prediction)
    result = published.forward(waveforms)
    assert result.mask.shape[1] == frames
    terms, _ = published.objectives(waveforms, None, result, training=True)
    if guidance:  # theirs takes the mean mask of all clips for each that is not guided, ours that clip's own
        terms.pop("area")
    assert ours.keys() == terms.keys()
    for term, value in terms.items():
        torch.testing.assert_close(ours[term], value, rtol=1e-6, atol=1e-6, msg=term)

    sum(ours.values()).backward()
    sum(terms.values()).backward()
    theirs = {key: weight.grad for key, weight in published.network.named_parameters()}
    theirs = reference.renamed(theirs, reference.inverted(reference.MASK_NAMES))
    mine = {key: weight.grad for key, weight in interpreter.named_parameters()}
    assert mine.keys() == theirs.keys()
    for key, gradient in theirs.items():
        torch.testing.assert_close(mine[key], gradient, rtol=1e-6, atol=1e-8, msg=key)
        assert gradient.abs().max() > 1e-7, key
    assert all(weight.grad is None for weight in classifier.parameters())


@torch.no_grad()
def test_batches_of_sixteen_have_the_published_strength(make):
    classifier, interpreter, _ = make()
    log_magnitude = torch.rand(16, 513, 64)
    prediction = classifier(log_magnitude)
    decoded = interpreter.decode(log_magnitude, prediction)
    area = 0.4 * interpreter.mask(decoded).mean() * torch.ones(16).sum()
    assert float(interpreter.loss(decoded, log_magnitude, prediction)["area"]) == pytest.approx(
        float(area), rel=1e-5
    )


@torch.no_grad()
def test_sound(make, waveforms, agree):
    classifier, interpreter, published = make()
    spectrogram = classifier.frontend(waveforms[:1])
    mask = interpreter(spectrogram.log_magnitude, classifier(spectrogram.log_magnitude))
    sound = published.interpret(waveforms[0])
    ours = classifier.frontend.inverse(spectrogram.masked(mask))[0]
    whole = (MADE - 1) * 186 - 1024  # behind that theirs may be silent
    agree(ours[:whole], sound[:whole])


@torch.no_grad()
def test_scores(make, waveforms):
    if importlib.util.find_spec("quantus") is None:
        pytest.skip("quantus is not installed: pip install otoscope[parity]")
    classifier, interpreter, published = make()
    log_magnitude = classifier.frontend.log_magnitude(waveforms)[..., :MADE]
    prediction = classifier(classifier.frontend.log_magnitude(waveforms))
    mask = interpreter(classifier.frontend.log_magnitude(waveforms), prediction)[..., :MADE]
    ours = score_mask(classifier.probabilities, log_magnitude, mask, prediction.probabilities)
    theirs = published.evaluation_step(waveforms, prediction.predicted)
    assert theirs["accuracy"] == 1
    for score in ("AI", "AD_published", "AG", "FF", "Fid-In", "SPS", "COMP"):
        assert float(ours[score].mean()) == pytest.approx(theirs[score], rel=1e-4, abs=1e-4), score
