"""L-MAC: the terms of its loss, one by one, and what training finds."""

import math

import pytest
import torch

from otoscope.audio import Frontend, Spectrogram
from otoscope.classifiers import Conv2dClassifier, Prediction
from otoscope.errors import ConfigurationError, GradientError
from otoscope.interpreters import LMACInterpreter
from otoscope.interpreters.lmac import LMACDecoded

FRONTEND = Frontend(n_fft=64, window_ms=4, hop_ms=2)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Conv2dClassifier(["dog", "rain", "sea"], FRONTEND, width=6, head_width=5, scale=5).freeze()


def decoded_with(mask, spectrogram):
    """Return what an interpreter with this mask decodes."""
    return LMACDecoded(torch.logit(mask), spectrogram.zero_padding(mask))


def terms(classifier, mask, log_magnitude, frames=None, clean=None, **options):
    """Return the terms of the loss for a given mask as numbers."""
    interpreter = LMACInterpreter(classifier, **options)
    spectrogram = Spectrogram(log_magnitude, frames=frames)
    prediction = classifier.predict(spectrogram)
    losses = interpreter.loss(decoded_with(mask, spectrogram), spectrogram, prediction, clean)
    return {name: value.item() for name, value in losses.items()}


def probability(classifier, log_magnitude, label):
    return classifier.probabilities(Spectrogram(log_magnitude[None]))[0, label].item()


def test_terms_by_hand(classifier):
    log_magnitude, mask = torch.rand(3, 33, 40), 0.05 + 0.9 * torch.rand(3, 33, 40)
    losses = terms(classifier, mask, log_magnitude, l_in=3.0, l_out=0.5, l1=2.0, tv=7.0)
    evidence = remainder = area = roughness = 0.0
    for x, m in zip(log_magnitude, mask, strict=True):
        label = classifier(x[None]).predicted.item()
        evidence -= math.log(probability(classifier, m * x, label)) / 3
        remainder -= math.log(probability(classifier, (1 - m) * x, label)) / 3
        area += m.mean().item() / 3
        roughness += (m.diff(dim=0).square().mean() + m.diff(dim=1).square().mean()).item() / 3
    expected = {
        "evidence": 3 * evidence,
        "remainder": -0.5 * remainder,
        "area": 2 * area,
        "roughness": 7 * roughness,
    }
    assert losses == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("frames", [None, (40, 17)])
def test_masked_logits_are_those_of_evidence_and_remainder(classifier, frames):
    frames = None if frames is None else torch.tensor(frames)
    spectrogram, mask = Spectrogram(torch.rand(2, 33, 40), frames=frames), torch.rand(2, 33, 40)
    interpreter = LMACInterpreter(classifier)
    logits = interpreter.masked_logits(decoded_with(mask, spectrogram), spectrogram)
    expected = [classifier.logits(spectrogram.masked(values)) for values in (mask, 1 - mask)]
    torch.testing.assert_close(logits, torch.stack(expected))


def test_masked_logits_need_not_be_computed_twice(classifier):
    spectrogram, mask = Spectrogram(torch.rand(2, 33, 40)), torch.rand(2, 33, 40)
    interpreter, decoded = LMACInterpreter(classifier), decoded_with(mask, spectrogram)
    prediction = classifier.predict(spectrogram)
    expected = interpreter.loss(decoded, spectrogram, prediction)
    logits, batches = interpreter.masked_logits(decoded, spectrogram), []
    classifier.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    torch.testing.assert_close(interpreter.loss(decoded, spectrogram, prediction, logits=logits), expected)
    assert batches == []


def test_guidance_replaces_the_regularisers_of_clips_that_resemble_the_clean_ones(classifier):
    clean = torch.rand(2, 33, 40)
    clean[:, :10] += 2
    mask = torch.full_like(clean, 0.1)
    mask[0, :10] = 0.8  # the first mask keeps the loud bins, the second the other bins
    mask[1, 10:] = 0.8
    options = {"guidance": 4.0, "guidance_correlation": 0.9, "l1": 1.0, "tv": 1.0}
    both = terms(classifier, mask, clean, **options)
    loud = (clean[0] >= 0.35 * clean[0].max()).float()
    guidance = torch.nn.functional.binary_cross_entropy(mask[0], loud)
    assert both["guidance"] == pytest.approx(4 * guidance.item() / 2, rel=1e-4)
    assert both["area"] == pytest.approx(mask[1].mean().item() / 2, rel=1e-4)
    second = terms(classifier, mask[1:], clean[1:], **options)
    assert second["guidance"] == 0
    assert both["roughness"] == pytest.approx(second["roughness"] / 2, rel=1e-4)


