"""Mutated model folders of SpeechBrain: none may raise a raw exception, hang, or run code.

python -m benchmarks.torture.speechbrain_folders --cases 2000 --seed 0
"""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.torture import harness
from benchmarks.torture.harness import Trial
from benchmarks.torture.mutations import CLASSES, NUMBERS, TEXTS, damage
from typing_extensions import override

LABELS = ["dog", "it's raining", "siren"]
_FRONTEND = """
sample_rate: 16000
n_fft: 128
spec_mag_power: 0.5
hop_length: 4.0
win_length: 8.0
out: !ref <folder>/<sample_rate>/psi
folder: results/piq
compute_stft: !new:speechbrain.processing.features.STFT
    n_fft: !ref <n_fft>
    hop_length: !ref <hop_length>
    win_length: !ref <win_length>
    sample_rate: !ref <sample_rate>
"""
_CONV2D = """
embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
    dim: 4
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 4
    out_neurons: 3
    lin_blocks: 1
    lin_neurons: 4
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables: {embedding_model: !ref <embedding_model>, classifier: !ref <classifier>}
    paths:
        embedding_model: !ref <folder>/embedding_model.ckpt
        classifier: classifier.ckpt
        label_encoder: label_encoder.txt
"""
_CNN14 = """
use_melspectra_log1p: true
n_mels: 32
compute_fbank: !new:speechbrain.processing.features.Filterbank
    n_mels: !ref <n_mels>
    n_fft: !ref <n_fft>
    log_mel: false
embedding_model: !new:speechbrain.lobes.models.Cnn14.Cnn14
    mel_bins: !ref <n_mels>
    emb_dim: 32
classifier: !new:torch.nn.Linear {in_features: 32, out_features: 3}
"""
_PIQ = """
mask_th: 0.35
use_vq: true
use_mask_output: true
psi_model: !new:speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio
    dim: 4
    K: 8
    numclasses: 3
    shared_keys: 0
    use_adapter: true
    adapter_reduce_dim: true
"""
_NMF = """
nmf_decoder: !new:speechbrain.lobes.models.L2I.NMFDecoderAudio {n_comp: 5, n_freq: 65}
"""
_BOMBS = (
    "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
    "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
    "loop: &loop [*loop]\n",
    "loop: &loop {<<: *loop}\n",
    "".join(f"r{i}: !ref <r{i + 1}><r{i + 1}>\n" for i in range(60)) + "r60: x\nmask_th: !ref <r0>\n",
    "".join(f"r{i}: !ref <r{i + 1}>\n" for i in range(3000)) + "r3000: 1\nn_fft: !ref <r0>\n",
    "n_fft: !ref <n_fft>\n",
    "n_fft: !ref <n_fft[n_fft]>\n",
    "n_fft: !ref <compute_stft[n_fft]>\n",
    "sample_rate: !ref <" + "[" * 2000 + ">\n",
    "deep: " + "[" * 3000 + "]" * 3000 + "\n",
    "deep: " + "{a: " * 500 + "1" + "}" * 500 + "\n",
    "text: " + "x" * 90_000 + "\nmask_th: !ref <text><text>\n",
    "when: !!timestamp x\n",
    "number: !!int ''\n",
    "number: !!float x\n",
    "number: " + "9" * 5000 + "\n",
    "number: 1:" + "59:" * 2000 + "0\n",
    "? [a, b]\n: 1\n",
    "? !new:x.y {a: 1}\n: 1\n",
    "bytes: !!binary '%%%'\n",
    "set: !!set {a, b}\n",
    "pairs: !!omap [1]\n",
)
_TAGS = (
    "!!python/object/apply:os.system ['touch canary']", "!!python/name:os.system",
    "!apply:os.system ['touch canary']",
    "!new:subprocess.Popen [['touch', 'canary']]", "!name:builtins.eval", "!include:outside.yaml",
    "!copy <n_fft>", "!ref <x>",
    "!ref", "!new:", "!new", "!tuple (1, 2)", "!applyref:os.system", "!!python/module:torture_canary",
    "!module:torture_canary",
    "!apply:transformers.ViTModel.from_pretrained [owner/name]",
    "!apply:transformers.FocalNetBackbone.from_pretrained [/etc]",
    "!apply:torture_canary.run", "!new:torture_canary.Canary {}", "!lambda:x", "!PLACEHOLDER",
)  # fmt: skip


