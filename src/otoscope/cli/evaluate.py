"""``otoscope evaluate``: compare the methods that a hyperparameter file names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from otoscope.classifiers import Classifier
from otoscope.cli.answer import AnswerLine
from otoscope.cli.hparams import USAGE, add_common_options, instantiate, output_folder_of, parse_hparams
from otoscope.cli.options import add_shared, make_parser, messages_beside, move_to_device, print_json
from otoscope.cli.threads import usable_cores
from otoscope.cli.training_file import evaluation_arguments
from otoscope.data import ListenerScenes, PlantedCues, SoundData
from otoscope.errors import OtoscopeError
from otoscope.evaluation.conditions import Conditions
from otoscope.evaluation.known_use import run_known_use
from otoscope.evaluation.methods import build_methods
from otoscope.evaluation.paper import PaperOptions
from otoscope.evaluation.run import run_evaluation
from otoscope.evaluation.settings import Settings
from otoscope.explain import Explainer
from otoscope.loading import load_classifier
from otoscope.recordings import explain_recordings, find_recordings

if TYPE_CHECKING:
    import jsonargparse

_WITHOUT_EFFECT = ("data_folder", "num_workers", "cache_folder", "download", "batch_size")
"""Options of the data that change no clip, so that records of an earlier run stay valid."""


def run(arguments: list[str]) -> None:
    """Run the verb.

    Args:
        arguments: Command line after ``otoscope evaluate``.

    Raises:
        OtoscopeError: An option, the data or a method is wrong; the message says which.
    """
    arguments = evaluation_arguments(arguments)
    parsed = parse_hparams("evaluate", build_parser, arguments, required="--classifier")
    parser, options = parsed.parser, parsed.options
    with messages_beside(options.json):
        objects = instantiate(parser, options)
        classifier = objects.classifier
        if isinstance(classifier, str | list):
            classifier = load_classifier(classifier)
    move_to_device(classifier, options.device)
    methods = {name: _plain_mapping(spec) for name, spec in options.methods.items()}
    if options.single_sample:
        with classifier.in_precision(options.precision):
            _explain_recording(options, classifier, methods)
        return
    if isinstance(objects.data, ListenerScenes | PlantedCues):
        _evaluate_known_use(options, objects, classifier, methods)
        return
    settings = Settings(**{field.name: options[field.name] for field in fields(Settings)})
    report = run_evaluation(
        classifier,
        methods,
        objects.data,
        output_folder_of(options, "evaluation"),
        objects.conditions,
        replace(settings, workers=settings.workers or usable_cores()),
        options.device,
        progress=not options.json,
        data_options=_data_options(options.data),
        paper=objects.paper,
    )
    if options.json:
        print_json(report.results)
    else:
        names = "results.json, table.csv, pairs.csv, table.png, curves.png; for papers paper_table.tex, .md"
        names += "".join(f", paper_figure.{kind}" for kind in objects.paper.figures)
        print(f"{report.text}\n\nresults in {report.folder} ({names}, records)")


def build_parser() -> jsonargparse.ArgumentParser:
    """Return the parser of ``otoscope evaluate``."""
    parser = make_parser(
        "evaluate",
        "Compare methods of explanation: `otoscope evaluate HPARAMS.yaml --data_folder DIR [overrides]`. A "
        "hyperparameter file of `otoscope train` evaluates the interpreter that it has trained. "
        "Overrides are dotted, such as --conditions.wham.folder DIR or --methods.IG integrated_gradients.",
        USAGE,
    )
    parser.add_argument(
        "--classifier",
        type=list[str] | str | Classifier,
        required=True,
        help="Model folder, several of which the first that exists is taken, or a class.",
    )
    parser.add_argument(
        "--methods",
        type=dict[str, Any],
        required=True,
        help="Methods by the name that tables show. Each is a model folder, the name of a method without training, "
        "or a mapping with `name` and options or with `class_path` and `init_args`.",
    )
    parser.add_subclass_arguments(SoundData, "data", required=True)
    parser.add_class_arguments(Conditions, "conditions")
    parser.add_class_arguments(Settings, skip={"seed"})
    parser.add_class_arguments(PaperOptions, "paper")
    parser.add_argument(
        "--pretrained_interpreter",
        type=str | None,
        default=None,
        help="Trained interpreter to evaluate instead of those of the file: a model folder or a checkpoint.",
    )
    parser.add_argument(
        "--single_sample",
        type=str | None,
        default=None,
        help="Recording to explain with the trained interpreter, instead of an evaluation.",
    )
    add_common_options(parser)
    add_shared(parser, "device")
    return parser


def _evaluate_known_use(options: Any, objects: Any, classifier: Classifier, methods: Mapping[str, Any]) -> None:
    """Compare the methods by the bins that the classifier is known to use."""
    report = run_known_use(
        classifier,
        methods,
        objects.data,
        output_folder_of(options, "known_use"),
        Settings(**{field.name: options[field.name] for field in fields(Settings)}),
        options.device,
        progress=not options.json,
        data_options=_data_options(options.data),
    )
    if options.json:
        print_json(report.results)
    else:
        print(f"{report.text}\n\nresults in {report.folder} (known_use.json, known_use.txt, records)")


def _explain_recording(options: Any, classifier: Classifier, methods: Mapping[str, Any]) -> None:
    """Explain ``--single_sample`` with the only method, and write the result to the output folder."""
    if len(methods) != 1:
        raise OtoscopeError(
            f"--single_sample: the hyperparameter file names {len(methods)} methods; give the one of a training, "
            "or --pretrained_interpreter DIR"
        )
    recordings = find_recordings([options.single_sample])
    built = build_methods(methods, classifier)
    for name, reason in built.skipped.items():
        raise OtoscopeError(f"{name}: {reason}")
    [method] = built.ready.values()
    explainer = Explainer(classifier, method.interpreter)
    move_to_device(explainer, options.device)
    outcome = explain_recordings(
        explainer,
        recordings,
        output_folder_of(options, "single_sample"),
        on_explained=(lambda result: print_json(result.line)) if options.json else AnswerLine().complete,
    )
    for error in outcome.failed.values():
        raise OtoscopeError(error)


def _plain_mapping(spec: Any) -> Any:
    """Return the mapping of a method, which jsonargparse turns into a namespace if it has a ``class_path``."""
    return spec.as_dict() if hasattr(spec, "as_dict") else spec


def _data_options(data: Any) -> Mapping[str, Any]:
    """Return the options that decide which clips the data has, as JSON values."""
    options = data.init_args.as_dict() if "init_args" in data else {}
    relevant = {name: value for name, value in options.items() if name not in _WITHOUT_EFFECT}
    # Through JSON, because they are compared with the options that an earlier run stored as JSON.
    values: Mapping[str, Any] = json.loads(json.dumps({"class": data.class_path, **relevant}, default=str))
    return values
