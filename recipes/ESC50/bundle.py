"""Put a trained classifier and its interpreter into the package, with card, sample recordings and ``NOTICE``.

``python bundle.py RUNS --data_folder=<ESC-10> ...``; every figure of the card is read from the files of the runs.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
import yaml
from safetensors.torch import load_file, save_file

from otoscope.data import ESC50
from otoscope.explain import load
from otoscope.files.json import read_json, write_json
from otoscope.models import SAMPLES_NAME, bundled_model

ROOT = Path(__file__).resolve().parents[2]
LIMITS = "ten everyday sounds; for anything else give --model"
USE = (
    "First steps, tutorials and tests: explanations of short recordings of the ten classes above. The classifier "
    "always answers with one of them, whatever it hears. Do not use it for decisions about people or safety. When "
    "the largest probability lies below {threshold}, explanations carry the note: {limits}."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, and write model folder, samples and ``NOTICE``."""
    parser = argparse.ArgumentParser(description="Put a trained classifier and its interpreter into the package.")
    parser.add_argument("runs", type=Path, help="Folder of the runs `classifier` and `fold1` to `fold4`.")
    parser.add_argument("--interpreter", required=True, help="Name of the run of the interpreter in it.")
    parser.add_argument("--data_folder", type=Path, required=True, help="ESC-10, with ATTRIBUTION.txt.")
    parser.add_argument("--uncertain_below", type=float, required=True, help="Probability that needs a note below.")
    parser.add_argument("--notes", type=Path, required=True, help="Markdown with commands and measurements.")
    parser.add_argument("--samples", nargs="+", required=True, help="NAME=CLIP, or NAME=CLIP+CLIP for a mixture.")
    options = parser.parse_args(arguments)
    data = data_of(options.runs / "classifier", options.data_folder)
    authors = attribution(options.data_folder / "ATTRIBUTION.txt")
    used = sorted({clip.name for part in (data.train_set, data.valid_set) for clip in clips_of(part)})
    lines = [authors[name.rpartition("-")[0]] for name in used]
    samples = write_samples(dict(text.split("=") for text in options.samples), data, authors)
    write_model(options, data, lines)
    write_notice(lines, samples)


def data_of(run: Path, data_folder: Path) -> ESC50:
    """Return the data of a run, divided as they were in it."""
    init = yaml.safe_load((run / "hyperparams.yaml").read_text(encoding="utf-8"))["data"]["init_args"]
    data = ESC50(**{**init, "data_folder": data_folder, "cache_folder": None})
    data.prepare_data()
    return data


def clips_of(part: Any) -> list[Any]:
    """Return the clips of a set as a list."""
    return [part[index] for index in range(len(part))]


def attribution(path: Path) -> dict[str, str]:
    """Return the line about the author of each clip, by the name of the clip without class and ending.

    Args:
        path: ``ATTRIBUTION.txt`` of ESC-10.

    Returns:
        Lines such as ``1-100032-A.ogg: clip derived from rose_bark.wav (...) by nfrae [CC0]``.
    """
    text = path.read_text(encoding="utf-8")
    return {name: f"{name}.ogg: {rest}" for name, rest in re.findall(r"^- \[([^\]]+)\.ogg\]:\s*(.*)$", text, re.M)}


def write_model(options: argparse.Namespace, data: ESC50, lines: Sequence[str]) -> None:
    """Write the model folder with its card."""
    run = options.runs / "classifier"
    results = {path.parent.name: read_json(path) for path in sorted(options.runs.glob("fold?/test.json"))}
    correct = sum(round(result["accuracy"] * result["clips"]) for result in results.values())
    metrics: dict[str, dict[str, float]] = {
        "accuracy": {
            "cross-validated": correct / sum(result["clips"] for result in results.values()),
            **{f"fold {name[-1]}, trained on the other three": results[name]["accuracy"] for name in results},
            "held-back clips": read_json(run / "test.json")["accuracy"],
        }
    }
    explainer = load(options.runs / options.interpreter / "model")
    networks = {"classifier": explainer.classifier, "interpreter": explainer.interpreter}
    sizes = {
        name: sum(value.numel() for value in network.state_dict().values()) for name, network in networks.items()
    }
    # two bytes each in half precision
    metrics["size"] = {f"values in the {name}, thousands": size / 1000 for name, size in sizes.items()}
    metrics["size"]["weights, MB"] = 2e-6 * sum(sizes.values())
    held = ", ".join(sorted(clip.name for clip in clips_of(data.valid_set)))
    details = {
        "data": f"ESC-10 (CC BY 3.0), folds 1 to 4: {len(clips_of(data.train_set))} clips for training; these "
        f"{len(clips_of(data.valid_set))} were held back from training and chose the checkpoint of the interpreter "
        f"only: {held}.",
        "license": "cc-by-3.0",
        "limits": LIMITS,
        "training": options.notes.read_text(encoding="utf-8").strip(),
        "attribution": list(lines),
    }
    # What is said about the classifier is kept with it: it is opened alone for methods that need no training.
    explainer.classifier.details = {
        "uncertain_below": options.uncertain_below,
        "intended_use": USE.format(threshold=options.uncertain_below, limits=LIMITS),
        **details,
    }
    explainer.details = {"metrics": metrics}
    explainer.save_pretrained(bundled_model(), license="cc-by-3.0", data=details["data"])
    for weights in bundled_model().rglob("*.safetensors"):
        halve_precision(weights)
    card = bundled_model() / "README.md"
    # the bundled model is opened without a name
    card.write_text(
        card.read_text(encoding="utf-8").replace('otoscope.load("esc10")', "otoscope.load()"), encoding="utf-8"
    )


