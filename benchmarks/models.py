"""Networks of both sides with equal random weights that respond to real clips."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from benchmarks.command import MethodOptions, ModelOptions
from benchmarks.reference import (
    FRAMES,
    TEMPERATURES,
    Reference,
    ReferenceL2I,
    ReferenceLMAC,
    ReferencePIQ,
    backbone_options,
)
from torch import Tensor, nn

from otoscope.audio import Frontend
from otoscope.classifiers import (
    Classifier,
    Cnn14Classifier,
    Conv2dClassifier,
    FocalNetClassifier,
    ViTClassifier,
)
from otoscope.interpreters import Interpreter, L2IInterpreter, LMACInterpreter, PIQInterpreter
from otoscope.nn import NMFDictionary

DecoderName = Literal["light", "published"]

METHOD_NOTES = {
    "piq": ["on conv2d the reference's masks have 417 of the 431 frames; ours have all"],
    "l2i": [
        "on conv2d the reference's masks have 417 of the 431 frames, the others are zeros; ours have all",
        "ours-light pools by attention over time, the reference has one learnt weight per frame",
        "the dictionary has random spectra; it is fixed on all sides",
    ],
    "lmac": ["the reference's masks have 425 of the 431 frames; ours have all"],
}
"""Differences between the sides that affect the numbers, by method."""


def make_classifier(options: ModelOptions) -> Classifier:
    """Return a frozen classifier with fixed random weights."""
    torch.manual_seed(0)
    labels = [f"class {index}" for index in range(options.classes)]
    # Cosine heads get the scale 1, because those of the reference have none.
    if options.classifier == "cnn14":
        return Cnn14Classifier(labels, width=options.width).freeze()
    if options.classifier == "focalnet":
        backbone = backbone_options("focalnet", options.width)
        return FocalNetClassifier(labels, backbone=backbone, scale=1).freeze()
    if options.classifier == "vit":
        return ViTClassifier(labels, backbone=backbone_options("vit", options.width), scale=1).freeze()
    return Conv2dClassifier(labels, width=options.width, scale=1).freeze()


def make_reference(options: MethodOptions) -> Reference[Any]:
    """Return the reference with random weights."""
    torch.manual_seed(1)
    classifier: Any = options.classifier
    if options.method == "l2i":
        return ReferenceL2I(classifier, options.classes, options.width, options.components)
    if options.method == "lmac":
        return ReferenceLMAC(options.classes, options.width)
    return ReferencePIQ(options.classes, options.width, use_vq=options.use_vq, classifier=classifier)


def method_settings(options: MethodOptions, decoder: DecoderName) -> dict[str, Any]:
    """Return the settings of our interpreter or of its training.

    L2I has the published pooling with the published decoder, and pools by attention (the default) with the light
    one. Its dictionary has fixed random spectra.
    """
    if options.method == "piq":
        return {"decoder": decoder, "use_vq": options.use_vq}
    if options.method == "lmac":
        return {"decoder": decoder}
    frontend = Frontend()
    spectra = 0.1 * torch.rand(frontend.bins, options.components, generator=torch.Generator().manual_seed(0))
    return {
        "decoder": decoder,
        "dictionary": NMFDictionary(spectra, frontend),
        "pooling_frames": FRAMES[options.classifier] if decoder == "published" else None,
        "temperature": TEMPERATURES[options.classifier],
    }


def make_interpreter(options: MethodOptions, decoder: DecoderName, classifier: Classifier) -> Interpreter[Any]:
    """Return one of our interpreters with random weights."""
    torch.manual_seed(1)
    kinds: dict[str, Any] = {"l2i": L2IInterpreter, "lmac": LMACInterpreter, "piq": PIQInterpreter}
    interpreter: Interpreter[Any] = kinds[options.method](classifier, **method_settings(options, decoder))
    return interpreter


@torch.no_grad()
def settle_classifier(classifier: Classifier, waveforms: Tensor) -> None:
    """Set the statistics of the batch norms to those of real clips.

    With the initial statistics, all clips give nearly the same output of random weights.
    """
    # Only the two-dimensional norms: a batch has too few embeddings for statistics.
    with _taking_statistics(classifier, nn.BatchNorm2d):
        classifier(classifier.frontend.log_magnitude(waveforms))


@torch.no_grad()
def settle_interpreter(interpreter: Interpreter[Any], classifier: Classifier, waveforms: Tensor) -> None:
    """Adapt an interpreter to real clips.

    Batch norms take their statistics, PIQ's codes become vectors of the clips, and L2I's model of the spectrogram
    becomes as loud as the clips.
    """
    if isinstance(interpreter, L2IInterpreter | LMACInterpreter):
        _amplify(interpreter)
    spectrogram = classifier.frontend(waveforms, with_phase=False)
    prediction = classifier.predict(spectrogram)
    interpreter.train()
    with _taking_statistics(interpreter, nn.BatchNorm1d, nn.BatchNorm2d):
        decoded = interpreter.decode(spectrogram, prediction)
    interpreter.eval()
    if isinstance(interpreter, L2IInterpreter):
        loudness = (interpreter.dictionary @ decoded.activations).mean()
        # The last layer precedes a ReLU, so scaling its weight and bias scales the activations.
        *_, weight, bias = interpreter.decoder.parameters()
        for parameter in (weight, bias):
            parameter.mul_(spectrogram.log_magnitude.mean() / loudness)


def share_weights(
    source: Interpreter[Any], others: Sequence[Interpreter[Any]], published: Reference[Any], classifier: Classifier
) -> None:
    """Copy the weights of one interpreter to all sides; parts without a counterpart (a light decoder) stay."""
    published.load(classifier, source)
    for other in others:
        shapes = {name: value.shape for name, value in other.state_dict().items()}
        common = {name: value for name, value in source.state_dict().items() if shapes.get(name) == value.shape}
        other.load_state_dict(common, strict=False)


@torch.no_grad()
def disagreement(
    published: Reference[Any], classifier: Classifier, interpreter: Interpreter[Any], waveforms: Tensor
) -> float:
    """Return the largest difference between the masks of both sides, which shows that they compute the same."""
    theirs = published.masks(waveforms)
    spectrogram = classifier.frontend(waveforms, with_phase=False)
    ours = interpreter.eval()(spectrogram, classifier.predict(spectrogram))
    return float((ours[..., : theirs.shape[-1]] - theirs).abs().max())


def _amplify(network: nn.Module) -> None:
    """Give transposed convolutions weights that preserve the size of their input.

    With PyTorch's initialisation, the output of the nine layers of CNN14's network depends on the biases alone.
    """
    for layer in network.modules():
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d):
            # An output value sums this many products; a variance of 2 / terms preserves the size behind a ReLU.
            terms = layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)
            nn.init.normal_(layer.weight, std=math.sqrt(2 / terms))


@contextlib.contextmanager
def _taking_statistics(network: nn.Module, *kinds: type[nn.BatchNorm1d | nn.BatchNorm2d]) -> Iterator[None]:
    """Let batch norms of some kinds replace their statistics by those of the next batch."""
    norms = [module for module in network.modules() if isinstance(module, kinds)]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    yield
    for norm, (training, momentum) in zip(norms, before, strict=True):
        norm.train(training)
        norm.momentum = momentum