class SpeechBrainFolders(Trial):
    """Folders with a mutated ``hyperparams.yaml``, label encoder or file of weights."""

    @override
    def prepare(self, folder: Path) -> None:
        (folder / "outside").mkdir()
        (folder / "outside" / "outside.yaml").write_text("secret: 1\n")
        _write_folders(folder)
        self.models = sorted(path for path in folder.iterdir() if path.name != "outside")

    @override
    def write(self, index: int, folder: Path) -> str:
        draw = random.Random(f"{self.seed} {index}")
        model = self.models[index % len(self.models)]
        shutil.copytree(model, folder, dirs_exist_ok=True)
        done = []
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            done.append(self._change(folder, draw))
        return f"{model.name}: {', '.join(done)}"

    def _change(self, folder: Path, draw: random.Random) -> str:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        yaml = folder / "hyperparams.yaml"
        kind = draw.random()
        if kind < 0.15 or not yaml.is_file():
            path = draw.choice(files)
            if kind < 0.03:
                path.unlink()
                return f"{path.name} deleted"
            if path.suffix == ".ckpt" and draw.random() < 0.6:
                return f"{path.name} {_rewrite(path, draw)}"
            data, done = damage(path.read_bytes(), draw)
            path.write_bytes(data)
            return f"{path.name} {done}"
        if kind < 0.22:
            label = draw.choice(
                (*TEXTS, "'dog' => 0", "x => y", "[[1]] => 3", "'a' => 99999999999", "'\\ud800' => 3")
            )
            path = folder / "label_encoder.txt"
            text = path.read_text(errors="replace") if path.is_file() else ""
            path.write_text(label + "\n" + text, errors="surrogatepass")
            return f"label {label[:40]!r}"
        lines = yaml.read_text(errors="replace").split("\n")
        if kind < 0.35:
            bomb = draw.randrange(len(_BOMBS))
            yaml.write_text("\n".join([*lines, _BOMBS[bomb]]), errors="surrogatepass")
            return f"bomb {bomb}"
        position = draw.randrange(len(lines))
        if kind < 0.45:
            del lines[position]
            done = f"line {position} deleted"
        elif kind < 0.52:
            lines.insert(draw.randrange(len(lines)), draw.choice(("  ", "", "\t")) + lines[position])
            done = f"line {position} repeated"
        else:
            name, colon, _ = lines[position].partition(": ")
            value = _odd_value(draw, lines)
            lines[position] = f"{name}{colon or ': '}{value}"
            done = f"{name.strip()} = {value[:60]!r}"
        yaml.write_text("\n".join(lines), errors="surrogatepass")
        return done

    @override
    def open(self, folder: Path) -> Any:
        from otoscope.loading import load_model

        return load_model(folder)

    @override
    def use(self, opened: Any) -> None:
        import torch

        from otoscope.classifiers import Classifier

        classifier = opened[1] if isinstance(opened, tuple) else opened
        if isinstance(classifier, Classifier):
            classifier.predict(classifier.frontend(torch.rand(1, 3000)))


def _odd_value(draw: random.Random, lines: list[str]) -> str:
    kind = draw.randrange(6)
    if kind == 0:
        return draw.choice(_TAGS)
    if kind == 1:
        return str(draw.choice(NUMBERS))
    if kind == 2:
        return draw.choice(TEXTS)
    if kind == 3:
        return draw.choice(
            ("[]", "{}", "null", "[1, 2]", "{a: 1}", "true", "*x", "&x", "<<", "-", "? :", "|", "> x")
        )
    if kind == 4:
        name = draw.choice(lines).partition(":")[0].strip() or "x"
        return draw.choice((f"!ref <{name}>", f"!ref <{name}[{name}]>", f"!ref <{name}> * 2", f"!copy <{name}>"))
    return f"!new:{draw.choice(CLASSES)} {{a: 1}}"


