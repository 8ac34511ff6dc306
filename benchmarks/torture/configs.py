"""Mutated model folders of every kind: none may raise a raw exception, hang, or run code.

python -m benchmarks.torture.configs --cases 10000 --seed 0
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.torture import harness
from benchmarks.torture.harness import Trial
from benchmarks.torture.mutations import CLASSES, as_text, damage, mutate
from typing_extensions import override

LABELS = ["dog", "rain", "siren"]
_FRONTEND: dict[str, Any] = {"sample_rate_hz": 16_000, "n_fft": 128, "window_ms": 8.0, "hop_ms": 4.0}
_FOCALNET = {"embed_dim": 4, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 32], "image_size": 32}
_VIT = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "image_size": 32,
    "patch_size": 16,
}
_LARGE = 20_000
"""Characters of a configuration that is not mutated any further."""
_CODE = """
import pathlib
pathlib.Path({canary!r}).touch()
"""


class ModelFolders(Trial):
    """Model folders with a mutated ``config.json``, sometimes with damaged weights as well.

    Args:
        seed: Seed of all mutations.
        external: Whether to include models of `transformers`, ONNX and functions, which take seconds to import.
    """

    def __init__(self, seed: int, external: bool = True) -> None:
        super().__init__(seed)
        self.external = external

    @override
    def prepare(self, folder: Path) -> None:
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.models: list[Path] = []
        _write_models(folder)
        if self.external:
            _write_external(folder)
        self.models = sorted(path for path in folder.iterdir() if (path / "config.json").is_file())
        _plant(self.outside, folder)

    @override
    def write(self, index: int, folder: Path) -> str:
        draw = random.Random(f"{self.seed} {index}")
        model = self.models[index % len(self.models)]
        shutil.copytree(model, folder, dirs_exist_ok=True)
        configs = sorted(folder.rglob("config.json"))
        config = draw.choice(configs)
        content = json.loads(config.read_text())
        kind = draw.random()
        if kind < 0.06:
            data, done = damage(config.read_bytes(), draw)
            config.write_bytes(data)
        elif kind < 0.12:
            others = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != config]
            path = draw.choice(others or [config])
            data, done = _damaged_weights(path, draw)
            path.write_bytes(data)
        else:
            # Deep values are copied and written here; what is tested has the usual limit.
            limit = sys.getrecursionlimit()
            sys.setrecursionlimit(20 * limit)
            content, done = self._hostile(content, draw) if kind < 0.35 else mutate(content, draw)
            # Deep values are not mutated again: listing their places takes longer than the time limit of a case.
            while draw.random() < 0.4 and len(json.dumps(content)) < _LARGE:
                content, further = mutate(content, draw)
                done += f", {further}"
            config.write_text(as_text(content, draw), encoding="utf-8", errors="surrogatepass")
            sys.setrecursionlimit(limit)
        return f"{model.name} {config.parent.name}: {done}"

    def _hostile(self, content: dict[str, Any], draw: random.Random) -> tuple[dict[str, Any], str]:
        """Let a configuration name something that it has no business with."""
        outside = str(self.outside)
        names: list[tuple[str, Any]] = [
            ("model", draw.choice((f"{outside}/transformers", "owner/name", f"{outside}/secret.txt"))),
            ("weights", draw.choice((f"{outside}/transformers", f"{outside}/weights.pt", "owner/name"))),
            ("dictionary", draw.choice((f"{outside}/dictionary", "owner/name"))),
            ("labels", f"{outside}/secret.txt"),
            ("path", f"{outside}/network.onnx"),
            ("class_vectors", [[0.0] * 8] * 3),
            ("prompt", "{0.__class__}"),
            ("feature_extractor", f"{outside}/transformers"),
            ("features", {"class_path": draw.choice(CLASSES)}),
            ("input", {"class_path": draw.choice(CLASSES)}),
            ("function", {"class_path": draw.choice(CLASSES)}),
            ("module", {"class_path": draw.choice(CLASSES), "init_args": {}}),
            ("classifier", {"class_path": "os.system"}),
            ("trust_remote_code", True),
            ("from_pretrained", f"{outside}/transformers"),
        ]
        options: list[tuple[str, Any]] = [
            ("_name_or_path", f"{outside}/transformers"),
            ("auto_map", {"AutoConfig": "evil.Config", "AutoModelForAudioClassification": "evil.Model"}),
            ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
            ("attn_implementation", "flash_attention_2"),
            ("_attn_implementation", "owner/kernel:attention"),
            ("backbone", f"{outside}/transformers"),
            ("use_pretrained_backbone", True),
            ("adapter_attn_dim", 10**9),
            ("architectures", [draw.choice(("AutoModel", "ClapModel", "LlamaForCausalLM", *CLASSES))]),
            ("model_type", draw.choice(("llama", "timm_backbone", "encoder-decoder", "rag"))),
            ("code_revision", "main"),
            ("custom_pipelines", {"x": {"impl": "evil.Pipe"}}),
        ]
        init = content.get("init", {})
        kind = draw.randrange(4)
        if kind == 0:
            content["class"] = draw.choice(CLASSES)
            return content, f"class = {content['class']}"
        inner = [value for value in init.values() if isinstance(value, dict)]
        if kind == 1 and inner:
            key, value = draw.choice(options)
            draw.choice(inner)[key] = value
            return content, f"option {key} = {str(value)[:60]}"
        key, value = draw.choice(names)
        place = content if draw.random() < 0.2 else init
        place[key] = value
        return content, f"{key} = {str(value)[:60]}"

    @override
    def open(self, folder: Path) -> Any:
        from otoscope.loading import load_model
        from otoscope.store.card import write_card

        model = load_model(folder)
        if (folder / "model.safetensors").is_file() and "nmf" not in (folder / "config.json").read_text():
            write_card(folder, "model")
        return model

    @override
    def use(self, opened: Any) -> None:
        import torch

        from otoscope.classifiers import Classifier

        classifier = opened[1] if isinstance(opened, tuple) else opened
        if isinstance(classifier, Classifier):
            rate = classifier.frontend.sample_rate_hz
            classifier.predict(classifier.frontend(torch.rand(1, min(rate // 5 + 1, 20_000))))


def _damaged_weights(path: Path, draw: random.Random) -> tuple[bytes, str]:
    import torch
    from safetensors.torch import load, save

    data = path.read_bytes()
    if path.suffix == ".safetensors" and draw.random() < 0.4:
        weights = load(data) or {"surplus": torch.zeros(1)}
        name = draw.choice(sorted(weights))
        if weights[name].is_floating_point():
            weights[name].fill_(draw.choice((float("nan"), float("inf"), 1e38)))
        else:
            weights[name] = torch.zeros(3, dtype=draw.choice((torch.bool, torch.float64)))
        return save(weights), f"{name} filled"
    if path.suffix == ".safetensors" and draw.random() < 0.3:
        length = draw.choice((2**63, 2**31, 10**6, 0))
        return length.to_bytes(8, "little") + data[8:], "with another length of its header"
    data, done = damage(data, draw)
    return data, f"{path.name} {done}"


def _write_models(folder: Path) -> None:
    import torch

    from otoscope.audio import Frontend
    from otoscope.classifiers import Classifier, Cnn14Classifier, Conv2dClassifier, save_classifier
    from otoscope.interpreters import Interpreter, L2IInterpreter, LMACInterpreter, PIQInterpreter, save_interpreter
    from otoscope.methods import UNTRAINED
    from otoscope.nn import NMFDictionary

    torch.manual_seed(0)
    frontend = Frontend(**_FRONTEND)
    conv2d = Conv2dClassifier(LABELS, frontend, width=4, depth=2, head_width=4)
    classifiers: dict[str, Classifier] = {
        "conv2d": conv2d,
        "cnn14": Cnn14Classifier(LABELS, frontend, width=1, mel_bins=32),
    }
    for name, classifier in classifiers.items():
        save_classifier(classifier.freeze(), folder / name, metrics={"accuracy": 0.5, "scores": {"AI": 1.0}})
    NMFDictionary(torch.rand(frontend.bins, 5), frontend).save(folder / "nmf", data="noise")
    trained: dict[str, Interpreter[Any]] = {
        "piq": PIQInterpreter(conv2d, codes=4),
        "l2i": L2IInterpreter(conv2d, components=5, decoder_width=4),
        "lmac": LMACInterpreter(conv2d, decoder_width=4),
    }
    for name, interpreter in trained.items():
        save_interpreter(interpreter, conv2d, folder / name)
    for name in UNTRAINED:
        if name != "amt":
            save_interpreter(_interpreter(name, conv2d), conv2d, folder / name)


def _interpreter(name: str, classifier: Any) -> Any:
    import importlib

    from otoscope.methods import METHODS

    module, _, kind = METHODS[name].class_path.rpartition(".")
    return getattr(importlib.import_module(module), kind)(classifier)


def _write_external(folder: Path) -> None:
    import torch
    import transformers

    from otoscope.audio import Frontend
    from otoscope.classifiers import (
        CallableClassifier,
        Classifier,
        FocalNetClassifier,
        TorchClassifier,
        TransformersClassifier,
        ViTClassifier,
        save_classifier,
    )
    from otoscope.interpreters import save_interpreter

    torch.manual_seed(0)
    frontend = Frontend(**_FRONTEND)
    names = dict(enumerate(LABELS))
    small: dict[str, Any] = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    convolutions: dict[str, Any] = {"conv_dim": [4, 4], "conv_kernel": [10, 8], "conv_stride": [5, 8]}
    convolutions |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    wav2vec2 = transformers.Wav2Vec2Config(
        **small, **convolutions, classifier_proj_size=8, id2label=names, vocab_size=4
    )
    ast = transformers.ASTConfig(**small, max_length=32, num_mel_bins=32, id2label=names)
    clap = transformers.ClapAudioConfig(
        patch_embeds_hidden_size=8, depths=[1, 1], num_attention_heads=[1, 1], hidden_size=16, projection_dim=8
    )
    torch_net = {"class_path": "torch.nn.AdaptiveAvgPool1d", "init_args": {"output_size": 3}}
    classifiers: dict[str, Classifier] = {
        "focalnet": FocalNetClassifier(LABELS, frontend, backbone=_FOCALNET, head_width=4),
        "vit": ViTClassifier(LABELS, frontend, backbone=_VIT, head_width=4).freeze(),
        "wav2vec2": TransformersClassifier(transformers.Wav2Vec2ForSequenceClassification(wav2vec2)),
        "ast": TransformersClassifier(transformers.ASTForAudioClassification(ast)),
        "clap": TransformersClassifier(
            transformers.ClapAudioModelWithProjection(clap), LABELS, class_vectors=torch.rand(3, 8)
        ),
        "torch": TorchClassifier(torch_net, LABELS, input="waveform"),
        "callable": CallableClassifier({"class_path": "otoscope.audio.frontend.peak_normalize"}, LABELS),
    }
    onnx = _onnx_file(folder)
    if onnx is not None:
        from otoscope.classifiers import OnnxClassifier

        classifiers["onnx"] = OnnxClassifier(onnx, LABELS)
    for name, classifier in classifiers.items():
        save_classifier(classifier, folder / name)
    save_interpreter(_interpreter("amt", classifiers["vit"]), classifiers["vit"], folder / "amt")


def _onnx_file(folder: Path) -> Path | None:
    """Write a network of one product, from waveforms of 3 samples, if the package `onnx` is installed."""
    try:
        import onnx
    except ImportError:
        return None
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = helper.make_tensor("w", kind, [3, 3], [0.5] * 9)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", kind, ["batch", 3])],
        [helper.make_tensor_value_info("y", kind, ["batch", 3])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "product.onnx"
    onnx.save(model, path)
    return path


def _plant(outside: Path, folder: Path) -> None:
    """Write what a model folder could lead to, if it could name anything outside itself."""
    import torch

    (outside / "secret.txt").write_text("secret one\nsecret two\nsecret three\n")
    torch.save({}, outside / "weights.pt")
    shutil.copytree(folder / "nmf", outside / "dictionary")
    network = folder / "onnx" / "network.onnx"
    if network.is_file():
        shutil.copy(network, outside)
    foreign = outside / "transformers"
    foreign.mkdir()
    (foreign / "evil.py").write_text(_CODE.format(canary=str(outside / "canary")))
    auto = {"AutoConfig": "evil.Config", "AutoModelForAudioClassification": "evil.Model"}
    (foreign / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": auto}))


def main(cases: int, seed: int) -> dict[str, Any]:
    """Open mutated model folders, and return the counts; see `harness.run_trial`."""
    return harness.run_trial(ModelFolders, cases, seed)


if __name__ == "__main__":
    harness.print_counts(main, 10_000)
