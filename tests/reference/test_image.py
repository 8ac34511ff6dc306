"""FocalNet and ViT, and AMT and PIQ on them, compared with the reference, with the same weights."""

import pytest
import torch
from torch import nn

from otoscope.classifiers import FocalNetClassifier, ViTClassifier
from otoscope.interpreters import AMTInterpreter, PIQInterpreter
from otoscope.scoring import score_prediction

pytest.importorskip("transformers")
LABELS = [f"class {index}" for index in range(10)]
KINDS = {"focalnet": FocalNetClassifier, "vit": ViTClassifier}
NARROW = [("focalnet", 16), ("vit", 48)]
BASE = [("focalnet", 128), ("vit", 768)]


@pytest.fixture
def make(reference, scramble, generator):
    """Function that builds our classifier with weights that make no map flat."""

    @torch.no_grad()
    def build(name, width):
        options = reference.backbone_options(name, width)
        classifier = scramble(KINDS[name](LABELS, backbone=options, scale=1)).freeze()
        for path, part in classifier.backbone.named_modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                variance = 4 if path.endswith(("query", "key", "q_proj", "k_proj")) else 1.5
                part.weight.normal_(0, (variance / part.weight[0].numel()) ** 0.5, generator=generator)
            elif isinstance(part, nn.LayerNorm):
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.normal_(0, 0.1, generator=generator)
        return classifier

    return build


@torch.no_grad()
@pytest.mark.parametrize(("name", "width"), [*NARROW, *BASE])
def test_probabilities_maps_and_mask_of_amt(reference, make, waveforms, agree, name, width):
    classifier = make(name, width)
    interpreter = AMTInterpreter(classifier)
    published = reference.ReferenceAMT(name, len(LABELS), width)
    published.load(classifier, interpreter)
    waveforms = waveforms if width < 128 else waveforms[:1]
    spectrogram = classifier.frontend(waveforms)

    prediction = classifier.predict(spectrogram)
    logits, maps = published.classifier.look(published.log_magnitude(waveforms))
    agree(prediction.probabilities, logits.softmax(1))
    decoded = interpreter.decode(spectrogram, prediction)
    stages = [stage for stage in prediction.activation_maps if stage != "rollout"]
    for stage, theirs in zip(stages, maps, strict=True):
        interpreter.activation_map = stage
        ours = interpreter.decode(spectrogram, prediction).saliency
        # attention is about 1/196 per patch, too small for the absolute tolerance
        agree(ours / ours.amax(), theirs[:, 0].transpose(1, 2) / theirs.amax())
    assert torch.equal(ours, decoded.saliency), "the last stage is the published one"

    mask, published_mask = interpreter.mask(decoded, spectrogram), published.masks(waveforms)
    assert set(published_mask.unique().tolist()) == {0, 1}
    edge = decoded.saliency.flatten(1).quantile(0.9, dim=1)[:, None, None]
    # rounding differs, because our products of large matrices are computed as convolutions
    tied = (decoded.saliency - edge).abs() <= (1e-5 if width < 128 else 1e-4) * edge
    assert tied.float().mean() < (1e-3 if width < 128 else 2e-3)
    assert torch.equal(mask[~tied], published_mask[~tied])


@torch.no_grad()
@pytest.mark.parametrize(("name", "width"), NARROW)
def test_scores_of_amt(reference, make, waveforms, name, width):
    classifier = make(name, width)
    interpreter = AMTInterpreter(classifier)
    published = reference.ReferenceAMT(name, len(LABELS), width)
    published.load(classifier, interpreter)
    spectrogram = classifier.frontend(waveforms)
    prediction = classifier.predict(spectrogram)
    ours = score_prediction(classifier, spectrogram, prediction, interpreter(spectrogram, prediction))
    theirs = published.evaluation_step(waveforms, prediction.predicted)
    assert theirs["accuracy"] == 1
    assert float(ours["Fid-In"].mean()) == theirs["Fid-In"]
    drop = prediction.probabilities.amax(1) - ours["p_evidence"]
    assert float(drop.mean()) == pytest.approx(theirs["faithfulness_published"], abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("use_vq", [True, False])
@pytest.mark.parametrize(("name", "width"), NARROW)
def test_mask_of_piq(reference, make, scramble, waveforms, agree, name, width, use_vq):
    classifier = make(name, width)
    interpreter = PIQInterpreter(classifier, use_vq=use_vq, decoder="published", codes=100, codebook_init="uniform")
    published = reference.ReferencePIQ(len(LABELS), width, 100, use_vq=use_vq, classifier=name)
    published.load(classifier, scramble(interpreter))
    published.network.eval()
    spectrogram = classifier.frontend(waveforms[:1])
    prediction = classifier.predict(spectrogram)
    mask = interpreter.eval()(spectrogram, prediction)
    result = published.forward(waveforms[:1])
    assert torch.equal(prediction.predicted, result.logits.argmax(1))
    assert mask.shape == (1, 513, 431)
    agree(mask, result.output.transpose(1, 2))
