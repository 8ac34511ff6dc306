"""L-MAC compared with the reference, with the same weights: masks, loss and its gradient, sounds, scores."""

import importlib.util

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Cnn14Classifier
from otoscope.interpreters import LMACInterpreter
from otoscope.interpreters.lmac import LMACDecoded
from otoscope.scoring import score_prediction

WIDTH = 4
FRAMES = 425  # the published network returns 425 of 431 frames
SHORT = 110 * 186  # samples of a clip of 111 frames; the published network returns 105 of them


@pytest.fixture
def make(reference, scramble):
    """Function that builds our classifier and interpreter, and the reference with the same weights."""

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
    spectrogram = classifier.frontend(waveforms)
    mask = interpreter(spectrogram, classifier.predict(spectrogram))
    theirs = published.masks(waveforms)
    assert mask.shape == (2, 513, 431)
    assert theirs.shape == (2, 513, FRAMES)
    agree(mask[..., :FRAMES], theirs)
    masked, _, _ = published.interpretation(waveforms)
    agree(spectrogram.masked(mask).log_magnitude[..., :FRAMES], masked.transpose(1, 2))


@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_loss_and_its_gradient(reference, make, waveforms, monkeypatch, guidance):
    # in a batch of two clips, the published sum over clips is twice the mean
    classifier, interpreter, published = make(guidance, l1=0.0 if guidance else 2 * 0.4)
    # in double precision, for the reason given in test_piq.py
    for module in (classifier, interpreter, published.classifier, published.network):
        module.double()
    frames = 105
    log_magnitude = classifier.frontend.log_magnitude(waveforms[:, :SHORT]).double()
    magnitude = log_magnitude.expm1().transpose(1, 2)
    monkeypatch.setattr(published, "analyze", lambda waveforms: (magnitude, None))
    monkeypatch.setattr(published.classifier.mel, "forward", lambda x: x @ classifier.mel.filters.T)

    spectrogram = Spectrogram(log_magnitude)
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    # both losses then see the frames that the published network returns
    decoded = LMACDecoded(decoded.logits[..., :frames], decoded.mask[..., :frames])
    cut = Spectrogram(log_magnitude[..., :frames])
    evidence = cut.masked(interpreter.mask(decoded, cut)).log_magnitude
    correlation = torch.nn.functional.cosine_similarity(evidence.flatten(1), cut.log_magnitude.flatten(1))
    if guidance:
        # with a threshold between the two clips, one is guided and the other is not
        threshold = correlation.mean().item()
        interpreter.guidance_correlation = threshold
        assert (correlation >= threshold).sum() == 1
        monkeypatch.setattr(reference.lmac, "GUIDED", threshold)
    ours = interpreter.loss(decoded, cut, prediction)
    result = published.forward(waveforms)
    assert result.mask.shape[1] == frames
    terms, _ = published.objectives(waveforms, None, result, training=True)
    if guidance:
        # for a clip without guidance, theirs takes the mean mask of all clips, and ours the mask of that clip
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
    spectrogram = Spectrogram(torch.rand(16, 513, 64))
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    expected = 0.4 * interpreter.mask(decoded, spectrogram).mean() * torch.ones(16).sum()
    area = interpreter.loss(decoded, spectrogram, prediction)["area"]
    assert float(area) == pytest.approx(float(expected), rel=1e-5)


@torch.no_grad()
def test_sound(make, waveforms, agree):
    classifier, interpreter, published = make()
    spectrogram = classifier.frontend(waveforms[:1])
    mask = interpreter(spectrogram, classifier.predict(spectrogram))
    sound = published.interpret(waveforms[0])
    ours = classifier.frontend.inverse(spectrogram.masked(mask))[0]
    samples = (FRAMES - 1) * 186 - 1024  # theirs may be silent after these
    agree(ours[:samples], sound[:samples])


@torch.no_grad()
def test_scores(make, waveforms):
    if importlib.util.find_spec("quantus") is None:
        pytest.skip("quantus is not installed: pip install otoscope[parity]")
    classifier, interpreter, published = make()
    spectrogram = classifier.frontend(waveforms)
    prediction = classifier.predict(spectrogram)
    mask = interpreter(spectrogram, prediction)[..., :FRAMES]
    cut = Spectrogram(spectrogram.log_magnitude[..., :FRAMES])
    ours = score_prediction(classifier, cut, prediction, mask)
    theirs = published.evaluation_step(waveforms, prediction.predicted)
    assert theirs["accuracy"] == 1
    for score in ("AI", "AD_published", "AG", "FF", "Fid-In", "SPS", "COMP"):
        assert float(ours[score].mean()) == pytest.approx(theirs[score], rel=1e-4, abs=1e-4), score
