"""Commands of the reference's documents, typed as there, with published models of full size, as JSON.

A local server stands for the hub. Its files are written by SpeechBrain's own modules at the published sizes, with
random weights; connections to other machines are refused. ``--debug`` is appended to every command: two batches of
two epochs, so that the commands end within minutes. The same commands run once more without a hub.

Usage: ``python benchmarks/reference_commands.py --data_folder ESC-50-master [--narrow] [--out FILE]``
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from benchmarks.command import ROOT
from benchmarks.reference import (
    ReferenceCnn14,
    ReferenceConv2d,
    ReferenceFocalNet,
    ReferenceViT,
    speechbrain_modules,
)
from torch import nn

from otoscope.speechbrain.labels import ESC50_LABELS

CLASSES = len(ESC50_LABELS)
DESCRIPTION = """
sample_rate: 16000
use_vq: True
use_mask_output: True
embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
    dim: {width}
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: {width}
    out_neurons: 50
    lin_blocks: 1
psi_model: !new:speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio
    dim: {width}
    K: {codes}
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    paths:
        embedding_model: speechbrain/PIQ-ESC50/embedding_modelft.ckpt
        classifier: speechbrain/PIQ-ESC50/classifier.ckpt
        psi_model: speechbrain/PIQ-ESC50/psi_model.ckpt
        label_encoder: speechbrain/PIQ-ESC50/label_encoder.txt
"""
COMMANDS = {
    "classification": ["train.py hparams/cnn14.py --data_folder {data}"],
    "interpret": [
        "train_piq.py hparams/piq.yaml --data_folder={data}",
        "train_piq.py hparams/piq_vq.yaml --data_folder {data} --test_only",
        "train_nmf.py hparams/nmf.yaml --data_folder={data}",
        "train_l2i.py hparams/l2i_conv2dclassifier.yaml --data_folder={data}",
        "train_l2i.py hparams/l2i_cnn14.yaml --data_folder {data}",
        "train_lmac.py hparams/lmac_cnn14.yaml --data_folder {data}",
        "interpret_amt.py hparams/amt_focalnet.yaml --data_folder {data}",
        "interpret_amt.py hparams/amt_vit.yaml --data_folder {data}",
        "eval.py hparams/piq.yaml --data_folder {data} --single_sample {clip}",
    ],
}
"""Commands by folder of the recipes."""
REFUSE_CONNECTIONS = """
import socket
connect = socket.socket.connect
def connect_locally(self, address):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
        raise OSError(f"{address} is outside of this trial")
    return connect(self, address)
socket.socket.connect = connect_locally
"""


def publish(folder: Path, narrow: bool) -> None:
    """Write the published repositories, in the layout of the hub, with random weights."""
    torch.manual_seed(0)
    modules = speechbrain_modules()
    width, codes, components = (8, 120, 6) if narrow else (256, 1024, 100)
    conv2d, cnn14 = ReferenceConv2d(CLASSES, width), ReferenceCnn14(CLASSES, *([2] if narrow else []))
    focalnet = ReferenceFocalNet(CLASSES, *([2] if narrow else []))
    vit = ReferenceViT(CLASSES, 48) if narrow else ReferenceViT(CLASSES)
    repositories: dict[str, dict[str, nn.Module]] = {
        "speechbrain/PIQ-ESC50": {
            "embedding_model.ckpt": conv2d.encoder,
            "embedding_modelft.ckpt": conv2d.encoder,
            "classifier.ckpt": conv2d.head,
            "psi_model.ckpt": modules.VectorQuantizedPSI(dim=width, K=codes),
            "nmf_decoder.ckpt": modules.NMFDecoder(n_comp=components, n_freq=513),
        },
        "fpaissan/r": {"embedding_model.ckpt": cnn14.encoder, "classifier.ckpt": cnn14.head},
        "speechbrain/cnn14-esc50": {"embedding_model.ckpt": cnn14.encoder},
        "speechbrain/focalnet-base-esc50": {
            "embedding_model.ckpt": focalnet.encoder,
            "classifier.ckpt": focalnet.head,
        },
        "speechbrain/vit-base-esc50": {"embedding_model.ckpt": vit.encoder, "classifier.ckpt": vit.head},
    }
    for name, files in repositories.items():
        (folder / name).mkdir(parents=True)
        for file, module in files.items():
            torch.save(module.state_dict(), folder / name / file)
    piq = folder / "speechbrain" / "PIQ-ESC50"
    (piq / "hyperparams.yaml").write_text(DESCRIPTION.format(width=width, codes=codes))
    (piq / "label_encoder.txt").write_text("".join(f"{label!r} => {i}\n" for i, label in enumerate(ESC50_LABELS)))


def _hub() -> Any:
    """Return the context of the tests' local hub."""
    module = runpy.run_path(str(ROOT / "tests" / "hub_server.py"))
    return module["running"]()


