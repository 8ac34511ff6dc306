import importlib.util
from dataclasses import replace

import pytest
import torch

from otoscope.classifiers import Conv2dClassifier
from otoscope.interpreters import PIQInterpreter
from otoscope.metrics import score_mask

SHORT = 110 * 186  # samples of 111 frames, of which the published decoder makes 97


@pytest.fixture
def make(reference, scramble):
    """Makes our classifier and interpreter, and the reference with the same weights."""

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
    log_magnitude = classifier.frontend.log_magnitude(waveforms[:1])
    prediction = classifier(log_magnitude)
    mask = interpreter(log_magnitude, prediction)
    published.network.eval()
    result = published.forward(waveforms[:1])
    assert torch.equal(prediction.predicted, result.logits.argmax(1))
    assert mask.shape == (1, 513, 431)
    agree(mask[..., :417], result.output.transpose(1, 2))
    agree(mask[..., 417:], mask[..., 416:417].expand(-1, -1, 14))


@torch.no_grad()
@pytest.mark.parametrize("use_mask_output", [True, False])
def test_sound(make, waveforms, agree, use_mask_output):
    classifier, interpreter, published = make(10, 16, 100, use_mask_output=use_mask_output)
    spectrogram = classifier.frontend(waveforms[:1])
    mask = interpreter(spectrogram.log_magnitude, classifier(spectrogram.log_magnitude))
    sound = published.interpret(waveforms[0])
    ours = classifier.frontend.inverse(spectrogram.masked(mask))[0]
    whole = 416 * 186 - 1024  # the last frames of theirs lack the one that ours go on with
    assert sound.shape == (416 * 186,)
    agree(ours[:whole], sound[:whole])


@pytest.mark.parametrize("options", [{}, {"use_vq": False}, {"use_mask_output": False}], ids=str)
def test_loss_and_its_gradient(reference, make, waveforms, monkeypatch, options):
    classifier, interpreter, published = make(10, 16, 100, **options)
    interpreter.train()
    published.network.train()
    # In double precision: PyTorch's batch norm loses up to 1e-3 of float32 when it trains on channels-last
    # memory on a CPU, which is how our networks lie in memory.
    for module in (classifier, interpreter, published.classifier, published.network):
        module.double()
    log_magnitude = classifier.frontend.log_magnitude(waveforms[:, :SHORT]).double()
    monkeypatch.setattr(published, "preprocess", lambda waveforms: (log_magnitude.transpose(1, 2), None))

    result = published.forward(waveforms)
    frames = result.output.shape[1]  # as many as the published loss sees
    assert frames == 97
    prediction = classifier(log_magnitude)
    decoded = interpreter.decode(log_magnitude, prediction)
    decoded = replace(decoded, logits=decoded.logits[..., :frames])
    ours = interpreter.loss(decoded, log_magnitude[..., :frames], prediction)
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


def test_a_training_step_lowers_the_loss(make, waveforms):
    _, _, published = make(10, 8, 40)
    losses = [published.training_step(waveforms[:, :SHORT]) for _ in range(3)]
    assert losses[-1]["reconstruction"] < losses[0]["reconstruction"]
    assert set(losses[0]) == {"reconstruction", "codebook", "commitment", "accuracy"}


def test_scores(make, waveforms):
    if importlib.util.find_spec("quantus") is None:
        pytest.skip("quantus is not installed: pip install otoscope[parity]")
    classifier, interpreter, published = make(10, 16, 100)
    log_magnitude = classifier.frontend.log_magnitude(waveforms)
    prediction = classifier(log_magnitude)
    mask = interpreter(log_magnitude, prediction).detach()[..., :417]
    ours = score_mask(classifier.probabilities, log_magnitude[..., :417], mask, prediction.probabilities)
    theirs = published.evaluation_step(waveforms, prediction.predicted)
    assert theirs["accuracy"] == 1
    for name in ("AI", "AD_published", "AG", "FF", "Fid-In", "SPS", "COMP"):
        assert float(ours[name].mean()) == pytest.approx(theirs[name], rel=1e-4, abs=1e-4), name