def halve_precision(path: Path) -> None:
    """Store the weights of a file in half precision; loading turns them into that of the network."""
    weights = load_file(path)
    save_file({name: value.half() if value.is_floating_point() else value for name, value in weights.items()}, path)
    path.chmod(0o644)  # the wheel keeps the mode, and other users must be able to read the file


def write_samples(recipes: Mapping[str, str], data: ESC50, authors: Mapping[str, str]) -> list[str]:
    """Write the sample recordings and their list; return a line about the source of each.

    Args:
        recipes: For each sample the clip, or the clips joined by ``+`` that are mixed.
        data: Data whose clips are taken.
        authors: Result of `attribution`.
    """
    folder = bundled_model().parent / "samples"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    held = {clip.name for clip in clips_of(data.valid_set)}
    rows, lines = [], []
    for name, recipe in recipes.items():
        clips = recipe.split("+")
        paths = [data.data_folder / "audio" / f"{clip}.ogg" for clip in clips]
        mix_files(paths, folder / f"{name}.ogg")
        labels = [label_of(clip, data) for clip in clips]
        trained = [clip for clip in clips if clip not in held]
        rows.append({"file": f"{name}.ogg", "labels": labels, "clips": clips, "in_training": trained})
        lines += [f"{name}.ogg: {authors[clip.rpartition('-')[0]]}" for clip in clips]
    remark = (
        "ESC-10 clips (CC BY 3.0; authors in NOTICE), as they are or two with equal peaks added, by "
        "recipes/ESC50/bundle.py. labels: the loudest class first."
    )
    write_json(folder / SAMPLES_NAME, {"remark": remark, "samples": rows})
    return lines


def label_of(clip: str, data: ESC50) -> str:
    """Return the class of a clip of a data set."""
    files = [file for part in (data.train_set, data.valid_set) for file in part.files]  # type: ignore[attr-defined]
    label: str = next(data.labels[file.target] for file in files if file.path.stem == clip)
    return label


def mix_files(paths: Sequence[Path], target: Path) -> None:
    """Copy one sound file, or add several with equal peaks and write the sum, as long as the shortest.

    Args:
        paths: Sound files of one sample rate.
        target: Ogg file to write, with a peak of 0.9.
    """
    if len(paths) == 1:
        shutil.copyfile(paths[0], target)
        return
    waves, rates = zip(*(soundfile.read(path) for path in paths), strict=True)
    samples = min(len(wave) for wave in waves)
    total = sum(wave[:samples] / abs(wave).max() for wave in waves)
    soundfile.write(target, 0.9 * total / abs(total).max(), rates[0], format="OGG", subtype="VORBIS")


def write_notice(lines: Sequence[str], samples: Sequence[str]) -> None:
    """Write ``NOTICE`` at the root of the repository."""
    text = [
        "Otoscope",
        "",
        "The code is licensed under the Apache License 2.0; see LICENSE.",
        "",
        "The bundled model (otoscope/models/esc10) was trained on clips of ESC-10, a data set by Karol J. Piczak",
        "(https://dx.doi.org/10.7910/DVN/YDEPUT), available under the Creative Commons Attribution 3.0 licence",
        "(https://creativecommons.org/licenses/by/3.0/). The sample recordings (otoscope/models/samples) are clips",
        "of ESC-10, or sums of two. The clips were derived from recordings of the Freesound project",
        "(https://freesound.org) by the following authors.",
        "",
        "Sample recordings:",
        "",
        *(f"- {line}" for line in samples),
        "",
        "Clips that the bundled model was trained and validated on:",
        "",
        *(f"- {line}" for line in lines),
    ]
    (ROOT / "NOTICE").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
