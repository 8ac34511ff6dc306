"""Explains classifiers that were not written for Otoscope, through its public interface only; prints JSON.

A speech detector that ships its weights in a PyPI package (silero-vad), as a torch network and, through its own
ONNX file, as a black box; AST and wav2vec2 of `transformers`, randomly initialised; and a network exported to ONNX,
run as a black box. Where the same network comes in two forms, the explanations are compared.

    pip install 'otoscope[transformers,onnx]' onnx silero-vad
    python examples/foreign_classifiers.py clip.wav --out explanations
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
from otoscope.interpreters import GRADIENT_FREE, UNTRAINED, make_untrained

COMPARED = {"speech": "speech-onnx", "resnet": "resnet-onnx"}
"""The same network in torch and as a black box."""
BLACK_BOX_METHODS = ("rise", "slime", "occlusion")
GRADIENT_METHODS = ("saliency", "integrated_gradients", "smoothgrad")
QUICK = {"rise": {"masks": 60}, "slime": {"samples": 60}, "smoothgrad": {"samples": 4}}
"""Fewer runs of the classifier than by default, for ``--quick``."""


class SpeechDetector(nn.Module):
    """silero-vad over a whole clip: the highest probability of speech in any of its pieces of 32 ms."""

    piece = 512

    def __init__(self) -> None:
        super().__init__()
        self.network: Any = _silero()

    def forward(self, waveform: Tensor) -> Tensor:
        """Probability that there is speech, shape (batch, 1), of waveforms (batch, samples) at 16 kHz."""
        waveform = nn.functional.pad(waveform, (0, -waveform.shape[-1] % self.piece))
        self.network.reset_states()
        pieces = [self.network(piece, 16_000) for piece in waveform.split(self.piece, -1)]
        return torch.cat(pieces, -1).amax(-1, keepdim=True)


def speech() -> Classifier:
    """silero-vad in TorchScript, differentiable."""
    return TorchClassifier(SpeechDetector(), ["speech"], input="waveform", output="probabilities", multi_label=True)


def speech_onnx() -> Classifier:
    """silero-vad in its own ONNX file, of which nothing is known but what it answers."""
    network = _silero(onnx=True, sequence=True)

    def detect(waveforms: np.ndarray) -> np.ndarray:
        return np.stack([network.audio_forward(waveform).max(keepdims=True) for waveform in waveforms])

    return CallableClassifier(detect, ["speech"], multi_label=True)


def ast() -> Classifier:
    """A randomly initialised audio spectrogram transformer."""
    import transformers

    sizes = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192}
    config = transformers.ASTConfig(**sizes, max_length=512, id2label={0: "dog", 1: "rain", 2: "sneezing"})
    return TransformersClassifier(transformers.ASTForAudioClassification(config))


def wav2vec2() -> Classifier:
    """A randomly initialised wav2vec2 with several labels a clip."""
    import transformers

    sizes = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192}
    config = transformers.Wav2Vec2Config(
        **sizes,
        conv_dim=[64] * 7,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        id2label={0: "dog", 1: "rain", 2: "sneezing"},
        problem_type="multi_label_classification",
    )
    return TransformersClassifier(transformers.Wav2Vec2ForSequenceClassification(config))


def resnet_network() -> nn.Module:
    """A network for pictures of one channel, randomly initialised."""
    import transformers

    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], layer_type="basic"
    )
    config.id2label = {0: "dog", 1: "rain", 2: "sneezing"}
    network: nn.Module = transformers.ResNetForImageClassification(config).eval()
    for part in network.modules():
        if isinstance(part, nn.Linear):
            part.weight.data *= 3  # random weights hardly tell clips apart
    return network


def resnet_pair() -> tuple[Classifier, Classifier]:
    """A network in torch and the same exported to ONNX."""
    network = resnet_network()
    labels = ["dog", "rain", "sneezing"]
    path = Path(tempfile.mkdtemp()) / "resnet.onnx"
    export(_LogitsOnly(network), torch.rand(1, 1, 513, 100), path)
    black_box = OnnxClassifier(path, labels, input="log_magnitude")
    return TorchClassifier(network, labels), black_box


class _LogitsOnly(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values).logits
        return logits


def export(network: nn.Module, example: Tensor, path: Path) -> None:
    """Writes a network as ONNX, for any number of clips of any length."""
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
    """The classifiers asked for, by name."""
    torch.manual_seed(0)
    makers: dict[str, Callable[[], Classifier]] = {"speech": speech, "speech-onnx": speech_onnx}
    makers |= {"ast": ast, "wav2vec2": wav2vec2}
    made = {name: makers[name]() for name in names if name in makers}
    if any(name.startswith("resnet") for name in names):
        made["resnet"], made["resnet-onnx"] = resnet_pair()
    return made


def explain(classifier: Classifier, method: str, waveform: Tensor, quick: bool = False) -> Explanation:
    """Explains a waveform with a method that needs no training."""
    options = QUICK.get(method, {}) if quick else {}
    interpreter = make_untrained(method, classifier, **options)
    return Explainer(classifier, interpreter).explain(waveform)


def methods_for(classifier: Classifier) -> list[str]:
    """The methods shown here that this classifier can be explained with."""
    wanted = BLACK_BOX_METHODS + (GRADIENT_METHODS if classifier.differentiable else ())
    known = UNTRAINED if classifier.differentiable else GRADIENT_FREE
    return [method for method in wanted if method in known]


def run(clip: Path, names: Sequence[str], out: Path | None = None, quick: bool = False) -> dict[str, Any]:
    """Explains a clip with every classifier and method.

    Args:
        clip: A sound file.
        names: Of the classifiers.
        out: Folder for the explanations. None: none are written.
        quick: Fewer masks and samples.

    Returns:
        Scores by classifier and method, and for networks in two forms how far their explanations agree.
    """
    waveform = load_audio(clip)
    table: dict[str, Any] = {}
    found: dict[tuple[str, str], Explanation] = {}
    for name, classifier in classifiers(names).items():
        for method in methods_for(classifier):
            began = time.perf_counter()
            explanation = explain(classifier, method, waveform, quick)
            seconds = round(time.perf_counter() - began, 2)
            found[name, method] = explanation
            scores = {key: round(value, 4) for key, value in explanation.scores.items()}
            row = {"label": explanation.label, "p": round(explanation.probabilities[explanation.label], 4)}
            table.setdefault(name, {})[method] = {**row, **scores, "seconds": seconds}
            if out is not None:
                explanation.save(out / name / method)
    return {"clip": clip.name, "explanations": table, "agreement": agreement(found)}


def agreement(found: dict[tuple[str, str], Explanation]) -> dict[str, dict[str, float]]:
    """Intersection over union of the masks for the same network in torch and as a black box."""
    result: dict[str, dict[str, float]] = {}
    for (name, method), explanation in found.items():
        other = found.get((COMPARED.get(name, ""), method))
        if other is None:
            continue
        one, two = explanation.mask > 0.5, other.mask > 0.5
        overlap = float((one & two).sum() / (one | two).sum().clamp(min=1))
        result.setdefault(name, {})[method] = round(overlap, 4)
    return result


def _silero(**options: Any) -> Any:
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad

    torch.set_num_threads(threads)  # the package sets one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, in which its weights come
        return load_silero_vad(**options)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="A sound file.")
    parser.add_argument("--out", type=Path, default=None, help="Folder for sounds and pictures.")
    parser.add_argument("--quick", action="store_true", help="Fewer masks and samples.")
    everything = ["speech", "speech-onnx", "ast", "wav2vec2", "resnet"]
    parser.add_argument("--classifiers", nargs="+", default=everything, choices=everything, help="By default all.")
    options = parser.parse_args()
    print(json.dumps(run(options.clip, options.classifiers, options.out, options.quick), indent=2))


if __name__ == "__main__":
    main()
