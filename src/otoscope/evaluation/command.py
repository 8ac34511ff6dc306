"""``otoscope evaluate``: from a hyperparameter file and overrides to a table."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.classifiers import Classifier
from otoscope.data import SoundData
from otoscope.errors import OtoscopeError
from otoscope.evaluation.conditions import Conditions
from otoscope.evaluation.run import Settings, run_evaluation
from otoscope.files.json import json_values
from otoscope.loading import load_classifier
from otoscope.options import IMPORT_HELP, complaint, import_modules, make_parser, parse, values_of, with_shorthands

if TYPE_CHECKING:
    import jsonargparse

_HARMLESS = ("data_folder", "num_workers", "cache_folder", "download", "batch_size")


def evaluate(arguments: list[str]) -> None:
    """Runs the verb.

    Args:
        arguments: The command line behind ``otoscope evaluate``.

    Raises:
        OtoscopeError: Something that the user can mend.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        parser = _parser()
        arguments = with_shorthands("evaluate", arguments, enough="--classifier")
        import_modules(values_of("--import", arguments))
        options = parse(parser, arguments)
        try:
            objects = parser.instantiate_classes(options)
        except (ValueError, TypeError) as error:
            raise OtoscopeError(complaint(str(error))) from error
    classifier = objects.classifier
    if isinstance(classifier, str):
        classifier = load_classifier(classifier)
    try:
        classifier.to(options.device)
    except (RuntimeError, AssertionError) as error:  # the second where torch is built without it
        raise OtoscopeError(f"--device {options.device}: cannot be used ({complaint(str(error))})") from error
    report = run_evaluation(
        classifier,
        {name: _as_mapping(what) for name, what in options.methods.items()},
        objects.data,
        Path(options.output_folder or _default_output(options)),
        objects.conditions,
        Settings(**{field.name: options[field.name] for field in fields(Settings)}),
        options.device,
        progress=not options.json,
        data_options=_data_options(options.data),
    )
    if options.json:
        print(json.dumps(json_values(report.results), indent=2, ensure_ascii=False))
    else:
        names = "results.json, table.csv, pairs.csv, table.png, curves.png"
        print(f"{report.text}\n\nresults in {report.folder} ({names}, records)")


def _parser() -> jsonargparse.ArgumentParser:
    parser = make_parser(
        "evaluate",
        "Compares methods of explanation: `otoscope evaluate HPARAMS.yaml --data_folder DIR [overrides]`. "
        "Overrides are dotted, such as --conditions.wham.folder DIR or --methods.IG integrated_gradients.",
    )
    parser.add_argument("--classifier", type=str | Classifier, required=True, help="Model folder, or a class.")
    parser.add_argument(
        "--methods",
        type=dict[str, Any],
        required=True,
        help="By display name: a model folder, the name of a method without training, or a mapping with `name` and "
        "its options or with `class_path` and `init_args`.",
    )
    parser.add_subclass_arguments(SoundData, "data", required=True)
    parser.add_class_arguments(Conditions, "conditions")
    parser.add_class_arguments(Settings)
    parser.add_argument("--output_folder", type=str | None, default=None, help="By default results/<name>/<seed>.")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, cuda:1, mps.")
    parser.add_argument("--json", action="store_true", help="Print the results as JSON.")
    parser.add_argument("--import", type=str, action="append", default=[], help=IMPORT_HELP)
    return parser


def _as_mapping(what: Any) -> Any:
    """A method by its class: jsonargparse makes a namespace of whatever has a ``class_path``."""
    return what.as_dict() if hasattr(what, "as_dict") else what


def _default_output(options: Any) -> str:
    config = [str(path) for path in (options.config or [])]
    name = Path(config[0]).stem if config else "evaluation"
    return f"results/{name}/{options.seed}"


def _data_options(data: Any) -> Mapping[str, Any]:
    options = data.init_args.as_dict() if "init_args" in data else {}
    kept = {name: value for name, value in options.items() if name not in _HARMLESS}
    found: Mapping[str, Any] = json.loads(json.dumps({"class": data.class_path, **kept}, default=str))
    return found
