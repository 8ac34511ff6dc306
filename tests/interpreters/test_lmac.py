import math

import pytest
import torch

from otoscope.audio import Frontend
from otoscope.classifiers import Conv2dClassifier
from otoscope.errors import ConfigurationError, GradientError
from otoscope.interpreters import LMACInterpreter
from otoscope.interpreters.lmac import LMACDecoded

FRONTEND = Frontend(n_fft=64, window_ms=4, hop_ms=2)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Conv2dClassifier(["dog", "rain", "sea"], FRONTEND, width=6, head_width=5, scale=5).freeze()


def terms(classifier, mask, log_magnitude, frames=None, clean=None, **options):
    interpreter = LMACInterpreter(classifier, **options)
    decoded = LMACDecoded(torch.logit(mask))
    prediction = classifier(log_magnitude, frames)
    found = interpreter.loss(decoded, log_magnitude, prediction, frames, clean)
    return {name: value.item() for name, value in found.items()}


def probability(classifier, log_magnitude, label):
    return classifier(log_magnitude[None]).logits.softmax(-1)[0, label].item()


def test_terms_by_hand(classifier):
    log_magnitude, mask = torch.rand(3, 33, 40), 0.05 + 0.9 * torch.rand(3, 33, 40)
    options = {"l_in": 3.0, "l_out": 0.5, "l1": 2.0, "tv": 7.0}
    found = terms(classifier, mask, log_magnitude, **options)
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
    assert found == pytest.approx(expected, rel=1e-4)


def test_guidance_replaces_the_regularisers_of_the_clips_that_resemble(classifier):
    clean = torch.rand(2, 33, 40)
    clean[:, :10] += 2
    mask = torch.full_like(clean, 0.1)
    mask[0, :10] = 0.8  # the first keeps what is loud, the second what is not
    mask[1, 10:] = 0.8
    options = {"guidance": 4.0, "guidance_correlation": 0.9, "l1": 1.0, "tv": 1.0}
    found = terms(classifier, mask, clean, **options)
    loud = (clean[0] >= 0.35 * clean[0].max()).float()
    guidance = torch.nn.functional.binary_cross_entropy(mask[0], loud)
    assert found["guidance"] == pytest.approx(4 * guidance.item() / 2, rel=1e-4)
    assert found["area"] == pytest.approx(mask[1].mean().item() / 2, rel=1e-4)
    alone = terms(classifier, mask[1:], clean[1:], **options)
    assert alone["guidance"] == 0
    assert found["roughness"] == pytest.approx(alone["roughness"] / 2, rel=1e-4)


def test_guidance_goes_by_the_clean_clip(classifier):
    clean, heard = torch.rand(1, 33, 40), torch.rand(1, 33, 40)
    clean[:, :10] += 2
    heard[:, 20:] += 2
    mask = torch.full_like(clean, 0.5)
    options = {"guidance": 1.0, "guidance_correlation": 0.0}
    loud = (clean >= 0.35 * clean.max()).float()
    expected = torch.nn.functional.binary_cross_entropy(mask, loud).item()
    mask[:, :10] = 0.9
    expected = torch.nn.functional.binary_cross_entropy(mask, loud).item()
    assert terms(classifier, mask, heard, clean=clean, **options)["guidance"] == pytest.approx(expected, rel=1e-4)
    assert terms(classifier, mask, heard, **options)["guidance"] != pytest.approx(expected, rel=1e-2)


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


def test_several_labels_a_clip(classifier):
    classifier.multi_label = True
    log_magnitude, mask = torch.rand(1, 33, 40), torch.full((1, 33, 40), 0.5)
    prediction = classifier(log_magnitude)
    prediction.multi_label = True
    interpreter = LMACInterpreter(classifier, l_in=1.0)
    found = interpreter.loss(LMACDecoded(torch.logit(mask)), log_magnitude, prediction)["evidence"]
    logit = classifier(0.5 * log_magnitude).logits[0, prediction.predicted]
    assert found.item() == pytest.approx(math.log1p(math.exp(-logit.item())), rel=1e-4)


def test_training_finds_the_band_that_decides():
    """A classifier that listens to bins 8 to 15 alone: so does the mask, and it leaves the others out."""
    torch.manual_seed(0)
    classifier = Conv2dClassifier(["low", "high"], FRONTEND, width=4, head_width=3).freeze()

    def forward(log_magnitude, frames=None):
        level = log_magnitude[:, 8:16].mean((1, 2))
        hidden = (
            log_magnitude[:, :32].unfold(1, 16, 16).unfold(2, 16, 16).mean((-1, -2))[:, None].expand(-1, 4, -1, -1)
        )
        from otoscope.classifiers import Prediction

        return Prediction(torch.stack([1 - 8 * level, 8 * level - 1], 1), (hidden,))

    classifier.forward = forward
    log_magnitude = 0.5 + 0.1 * torch.rand(4, 33, 32)
    interpreter = LMACInterpreter(classifier, l1=3.0)
    optimizer = torch.optim.Adam(interpreter.parameters(), lr=0.02)
    prediction = classifier(log_magnitude)
    for _ in range(60):
        loss = sum(
            interpreter.loss(interpreter.decode(log_magnitude, prediction), log_magnitude, prediction).values()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    mask = interpreter(log_magnitude, prediction)
    others = torch.cat([mask[:, :5], mask[:, 19:]], 1)
    assert mask[:, 8:16].mean() > 2 * others.mean()


def test_refuses_what_makes_no_sense(classifier):
    with pytest.raises(ConfigurationError, match=r"l1 \(-1\)"):
        LMACInterpreter(classifier, l1=-1)
    with pytest.raises(ConfigurationError, match="guidance_threshold"):
        LMACInterpreter(classifier, guidance_threshold=1.0)
    classifier.differentiable = False
    with pytest.raises(GradientError, match="L-MAC needs gradients"):
        LMACInterpreter(classifier)
