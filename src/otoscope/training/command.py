"""``otoscope train``: from a hyperparameter file and overrides to a training."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException

from otoscope.data import SoundData
from otoscope.errors import ConfigurationError, OtoscopeError
from otoscope.files.atomic import replace_text
from otoscope.files.json import json_values
from otoscope.options import IMPORT_HELP, complaint, import_modules, make_parser, parse, values_of, with_shorthands
from otoscope.scoring import format_table
from otoscope.training.callbacks import SaveInterpretations
from otoscope.training.overlap import OverlapTest
from otoscope.training.run import run_training
from otoscope.training.task import TrainingTask

if TYPE_CHECKING:
    import jsonargparse

_HARMLESS = ("data_folder", "num_workers", "cache_folder", "cache_representations", "download")


def train(arguments: list[str]) -> None:
    """Runs the verb.

    Args:
        arguments: The command line behind ``otoscope train``.

    Raises:
        OtoscopeError: Something that the user can mend.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        parser = _training_parser()
        arguments = with_shorthands("train", arguments)
        import_modules(values_of("--import", arguments))
        options = parse(parser, arguments)
        _share_seed(options)
        try:
            objects = parser.instantiate_classes(options)
        except (ValueError, TypeError) as error:
            raise OtoscopeError(complaint(str(error))) from error
    folder = Path(options.output_folder or _default_output(options))
    if not options.test_only:
        _record(options, parser, folder)
    interpretations = None
    if options.interpretations.clips > 0:
        interpretations = SaveInterpretations(folder / "interpretations", **options.interpretations.as_dict())
    overlap = None
    if options.overlap.clips > 0:
        overlap = OverlapTest(folder / "overlap", **options.overlap.as_dict())
    # with --json nothing else may go to the output, and Lightning's progress bars would
    output = contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext()
    try:
        with output:
            trainer = dict(objects.trainer)
            parts = (options.test_only, interpretations, overlap)
            results = run_training(objects.model, objects.data, folder, trainer, *parts)
    except MisconfigurationException as error:
        raise OtoscopeError(complaint(str(error))) from error
    _print_results(results, folder, options.json)


def _record(options: Any, parser: jsonargparse.ArgumentParser, folder: Path) -> None:
    """Writes ``hparams.yaml``, and refuses to go on with a run that was made with other options."""
    path = folder / "hparams.yaml"
    text = parser.dump(options, skip_validation=True)
    if path.is_file() and (folder / "checkpoints" / "last.ckpt").is_file():
        former, present = (_flat(yaml.safe_load(content)) for content in (path.read_text(), text))
        changed = [
            f"{name} was {former.get(name)}, is {present.get(name)}"
            for name in sorted(former.keys() | present.keys())
            if former.get(name) != present.get(name)
            and name.startswith(("model.", "data."))
            and not name.endswith(_HARMLESS)
        ]
        if changed:
            raise ConfigurationError(
                f"{folder}: holds a run with other options ({'; '.join(changed[:5])}); choose another "
                "--output_folder to begin anew, or give the same options to go on"
            )
    replace_text(path, text, remedy="free some space or choose another --output_folder")


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(content, Mapping):
        return {prefix: content}
    result: dict[str, Any] = {}
    for name, value in content.items():
        result |= _flat(value, f"{prefix}.{name}" if prefix else str(name))
    return result


def _training_parser() -> jsonargparse.ArgumentParser:
    parser = make_parser(
        "train",
        "Trains what HPARAMS.yaml says: `otoscope train HPARAMS.yaml --data_folder DIR [--test_only] [overrides]`. "
        "Overrides are dotted, such as --model.use_vq false or --trainer.max_epochs 5.",
    )
    parser.add_argument("--output_folder", type=str | None, default=None, help="By default results/<name>/<seed>.")
    parser.add_argument("--seed", type=int, default=1234, help="Of everything random.")
    parser.add_argument("--test_only", action="store_true", help="Evaluate the best checkpoint only.")
    parser.add_argument("--json", action="store_true", help="Print the results as JSON.")
    parser.add_argument("--import", type=str, action="append", default=[], help=IMPORT_HELP)
    parser.add_subclass_arguments(TrainingTask, "model", required=True)
    parser.add_subclass_arguments(SoundData, "data", required=True)
    skip = {"default_root_dir"}
    parser.add_class_arguments(lightning.Trainer, "trainer", skip=skip, instantiate=False)
    parser.add_class_arguments(SaveInterpretations, "interpretations", skip={"folder"}, instantiate=False)
    parser.add_class_arguments(OverlapTest, "overlap", skip={"folder"}, instantiate=False)
    return parser


def _share_seed(options: Any) -> None:
    for part in ("model", "data"):
        if "seed" in options[part].init_args:
            options[part].init_args.seed = options.seed


def _default_output(options: Any) -> str:
    config = [str(path) for path in (options.config or [])]
    name = Path(config[0]).stem if config else options.model.class_path.rsplit(".", 1)[-1].lower()
    return f"results/{name}/{options.seed}"


def _print_results(results: dict[str, Any], folder: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps(json_values(results), indent=2))
        return
    if "scores" in results:
        print(format_table(results["scores"]))
    for name, value in results.get("overlap", {}).items():
        print(f"overlap {name.replace('_', ' '):<36}{value:.4g}")
    if "accuracy" in results:
        for label, value in results["accuracy_per_class"].items():
            print(f"  {label:<24}" + ("-" if value is None else f"{100 * value:6.1f} %"))
        print(f"test accuracy {100 * results['accuracy']:.1f} % of {results['clips']} clips")
    for name, value in results.get("nmf", {}).items():
        print(f"{name.replace('_', ' '):<24}{value:.5g}")
    print(f"results in {folder} (model, test.json, checkpoints)")