def _rewrite(path: Path, draw: random.Random) -> str:
    """Replace one tensor of a file by one that does not belong there, or all by something else."""
    import torch

    try:
        state = torch.load(path, weights_only=True)
        name = draw.choice(sorted(state))
        value = state[name]
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            return "left as it is"
    except Exception:  # damaged already
        return "left as it is"
    odd: list[Any] = [
        torch.zeros(0), torch.zeros(10**9, 0), torch.zeros(1).expand(10**6, 10**6), torch.tensor(float("nan")),
        torch.full_like(value, float("nan")) if value.is_floating_point() else value,
        torch.zeros(3).to_sparse(), 7, None,
        torch.zeros(2, dtype=torch.complex64), [1], {"a": 1}, "text", value[None], torch.zeros(3, 3, 3, 3, 3,
        3, 3, 3, 3),
        torch.ones(value.shape, dtype=torch.int64), torch.zeros(2, dtype=torch.bool), torch.zeros(2,
        dtype=torch.float8_e5m2),
    ]  # fmt: skip
    choice = draw.randrange(len(odd) + 4)
    if choice < len(odd):
        state[name] = odd[choice]
    elif choice == len(odd):
        del state[name]
    elif choice == len(odd) + 1:
        state = draw.choice(([], 3, {}, {"model": state}, {3: torch.zeros(1)}, torch.zeros(3)))
    elif choice == len(odd) + 2:
        state["surplus"] = torch.zeros(1)
    else:
        path.write_bytes(pickle.dumps(Path("canary")))
        return "a pickle of another class"
    torch.save(state, path)
    return f"{name} rewritten ({choice})"


def _write_folders(folder: Path) -> None:
    import torch

    from otoscope.audio import Frontend
    from otoscope.classifiers import Cnn14Classifier, Conv2dClassifier
    from otoscope.interpreters import PIQInterpreter
    from otoscope.speechbrain import names

    torch.manual_seed(0)
    frontend = Frontend(16_000, 128, 8.0, 4.0)
    conv2d = Conv2dClassifier(LABELS, frontend, width=4, head_width=4, scale=1).freeze()
    cnn14 = Cnn14Classifier(LABELS, frontend, width=1, mel_bins=32).freeze()
    piq = PIQInterpreter(conv2d, decoder="published", codebook_init="uniform", codes=8, codebook_classes=3)
    conv2d_files = {
        "embedding_model.ckpt": _their_state(conv2d, names.CONV2D_ENCODER),
        "classifier.ckpt": _their_state(conv2d, names.COSINE_HEAD),
    }
    cnn14_files = {
        "embedding_model.ckpt": _their_state(cnn14, names.CNN14_ENCODER),
        "classifier.ckpt": _their_state(cnn14, names.LINEAR_HEAD),
    }
    psi = {"psi_model.ckpt": _their_state(piq, names.PIQ)}
    nmf = {"nmf_decoder.ckpt": {"W": torch.rand(frontend.bins, 5)}}
    _write(folder / "conv2d", _FRONTEND + _CONV2D, conv2d_files)
    _write(folder / "cnn14", _FRONTEND + _CNN14, cnn14_files)
    _write(folder / "piq", _FRONTEND + _CONV2D + _PIQ, {**conv2d_files, **psi})
    _write(folder / "nmf", _FRONTEND + _NMF, nmf)
    _write(folder / "undescribed", None, conv2d_files)
    # The results of a training, in the layout of a recipe.
    keeper = (
        "\ncheckpointer: !new:speechbrain.utils.checkpoints.Checkpointer\n    recoverables:\n        psi_model: 1\n"
    )
    root = folder / "results"
    _write(root, _FRONTEND + _CONV2D + _PIQ + keeper, {})
    for name, files in (("", conv2d_files), ("CKPT+2024", psi)):
        (root / "save" / name).mkdir(parents=True, exist_ok=True)
        for file, state in files.items():
            torch.save(state, root / "save" / name / file)
    (root / "save" / "CKPT+2024" / "CKPT.yaml").write_text(
        "# yamllint disable\nloss: 0.5\nunixtime: 1.5\nend-of-epoch: true\n"
    )


def _write(folder: Path, text: str | None, files: Mapping[str, Mapping[str, Any]]) -> None:
    import torch

    folder.mkdir()
    if text is not None:
        (folder / "hyperparams.yaml").write_text(text)
    (folder / "label_encoder.txt").write_text("".join(f"{label!r} => {i}\n" for i, label in enumerate(LABELS)))
    for name, state in files.items():
        torch.save(dict(state), folder / name)


def _their_state(module: Any, table: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of a network of ours under the names that SpeechBrain has for them."""
    theirs = {ours.removesuffix("."): name for name, ours in table.items()}
    state = {}
    for name, value in module.state_dict().items():
        matches = [part for part in theirs if name == part or name.startswith(f"{part}.")]
        if matches:
            part = max(matches, key=len)
            state[(theirs[part] + name.removeprefix(part)).lstrip(".")] = value.clone()
    return state


def main(cases: int, seed: int) -> dict[str, Any]:
    """Open mutated folders of SpeechBrain, and return the counts; see `harness.run_trial`."""
    return harness.run_trial(SpeechBrainFolders, cases, seed)


if __name__ == "__main__":
    harness.print_counts(main, 2000)
