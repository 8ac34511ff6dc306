"""Explain classifiers that were not written for Otoscope, through its public interface only; print JSON.

The classifiers are a speech detector whose weights come in a PyPI package (silero-vad), as a PyTorch network and,
from its own ONNX file, as a black box; AST and wav2vec2 of `transformers`, randomly initialised; and a network in
PyTorch and exported to ONNX, where it is a black box. If a network comes in two forms, their explanations are
compared.

    pip install 'otoscope[transformers,onnx]' onnx silero-vad
    python examples/external_classifiers.py clip.wav --out explanations
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from otoscope import (
    CallableClassifier,
    Classifier,
    Explainer,
    Explanation,
    OnnxClassifier,
    TorchClassifier,
    TransformersClassifier,
    load_audio,
)
from otoscope.interpreters import make_untrained

LABELS = ["dog", "rain", "sneezing"]
CLASSIFIERS = ("speech", "speech-onnx", "ast", "wav2vec2", "resnet")
BLACK_BOX_VERSIONS = {"speech": "speech-onnx", "resnet": "resnet-onnx"}
"""The same network in PyTorch and as a black box."""
BLACK_BOX_METHODS = ("rise", "slime", "occlusion")
GRADIENT_METHODS = ("saliency", "integrated_gradients", "smoothgrad")
QUICK = {"rise": {"masks": 60}, "slime": {"samples": 60}, "smoothgrad": {"samples": 4}}
"""Options for ``--quick``: fewer runs of the classifier than by default."""

Explanations = dict[tuple[str, str], Explanation]
"""Explanations by classifier and method."""


class SpeechDetector(nn.Module):
    """silero-vad over a whole clip: the highest probability of speech in any of its pieces of 32 ms."""

    piece = 512

    def __init__(self) -> None:
        super().__init__()
        self.network: Any = _silero()

    def forward(self, waveform: Tensor) -> Tensor:
        """Return the probability of speech, shape (batch, 1), in waveforms at 16 kHz, shape (batch, samples)."""
        # zero-padding to a whole number of pieces
        waveform = nn.functional.pad(waveform, (0, -waveform.shape[-1] % self.piece))
        self.network.reset_states()
        pieces = [self.network(piece, 16_000) for piece in waveform.split(self.piece, -1)]
        return torch.cat(pieces, -1).amax(-1, keepdim=True)


def speech() -> Classifier:
    """Return silero-vad in TorchScript, which is differentiable."""
    return TorchClassifier(SpeechDetector(), ["speech"], input="waveform", output="probabilities", multi_label=True)


def speech_onnx() -> Classifier:
    """Return silero-vad from its own ONNX file, as a function from waveforms to probabilities."""
    network = _silero(onnx=True, sequence=True)

    def detect(waveforms: np.ndarray) -> np.ndarray:
        return np.stack([network.audio_forward(waveform).max(keepdims=True) for waveform in waveforms])

    return CallableClassifier(detect, ["speech"], multi_label=True)


def ast() -> Classifier:
    """Return a randomly initialised audio spectrogram transformer."""
    import transformers

    sizes = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192}
    config = transformers.ASTConfig(**sizes, max_length=512, id2label=dict(enumerate(LABELS)))
    return TransformersClassifier(transformers.ASTForAudioClassification(config))


def wav2vec2() -> Classifier:
    """Return a randomly initialised wav2vec2 that gives several labels to a clip."""
    import transformers

    sizes = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192}
    config = transformers.Wav2Vec2Config(
        **sizes,
        conv_dim=[64] * 7,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        id2label=dict(enumerate(LABELS)),
        problem_type="multi_label_classification",
    )
    return TransformersClassifier(transformers.Wav2Vec2ForSequenceClassification(config))


def resnet_network() -> nn.Module:
    """Return a randomly initialised network for pictures with one channel."""
    import transformers

    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], layer_type="basic"
    )
    config.id2label = dict(enumerate(LABELS))
    network: nn.Module = transformers.ResNetForImageClassification(config).eval()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            # random weights give nearly the same logits to every clip
            module.weight.data *= 3
    return network


def resnet_pair() -> tuple[Classifier, Classifier]:
    """Return a network in PyTorch and the same network exported to ONNX."""
    network = resnet_network()
    path = Path(tempfile.mkdtemp()) / "resnet.onnx"
    export(_LogitsOnly(network), torch.rand(1, 1, 513, 100), path)
    black_box = OnnxClassifier(path, LABELS, input="log_magnitude")
    return TorchClassifier(network, LABELS), black_box


class _LogitsOnly(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values).logits
        return logits


def export(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write a network as ONNX, for any number of clips of any length."""
    axes = {"input": {0: "clips", example.ndim - 1: "time"}, "logits": {0: "clips"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor
        torch.onnx.export(
            network,
            (example,),
            path,
            dynamo=False,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes=axes,
        )


def classifiers(names: Sequence[str]) -> dict[str, Classifier]:
    """Return the requested classifiers by name; ``resnet`` comes with ``resnet-onnx``."""
    torch.manual_seed(0)
    makers: dict[str, Callable[[], Classifier]] = {"speech": speech, "speech-onnx": speech_onnx}
    makers |= {"ast": ast, "wav2vec2": wav2vec2}
    by_name = {name: makers[name]() for name in names if name in makers}
    if any(name.startswith("resnet") for name in names):
        by_name["resnet"], by_name["resnet-onnx"] = resnet_pair()
    return by_name


def explain(classifier: Classifier, method: str, waveform: Tensor, quick: bool = False) -> Explanation:
    """Explain a waveform by a method that needs no training."""
    options = QUICK.get(method, {}) if quick else {}
    interpreter = make_untrained(method, classifier, **options)
    return Explainer(classifier, interpreter).explain(waveform)


def methods_for(classifier: Classifier) -> list[str]:
    """Return the methods of this example that can explain a classifier."""
    return [*BLACK_BOX_METHODS, *(GRADIENT_METHODS if classifier.differentiable else ())]


def run(clip: Path, names: Sequence[str], output_folder: Path | None = None, quick: bool = False) -> dict[str, Any]:
    """Explain a clip with every classifier and method.

    Args:
        clip: Sound file.
        names: Names of the classifiers.
        output_folder: Folder for the explanations (default: they are not saved).
        quick: Use fewer masks and samples.

    Returns:
        Scores by classifier and method; for networks in two forms, the agreement of their explanations.
    """
    waveform = load_audio(clip)
    table: dict[str, Any] = {}
    explanations: Explanations = {}
    for name, classifier in classifiers(names).items():
        for method in methods_for(classifier):
            start = time.perf_counter()
            explanation = explain(classifier, method, waveform, quick)
            seconds = round(time.perf_counter() - start, 2)
            explanations[name, method] = explanation
            scores = {key: round(value, 4) for key, value in explanation.scores.items()}
            row = {"label": explanation.label, "p": round(explanation.probabilities[explanation.label], 4)}
            table.setdefault(name, {})[method] = {**row, **scores, "seconds": seconds}
            if output_folder is not None:
                explanation.save(output_folder / name / method)
    return {"clip": clip.name, "explanations": table, "agreement": agreement(explanations)}


def agreement(explanations: Explanations) -> dict[str, dict[str, float]]:
    """Return the intersection over union of the masks of a network in PyTorch and of the same as a black box."""
    result: dict[str, dict[str, float]] = {}
    for (name, method), explanation in explanations.items():
        black_box = explanations.get((BLACK_BOX_VERSIONS.get(name, ""), method))
        if black_box is None:
            continue
        masks = explanation.mask > 0.5, black_box.mask > 0.5
        overlap = float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum().clamp(min=1))
        result.setdefault(name, {})[method] = round(overlap, 4)
    return result


def _silero(**options: Any) -> Any:
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad

    # importing the package sets the number of threads to one
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript, the format of its weights, is deprecated
        return load_silero_vad(**options)


def main() -> None:
    """Run the example from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="Sound file.")
    parser.add_argument(
        "--output_folder", "--out", "-o", type=Path, default=None, help="Folder for sounds and pictures."
    )
    parser.add_argument("--quick", action="store_true", help="Use fewer masks and samples.")
    parser.add_argument(
        "--classifiers",
        nargs="+",
        default=list(CLASSIFIERS),
        choices=CLASSIFIERS,
        help="Classifiers to explain (default: all).",
    )
    options = parser.parse_args()
    print(json.dumps(run(options.clip, options.classifiers, options.output_folder, options.quick), indent=2))


if __name__ == "__main__":
    main()
