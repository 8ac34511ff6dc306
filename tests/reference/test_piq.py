"""PIQ compared with the reference, with the same weights: masks, sounds, loss and its gradient, scores."""

import importlib.util
from dataclasses import replace

import pytest
import torch

from otoscope.audio import Spectrogram
from otoscope.classifiers import Conv2dClassifier
from otoscope.interpreters import PIQInterpreter
from otoscope.scoring import score_prediction

FRAMES = 417  # the published decoder returns 417 of 431 frames
SHORT = 110 * 186  # samples of a clip of 111 frames; the published decoder returns 97 of them


@pytest.fixture
def make(reference, scramble):
    """Function that builds our classifier and interpreter, and the reference with the same weights."""

    def build(classes, width, codes, **options):
        labels = [f"class {index}" for index in range(classes)]
        classifier = scramble(Conv2dClassifier(labels, width=width, scale=1)).freeze()
        interpreter = PIQInterpreter(
            classifier, decoder="published", codes=codes, codebook_init="uniform", **options
        )
        published = reference.ReferencePIQ(classes, width, codes, **options)
        published.load(classifier, scramble(interpreter))
        return classifier, interpreter.eval(), published

    return build


@pytest.mark.parametrize(("width", "use_vq"), [(256, True), (64, False)])
@torch.no_grad()
def test_mask(make, waveforms, agree, width, use_vq):
    classifier, interpreter, published = make(50, width, 1024, use_vq=use_vq)
    spectrogram = classifier.frontend(waveforms[:1])
    prediction = classifier.predict(spectrogram)
    mask = interpreter(spectrogram, prediction)
    published.network.eval()
    result = published.forward(waveforms[:1])
    assert torch.equal(prediction.predicted, result.logits.argmax(1))
    assert mask.shape == (1, 513, 431)
    agree(mask[..., :FRAMES], result.output.transpose(1, 2))
    agree(mask[..., FRAMES:], mask[..., FRAMES - 1 : FRAMES].expand(-1, -1, 14))


@torch.no_grad()
@pytest.mark.parametrize("use_mask_output", [True, False])
def test_sound(make, waveforms, agree, use_mask_output):
    classifier, interpreter, published = make(10, 16, 100, use_mask_output=use_mask_output)
    spectrogram = classifier.frontend(waveforms[:1])
    mask = interpreter(spectrogram, classifier.predict(spectrogram))
    sound = published.interpret(waveforms[0])
    ours = classifier.frontend.inverse(spectrogram.masked(mask))[0]
    assert sound.shape == ((FRAMES - 1) * 186,)
    # our sound continues with further frames, which overlap the last ones of the published sound
    samples = (FRAMES - 1) * 186 - 1024
    agree(ours[:samples], sound[:samples])


@pytest.mark.parametrize("options", [{}, {"use_vq": False}, {"use_mask_output": False}], ids=str)
def test_loss_and_its_gradient(reference, make, waveforms, monkeypatch, options):
    classifier, interpreter, published = make(10, 16, 100, **options)
    interpreter.train()
    published.network.train()
    # In double precision: on a CPU, PyTorch's batch norm in training has errors of up to 1e-3 in float32 for
    # tensors in channels-last memory, which our networks use.
    for module in (classifier, interpreter, published.classifier, published.network):
        module.double()
    log_magnitude = classifier.frontend.log_magnitude(waveforms[:, :SHORT]).double()
    monkeypatch.setattr(published, "preprocess", lambda waveforms: (log_magnitude.transpose(1, 2), None))

    result = published.forward(waveforms)
    frames = result.output.shape[1]
    assert frames == 97
    spectrogram = Spectrogram(log_magnitude)
    prediction = classifier.predict(spectrogram)
    decoded = interpreter.decode(spectrogram, prediction)
    # the published loss sees only the frames that its decoder returns
    decoded = replace(decoded, logits=decoded.logits[..., :frames])
    ours = interpreter.loss(decoded, Spectrogram(log_magnitude[..., :frames]), prediction)
    terms, _ = published.objectives(waveforms, None, result, training=True)
    assert ours.keys() == terms.keys()
    for name, term in terms.items():
        torch.testing.assert_close(ours[name], term, rtol=1e-6, atol=1e-6)

    sum(ours.values()).backward()
    sum(terms.values()).backward()
    named = published.network.named_parameters()
    gradients = {name: weight.grad for name, weight in named if weight.grad is not None}
    gradients = reference.renamed(gradients, reference.inverted(reference.INTERPRETER_NAMES))
    mine = {name: weight.grad for name, weight in interpreter.named_parameters()}
    assert mine.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-6, atol=1e-6, msg=name)


def test_training_steps_lower_the_loss(make, waveforms):
    _, _, published = make(10, 8, 40)
    losses = [published.training_step(waveforms[:, :SHORT]) for _ in range(3)]
    assert losses[-1]["reconstruction"] < losses[0]["reconstruction"]
    assert set(losses[0]) == {"reconstruction", "codebook", "commitment", "accuracy"}


def test_scores(make, waveforms):
    if importlib.util.find_spec("quantus") is None:
        pytest.skip("quantus is not installed: pip install otoscope[parity]")
    classifier, interpreter, published = make(10, 16, 100)
    spectrogram = classifier.frontend(waveforms)
    prediction = classifier.predict(spectrogram)
    mask = interpreter(spectrogram, prediction).detach()[..., :FRAMES]
    cut = Spectrogram(spectrogram.log_magnitude[..., :FRAMES])
    ours = score_prediction(classifier, cut, prediction, mask)
    theirs = published.evaluation_step(waveforms, prediction.predicted)
    assert theirs["accuracy"] == 1
    for name in ("AI", "AD_published", "AG", "FF", "Fid-In", "SPS", "COMP"):
        assert float(ours[name].mean()) == pytest.approx(theirs[name], rel=1e-4, abs=1e-4), name
