"""``otoscope train``: train what a hyperparameter file describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only

from otoscope.cli.hparams import USAGE, add_common_options, instantiate, output_folder_of, parse_hparams
from otoscope.cli.options import make_parser, messages_beside, print_json, shorten
from otoscope.cli.own_recordings import settings_of_data
from otoscope.cli.run_record import record_options, recorded_options
from otoscope.cli.trainer_help import add_trainer_help
from otoscope.data import SoundData
from otoscope.errors import OtoscopeError
from otoscope.scoring import format_table
from otoscope.training.baseline import compare
from otoscope.training.callbacks import SaveInterpretations
from otoscope.training.overlap import OverlapTest
from otoscope.training.run import run_training
from otoscope.training.task import TrainingTask

if TYPE_CHECKING:
    import jsonargparse


def run(arguments: list[str]) -> None:
    """Run the verb.

    Args:
        arguments: Command line after ``otoscope train``.

    Raises:
        OtoscopeError: An option, the data or a checkpoint is wrong; the message says which.
    """
    parsed = parse_hparams("train", build_parser, arguments, required="--model")
    parser, options, overrides = parsed.parser, parsed.options, parsed.overrides
    folder = output_folder_of(options, options.model.class_path.rsplit(".", 1)[-1].lower())
    if options.test_only:
        # The run may have been trained with overrides, which need not be repeated.
        options = recorded_options(parser, options, folder, overrides) or options
    elif options.follow_data:
        with messages_beside(options.json):
            settings = settings_of_data(options, parsed.content, overrides, folder)
        options = parsed.with_settings(settings)
    # Before the objects are made, because they take the seed from their options.
    _share_seed(options)
    # Opening models prints which ones were taken, and Lightning prints its progress bars. With --json, only the
    # results may stand in the output.
    with messages_beside(options.json):
        objects = instantiate(parser, options)
    # A test alone must not change the record of the training.
    if not options.test_only:
        record_options(options, parser, folder)
    with messages_beside(options.json):
        results = _train(options, objects, folder)
    # Where several processes train together, the first one reports.
    if getattr(rank_zero_only, "rank", 0):
        return
    if options.json:
        print_json(results)
    else:
        _print_results(results, folder)


def build_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of ``otoscope train``."""
    parser = make_parser(
        "train",
        "Train what HPARAMS.yaml describes: `otoscope train HPARAMS.yaml --data_folder DIR [--test_only] "
        "[overrides]`. Overrides are dotted, such as --model.use_vq false or --trainer.max_epochs 5.",
        f"{USAGE.removesuffix('[options]')}[--test_only] [options]",
    )
    add_common_options(parser)
    parser.add_argument("--test_only", action="store_true", help="Evaluate the best checkpoint only.")
    parser.add_argument(
        "--follow_data",
        type=bool,
        default=True,
        help="Whether sample rate, front-end, augmentation and epochs of a classifier's training follow from your "
        "own recordings; options that are given stay.",
    )
    parser.add_subclass_arguments(TrainingTask, "model", required=True)
    parser.add_subclass_arguments(SoundData, "data", required=True)
    skip = {"default_root_dir"}
    parser.add_class_arguments(lightning.Trainer, "trainer", skip=skip, instantiate=False)
    add_trainer_help(parser, shown=("accelerator", "devices", "precision", "max_epochs"))
    parser.add_class_arguments(SaveInterpretations, "interpretations", skip={"folder"}, instantiate=False)
    parser.add_class_arguments(OverlapTest, "overlap", skip={"folder"}, instantiate=False)
    return parser


def _train(options: Any, objects: Any, folder: Path) -> dict[str, Any]:
    interpretations = overlap = None
    if options.interpretations.clips > 0:
        interpretations = SaveInterpretations(folder / "interpretations", **options.interpretations.as_dict())
    if options.overlap.clips > 0:
        overlap = OverlapTest(folder / "overlap", **options.overlap.as_dict())
    try:
        return run_training(
            objects.model,
            objects.data,
            folder,
            dict(objects.trainer),
            options.test_only,
            interpretations,
            overlap,
        )
    except MisconfigurationException as error:
        raise OtoscopeError(shorten(str(error))) from error


def _share_seed(options: Any) -> None:
    """Give ``--seed`` to the model and to the data."""
    for part in ("model", "data"):
        if "seed" in options[part].init_args:
            options[part].init_args.seed = options.seed


def _print_results(results: dict[str, Any], folder: Path) -> None:
    if "scores" in results:
        print(format_table(results["scores"]))
    for name, value in results.get("overlap", {}).items():
        print(f"overlap {name.replace('_', ' '):<36}{value:.4g}")
    if "accuracy" in results:
        for label, value in results["accuracy_per_class"].items():
            print(f"  {label:<24}" + ("-" if value is None else f"{100 * value:6.1f} %"))
        print(f"test accuracy {100 * results['accuracy']:.1f} % of {results['clips']} clips")
    if "linear_baseline" in results:
        print(compare(results["accuracy"], results["linear_baseline"]))
    for name, value in results.get("nmf", {}).items():
        print(f"{name.replace('_', ' '):<24}{value:.5g}")
    print(f"results in {folder} (model, test.json, checkpoints)")