def with_fold_5(source: Path, target: Path) -> Path:
    """Return a data folder with fold 5, on which the commands test; clips of fold 4 stand in where it is absent."""
    table = (source / "meta" / "esc50.csv").read_text().splitlines()
    (target / "meta").mkdir(parents=True)
    (target / "audio").symlink_to(source / "audio")
    rows = [row.split(",") for row in table[1:]]
    if not any(row[1] == "5" for row in rows):
        rows += [[row[0], "5", *row[2:]] for row in rows if row[1] == "4"]
    (target / "meta" / "esc50.csv").write_text("\n".join([table[0], *(",".join(row) for row in rows)]) + "\n")
    return target


def run(recipes: Path, environment: dict[str, str], data: Path, clip: Path) -> list[dict[str, Any]]:
    """Run every command in its folder of the recipes, and return what they printed."""
    outcomes = []
    for folder, commands in COMMANDS.items():
        for command in commands:
            words = [*command.format(data=data, clip=clip).split(), "--debug"]
            start = time.perf_counter()
            result = subprocess.run(
                [sys.executable, *words], cwd=recipes / folder, env=environment, capture_output=True, text=True
            )
            lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
            outcomes.append(
                {
                    "command": f"python {command.format(data='ESC-50-master', clip=clip.name)}",
                    "exit_code": result.returncode,
                    "seconds": round(time.perf_counter() - start, 1),
                    "output": [*lines[:4], *lines[4:][-4:]],
                    "errors": result.stderr.strip().splitlines()[-3:] if result.returncode else [],
                }
            )
            print(json.dumps(outcomes[-1]), file=sys.stderr, flush=True)
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the commands with and without a hub and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_folder", type=Path, required=True)
    parser.add_argument("--narrow", action="store_true", help="networks of a few channels")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place, _hub() as server:
        folder = Path(place)
        data = with_fold_5(options.data_folder.resolve(), folder / "data")
        clip = sorted((data / "audio").iterdir())[0]
        publish(folder / "published", options.narrow)
        for path in (folder / "published").glob("*/*"):
            server.add(path.relative_to(folder / "published").as_posix(), path)
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(REFUSE_CONNECTIONS)
        python_path = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        environment |= {"PYTHONPATH": python_path, "OTOSCOPE_CACHE": str(folder / "cache")}
        report: dict[str, Any] = {
            "appended": "--debug",
            "narrow": options.narrow,
            "conditions": {"cores": os.cpu_count(), "torch": torch.__version__, "load": os.getloadavg()},
        }
        for name, endpoint in (("with a hub", server.address), ("offline", "http://127.0.0.1:9")):
            recipes = folder / name.replace(" ", "_") / "ESC50"
            shutil.copytree(ROOT / "recipes" / "ESC50", recipes, ignore=shutil.ignore_patterns("results"))
            hub = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / f"home {name}")}
            report[name] = run(recipes, environment | hub, data, clip)
    text = json.dumps(report, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