def test_guidance_is_towards_the_clean_clip(classifier):
    clean, noisy = torch.rand(1, 33, 40), torch.rand(1, 33, 40)
    clean[:, :10] += 2
    noisy[:, 20:] += 2
    mask = torch.full_like(clean, 0.5)
    mask[:, :10] = 0.9
    options = {"guidance": 1.0, "guidance_correlation": 0.0}
    loud = (clean >= 0.35 * clean.max()).float()
    expected = torch.nn.functional.binary_cross_entropy(mask, loud).item()
    assert terms(classifier, mask, noisy, clean=clean, **options)["guidance"] == pytest.approx(expected, rel=1e-4)
    assert terms(classifier, mask, noisy, **options)["guidance"] != pytest.approx(expected, rel=1e-2)


def test_padded_clips_count_as_they_do_alone(classifier):
    log_magnitude, mask = torch.rand(2, 33, 40), 0.05 + 0.9 * torch.rand(2, 33, 40)
    options = {"guidance": 1.0, "guidance_correlation": 0.5, "tv": 3.0}
    for lengths in ((40, 17), (40, 1)):
        both = terms(classifier, mask, log_magnitude, torch.tensor(lengths), **options)
        alone = [
            terms(classifier, mask[i : i + 1, :, :n], log_magnitude[i : i + 1, :, :n], **options)
            for i, n in enumerate(lengths)
        ]
        expected = {name: (alone[0][name] + alone[1][name]) / 2 for name in both}
        assert both == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_multi_label_evidence_is_decided_class_by_class(classifier):
    classifier.multi_label = True
    spectrogram, mask = Spectrogram(torch.rand(1, 33, 40)), torch.full((1, 33, 40), 0.5)
    prediction = classifier.predict(spectrogram)
    prediction.multi_label = True
    interpreter = LMACInterpreter(classifier, l_in=1.0)
    evidence = interpreter.loss(decoded_with(mask, spectrogram), spectrogram, prediction)["evidence"]
    logit = classifier.logits(spectrogram.masked(mask))[0, prediction.predicted]
    assert evidence.item() == pytest.approx(math.log1p(math.exp(-logit.item())), rel=1e-4)


def test_training_finds_the_band_that_decides():
    """The classifier reads bins 8 to 15 only: the mask covers them more than the others."""
    torch.manual_seed(0)
    classifier = Conv2dClassifier(["low", "high"], FRONTEND, width=4, head_width=3).freeze()

    def forward(log_magnitude, frames=None):
        level = log_magnitude[:, 8:16].mean((1, 2))
        cells = log_magnitude[:, :32].unfold(1, 16, 16).unfold(2, 16, 16).mean((-1, -2))
        hidden = cells[:, None].expand(-1, 4, -1, -1)
        return Prediction(torch.stack([1 - 8 * level, 8 * level - 1], 1), (hidden,))

    classifier.forward = forward
    spectrogram = Spectrogram(0.5 + 0.1 * torch.rand(4, 33, 32))
    interpreter = LMACInterpreter(classifier, l1=3.0)
    optimizer = torch.optim.Adam(interpreter.parameters(), lr=0.02)
    prediction = classifier.predict(spectrogram)
    for _ in range(60):
        decoded = interpreter.decode(spectrogram, prediction)
        loss = sum(interpreter.loss(decoded, spectrogram, prediction).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    mask = interpreter(spectrogram, prediction)
    others = torch.cat([mask[:, :5], mask[:, 19:]], 1)
    assert mask[:, 8:16].mean() > 2 * others.mean()


def test_invalid_options_are_refused(classifier):
    with pytest.raises(ConfigurationError, match=r"l1 \(-1\)"):
        LMACInterpreter(classifier, l1=-1)
    with pytest.raises(ConfigurationError, match="guidance_threshold"):
        LMACInterpreter(classifier, guidance_threshold=1.0)
    classifier.differentiable = False
    with pytest.raises(GradientError, match="L-MAC needs gradients"):
        LMACInterpreter(classifier)
