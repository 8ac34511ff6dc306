"""Write `clips/` and `models/` of the golden test.

This script was run once, before the golden numbers were recorded. It is kept to show what the folders hold; with
another version of torch or of Otoscope it gives other weights, and so other golden numbers.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import soundfile
import torch
from torch import nn

import otoscope
from otoscope import interpreters
from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier, FocalNetClassifier, ViTClassifier
from otoscope.data import Synthetic

sys.path.insert(0, str(Path(__file__).parent))
from golden_net import GoldenNet

FOLDER = Path(__file__).parent
MODELS = FOLDER / "models"
LABELS = ["siren", "rooster", "clock_tick"]
FOCALNET = {"embed_dim": 4, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 32], "image_size": 64}
# Their decoders have millions of weights whatever the classifier's width.
PACKED = ("l2i", "lmac")
VIT = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 64,
}


def main() -> None:
    """Write everything."""
    make_clips()
    make_models()


def make_clips() -> None:
    """Write one synthetic clip of each class, 0.5, 0.6 and 0.7 s long."""
    (FOLDER / "clips").mkdir(exist_ok=True)
    for position, (label, duration_s) in enumerate(zip(LABELS, (0.5, 0.6, 0.7), strict=True)):
        data = Synthetic(clips_per_class=4, classes=LABELS, duration_s=duration_s, snr_db=(5, 10), seed=7)
        data.setup("test")
        [clip] = [data.test_set[i] for i in range(len(data.test_set)) if data.test_set[i].target == position]
        path = FOLDER / "clips" / f"{label}.wav"
        soundfile.write(path, 0.9 * clip.waveform.numpy(), 16_000, subtype="PCM_16")


def make_models() -> None:
    """Write every model folder."""
    torch.set_num_threads(1)
    frontend = otoscope.Frontend()
    torch.manual_seed(1)
    classifiers = {
        "conv2d": Conv2dClassifier(LABELS, width=6, depth=3, head_width=8, scale=5.0),
        "cnn14": Cnn14Classifier(LABELS, width=1, mel_bins=64),
        "focalnet": FocalNetClassifier(LABELS, backbone=FOCALNET, head_width=8, scale=5.0),
        "vit": ViTClassifier(LABELS, backbone=VIT, head_width=8, scale=5.0),
    }
    for seed, (name, classifier) in enumerate(classifiers.items()):
        torch.manual_seed(10 + seed)
        randomise_norms(classifier)
        sharpen(classifier)
        otoscope.save_classifier(classifier.freeze(), MODELS / name)
    conv2d, cnn14, focalnet = (classifiers[name] for name in ("conv2d", "cnn14", "focalnet"))

    torch.manual_seed(2)
    dictionary = otoscope.NMFDictionary(torch.rand(frontend.bins, 9) ** 4, frontend).sorted()
    dictionary.save(MODELS / "nmf")

    def l2i() -> interpreters.L2IInterpreter:
        interpreter = interpreters.L2IInterpreter(cnn14, dictionary)
        for name, value in interpreter.decoder.named_parameters():
            if name in ("last.bias", "linear.bias"):
                torch.nn.init.uniform_(value, 0.1, 0.5)
        return interpreter

    makers = {
        "piq": (conv2d, lambda: interpreters.PIQInterpreter(conv2d, codes=16)),
        "l2i": (cnn14, l2i),
        "lmac": (cnn14, lambda: interpreters.LMACInterpreter(cnn14)),
        "amt": (focalnet, lambda: interpreters.AMTInterpreter(focalnet)),
        "integrated_gradients": (conv2d, lambda: interpreters.IntegratedGradientsInterpreter(conv2d, steps=4)),
    }
    for seed, (name, (classifier, make)) in enumerate(makers.items()):
        torch.manual_seed(20 + seed)
        interpreter = make()
        randomise_norms(interpreter)
        thin_out(interpreter)
        settle(interpreter, classifier)
        otoscope.save_interpreter(interpreter.eval(), classifier, MODELS / name)
        if name in PACKED:
            shutil.make_archive(str(MODELS / name), "zip", MODELS / name)
            shutil.rmtree(MODELS / name)

    with tempfile.TemporaryDirectory() as folder:
        make_external_classifiers(Path(folder))


def make_external_classifiers(temporary: Path) -> None:
    """Write the folders of the two adapters around one network."""
    torch.manual_seed(30)
    net = GoldenNet().eval()
    randomise_norms(net)
    torch.save(net.state_dict(), temporary / "golden_net.pt")
    network = {"class_path": "golden_net.GoldenNet", "init_args": {"width": 4}}
    classifier = otoscope.TorchClassifier(
        network, LABELS, input="waveform", representation=["early", "late"], weights=temporary / "golden_net.pt"
    )
    otoscope.save_classifier(classifier, MODELS / "torch")
    torch.onnx.export(
        net,
        (torch.zeros(2, 8000),),
        temporary / "golden_net.onnx",
        input_names=["waveform"],
        output_names=["logits"],
        dynamic_axes={"waveform": {0: "batch", 1: "samples"}, "logits": {0: "batch"}},
        dynamo=False,
    )
    otoscope.save_classifier(otoscope.OnnxClassifier(temporary / "golden_net.onnx", LABELS), MODELS / "onnx")


def spectrogram() -> torch.Tensor:
    """Return the log magnitude of six synthetic clips."""
    data = Synthetic(clips_per_class=8, classes=LABELS, duration_s=0.5, seed=8)
    data.setup("test")
    clips = torch.stack([data.test_set[i].waveform for i in range(6)])
    return otoscope.Frontend().log_magnitude(clips)


@torch.no_grad()
def sharpen(classifier: otoscope.Classifier) -> None:
    """Set batch-norm statistics from sounds and widen CNN14's logits, which else hardly depend on the clip."""
    for part in classifier.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = 0.9
    classifier.train()
    for _ in range(3):
        classifier(spectrogram())
    classifier.eval()
    if isinstance(classifier, Cnn14Classifier):
        hidden = classifier(spectrogram()).logits
        scale = 2.0 / hidden.std(0).mean()
        classifier.head.weight *= scale
        classifier.head.bias -= scale * (hidden.mean(0) - classifier.head.bias) + classifier.head.bias


@torch.no_grad()
def settle(interpreter: interpreters.Interpreter, classifier: otoscope.Classifier) -> None:
    """Set codes and batch-norm statistics from sounds, and widen the logits of masks, which else are all near 0."""
    if not any(True for _ in interpreter.parameters()):
        return
    interpreter.train()
    for _ in range(20):
        interpreter.decode(spectrogram(), classifier(spectrogram()))
    interpreter.eval()
    if not isinstance(interpreter, interpreters.L2IInterpreter):
        [part for part in interpreter.decoder.modules() if hasattr(part, "weight")][-1].weight *= 10


def thin_out(module: nn.Module) -> None:
    """Make large weights compressible: one in fifty is not 0 and has one of eight values."""
    for weight in module.parameters():
        if weight.numel() > 30_000:
            keep = torch.rand_like(weight) < 0.02
            levels = torch.tensor([-2.0, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0]) / 1.37
            values = levels[torch.randint(8, weight.shape)]
            weight.data.copy_(torch.where(keep, values * weight.std() * 50**0.5, 0.0))


def randomise_norms(module: nn.Module) -> None:
    """Give batch norms the statistics and weights that a training would; fresh ones change nothing."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight.data, 0.5, 1.5)
            nn.init.normal_(part.bias.data, std=0.3)


if __name__ == "__main__":
    main()
