"""Evaluation of what a hyperparameter file of ``otoscope train`` has trained."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from otoscope.candidates import choose
from otoscope.cli.hparams import read_hparams
from otoscope.cli.options import DEFAULT_SEED, values_of
from otoscope.cli.paths import located, map_paths, paths_of, recipe_folder
from otoscope.cli.reference_flags import TRAINING_OF_METHODS
from otoscope.cli.run_record import RECORD_NAME
from otoscope.errors import OtoscopeError
from otoscope.methods import METHODS
from otoscope.store.folder import model_folder_of

_NO_INTERPRETER = ("ClassifierTraining", "NMFTraining", "AmortizedNMFTraining")
_PRETRAINED = "--pretrained_interpreter"


def evaluation_arguments(arguments: Sequence[str]) -> list[str]:
    """Replace a hyperparameter file of a training by the options that evaluate its interpreter.

    Args:
        arguments: Command line after ``otoscope evaluate``.

    Returns:
        The command line with ``--classifier``, ``--methods``, ``--data`` and ``--output_folder`` for the file.
        A hyperparameter file of an evaluation stays; ``--pretrained_interpreter`` then replaces its methods.

    Raises:
        OtoscopeError: The file trains no interpreter, or its interpreter has not been trained.
    """
    arguments = list(arguments)
    if not arguments or arguments[0].startswith("-") or not Path(arguments[0]).is_file():
        return arguments
    file = Path(arguments[0])
    content = read_hparams(file)
    given = values_of(_PRETRAINED, arguments)
    rest = _without(_PRETRAINED, arguments[1:])
    training = content.get("model")
    if training is None or "methods" in content:
        return [arguments[0], *(_evaluated(str(model_folder_of(given[-1])), "pretrained") if given else []), *rest]
    run = _run_folder(file, content, arguments)
    methods = _methods(file, training, run, given)
    data = (read_hparams(run / RECORD_NAME) or content).get("data", {})
    named = any(values_of(option, rest) for option in ("--output_folder", "--out", "-o"))
    kind = "single_sample" if values_of("--single_sample", rest) else "evaluation"
    return [
        *methods,
        *([f"--data={json.dumps(data)}"] if data else []),
        *([] if named else [f"--output_folder={run / kind}"]),
        *rest,
    ]


def _methods(file: Path, training: Any, run: Path, given: Sequence[str]) -> list[str]:
    """Return the options that name the interpreter of a training and its classifier."""
    path = training.get("class_path", "") if isinstance(training, dict) else str(training)
    name = path.rpartition(".")[2]
    if name in _NO_INTERPRETER:
        raise OtoscopeError(f"{file}: trains no interpreter; give a file of one, such as piq.yaml, or eval_*.yaml")
    title = METHODS[TRAINING_OF_METHODS[name]].title if name in TRAINING_OF_METHODS else name
    interpreter = model_folder_of(given[-1]) if given else run / "model"
    if given or (interpreter / "config.json").is_file():
        return _evaluated(str(interpreter), title)
    if published := (training.get("init_args") or {}).get("published") if isinstance(training, dict) else None:
        # The trained one does not exist; it is listed so that the report says why the published one is taken.
        folder = recipe_folder(file)
        sources = [str(interpreter), *(located(path, folder) for path in paths_of(published))]
        source = os.fspath(choose(sources).source)
        return [f"--classifier={json.dumps(sources)}", f"--methods={json.dumps({title: source})}"]
    if TRAINING_OF_METHODS.get(name) not in METHODS or METHODS[TRAINING_OF_METHODS[name]].trained:
        raise OtoscopeError(
            f"{interpreter}: holds no trained interpreter; train it first with `otoscope train {file}`, or name "
            f"one with {_PRETRAINED} DIR"
        )
    # Nothing needs to be trained: the file itself says how to explain.
    options = dict(training.get("init_args") or {})
    candidates = options.pop("classifier", "")
    places = map_paths(candidates, lambda path: located(path, recipe_folder(file)))
    classifier = places if isinstance(places, str) else json.dumps(places)
    spec = {"name": TRAINING_OF_METHODS[name], **{key: options[key] for key in options if key != "seed"}}
    return [f"--classifier={classifier}", f"--methods={json.dumps({title: spec})}"]


def _evaluated(interpreter: str, title: str) -> list[str]:
    """Return the options that evaluate one trained interpreter on the classifier that it explains."""
    return [f"--classifier={interpreter}", f"--methods={json.dumps({title: interpreter})}"]


def _run_folder(file: Path, content: Mapping[str, Any], arguments: Sequence[str]) -> Path:
    """Return the folder that the training writes to by default."""
    results = next(iter(values_of("--results_folder", arguments)), "results")
    seed = next(iter(values_of("--seed", arguments)), content.get("seed", DEFAULT_SEED))
    return Path(str(content.get("output_folder") or Path(results) / file.stem / str(seed)))


def _without(option: str, arguments: Sequence[str]) -> list[str]:
    """Return a command line without an option and its value."""
    result: list[str] = []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if argument == option:
            del remaining[:1]
        elif not argument.startswith(option + "="):
            result.append(argument)
    return result
