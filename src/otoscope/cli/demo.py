"""``otoscope demo``: explain the sample recordings; then train, explain and score on sounds with known truth."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.cli.options import add_shared, make_parser, messages_beside, parse, print_json

if TYPE_CHECKING:
    import jsonargparse

    from otoscope.data import Synthetic

_QUIET: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_progress_bar": True}


def run(arguments: list[str]) -> None:
    """Run the verb.

    Args:
        arguments: Command line after ``otoscope demo``.
    """
    options = parse(build_parser(), arguments)
    with messages_beside(options.json):
        summary = run_demo(Path(options.output_folder), options.seed, options.clips)
    if options.json:
        print_json(summary)


def build_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of ``otoscope demo``."""
    parser = make_parser(
        "demo",
        "Explain the sample recordings with the bundled model; then train on synthetic sounds with known ground "
        "truth, and explain held-out ones.",
    )
    add_shared(parser, "output_folder", default="otoscope-demo")
    add_shared(parser, "seed", default=0)
    parser.add_argument("--clips", type=int, default=8, help="Number of held-out clips to explain.")
    add_shared(parser, "json")
    return parser


def run_demo(folder: Path, seed: int = 0, clips: int = 8) -> dict[str, Any]:
    """Explain the sample recordings, then train on synthetic scenes and explain held-out ones; print scores.

    Args:
        folder: Folder for ``samples/``, ``classifier/``, ``piq/``, ``explanations/`` and ``summary.json``.
        seed: Seed of the sounds and of the trainings.
        clips: Number of held-out clips to explain.

    Returns:
        The content of ``summary.json``.
    """
    from otoscope.data import Synthetic
    from otoscope.files.json import write_json
    from otoscope.scoring import format_table

    start = time.monotonic()
    samples = _explain_samples(folder / "samples")
    for part in ("classifier", "piq"):  # a demo starts afresh; a training would resume from its checkpoint
        shutil.rmtree(folder / part / "checkpoints", ignore_errors=True)
    data = Synthetic(clips_per_class=24, batch_size=16, seed=seed)
    print("1/4 Training a classifier of synthetic sounds (the event of each clip is known exactly) ...")
    accuracy = _train_classifier(data, folder / "classifier", seed)["accuracy"]
    print(f"    test accuracy {100 * accuracy:.0f} % on {len(data.labels)} classes")
    print("2/4 Training PIQ to explain it ...")
    scores = _train_piq(data, folder / "piq", folder / "classifier" / "model", seed)["scores"]
    print(f"3/4 Explaining {clips} held-out clips ...")
    _explain(data, folder, clips)
    print("4/4 Scores on all held-out clips; the rows below PIQ are controls that know nothing of the classifier\n")
    print(format_table(scores, _columns()))
    print(f"\n{_comparison(scores)}\n")
    seconds = time.monotonic() - start
    print(f"Listen to {folder}/explanations/*/interpretation.wav beside original.wav, look at spectra.png;")
    print(f"all numbers: {folder}/summary.json. {seconds:.0f} s.")
    summary = {
        "accuracy": accuracy,
        "scores": scores,
        "seed": seed,
        "seconds": round(seconds, 1),
        "explanations": samples,
    }
    write_json(folder / "summary.json", summary)
    return summary


def _explain_samples(folder: Path) -> list[dict[str, Any]]:
    """Explain the sample recordings with the bundled model, and say where to look and listen.

    Returns:
        For each recording its folder and the content of its ``explanation.json``.
    """
    from otoscope.explain import load
    from otoscope.models import sample_recordings

    # The default method, without training, keeps the part that decides, which is easy to check by ear.
    explainer = load()
    print(f"Explaining the sample recordings ({explainer.method}) with a classifier of ten everyday sounds ...")
    results = []
    for sample in sample_recordings():
        explanation = explainer.explain(sample.path)
        explanation.save(folder / sample.name)
        results.append({"folder": str(folder / sample.name), **explanation.to_dict()})
        print("    " + explanation.summary())
    print(f"Look at {folder}/*/spectra.png. Listen to original.wav, then to the evidence,")
    print("interpretation_levelled.flac, and to remainder_levelled.flac, which is everything else.\n")
    print("Now from the beginning, on sounds whose truth is known:")
    return results


def _train_classifier(data: Synthetic, folder: Path, seed: int) -> dict[str, Any]:
    from otoscope.classifiers import Conv2dClassifier
    from otoscope.training import ClassifierTraining, run_training

    task = ClassifierTraining(
        partial(Conv2dClassifier, width=24, scale=20.0),
        learning_rate=3e-3,
        weight_decay=1e-2,
        optimizer="adamw",
        schedule="one_cycle",
        time_shift=True,
        seed=seed,
    )
    return run_training(task, data, folder, {**_QUIET, "max_epochs": 10})


def _train_piq(data: Synthetic, folder: Path, classifier: Path, seed: int) -> dict[str, Any]:
    from otoscope.training import PIQ, run_training

    # thresholded activations instead of a mask as output: masks stay close to their start for many epochs
    task = PIQ(
        classifier,
        codes=256,
        use_mask_output=False,
        mask_threshold=0.5,
        learning_rate=3e-3,
        schedule="one_cycle",
        seed=seed,
    )
    return run_training(task, data, folder, {**_QUIET, "max_epochs": 15})


def _explain(data: Synthetic, folder: Path, clips: int) -> None:
    from otoscope.explain import load
    from otoscope.training.callbacks import spread

    explainer = load(folder / "piq" / "model")
    for index in spread(len(data.test_set), clips):  # type: ignore[arg-type]
        clip = data.test_set[index]
        explanation = explainer.explain(clip.waveform, name=clip.name)
        explanation.save(folder / "explanations" / clip.name)
        print("    " + explanation.summary())


def _comparison(scores: dict[str, dict[str, float]]) -> str:
    """Say on which scores PIQ is better or worse than each control of equal area."""
    columns = _columns()
    lines = []
    for control in ("random", "loudest"):
        better = [name for name in columns if _is_better(name, scores["PIQ"], scores[control])]
        worse = [name for name in columns if _is_better(name, scores[control], scores["PIQ"])]
        lines.append(f"PIQ against {control}: better on {_list(better)}; worse on {_list(worse)}.")
    return "\n".join(lines)


def _columns() -> list[str]:
    """Return the scores that the demo shows."""
    from otoscope.metrics import scores_shown

    return list(scores_shown("demo"))


def _is_better(score: str, first: dict[str, float], second: dict[str, float]) -> bool:
    """Return whether the first row is better on a score; False if it has no direction or a row lacks it."""
    from otoscope.metrics import SCORES

    direction = SCORES[score].better
    if direction == "neither" or score not in first or score not in second:
        return False
    return first[score] > second[score] if direction == "higher" else first[score] < second[score]


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"
